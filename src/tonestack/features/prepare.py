"""Preparation of features: each clip is decoded once, in worker processes, for all frontends together.

`prepare` writes one folder `cache/<frontend>-<key>/` per frontend; `features/store.py` says what is in it and reads it.
`features/decode.py` is the work of one worker. Unfinished work lies in `cache/.parts/`, where a killed run goes on.
"""

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import claimed, fingerprint, move, write_json, write_parquet
from tonestack.base.workers import ended_when_stuck
from tonestack.features import ffmpeg, missing, pieces, watched
from tonestack.features.audio import MISSING, BadAudio, PassingFault, leads_out
from tonestack.features.contents import (
    OUTSIDE,
    UNREADABLE,
    clip_list,
    contents,
    known_contents,
    listed,
    recordings_of,
    stat_key,
)
from tonestack.features.decode import Chunk, DecodeContext, finish_chunk, run_chunk
from tonestack.features.frontends import FrontendProtocol, RawWave
from tonestack.features.store import FORMAT, Spec, folder_of, moments, read_folder
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

CHUNK_CLIPS, CHUNK_BYTES = 32, 64 << 20  # a part file holds at most so many clips and bytes of audio
TOO_LONG = r"does not end within (\S+) minutes"
RETRIES = 3  # how often workers may die without a clip that is to blame


@dataclass(frozen=True)
class PrepareReport:
    """Result of `prepare`: folders made and found up to date, one row per clip, and the seconds it took."""

    made: list[str]
    up_to_date: list[str]
    clips: pd.DataFrame
    elapsed: float

    @property
    def bad(self) -> pd.DataFrame:
        """Clips without features: clip_id, part, reason."""
        return self.clips.loc[self.clips.status == "bad", ["clip_id", "part", "reason"]]

    @property
    def truncated(self) -> pd.DataFrame:
        """Clips shorter than their headers say: clip_id, part."""
        return self.clips.loc[self.clips.status == "truncated", ["clip_id", "part"]]

    def __str__(self) -> str:
        hours = self.clips.seconds.sum() / 3600
        bad, cut = len(self.bad), len(self.truncated)
        done = ", ".join([f"{n} made" for n in self.made] + [f"{n} up to date" for n in self.up_to_date])
        faults = f"; {bad} unusable" * (bad > 0) + f"; {cut} end early" * (cut > 0)
        return f"{len(self.clips)} clips, {hours:.2f} h{faults}; {done} ({self.elapsed:.1f} s)"


def prepare(
    competition: Competition,
    specs: Sequence[Spec],
    audio: AudioParams,
    cache: Path,
    n_jobs: int = 1,
    progress: bool = True,
    device: Any = None,
) -> PrepareReport:
    """Make the features of all train and test clips for every frontend `{name: ..., **params}` not yet up to date.

    Files are decoded once for all frontends together, by `n_jobs` worker processes (1: by this process, which then
    does not outlive a decoder that crashes). A second call only stats the files.
    device: torch device for the frontends that have `on_device`.
    Raises `UserError` listing the unusable train clips when `audio.bad_files` is `error`.
    """
    begin = time.monotonic()
    root, cache = competition.root.absolute(), cache.absolute()  # workers live on when the current folder changes
    cache.mkdir(parents=True, exist_ok=True)
    jobs = {job.folder.name: job for job in (_Job(spec, audio, cache) for spec in specs)}
    clips = clip_list(competition)
    pieces.refuse_trimmed(clips, audio)
    clips["content"] = contents(clips, root, cache, n_jobs, audio.decode_minutes)
    content = fingerprint([FORMAT, *listed(clips)])
    stale = [job for job in jobs.values() if not job.up_to_date(content)]
    if stale or any(job.parts.exists() for job in jobs.values()):
        with claimed(cache / ".lock", f"{cache}: another process is preparing features here"):
            stale = [job for job in stale if not job.up_to_date(content)]  # another process may have made it meanwhile
            for job in jobs.values():
                if job not in stale:
                    shutil.rmtree(job.parts, ignore_errors=True)  # of a run killed while it cleaned up
            if stale:
                _make(stale, clips, content, DecodeContext(root, audio, cache / ".parts"), n_jobs, progress, device)
    made = [job.folder.name for job in stale]
    table = pd.read_parquet(next(iter(jobs.values())).folder / "clips.parquet") if jobs else clips
    report = PrepareReport(made, [n for n in jobs if n not in made], table, time.monotonic() - begin)
    if audio.bad_files == "error":
        _refuse_bad(report.bad, clips, root)
    return report


