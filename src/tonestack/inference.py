"""Predictions with test-time augmentation: the mean over several crops, at one or several crop lengths."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tonestack.config import ModelConfig
from tonestack.crops import Clips, even_starts
from tonestack.layers import Tagger
from tonestack.steps import autocast

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
    result[usable] = (total / len(config.inference.lengths)).numpy()  # type: ignore[union-attr]
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
    clip, first = torch.from_numpy(usable[row]).to(clips.home), torch.from_numpy(start).to(clips.home)
    rate = torch.ones(params.batch_size, device=clips.home)
    pieces = [slice(i, i + params.batch_size) for i in range(0, len(row), params.batch_size)]
    places = ((clip[piece], first[piece], rate[: len(clip[piece])]) for piece in pieces)
    geometric = params.mean == "geometric"
    sums = torch.zeros(0)
    for piece, x in zip(pieces, clips.stream(places, length, config.crop.short), strict=True):
        x = x.to(memory_format=torch.channels_last) if config.training.channels_last else x
        with autocast(x.device, config.training):
            logits = model(x)
        # added up on the CPU, as a GPU adds in any order, and at once: all crops' outputs may be larger than the store
        each = to_log(logits.float()).cpu().double()  # (B, C)
        sums = sums if len(sums) else each.new_zeros(len(frames), each.shape[1])
        sums.index_add_(0, torch.from_numpy(row[piece]), each if geometric else each.exp())
    mean = sums / torch.from_numpy(np.bincount(row, minlength=len(frames)))[:, None]
    return mean if geometric else mean.clamp_min(1e-12).log()
