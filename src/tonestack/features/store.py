"""The feature store: every clip decoded once, the frames of all clips end to end in one memory-mapped array.

`prepare` writes, for every frontend, `cache/<frontend>-<key>/` with
    features.npy    (T_total, F), clips in the order of the competition's tables, train first
    clips.parquet   clip_id, part, offset, frames, seconds, status (ok|truncated|bad), reason, audio_hash
    meta.json       settings, content fingerprint, mean and std of every band over the usable train clips; written last
`Store.open` reads them. Work in progress lies in `cache/.parts/`; a run that was killed goes on from there.
"""

import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import claimed, file_hash, fingerprint, read_json, write_json, write_parquet
from tonestack.base.workers import ended_when_stuck
from tonestack.features.decode import Chunk, Source, finish_chunk, run_chunk, try_decoding
from tonestack.features.frontends import FrontendProtocol, Samples
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

FORMAT = 1  # raise it when the same settings would give other features
CHUNK_CLIPS, CHUNK_BYTES = 32, 64 << 20  # a part file holds at most so many clips and bytes of audio
RETRIES = 3  # how often workers may die without a clip that is to blame
Spec = dict[str, Any]


# ---------------------------------------------------------------------------------------------------- what users see


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did: folders made and found up to date, one row a clip, and the seconds it took."""

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
    device: torch device that makes the features of those frontends that can be made by one.
    Raises `UserError` listing the unusable train clips when `audio.bad_files` is `error`.
    """
    begin = time.monotonic()
    root, cache = competition.root.absolute(), cache.absolute()  # workers live on when the current folder changes
    cache.mkdir(parents=True, exist_ok=True)
    jobs = {job.folder.name: job for job in (_Job(spec, audio, cache) for spec in specs)}
    clips = _clip_list(competition)
    clips["content"] = _contents(clips, root, cache, n_jobs)
    content = fingerprint([FORMAT, *clips[["clip_id", "part", "content"]].to_numpy().tolist()])
    stale = [job for job in jobs.values() if not job.up_to_date(content)]
    if stale or any(job.parts.exists() for job in jobs.values()):
        with claimed(cache / ".lock", f"{cache}: another process is preparing features here"):
            stale = [job for job in stale if not job.up_to_date(content)]  # another process may have made it meanwhile
            for job in jobs.values():
                if job not in stale:
                    shutil.rmtree(job.parts, ignore_errors=True)  # of a run killed while it cleaned up
            if stale:
                _make(stale, clips, content, Source(root, audio, cache / ".parts"), n_jobs, progress, device)
    made = [job.folder.name for job in stale]
    table = pd.read_parquet(next(iter(jobs.values())).folder / "clips.parquet") if jobs else clips
    report = PrepareReport(made, [n for n in jobs if n not in made], table, time.monotonic() - begin)
    if audio.bad_files == "error":
        _refuse_bad(report.bad)
    return report


