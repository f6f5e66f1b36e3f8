"""Recognising recordings from anywhere: against the voices learnt from, and against voices enrolled by a few clips.

The siamese network says how alike two crops are, whoever speaks: a new voice needs clips to compare with, no training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.competition.readers.folder import recordings
from tonestack.config.call import Call, Experiment
from tonestack.features.audio import BadAudio, Clip, decode_clip, resample
from tonestack.features.store import Store
from tonestack.networks import weights
from tonestack.settings.data_config import AudioParams
from tonestack.tables import votes
from tonestack.training import queue
from tonestack.training.crops import Clips
from tonestack.training.device import choose_device, seed_of
from tonestack.training.job import FoldJob
from tonestack.training.learners import siamese
from tonestack.training.learners.siamese import SiameseNetwork, Speakers
from tonestack.training.voices.voice_input import levels

import numpy as np
import pandas as pd
import torch


@dataclass(frozen=True)
class Voice:
    """A voice to compare with, and recordings of it."""

    name: str
    paths: tuple[Path, ...]


def enrolled(folder: Path) -> list[Voice]:
    """The voices of a folder: one for each folder in it, or the folder itself where clips lie right in it."""
    if not folder.is_dir():
        raise UserError(f"enrol={folder}: there is no such folder")
    by_name: dict[str, list[Path]] = {}
    for path in recordings(folder, folder):
        inner = path.relative_to(folder).parts
        by_name.setdefault(inner[0] if len(inner) > 1 else folder.resolve().name, []).append(path)
    if not by_name:
        raise UserError(f"enrol={folder}: holds no recordings")
    return [Voice(name, tuple(paths)) for name, paths in sorted(by_name.items())]


def check(paths: Sequence[Path], audio: AudioParams) -> None:
    """Refuse recordings that cannot be used before anything is trained for them."""
    for path in paths:
        _decoded(path, audio)


def recognise(
    call: Call, experiment: Experiment, queries: Sequence[Path], new: Sequence[Voice], known: bool = True
) -> pd.DataFrame:
    """Votes (`query, candidate, count`) of all folds' Judges; candidates are the voices learnt from, then the new ones.

    known: whether the voices learnt from are candidates.
    """
    competition = call.competition()
    names = [*(competition.classes if known else ()), *(voice.name for voice in new)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"enrol: '{twice[0]}' is among the voices already; rename its folder, or give known=false")
    if len(names) < 2:
        raise UserError("match: there is one candidate only, so there is nothing to choose; enrol more voices")
    todo = queue.build(call, [experiment])
    heard = _heard([*queries, *(path for voice in new for path in voice.paths)], experiment, call.data.audio)
    total = sum(_of_fold(job, heard, len(queries), new, known) for job in todo)
    return votes.long(np.asarray(total), [str(path) for path in queries], names)


def _heard(paths: Sequence[Path], experiment: Experiment, audio: AudioParams) -> Clips:
    """Features of recordings, in memory; an unusable one is refused, naming it."""
    spec = experiment.config.frontend
    frontend = parts.find("frontends", spec["name"]).Frontend(parts.part_params("frontends", spec, "frontend"))
    pieces = []
    for path in paths:
        clip = _decoded(path, audio)
        pieces.append(frontend(resample(clip.wave, clip.rate, frontend.sample_rate)))
    frames = torch.tensor([len(piece) for piece in pieces])
    return Clips(torch.from_numpy(np.concatenate(pieces)), frames.cumsum(0) - frames, frames, torch.zeros(1))


def _decoded(path: Path, audio: AudioParams) -> Clip:
    try:
        return decode_clip(path, audio)
    except BadAudio as error:
        raise UserError(f"{path}: {error}") from None


def _of_fold(job: FoldJob, heard: Clips, n_queries: int, new: Sequence[Voice], known: bool) -> np.ndarray:
    """Votes (Q, V) of one fold's network; `heard` holds the queries, then the new voices' clips."""
    device = choose_device(job.device)
    store = Store.open(job.cache, job.experiment.config.frontend, job.audio)
    net = SiameseNetwork.build(job.experiment.config, device)
    path = job.folder / f"fold{job.fold}.safetensors"
    weights.put(net.model, weights.read_fold(path, job.headings), path)
    heard = Clips(*(tensor.to(device) for tensor in (heard.features, heard.offsets, heard.frames, heard.fill)))
    seed = job.experiment.seed
    pools = []
    if known:
        speakers = siamese.speakers_of(job, store, device)
        pools.append(siamese.references(net, speakers, seed_of(seed, job.fold, "vote", "references")))
    if new:
        voice = np.repeat(np.arange(len(new)), [len(v.paths) for v in new])
        speakers = Speakers.of(_rows(heard, slice(n_queries, None)), voice, net.params.length)
        pools.append(siamese.references(net, speakers, seed_of(seed, job.fold, "vote", "enrolled")))
    pool, level = torch.cat(pools), levels(heard)
    counted: list[Any] = [
        siamese.vote(net, pool, heard, level, row, seed_of(seed, job.fold, "vote", row)) for row in range(n_queries)
    ]
    return np.stack(counted)


def _rows(clips: Clips, rows: slice) -> Clips:
    return Clips(clips.features, clips.offsets[rows], clips.frames[rows], clips.fill)
