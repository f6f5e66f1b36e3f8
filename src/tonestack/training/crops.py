"""Crops of many clips by one gather: features stay in one array, a batch is one vectorised index.

The array lies on the training device where it fits there. Otherwise it stays in its file, mapped: crops are then
gathered on the CPU by a thread that works ahead, so that memory stays flat whatever the size of the store.
"""

import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from tonestack.features.store import Store

import numpy as np
import torch
from torch import Tensor

FULL_SCALE = 32768.0  # int16 samples become floats in [-1, 1)
DEVICE_SHARE = 0.5  # of a GPU's free memory that features may take; networks need the rest
RAM_SHARE = 0.5  # of the machine's memory; a larger store is read from its file while training goes on
AHEAD = 3  # batches gathered before they are asked for

T = TypeVar("T")
Place = tuple[Tensor, Tensor, Tensor]  # rows, starts and rates of a batch's crops, (B,) each


@dataclass
class Clips:
    """A feature store for one device.

    features: (T_total, F) float16 or int16, on the device or, mapped, on the CPU; offsets, frames: (N,) int64, beside
    the features, one a clip, in the order of the ids given to `load`; fill: (F,) what padding holds, on the device.
    """

    features: Tensor
    offsets: Tensor
    frames: Tensor
    fill: Tensor

    @classmethod
    def load(cls, store: Store, clip_ids: list[str], device: torch.device) -> "Clips":
        """Put a store's features on `device` if they fit; on the CPU, and where they do not, they stay mapped."""
        offsets, frames = store.rows(clip_ids)
        features = _mapped(np.asarray(store.features))
        if fits(features.nbytes, device):
            features = features.to(device)
        table = torch.as_tensor(np.stack([offsets, frames]), device=features.device)
        fill = torch.zeros(1) if features.dtype == torch.int16 else torch.from_numpy(store.mean)
        return cls(features, table[0], table[1], fill.to(device))

    @classmethod
    def of(cls, features: list[np.ndarray], store: Store, device: torch.device) -> "Clips":
        """Clips (T, F) that the store does not hold, by its frontend."""
        frames = torch.tensor([len(one) for one in features])
        fill = torch.zeros(1) if store.width == 1 else torch.from_numpy(store.mean)
        whole = torch.from_numpy(np.concatenate(features))
        return cls(*(tensor.to(device) for tensor in (whole, frames.cumsum(0) - frames, frames, fill)))

    @property
    def device(self) -> torch.device:
        """The device of the crops."""
        return self.fill.device

    @property
    def home(self) -> torch.device:
        """The device of the features. Indices must lie there, too; others would make the host wait."""
        return self.features.device

    @property
    def streamed(self) -> bool:
        """True if the features do not fit on the training device or in memory, so that crops come from the file."""
        return self.home != self.device or self.features.nbytes > RAM_SHARE * _memory()

    def crops(self, rows: Tensor, starts: Tensor, length: int, short: Literal["tile", "pad"], rate: Tensor) -> Tensor:
        """Cut one crop per row: (B, 1, F, length), float32.

        rows, starts, rate: (B,) clip, first frame and playing speed (1: as it is, 2: twice as fast; nearest
        frames). A clip shorter than its crop is repeated (`tile`) or followed by `fill` (`pad`).
        """
        return self._finish(*self._gather(rows, starts, length, rate), short)

    def stream(self, places: Iterable[Place], length: int, short: Literal["tile", "pad"]) -> Iterator[Tensor]:
        """Cut one batch of crops after the other, ahead of time where they come from a file."""
        calls = (partial(self._gathered, rows, starts, length, rate) for rows, starts, rate in places)
        gathered = ahead(calls, AHEAD) if self.streamed else (call() for call in calls)
        return (self._finish(raw, inside, short) for raw, inside in gathered)

    def _gathered(self, *place: Any) -> tuple[Tensor, Tensor]:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # of this thread: pinned memory belongs to the current GPU
        raw, inside = self._gather(*place)
        return pinned(raw, self.device), pinned(inside, self.device)

    def _gather(self, rows: Tensor, starts: Tensor, length: int, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, F) as they are stored, and which of them lie inside their clip (B, T)."""
        # A waveform's crops have a million places: narrow numbers, few temporaries and a flat gather are 4 x as fast.
        kind = torch.int32 if len(self.features) < 2**31 else torch.int64
        steps = torch.arange(length, device=rows.device)
        position = (steps * rate[:, None]).to(kind)  # (B, T)
        position += starts[:, None].to(kind)
        frames = self.frames[rows, None].to(kind)
        index = position.remainder(frames).long()
        index += self.offsets[rows, None]
        width = self.features.shape[1]
        source = self.features.view(-1) if width == 1 else self.features
        raw = source.index_select(0, index.view(-1)).view(*index.shape, width)  # (B, T, F)
        return raw, position < frames

    def _finish(self, raw: Tensor, inside: Tensor, short: Literal["tile", "pad"]) -> Tensor:
        x = raw.to(self.device, non_blocking=True).float()
        if raw.dtype == torch.int16:
            x.mul_(1 / FULL_SCALE)
        if short == "pad":
            x = torch.where(inside.to(self.device, non_blocking=True)[..., None], x, self.fill)
        return x.transpose(1, 2).unsqueeze(1)  # (B, 1, F, T)


def fits(size: int, device: torch.device) -> bool:
    """True if `size` bytes of features may lie on the device; on the CPU they are mapped in any case."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size <= DEVICE_SHARE * free


