"""Predictions with test-time augmentation: the mean over crops, at one or several lengths and playing speeds."""

from collections.abc import Callable
from itertools import product

from tonestack.networks.layers import Tagger
from tonestack.settings.model_config import ModelConfig
from tonestack.training.augment import play_faster
from tonestack.training.crops import Clips, even_starts
from tonestack.training.device import autocast
from tonestack.training.step import BatchSplit

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

ToLogProbabilities = Callable[[Tensor], Tensor]


@torch.inference_mode()
def predict(
    model: Tagger,
    clips: Clips,
    config: ModelConfig,
    frame_rate: float,
    to_log: ToLogProbabilities,
    independent: bool = False,
) -> np.ndarray:
    """Log-probabilities (N, C) of all clips, not normalised after the mean over crops; NaN for empty clips.

    independent: classes do not exclude each other, so means are taken of log odds, which are the logits.
    """
    frames = clips.frames.cpu().numpy()
    usable = np.flatnonzero(frames > 0)
    total: Tensor | float = 0.0
    model.eval()
    views = list(product(config.inference.lengths, config.inference.speeds))
    for factor, speed in views:
        length = config.crop_frames(frame_rate, factor)
        found = _mean_over_crops(model, clips, usable, frames[usable], length, speed, config, to_log, independent)
        total = total + found
    result = np.full((len(frames), 0 if isinstance(total, float) else total.shape[1]), np.nan)
    if isinstance(total, Tensor):
        mean = total / len(views)
        result[usable] = (logsigmoid(mean) if independent else mean).numpy()
    return result


def _mean_over_crops(
    model: Tagger,
    clips: Clips,
    usable: np.ndarray,
    frames: np.ndarray,
    length: int,
    speed: float,
    config: ModelConfig,
    to_log: ToLogProbabilities,
    independent: bool,
) -> Tensor:
    """Mean over one length's crops at one speed, of log-probabilities, or the log of their mean (`arithmetic`).

    If the classes are independent, both are log odds.
    """
    params = config.inference
    rolls = params.rolls if config.crop.short == "tile" else 1
    row, start = even_starts(frames, length, params.overlap, params.crops, rolls, speed)
    clip, first = torch.from_numpy(usable[row]).to(clips.home), torch.from_numpy(start).to(clips.home)
    rate = torch.full((params.batch_size,), speed, device=clips.home)
    batches = [slice(i, i + params.batch_size) for i in range(0, len(row), params.batch_size)]
    places = ((clip[batch], first[batch], rate[: len(clip[batch])]) for batch in batches)
    pieces = BatchSplit(least=1)
    geometric = params.mean == "geometric"
    sums = torch.zeros(0)
    for batch, x in zip(batches, clips.stream(places, length, config.crop.short), strict=True):
        if speed != 1 and model.centres is not None:
            x = play_faster(x, x.new_full((len(x),), speed), model.centres)
        x = x.to(memory_format=torch.channels_last) if config.training.channels_last else x
        (logits,) = in_parts(lambda part: (model(part),), x, config, pieces)
        # Accumulate on the CPU (GPU atomics are not deterministic) and per batch (all outputs may not fit in memory).
        each = (logits if independent and geometric else to_log(logits)).cpu().double()  # (B, C)
        sums = sums if len(sums) else each.new_zeros(len(frames), each.shape[1])
        sums.index_add_(0, torch.from_numpy(row[batch]), each if geometric else each.exp())
    mean = sums / torch.from_numpy(np.bincount(row, minlength=len(frames)))[:, None]
    if geometric:
        return mean
    return mean.logit(1e-12) if independent else mean.clamp_min(1e-12).log()


def in_parts(
    outputs_of: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, config: ModelConfig, pieces: BatchSplit
) -> list[Tensor]:
    """A model's outputs for crops (B, 1, F, T) in float32, in parts where memory runs out."""

    def attempt() -> list[Tensor]:
        with autocast(x.device, config.training):
            parts = [outputs_of(part) for part in pieces.of(x)]
        return [torch.cat(values).float() for values in zip(*parts, strict=True)]

    return pieces.fitted(len(x), attempt)