def why_stale(competition: Competition, specs: Sequence[Spec], audio: AudioParams, cache: Path) -> list[str]:
    """Reason for which `prepare` would make each frontend's features, "" if up to date. No recording is read."""
    made = [_Job(spec, audio, cache.absolute()) for spec in specs]
    clips, known, root = clip_list(competition), known_contents(cache), competition.root.absolute()
    keys = [stat_key(os.path.join(root, path)) for path in clips.path]
    outside = [leads_out(key[0], root) for key in keys]
    new = sum(key not in known and key[1] >= 0 and not out for key, out in zip(keys, outside, strict=True))
    clips["content"] = [OUTSIDE if out else known.get(key, UNREADABLE) for key, out in zip(keys, outside, strict=True)]
    content = fingerprint([FORMAT, *listed(clips)])
    changed = f"{new} recordings are new or changed" if new else "other clips than before"
    return [_why_stale(job, content, changed) for job in made]


def _why_stale(job: "_Job", content: str, changed: str) -> str:
    if not (job.folder / "meta.json").exists():
        return "not made yet"
    return "" if job.up_to_date(content) else changed


# ------------------------------------------------------------------------------------------------------- one frontend


class _Job:
    """One frontend to prepare: its settings, its final folder and the folder of its part files."""

    def __init__(self, spec: Spec, audio: AudioParams, cache: Path) -> None:
        self.params = parts.part_params("frontends", spec, "frontend")
        self.name, self.minutes = str(spec["name"]), audio.decode_minutes
        self.folder = folder_of(spec, audio, cache)
        self.parts = cache / ".parts" / self.folder.name
        self.settings = {"format": FORMAT, "frontend": {"name": self.name} | self.params.model_dump()}
        self.settings["audio"] = audio.settings()

    def up_to_date(self, content: str) -> bool:
        try:
            meta, _, clips = read_folder(self.folder)
            return bool(meta.get("content") == content) and not (self._has_more_time(clips) or _can_be_read_now(clips))
        except UserError:  # absent or damaged
            return False

    def _has_more_time(self, clips: pd.DataFrame) -> bool:
        """True if a clip was given up after less time than a decoder has now."""
        given_up = clips["reason"].str.extract(TOO_LONG)[0].dropna().astype(float)
        return bool((given_up < self.minutes).any())

    def frontend(self) -> FrontendProtocol:
        return parts.find("frontends", self.name).Frontend(self.params)

    def maker(self, device: Any) -> Any:
        """The maker of the features on a device; None if the workers make them."""
        on_device = getattr(parts.find("frontends", self.name), "on_device", None)
        return on_device(self.frontend(), device) if on_device and device is not None else None


def _can_be_read_now(clips: pd.DataFrame) -> bool:
    """True if clips were given up for want of a program that is there now."""
    return bool(clips["reason"].str.contains(ffmpeg.NEEDS, regex=False).any()) and ffmpeg.installed() is not None


# ----------------------------------------------------------------------------------------------------------- decoding


def _make(
    jobs: list[_Job],
    clips: pd.DataFrame,
    content: str,
    context: DecodeContext,
    n_jobs: int,
    progress: bool,
    device: Any,
) -> None:
    """Decode the clips that no part file has, then join the parts; the caller holds the cache's lock."""
    recordings = recordings_of(clips)
    chunks = _chunks(recordings, context.root)
    for job in jobs:
        job.parts.mkdir(parents=True, exist_ok=True)
    _decode_all(jobs, chunks, context, n_jobs, progress, device)
    for job in jobs:
        _join(job, chunks, clips, recordings, content)
        shutil.rmtree(job.parts, ignore_errors=True)


