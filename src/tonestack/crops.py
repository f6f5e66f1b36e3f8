"""Crops of many clips by one gather: features stay in one array, a batch is one vectorised index."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tonestack.errors import UserError
from tonestack.store import Store

FULL_SCALE = 32768.0  # int16 samples become floats in [-1, 1)


@dataclass
class Clips:
    """A feature store on a device.

    features: (T_total, F) float16 or int16; offsets, frames: (N,) int64, one a clip, in the order of the
    ids given to `load`; fill: (F,) what padding holds.
    """

    features: Tensor
    offsets: Tensor
    frames: Tensor
    fill: Tensor

    @classmethod
    def load(cls, store: Store, clip_ids: list[str], device: torch.device) -> "Clips":
        """Put a store's features on `device`; on the CPU they stay memory-mapped."""
        offsets, frames = store.rows(clip_ids)
        try:
            features = torch.from_numpy(np.asarray(store.features)).to(device)
        except torch.OutOfMemoryError:
            size = store.features.nbytes / 1e9
            raise UserError(
                f"{size:.1f} GB of features do not fit into the memory of {device}; give device=cpu"
            ) from None
        table = torch.as_tensor(np.stack([offsets, frames]), device=device)
        fill = torch.zeros(1) if features.dtype == torch.int16 else torch.from_numpy(store.mean)
        return cls(features, table[0], table[1], fill.to(device))

    def crops(self, rows: Tensor, starts: Tensor, length: int, short: Literal["tile", "pad"], rate: Tensor) -> Tensor:
        """Cut one crop a row: (B, 1, F, length), float32.

        rows, starts, rate: (B,) clip, first frame and playing speed (1: as it is, 2: twice as fast; nearest
        frames). A clip shorter than its crop is repeated (`tile`) or followed by `fill` (`pad`).
        """
        steps = torch.arange(length, device=rows.device)
        position = starts[:, None] + (steps * rate[:, None]).long()  # (B, T)
        frames = self.frames[rows, None]
        index = self.offsets[rows, None] + position % frames
        x = self.features[index].float()  # (B, T, F)
        if self.features.dtype == torch.int16:
            x = x / FULL_SCALE
        if short == "pad":
            x = torch.where((position < frames)[..., None], x, self.fill)
        return x.transpose(1, 2).unsqueeze(1)  # (B, 1, F, T)


def random_starts(frames: Tensor, span: Tensor, generator: torch.Generator) -> Tensor:
    """First frames drawn evenly from all places where a crop of `span` frames fits; 0 in short clips.

    frames, span: (B,) lengths on the CPU.
    """
    room = (frames - span).clamp_min(0)
    return (torch.rand(len(frames), generator=generator) * (room + 1)).long()


def even_starts(frames: np.ndarray, length: int, overlap: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Test-time crops spread evenly over every clip: (row, first frame) of each, clips in order.

    frames: (N,). A clip gets as many crops as cover it at `overlap`, `most` at the most.
    """
    hop = max(1.0, length * (1.0 - overlap))
    counts = np.clip(np.ceil((frames - length) / hop).astype(int) + 1, 1, most)
    rows = np.repeat(np.arange(len(frames)), counts)
    order = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    room = np.maximum(frames - length, 0)[rows]
    starts = np.round(order * room / np.maximum(counts[rows] - 1, 1)).astype(np.int64)
    return rows, starts
