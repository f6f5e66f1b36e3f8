"""Predictions with test-time augmentation: the mean over several crops, at one or several crop lengths."""

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tonestack.config import ModelConfig
from tonestack.crops import Clips, even_starts
from tonestack.errors import UserError
from tonestack.layers import Tagger
from tonestack.training import autocast

ToLogProbabilities = Callable[[Tensor], Tensor]


@torch.inference_mode()
def predict(
    model: Tagger, clips: Clips, config: ModelConfig, frame_rate: float, to_log: ToLogProbabilities
) -> np.ndarray:
    """Log-probabilities (N, C) of all clips, not normalised after the mean over crops; NaN for empty clips."""
    frames = clips.frames.cpu().numpy()
    usable = np.flatnonzero(frames > 0)
    total: Tensor | float = 0.0
    model.eval()
    for factor in config.inference.lengths:
        length = max(1, round(config.crop.seconds * factor * frame_rate))
        total = total + _mean_over_crops(model, clips, usable, frames[usable], length, config, to_log)
    result = np.full((len(frames), 0 if isinstance(total, float) else total.shape[1]), np.nan)
    result[usable] = (total / len(config.inference.lengths)).cpu().numpy()  # type: ignore[union-attr]
    return result


def _mean_over_crops(
    model: Tagger,
    clips: Clips,
    usable: np.ndarray,
    frames: np.ndarray,
    length: int,
    config: ModelConfig,
    to_log: ToLogProbabilities,
) -> Tensor:
    """Mean over one length's crops of log-probabilities (`geometric`) or the log of the mean (`arithmetic`)."""
    params = config.inference
    row, start = even_starts(frames, length, params.overlap, params.crops)
    outputs: list[Tensor] = []
    first, size = 0, params.batch_size
    while first < len(row):
        piece = slice(first, first + size)
        try:
            x = _crops(clips, usable[row[piece]], start[piece], length, config)
            with autocast(x.device, config.training):
                logits = model(x)
            outputs.append(to_log(logits.float()).double())
            first += size
        except torch.OutOfMemoryError:
            if size == 1:
                raise UserError(f"the device's memory does not hold one crop of {length} frames") from None
            size //= 2
            print(f"out of memory: crops are predicted {size} at once", file=sys.stderr, flush=True)
    each = torch.cat(outputs)  # (crops, C)
    geometric = params.mean == "geometric"
    index = torch.from_numpy(row).to(each.device)
    sums = torch.zeros(len(frames), each.shape[1], dtype=each.dtype, device=each.device)
    sums.index_add_(0, index, each if geometric else each.exp())
    mean = sums / torch.bincount(index, minlength=len(frames))[:, None]
    return mean if geometric else mean.clamp_min(1e-12).log()


def _crops(clips: Clips, rows: np.ndarray, starts: np.ndarray, length: int, config: ModelConfig) -> Tensor:
    device = clips.features.device
    rate = torch.ones(len(rows), device=device)
    index, first = torch.from_numpy(rows).to(device), torch.from_numpy(starts).to(device)
    x = clips.crops(index, first, length, config.crop.short, rate)
    return x.to(memory_format=torch.channels_last) if config.training.channels_last else x