def _decode_all(
    jobs: list[_Job], chunks: list[Chunk], context: DecodeContext, n_jobs: int, progress: bool, device: Any
) -> None:
    """Decode until every part is there; a clip that kills its worker is found and marked as bad."""
    retries = RETRIES
    while True:
        fatal = _fatal(context)
        context = replace(context, fatal=context.fatal | fatal)
        try:
            with ended_when_stuck(context.scratch, 60 * context.audio.decode_minutes):
                return _decode(jobs, chunks, context, n_jobs, progress, device)
        except TerminatedWorkerError:
            retries -= not fatal
            if retries == 0:
                raise UserError(
                    f"{context.scratch.parent}: the processes that decode keep dying, and no file alone is to blame; "
                    "free some memory and run again: what is done is kept"
                ) from None


def _chunks(clips: pd.DataFrame, root: Path) -> list[Chunk]:
    """Cut the clip list into runs of at most CHUNK_CLIPS clips and about CHUNK_BYTES bytes."""
    starts, count, total = [0], 0, 0
    for i, path in enumerate(clips.path):
        size = max(0, stat_key(os.path.join(root, path))[1])
        if count == CHUNK_CLIPS or (count and total + size > CHUNK_BYTES):
            starts.append(i)
            count = total = 0
        count, total = count + 1, total + size
    tables = [clips.iloc[a:b] for a, b in zip(starts, [*starts[1:], len(clips)], strict=True)]
    return [_chunk(table) for table in tables if len(table)]


def _chunk(table: pd.DataFrame) -> Chunk:
    key = fingerprint(table[["clip_id", "part", "content"]].to_numpy().tolist())
    return Chunk(key, table.clip_id.tolist(), table.path.tolist(), (table.part == "train").tolist())


def _decode(
    jobs: list[_Job], chunks: list[Chunk], context: DecodeContext, n_jobs: int, progress: bool, device: Any
) -> None:
    """Run the chunks that lack a part, in parallel; frontends are pickled with their tables, so workers start fast.

    Where a device makes the features, workers leave the samples and this process finishes the parts.
    """
    frontends = {job.parts: job.frontend() for job in jobs}
    makers = {job.parts: maker for job in jobs if (maker := job.maker(device))}
    by_worker = {folder: _left_by_worker(folder, frontends[folder], folder in makers) for folder in frontends}
    todo = [(chunk, [f for f in frontends if _read_part(f, chunk, frontends[f]) is None]) for chunk in chunks]
    lacking = {chunk.key: folders for chunk, folders in todo if folders}
    calls = (
        joblib.delayed(run_chunk)(chunk, dict(by_worker[f] for f in lacking[chunk.key]), context)
        for chunk in chunks
        if chunk.key in lacking
    )
    # a second BLAS thread gains nothing on such small products and stalls when the cores are busy (n_jobs=1)
    with (
        threadpool_limits(1),
        bar(sum(len(chunk.ids) for chunk in chunks if chunk.key in lacking), "features", "clips", progress) as shown,
    ):
        for chunk in joblib.Parallel(n_jobs, return_as="generator_unordered")(calls):
            for folder in makers.keys() & lacking[chunk.key]:
                finish_chunk(chunk, folder, frontends[folder], makers[folder])
            shown.update(len(chunk.ids))


def _left_by_worker(folder: Path, frontend: FrontendProtocol, on_device: bool) -> tuple[Path, Any]:
    """Folder and maker of a worker's output for a frontend: features, or samples if a device computes the features."""
    if not on_device:
        return folder, frontend
    (folder / "samples").mkdir(exist_ok=True)
    return folder / "samples", RawWave(frontend.sample_rate)


def _fatal(context: DecodeContext) -> dict[str, str]:
    """Clips in work when a process died that also crash or block a process of their own: path -> fault."""
    found = {}
    for marker in context.scratch.glob("*.doing"):
        path = marker.read_text(encoding="utf-8")
        fault = _fault(path, context)
        if fault:
            found[path] = fault
        marker.unlink(missing_ok=True)
    return found


