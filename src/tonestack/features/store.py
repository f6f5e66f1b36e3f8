"""The feature store: the features of all clips of a competition, end to end in one memory-mapped array per frontend.

`features/prepare.py` writes the folders `cache/<frontend>-<key>/`; this module reads them:
    features.npy    (T_total, F), clips in the order of the competition's tables, train first
    clips.parquet   clip_id, part, offset, frames, seconds, status (ok|truncated|bad), reason, audio_hash, and the
                    frames [first, last) of the clip's file: a clip may be a piece of it
    meta.json       settings, content fingerprint, mean and std per band over the usable train clips; written last
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, read_json
from tonestack.base.parts import part_params
from tonestack.features.frontends import FrontendProtocol
from tonestack.settings.data_config import AudioParams

import numpy as np
import pandas as pd
import pyarrow as pa

FORMAT = 1  # raise it when the same settings would give other features
Spec = dict[str, Any]  # a frontend of a config: `{name: ..., **params}`


@dataclass(frozen=True)
class Store:
    """One frontend's features of one competition.

    features: (T_total, F), float16 or int16, memory-mapped. clips: one row per clip, indexed by clip_id.
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
        """Open the features of `spec` and `audio`; `UserError` if they are not prepared."""
        folder = folder_of(spec, audio, cache)
        if not (folder / "meta.json").exists():
            raise UserError(f"{folder}: the features of '{spec['name']}' are not prepared; run the prepare stage first")
        meta, features, clips = read_folder(folder)
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

        Their ids are "0", "1" and so on. There are no training clips: mean is 0 and std 1.
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

    def recordings(self, clip_ids: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return (first, last), int64 (N,) each: the frames [first, last) of the file that each clip lies in."""
        offsets, frames = self.rows(clip_ids)
        if "first" not in self.clips:  # of a store in memory, or made when every clip was a whole file
            return offsets, offsets + frames
        found = self.clips.loc[list(clip_ids)]
        return found["first"].to_numpy(np.int64), found["last"].to_numpy(np.int64)

    def standardised_on(self, clip_ids: Iterable[str]) -> "Store":
        """The same features with mean and std over these clips alone."""
        offsets, frames = self.rows(clip_ids)
        sums = np.zeros((2, self.width))
        for first, count in zip(offsets, frames, strict=True):
            values = self.features[first : first + count].astype(np.float64)
            sums += values.sum(axis=0), np.square(values).sum(axis=0)
        mean, std = moments([{"count": int(frames.sum()), "sums": sums}], self.width)
        return replace(self, mean=mean.astype(np.float32), std=std.astype(np.float32))


def folder_of(spec: Spec, audio: AudioParams, cache: Path) -> Path:
    """The folder of a frontend's features, by its name, its params and the audio settings."""
    params = part_params("frontends", spec, "frontend")
    key = fingerprint([FORMAT, spec["name"], params.model_dump(), audio.settings()])
    return cache / f"{spec['name']}-{key}"


def read_folder(folder: Path) -> tuple[dict[str, Any], np.memmap, pd.DataFrame]:
    """Read a folder of `prepare`: settings, mapped features (T_total, F), clips; damage is a `UserError`."""
    try:
        meta, clips = read_json(folder / "meta.json"), pd.read_parquet(folder / "clips.parquet")
        features = np.load(
            folder / "features.npy", mmap_mode="r", allow_pickle=False
        )  # others would count as memory of this process
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{folder}: damaged ({str(error).splitlines()[0]}); delete it and run prepare again") from None
    return meta, features, clips


def moments(metas: list[dict[str, Any]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and std (F,) over the train frames, float64; a constant band has std 1."""
    count = sum(meta["count"] for meta in metas)
    total, squares = np.sum([np.zeros((2, width)), *(np.array(meta["sums"]) for meta in metas)], axis=0)
    if count == 0:
        return np.zeros(width), np.ones(width)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean, np.where(std > 1e-3, std, 1.0)


def duplicates(clips: pd.DataFrame) -> pd.DataFrame:
    """Return the clips whose decoded samples equal another clip's: clip_id, part, audio_hash, sorted by hash.

    clips: a store's or report's table (`clip_id` as a column or as the index).
    """
    table = clips.reset_index() if clips.index.name == "clip_id" else clips
    usable = table[table.audio_hash != ""]
    same = usable[usable.audio_hash.duplicated(keep=False)]
    return same[["clip_id", "part", "audio_hash"]].sort_values(["audio_hash", "clip_id"]).reset_index(drop=True)


def shared_audio(clips: pd.DataFrame) -> list[str]:
    """Messages on clips with the same audio; pairs of train and test are named one by one, as they raise a score."""
    same = duplicates(clips)
    if same.empty:
        return []
    parts_of = same.groupby("audio_hash")["part"].nunique()
    lines = [f"the same audio: {len(same)} clips hold {len(parts_of)} recordings"]
    for _, twins in same[same.audio_hash.isin(parts_of.index[parts_of > 1])].groupby("audio_hash"):
        names = [" and ".join(twins.clip_id[twins.part == part]) for part in ("train", "test")]
        lines.append(f"the same audio in train and in test: {names[0]} = {names[1]}")
    return lines


def newest_clips(cache: Path) -> pd.DataFrame | None:
    """The clip table of the features made last, one row per clip; None if nothing has been decoded yet."""
    tables = sorted(cache.glob("*/clips.parquet"), key=lambda path: path.stat().st_mtime)
    if not tables:
        return None
    try:
        return pd.read_parquet(tables[-1]).drop_duplicates("clip_id")
    except (OSError, ValueError, pa.ArrowException) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{tables[-1].parent}: damaged ({why}); delete it and run prepare again") from None


def audio_hashes(cache: Path, clip_ids: pd.Series) -> pd.Series | None:
    """Hash of each clip's decoded samples, '' if it has none; None if nothing has been decoded yet."""
    clips = newest_clips(cache)
    if clips is None:
        return None
    known = clips.set_index("clip_id")["audio_hash"]
    return clip_ids.map(known).fillna("").astype(str)
