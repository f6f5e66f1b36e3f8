"""The embedded speaker demos: synthesised voices in VoxCeleb1's layout, with its lists of splits and trials.

Every speaker is a voice of its own; every session has a channel of its own (level, tilt, noise), so that clips of one
session are alike for two reasons. `iden_split.txt` is an official split, `veri_test.txt` has trials among the last
speakers.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, read_json, write_json, write_text
from tonestack.competition.demo.voices import formant
from tonestack.competition.readers import voxceleb1
from tonestack.labels import trials
from tonestack.settings.data_config import VerifyParams
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
import soundfile
from pydantic import Field

SETTINGS = "demo.json"
PER_LIST = 1200  # trials in veri_test.txt at most
PARTS = (__file__, formant.__file__, trials.__file__)  # what the samples and lists depend on


class Params(voxceleb1.Params):
    """Sizes of the demo: speakers, speakers in the list of trials, sessions, clips per session, seconds."""

    speakers: int = Field(16, ge=4, description="speakers synthesised")
    listed: int = Field(6, ge=2, description="speakers in the list of trials")
    sessions: int = Field(5, ge=2, description="recording sessions per speaker")
    clips: int = Field(6, ge=1, description="clips per session")
    seconds: float = Field(1.6, gt=0, description="length of a clip, s")
    voice_seed: int = Field(0, ge=0, description="seed of the synthesised voices")


def read(params: Params, root: Path) -> Competition:
    """Read the demo below `root`; synthesise it first if it is absent or was made with other settings."""
    make(params, root)
    return voxceleb1.read(params, root)


def scoring_table(params: Params, root: Path) -> pd.DataFrame | None:
    """Labels of the test clips or trials, from names and lists."""
    return voxceleb1.scoring_table(params, root)


def make(params: Params, root: Path, jobs: int = -1) -> None:
    """Synthesise the clips and lists into `root` with `jobs` processes, unless they are there already.

    The same settings give the same bytes, whatever `jobs` is. A folder that holds anything else is refused.
    """
    made = set(Params.model_fields) - set(voxceleb1.Params.model_fields)
    settings = {**params.model_dump(include=made), "synthesiser": [file_hash(Path(part)) for part in PARTS]}
    found: dict[str, Any] = read_json(root / SETTINGS) if (root / SETTINGS).is_file() else {}
    if found == {"finished": True, **settings}:
        return
    if root.exists() and not found and any(root.iterdir()):
        raise UserError(f"{root}: holds something other than the speakers' demo; give another root= or remove it")
    shutil.rmtree(root / "wav", ignore_errors=True)
    write_json(root / SETTINGS, {"finished": False})
    todo = [(s, v) for s in range(params.speakers) for v in range(params.sessions)]
    tasks = (joblib.delayed(_session)(root / "wav", params, s, v) for s, v in todo)
    with bar(len(todo), "demo", "sessions") as progress:
        for _ in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks):
            progress.update()
    _write_lists(params, root)
    write_json(root / SETTINGS, {"finished": True, **settings})


def _session(folder: Path, params: Params, speaker: int, session: int) -> None:
    """Synthesise one session's clips: one voice through one channel."""
    voice = formant.voice(params.voice_seed * 1000 + speaker)
    rng = np.random.default_rng([params.voice_seed, speaker, session])
    level, tilt, noise = 10 ** rng.uniform(-0.6, 0), rng.uniform(-0.5, 0.5), 10 ** rng.uniform(-2.5, -1.5)
    for number in range(params.clips):
        wave, rate = voice.say("", params.seconds * rng.uniform(0.8, 1.3), rng)
        wave = wave + tilt * np.append(0, wave[:-1])  # one zero: brighter or duller
        wave = wave + noise * wave.std() * rng.standard_normal(len(wave))
        _write(folder / _clip(speaker, session, number), 0.9 * level * wave / np.abs(wave).max(), rate)


def _clip(speaker: int, session: int, number: int) -> str:
    return f"id{10001 + speaker}/session{session}/{number + 1:05d}.wav"


def _write(path: Path, wave: np.ndarray, rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # renamed, so that a run beside this one never reads half a file; not flushed: the settings come last
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    soundfile.write(temporary, wave, rate, subtype="PCM_16", format="WAV")
    os.replace(temporary, path)


def _write_lists(params: Params, root: Path) -> None:
    """iden_split.txt: the last session of every speaker for test, the one before for validation. veri_test.txt."""
    part = {params.sessions - 1: 3, params.sessions - 2: 2}
    every = [(s, v, n) for s in range(params.speakers) for v in range(params.sessions) for n in range(params.clips)]
    write_text(root / voxceleb1.OFFICIAL, "".join(f"{part.get(v, 1)} {_clip(s, v, n)}\n" for s, v, n in every))
    first = params.speakers - params.listed
    names = [(_clip(s, v, n), f"{s}", f"{s}/{v}") for s, v, n in every if s >= first]
    clips = pd.DataFrame(names, columns=["clip_id", "label", "group"]).assign(fold=0)
    drawn = trials.draw(clips, VerifyParams(trials=PER_LIST, seed=params.voice_seed))
    lines = zip(drawn["label"], drawn["enrol"], drawn["test"], strict=True)
    write_text(root / "veri_test.txt", "".join(" ".join(line) + "\n" for line in lines))
