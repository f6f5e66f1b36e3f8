"""Clips that are pieces of recordings: where each lies among its recording's frames.

A recording is decoded once and its frames lie in the store once. A piece is an offset and a length in them, so that
overlapping pieces cost nothing, and a crop may reach over a piece's edges into its recording.
"""

from collections.abc import Iterable
from dataclasses import replace

from tonestack.base.errors import UserError
from tonestack.features.store import Store
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import TIMES

import numpy as np
import pandas as pd

EDGE = 0.5  # share of a window that a recording's rest must have to be one


def refuse_trimmed(clips: pd.DataFrame, audio: AudioParams) -> None:
    """Refuse `audio.trim_db` where clips are pieces: their seconds count from the file's own start."""
    if audio.trim_db is not None and clips[TIMES].notna().any(axis=None):
        raise UserError("audio.trim_db: some clips are pieces of files, whose times would be moved; leave it out")


def cut(recordings: pd.DataFrame, clips: pd.DataFrame, frame_rate: float) -> pd.DataFrame:
    """Return one row per clip from one row per file: `offset, frames, first, last`, and what the file's row says.

    recordings: `clip_id, part, offset, frames, seconds, status, reason, audio_hash`, by file in the order in which
    `clips` (`clip_id, part, path, start, end`) names them first. A piece that begins behind its file's end is bad; one
    that ends behind it is cut there.
    """
    row, _ = pd.factorize(clips["path"])
    table = recordings.iloc[row].reset_index(drop=True)
    table["clip_id"], table["part"] = clips["clip_id"].to_numpy(), clips["part"].to_numpy()
    table["first"], table["last"] = table["offset"], table["offset"] + table["frames"]
    if clips[TIMES].isna().all(axis=None):
        return table
    start = clips["start"].fillna(0.0).to_numpy()
    end = np.minimum(clips["end"].fillna(np.inf).to_numpy(), table["seconds"])
    usable = (table["frames"] > 0) & (end > start)
    until = clips["end"].fillna(np.inf).to_numpy()
    begin, stop = _placed(start, until, table["frames"].to_numpy(), frame_rate)
    late = (table["status"] != "bad") & ~usable
    table.loc[late, "reason"] = [
        f"the piece begins at {s:g} s, its recording ends at {e:g} s"
        for s, e in zip(start[late], table.loc[late, "seconds"], strict=True)
    ]
    table.loc[late, "status"] = "bad"
    table["offset"] += begin
    table["frames"] = np.where(usable, np.maximum(stop - begin, 1), 0)
    piece = clips[TIMES].notna().any(axis=1).to_numpy() & (table["audio_hash"] != "")
    place = [f"@{s:g}-{e:g}" for s, e in zip(start[piece], end[piece], strict=True)]
    table.loc[piece, "audio_hash"] = table.loc[piece, "audio_hash"] + place
    table["seconds"] = np.where(usable, end - start, 0.0)
    return table


def _placed(start: np.ndarray, end: np.ndarray, frames: np.ndarray, frame_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last frame of pieces (s) in recordings of `frames` frames; all (N,), the last one not included."""
    first = np.minimum(np.rint(start * frame_rate), frames - 1).clip(0).astype(np.int64)
    return first, np.minimum(np.rint(end * frame_rate), frames).astype(np.int64)


def windows(store: Store, recordings: Iterable[str], seconds: float) -> pd.DataFrame:
    """Return all pieces of `seconds` of some of a store's clips: `recording, start, end`, seconds.

    The rest at the end is a piece if it is at least half as long; a shorter recording is one piece.
    """
    found = store.clips.loc[list(recordings)]
    found = found[found["frames"] > 0]
    row, start = spans(found["seconds"].to_numpy(), seconds)
    return pd.DataFrame({"recording": found.index.to_numpy()[row], "start": start, "end": start + seconds})


def spans(lengths: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut recordings of some lengths (N,) into windows: the recording of each (W,), and where it starts (W,), s.

    The rest at the end is a window if it is at least half as long as one; a recording has one in any case.
    """
    counts = np.maximum(1, np.floor(lengths / seconds + EDGE)).astype(int)
    number = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    return np.repeat(np.arange(len(counts)), counts), number * seconds


def with_pieces(store: Store, table: pd.DataFrame) -> tuple[Store, list[str]]:
    """Return the store with pieces of its clips as further clips, and their ids.

    table: `recording, start, end`: a clip of the store and seconds from its own start.
    """
    offsets, frames = store.rows(table["recording"])
    first, last = _placed(table["start"].to_numpy(), table["end"].to_numpy(), frames, store.frame_rate)
    places = zip(table["recording"], table["start"], table["end"], strict=True)
    ids = [f"{name}\0{start:g}-{end:g}" for name, start, end in places]  # no clip's name
    new = pd.DataFrame(
        {
            "offset": offsets + first,
            "frames": np.where(frames > 0, np.maximum(last - first, 1), 0),
            "first": offsets,
            "last": offsets + frames,
        },
        index=pd.Index(ids, name="clip_id"),
    )
    new = new[~new.index.isin(store.clips.index)]  # pieces that are there already
    return replace(store, clips=pd.concat([store.clips, new])), ids


def only(store: Store, table: pd.DataFrame) -> Store:
    """Return the store with pieces of its clips in place of these; see `with_pieces`."""
    wider, ids = with_pieces(store, table)
    return replace(wider, clips=wider.clips.loc[ids])