def ahead(calls: Iterable[Callable[[], T]], depth: int) -> Iterator[T]:
    """Yield the calls' results in order; a thread works up to `depth` of them ahead."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1) as thread:
        for call in calls:
            waiting.append(thread.submit(call))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def pinned(value: Tensor, device: torch.device) -> Tensor:
    """The value in memory from which it is copied to the device while the host goes on; itself if it is there."""
    return value if value.device == device else value.pin_memory()


def sent(value: Tensor, device: torch.device) -> Tensor:
    """The value on the device; the host does not wait for the copy."""
    return pinned(value, device).to(device, non_blocking=True)


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _mapped(array: np.ndarray) -> Tensor:
    """A tensor on a mapped file's own pages; they are read-only, and nothing writes to features."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def random_starts(frames: Tensor, span: Tensor, chance: Tensor, roll: bool = False) -> Tensor:
    """First frames spread evenly over all places where a crop of `span` frames fits; 0 in shorter clips.

    frames, span: lengths; chance: numbers even in [0, 1); all of one shape. roll: a clip that its crop covers starts
    anywhere, since its end is followed by its start.
    """
    room = (frames - span).clamp_min(0)
    if roll:
        room = torch.where(room == 0, (frames - 1).clamp_min(0), room)
    return torch.minimum((chance * (room + 1)).long(), room)  # of long waves the product is rounded


def even_starts(
    frames: np.ndarray, length: int, overlap: float, most: int, rolls: int = 1, speed: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Test-time crops spread evenly over every clip: (row, first frame) of each, clips in order.

    frames: (N,). A clip gets as many crops as cover it at `overlap`, `most` at the most; one that a single crop
    covers gets `rolls`, each of which starts further on. speed: at which crops are played; their number is that of 1.
    """
    hop = max(1.0, length * (1.0 - overlap))
    counts = np.clip(np.ceil((frames - length) / hop).astype(int) + 1, 1, most)
    covered = frames <= length
    counts = np.where(covered, rolls, counts)
    rows = np.repeat(np.arange(len(frames)), counts)
    order = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    room = np.maximum(frames - math.ceil(length * speed), 0)[rows]
    starts = np.round(order * room / np.maximum(counts[rows] - 1, 1)).astype(np.int64)
    return rows, np.where(covered[rows], order * frames[rows] // rolls, starts)