@dataclass(frozen=True)
class Store:
    """One frontend's features of one competition.

    features: (T_total, F), float16 or int16, memory-mapped. clips: one row a clip, indexed by clip_id.
    mean, std: float32 (F,) over the usable train clips (std is 1 where a band is constant).
    frame_rate: frames per second. fingerprint: of settings and contents.
    """

    features: np.ndarray
    clips: pd.DataFrame
    mean: np.ndarray
    std: np.ndarray
    frame_rate: float
    fingerprint: str

    @property
    def width(self) -> int:
        """F, the number of bands."""
        return int(self.features.shape[1])

    @classmethod
    def open(cls, cache: Path, spec: Spec, audio: AudioParams) -> "Store":
        """Open what `prepare` made for `spec` and `audio`; `UserError` where it has not been prepared."""
        folder = _folder(spec, audio, cache)
        if not (folder / "meta.json").exists():
            raise UserError(f"{folder}: the features of '{spec['name']}' are not prepared; run the prepare stage first")
        meta, features, clips = _read_folder(folder)
        return cls(
            features=features,
            clips=clips.set_index("clip_id"),
            mean=np.array(meta["mean"], np.float32),
            std=np.array(meta["std"], np.float32),
            frame_rate=meta["frame_rate"],
            fingerprint=meta["fingerprint"],
        )

    @classmethod
    def in_memory(cls, made: Sequence[np.ndarray], frontend: FrontendProtocol) -> "Store":
        """A store of clips outside any competition: the frames (T, F) that `frontend` has made of each.

        Their ids are "0", "1" and so on. Nothing is known of the training clips: mean is 0 and std 1.
        """
        frames = np.array([len(m) for m in made])
        clips = pd.DataFrame(
            {"offset": frames.cumsum() - frames, "frames": frames}, index=list(map(str, range(len(made))))
        )
        moments = np.zeros(frontend.width, np.float32), np.ones(frontend.width, np.float32)
        return cls(np.concatenate(made), clips, *moments, frontend.frame_rate, "")

    def rows(self, clip_ids: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return (offsets, frames), int64 (N,) each, in the order of `clip_ids`; a bad clip has 0 frames.

        Raises `UserError` naming an id that the store does not have.
        """
        wanted = pd.Index(list(clip_ids), dtype=object)
        where = self.clips.index.get_indexer(wanted)
        if (where < 0).any():
            raise UserError(f"no features of clip '{wanted[where < 0][0]}'; run the prepare stage again")
        found = self.clips.iloc[where]
        return found["offset"].to_numpy(np.int64), found["frames"].to_numpy(np.int64)

    def standardised_on(self, clip_ids: Iterable[str]) -> "Store":
        """The same features with mean and std over these clips alone."""
        offsets, frames = self.rows(clip_ids)
        sums = np.zeros((2, self.width))
        for first, count in zip(offsets, frames, strict=True):
            values = self.features[first : first + count].astype(np.float64)
            sums += values.sum(axis=0), np.square(values).sum(axis=0)
        mean, std = _moments([{"count": int(frames.sum()), "sums": sums}], self.width)
        return replace(self, mean=mean.astype(np.float32), std=std.astype(np.float32))


def _read_folder(folder: Path) -> tuple[dict[str, Any], np.memmap, pd.DataFrame]:
    """What `prepare` left: settings, mapped features (T_total, F), clips; anything damaged is a `UserError`."""
    try:
        meta, clips = read_json(folder / "meta.json"), pd.read_parquet(folder / "clips.parquet")
        features = np.load(
            folder / "features.npy", mmap_mode="r", allow_pickle=False
        )  # others would count as memory of this process
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{folder}: damaged ({str(error).splitlines()[0]}); delete it and run prepare again") from None
    return meta, features, clips


def duplicates(clips: pd.DataFrame) -> pd.DataFrame:
    """Return the clips whose decoded samples equal another clip's: clip_id, part, audio_hash, sorted by hash.

    clips: a store's or report's table (`clip_id` as a column or as the index).
    """
    table = clips.reset_index() if clips.index.name == "clip_id" else clips
    usable = table[table.audio_hash != ""]
    same = usable[usable.audio_hash.duplicated(keep=False)]
    return same[["clip_id", "part", "audio_hash"]].sort_values(["audio_hash", "clip_id"]).reset_index(drop=True)


def shared_audio(clips: pd.DataFrame) -> list[str]:
    """Lines that say which clips hold the same audio; pairs of train and test one by one: they flatter a score."""
    same = duplicates(clips)
    if same.empty:
        return []
    parts_of = same.groupby("audio_hash")["part"].nunique()
    lines = [f"the same audio: {len(same)} clips hold {len(parts_of)} recordings"]
    for _, twins in same[same.audio_hash.isin(parts_of.index[parts_of > 1])].groupby("audio_hash"):
        names = [" and ".join(twins.clip_id[twins.part == part]) for part in ("train", "test")]
        lines.append(f"the same audio in train and in test: {names[0]} = {names[1]}")
    return lines


# ------------------------------------------------------------------------------------------- which clips, which bytes


def _clip_list(competition: Competition) -> pd.DataFrame:
    """Return clip_id, path, part; a clip of both tables counts as train."""
    train = competition.train[["clip_id", "path"]].assign(part="train")
    test = competition.test.reindex(columns=["clip_id", "path"]).assign(part="test")
    clips = pd.concat([train, test]).drop_duplicates(["clip_id", "path"]).reset_index(drop=True)
    twice = clips[clips.clip_id.duplicated()]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(f"clip '{row.clip_id}' stands for two files, '{row.path}' being one; give every clip one file")
    return clips


def why_stale(competition: Competition, specs: Sequence[Spec], audio: AudioParams, cache: Path) -> list[str]:
    """Why `prepare` would make each frontend's features, "" where they are up to date. No recording is read."""
    made = [_Job(spec, audio, cache.absolute()) for spec in specs]
    clips, known = _clip_list(competition), _known_contents(cache)
    keys = [_stat_key(os.path.join(competition.root.absolute(), path)) for path in clips.path]
    new = sum(key not in known and key[1] >= 0 for key in keys)
    clips["content"] = [known.get(key, "unreadable") for key in keys]
    content = fingerprint([FORMAT, *clips[["clip_id", "part", "content"]].to_numpy().tolist()])
    changed = f"{new} recordings are new or changed" if new else "other clips than before"
    return [_why_stale(job, content, changed) for job in made]


def _why_stale(job: "_Job", content: str, changed: str) -> str:
    if not (job.folder / "meta.json").exists():
        return "not made yet"
    return "" if job.up_to_date(content) else changed


def _known_contents(cache: Path) -> dict[tuple[str, int, int], str]:
    """Content hashes of files by path, size and time of change, as remembered."""
    with suppress(OSError, ValueError, pa.ArrowException):  # absent or damaged: every file is read again
        old = pd.read_parquet(cache.absolute() / "files.parquet")
        return dict(zip(zip(old["path"], old["size"], old["mtime_ns"], strict=True), old["hash"], strict=True))
    return {}


def _contents(clips: pd.DataFrame, root: Path, cache: Path, n_jobs: int) -> list[str]:
    """Return a content hash for every clip; files of the same path, size and time as last time are not read again."""
    memory, known = cache / "files.parquet", _known_contents(cache)
    keys = [_stat_key(os.path.join(root, path)) for path in clips.path]
    new = [key for key in dict.fromkeys(keys) if key not in known and key[1] >= 0]
    if new:
        hashes = joblib.Parallel(n_jobs, prefer="threads", batch_size=64)(joblib.delayed(_hash)(key[0]) for key in new)
        known |= dict(zip(new, hashes, strict=True))
        rows = [(*key, value) for key, value in known.items()]
        write_parquet(memory, pd.DataFrame(rows, columns=["path", "size", "mtime_ns", "hash"]))
    return [known.get(key, "unreadable") for key in keys]


def _stat_key(path: str) -> tuple[str, int, int]:
    """Return (path, size, mtime_ns); size -1 for what is missing or no regular file (never opened: a FIFO blocks)."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path, -1, 0
    return (path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (path, -1, 0)


def _hash(path: str) -> str:
    try:
        return file_hash(Path(path))
    except OSError:
        return "unreadable"


# ---------------------------------------------------------------------------------------- one frontend, one key each


def _parse(spec: Spec) -> tuple[str, Any]:
    """Return a frontend's name and its validated params."""
    if not isinstance(spec.get("name"), str):
        raise UserError(f"frontend {spec}: 'name' is missing; there is: {', '.join(parts.names('frontends'))}")
    name = spec["name"]
    rest = {key: value for key, value in spec.items() if key != "name"}
    return name, parts.find("frontends", name).Params.parse(rest, f"frontend {name}")


def _folder(spec: Spec, audio: AudioParams, cache: Path) -> Path:
    name, params = _parse(spec)
    return cache / f"{name}-{fingerprint([FORMAT, name, params.model_dump(), audio.settings()])}"


class _Job:
    """One frontend to prepare: its settings, its final folder and the folder of its part files."""

    def __init__(self, spec: Spec, audio: AudioParams, cache: Path) -> None:
        self.name, self.params = _parse(spec)
        self.folder = _folder(spec, audio, cache)
        self.parts = cache / ".parts" / self.folder.name
        self.settings = {"format": FORMAT, "frontend": {"name": self.name} | self.params.model_dump()}
        self.settings["audio"] = audio.settings()

    def up_to_date(self, content: str) -> bool:
        try:
            return bool(_read_folder(self.folder)[0].get("content") == content)
        except UserError:  # absent or damaged
            return False

    def frontend(self) -> FrontendProtocol:
        return parts.find("frontends", self.name).Frontend(self.params)

    def maker(self, device: Any) -> Any:
        """What makes the features on a device, None where the workers make them."""
        on_device = getattr(parts.find("frontends", self.name), "on_device", None)
        return on_device(self.frontend(), device) if on_device and device is not None else None


# ------------------------------------------------------------------------------------------------- the decoding pass


def _make(
    jobs: list[_Job], clips: pd.DataFrame, content: str, source: Source, n_jobs: int, progress: bool, device: Any
) -> None:
    """Decode what is not yet in part files, then join them; the caller holds the cache's lock."""
    chunks = _chunks(clips, source.root)
    for job in jobs:
        job.parts.mkdir(parents=True, exist_ok=True)
    _decode_all(jobs, chunks, source, n_jobs, progress, device)
    for job in jobs:
        _join(job, chunks, clips, content)
        shutil.rmtree(job.parts, ignore_errors=True)


def _decode_all(
    jobs: list[_Job], chunks: list[Chunk], source: Source, n_jobs: int, progress: bool, device: Any
) -> None:
    """Decode until every part is there; a clip that kills the process decoding it is found and left out as bad."""
    retries = RETRIES
    while True:
        fatal = _fatal(source)
        source = replace(source, fatal=source.fatal | fatal)
        try:
            with ended_when_stuck(source.scratch, 60 * source.audio.decode_minutes):
                return _decode(jobs, chunks, source, n_jobs, progress, device)
        except TerminatedWorkerError:
            retries -= not fatal
            if retries == 0:
                raise UserError(
                    f"{source.scratch.parent}: the processes that decode keep dying, and no file alone is to blame; "
                    "free some memory and run again: what is done is kept"
                ) from None


def _chunks(clips: pd.DataFrame, root: Path) -> list[Chunk]:
    """Cut the clip list into runs of at most CHUNK_CLIPS clips and about CHUNK_BYTES bytes."""
    starts, count, total = [0], 0, 0
    for i, path in enumerate(clips.path):
        size = max(0, _stat_key(os.path.join(root, path))[1])
        if count == CHUNK_CLIPS or (count and total + size > CHUNK_BYTES):
            starts.append(i)
            count = total = 0
        count, total = count + 1, total + size
    tables = [clips.iloc[a:b] for a, b in zip(starts, [*starts[1:], len(clips)], strict=True)]
    return [_chunk(table) for table in tables if len(table)]


def _chunk(table: pd.DataFrame) -> Chunk:
    key = fingerprint(table[["clip_id", "part", "content"]].to_numpy().tolist())
    return Chunk(key, table.clip_id.tolist(), table.path.tolist(), (table.part == "train").tolist())


def _decode(jobs: list[_Job], chunks: list[Chunk], source: Source, n_jobs: int, progress: bool, device: Any) -> None:
    """Run the chunks that lack a part, in parallel; frontends are pickled with their tables, so workers start fast.

    Where a device makes the features, workers leave the samples and this process finishes the parts.
    """
    frontends = {job.parts: job.frontend() for job in jobs}
    makers = {job.parts: maker for job in jobs if (maker := job.maker(device))}
    by_worker = {folder: _left_by_worker(folder, frontends[folder], folder in makers) for folder in frontends}
    todo = [(chunk, [f for f in frontends if _read_part(f, chunk, frontends[f]) is None]) for chunk in chunks]
    lacking = {chunk.key: folders for chunk, folders in todo if folders}
    calls = (
        joblib.delayed(run_chunk)(chunk, dict(by_worker[f] for f in lacking[chunk.key]), source)
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
    """What a worker makes for a frontend, and where: its features, or the samples for a device to make them of."""
    if not on_device:
        return folder, frontend
    (folder / "samples").mkdir(exist_ok=True)
    return folder / "samples", Samples(frontend.sample_rate)


def _fatal(source: Source) -> dict[str, str]:
    """Which of the clips being decoded when a process died end or block a process of their own, too, and how."""
    found = {}
    for marker in source.scratch.glob("*.doing"):
        path = marker.read_text(encoding="utf-8")
        fault = _fault(path, source)
        if fault:
            found[path] = fault
        marker.unlink(missing_ok=True)
    return found


def _fault(path: str, source: Source) -> str:
    """What one clip does to the process that decodes it; '' for nothing."""
    minutes = source.audio.decode_minutes
    process = get_context("spawn").Process(target=try_decoding, args=(path, source), daemon=True)
    process.start()
    process.join(60 * minutes)
    if process.is_alive():
        process.kill()
        return f"the decoder does not end within {minutes:g} minutes (audio.decode_minutes)"
    return "" if process.exitcode == 0 else "the decoder crashed on it"


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


def _join(job: _Job, chunks: list[Chunk], clips: pd.DataFrame, content: str) -> None:
    """Write features.npy, clips.parquet and meta.json from the parts and put the folder in its place."""
    frontend, out = job.frontend(), job.parts / "out"
    metas = [_read_part(job.parts, chunk, frontend) for chunk in chunks]
    table = _table([row for meta in metas if meta for row in meta["rows"]], clips)
    out.mkdir(exist_ok=True)
    _concatenate([job.parts / f"{c.key}.bin" for c in chunks], out / "features.npy", int(table.frames.sum()), frontend)
    write_parquet(out / "clips.parquet", table)
    mean, std = _moments([meta for meta in metas if meta], frontend.width)
    meta = job.settings | {
        "content": content,
        "fingerprint": fingerprint([job.folder.name, content]),
        "frame_rate": frontend.frame_rate,
        "frames": int(table.frames.sum()),
        "mean": mean.tolist(),
        "std": std.tolist(),
    }
    write_json(out / "meta.json", meta)
    if job.folder.exists():  # of other contents; who has it open keeps reading the old files
        shutil.rmtree(job.parts / "old", ignore_errors=True)
        os.replace(job.folder, job.parts / "old")
    os.replace(out, job.folder)


def _table(rows: list[dict[str, Any]], clips: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["clip_id", "frames", "seconds", "status", "reason", "audio_hash"])
    table = table.astype({"frames": np.int64, "seconds": np.float64})
    table.insert(1, "part", clips.part.to_numpy())
    table.insert(2, "offset", table.frames.cumsum() - table.frames)
    return table


def _concatenate(sources: list[Path], target: Path, frames: int, frontend: FrontendProtocol) -> None:
    """Join raw parts into one npy (frames, F); by file copies, so that memory stays flat whatever the size."""
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


def _moments(metas: list[dict[str, Any]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std (F,) over the train frames, float64; a constant band has std 1."""
    count = sum(meta["count"] for meta in metas)
    total, squares = np.sum([np.zeros((2, width)), *(np.array(meta["sums"]) for meta in metas)], axis=0)
    if count == 0:
        return np.zeros(width), np.ones(width)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean, np.where(std > 1e-3, std, 1.0)


def _refuse_bad(bad: pd.DataFrame) -> None:
    """Raise one `UserError` for all unusable train clips, ten of them named."""
    train = bad[bad.part == "train"]
    if len(train):
        shown = "; ".join(f"{row.clip_id}: {row.reason}" for row in train.head(10).itertuples())
        more = f"; and {len(train) - 10} more" if len(train) > 10 else ""
        raise UserError(
            f"{len(train)} training clip(s) cannot be used: {shown}{more}; mend them or set audio.bad_files=skip"
        )


def newest_clips(cache: Path) -> pd.DataFrame | None:
    """The table of clips of the features made last, a row a clip; None where nothing has been decoded yet."""
    tables = sorted(cache.glob("*/clips.parquet"), key=lambda path: path.stat().st_mtime)
    if not tables:
        return None
    try:
        return pd.read_parquet(tables[-1]).drop_duplicates("clip_id")
    except (OSError, ValueError, pa.ArrowException) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{tables[-1].parent}: damaged ({why}); delete it and run prepare again") from None


def audio_hashes(cache: Path, clip_ids: pd.Series) -> pd.Series | None:
    """Hash of each clip's decoded samples, '' where it has none; None where nothing has been decoded yet."""
    clips = newest_clips(cache)
    if clips is None:
        return None
    known = clips.set_index("clip_id")["audio_hash"]
    return clip_ids.map(known).fillna("").astype(str)