def _fault(path: str, context: DecodeContext) -> str:
    """Fault of the process that decodes this one clip; '' if there is none."""
    try:
        watched.decode_clip(context.root / path, context.audio, context.root, scratch=context.scratch)
    except watched.DecoderEnded as error:
        return str(error) if error.blamed else ""
    except (BadAudio, PassingFault):  # the worker will say so
        return ""
    return ""


def _read_part(folder: Path, chunk: Chunk, frontend: FrontendProtocol) -> dict[str, Any] | None:
    """Return a finished part's rows and sums, None where it is absent or damaged (power loss)."""
    try:
        meta = json.loads((folder / f"{chunk.key}.json").read_text(encoding="utf-8"))
        size = (folder / f"{chunk.key}.bin").stat().st_size
    except (OSError, ValueError):
        return None
    frames = sum(row["frames"] for row in meta["rows"])
    return meta if size == frames * frontend.width * np.dtype(frontend.dtype).itemsize else None


# -------------------------------------------------------------------------------------------------- joining the parts


def _join(job: _Job, chunks: list[Chunk], clips: pd.DataFrame, files: pd.DataFrame, content: str) -> None:
    """Write features.npy, clips.parquet and meta.json from the parts and put the folder in its place."""
    frontend, out = job.frontend(), job.parts / "out"
    metas = [_read_part(job.parts, chunk, frontend) for chunk in chunks]
    recordings = _table([row for meta in metas if meta for row in meta["rows"]], files)
    table = pieces.cut(recordings, clips, frontend.frame_rate)
    out.mkdir(exist_ok=True)
    _concatenate(
        [job.parts / f"{c.key}.bin" for c in chunks], out / "features.npy", int(recordings.frames.sum()), frontend
    )
    write_parquet(out / "clips.parquet", table)
    mean, std = moments([meta for meta in metas if meta], frontend.width)
    meta = job.settings | {
        "content": content,
        "fingerprint": fingerprint([job.folder.name, content]),
        "frame_rate": frontend.frame_rate,
        "frames": int(recordings.frames.sum()),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
    write_json(out / "meta.json", meta)
    if job.folder.exists():  # of other contents; who has it open keeps reading the old files
        shutil.rmtree(job.parts / "old", ignore_errors=True)
        move(job.folder, job.parts / "old")
    move(out, job.folder)


def _table(rows: list[dict[str, Any]], clips: pd.DataFrame) -> pd.DataFrame:
    """One row per recording, in the order of `clips`."""
    table = pd.DataFrame(rows, columns=["clip_id", "frames", "seconds", "status", "reason", "audio_hash"])
    table = table.astype({"frames": np.int64, "seconds": np.float64})
    table.insert(1, "part", clips.part.to_numpy())
    table.insert(2, "offset", table.frames.cumsum() - table.frames)
    return table


def _concatenate(sources: list[Path], target: Path, frames: int, frontend: FrontendProtocol) -> None:
    """Join raw parts into one npy (frames, F); copied as files, so that memory is bounded."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(frontend.dtype)), "fortran_order": False}
    with open(target, "wb") as out:
        np.lib.format.write_array_header_1_0(out, header | {"shape": (frames, frontend.width)})
        for source in sources:
            with open(source, "rb") as part:
                shutil.copyfileobj(part, out, 1 << 22)
        if frames == 0:
            out.write(b"\0" * frontend.width * 2)  # an empty array cannot be mapped
        out.flush()
        os.fsync(out.fileno())


def _refuse_bad(bad: pd.DataFrame, clips: pd.DataFrame, root: Path) -> None:
    """Raise one `UserError` for all unusable train clips, ten of them named."""
    train = bad[bad.part == "train"]
    if len(train):
        shown = "; ".join(f"{row.clip_id}: {row.reason}" for row in train.head(10).itertuples())
        more = f"; and {len(train) - 10} more" if len(train) > 10 else ""
        gone = train.loc[train["reason"] == MISSING, "clip_id"]
        where = f"; {missing.why(root, clips.set_index('clip_id')['path'][gone.iloc[0]])}" if len(gone) else ""
        raise UserError(
            f"{len(train)} training clip(s) cannot be used: {shown}{more}{where}; fix them or set audio.bad_files=skip"
        )
