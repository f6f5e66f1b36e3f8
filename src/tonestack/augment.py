"""Batched augmentation of normalised crops (B, 1, F, T), all on the crops' device.

Random numbers are drawn on the CPU from the epoch's generator, so that a run is the same on any device and
after a resume. Each function takes the crops and returns new ones of the same shape.
"""

import numpy as np
import torch
from torch import Generator, Tensor

from tonestack.config import AugmentParams


def augment(x: Tensor, params: AugmentParams, std: Tensor, generator: Generator) -> Tensor:
    """Apply every part that `params` switches on, except mixup (it also changes the targets).

    std: (1, 1, F, 1) of the normalisation, so that gains are in dB on dB spectrograms.
    """
    waveform = x.shape[2] == 1
    if params.gain_db or params.tilt_db:
        x = scale_wave(x, params.gain_db, generator) if waveform else gain(x, params, std, generator)
    if params.shift_bands and not waveform:
        x = shift_bands(x, params.shift_bands, generator)
    for _ in range(params.time_masks):
        x = mask(x, params.time_mask, 3, generator)
    for _ in range(0 if waveform else params.band_masks):
        x = mask(x, params.band_mask, 2, generator)
    if params.erase and not waveform:
        x = erase(x, params.erase, generator)
    if params.noise:
        level = torch.rand(len(x), 1, 1, 1, generator=generator) * params.noise
        x = x + torch.randn(x.shape, generator=generator).to(x.device) * level.to(x.device)
    return x


def uniform(n: int, limit: float, generator: Generator) -> Tensor:
    """Draw (n, 1, 1, 1) evenly from [-limit, limit]."""
    return (torch.rand(n, 1, 1, 1, generator=generator) * 2 - 1) * limit


def gain(x: Tensor, params: AugmentParams, std: Tensor, generator: Generator) -> Tensor:
    """Add one random gain a crop and one random tilt along frequency, both in dB."""
    ramp = torch.linspace(-1, 1, x.shape[2]).view(1, 1, -1, 1)
    change = uniform(len(x), params.gain_db, generator) + ramp * uniform(len(x), params.tilt_db, generator)
    return x + change.to(x.device) / std


def scale_wave(x: Tensor, gain_db: float, generator: Generator) -> Tensor:
    """Multiply each waveform by one random gain and flip its sign half the time."""
    factor = 10 ** (uniform(len(x), gain_db, generator) / 20)
    sign = torch.randint(0, 2, (len(x), 1, 1, 1), generator=generator) * 2 - 1
    return x * (factor * sign).to(x.device)


def shift_bands(x: Tensor, share: float, generator: Generator) -> Tensor:
    """Move each spectrogram up or down by up to `share` of its bands; edge bands are repeated."""
    bands = x.shape[2]
    limit = round(share * bands)
    move = torch.randint(-limit, limit + 1, (len(x), 1), generator=generator)
    index = (torch.arange(bands) + move).clamp(0, bands - 1).to(x.device)  # (B, F)
    return x.gather(2, index[:, None, :, None].expand_as(x))


def mask(x: Tensor, share: float, dim: int, generator: Generator) -> Tensor:
    """SpecAugment (Park et al. 2019): set one random stretch of time (3) or bands (2) a crop to the mean, 0."""
    size = x.shape[dim]
    width = torch.rand(len(x), 1, generator=generator) * share * size
    first = torch.rand(len(x), 1, generator=generator) * (size - width)
    place = torch.arange(size)
    hidden = (place >= first) & (place < first + width)  # (B, size)
    shape = [len(x), 1, 1, 1]
    shape[dim] = size
    return x.masked_fill(hidden.view(shape).to(x.device), 0.0)


def erase(x: Tensor, probability: float, generator: Generator) -> Tensor:
    """Random erasing (Zhong et al. 2020): fill one rectangle, up to a third a side, with noise."""
    hidden = torch.rand(len(x), 1, 1, 1, generator=generator) < probability
    for dim in (2, 3):
        size = x.shape[dim]
        width = torch.rand(len(x), 1, generator=generator) * size / 3
        first = torch.rand(len(x), 1, generator=generator) * (size - width)
        shape = [len(x), 1, 1, 1]
        shape[dim] = size
        place = torch.arange(size)
        hidden = hidden & ((place >= first) & (place < first + width)).view(shape)
    return torch.where(hidden.to(x.device), torch.randn(x.shape, generator=generator).to(x.device), x)


def mixup(x: Tensor, targets: Tensor, weights: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, ...]:
    """Mixup (Zhang et al. 2018): blend each crop, its target and its weight with another's.

    x: (B, 1, F, T), targets: (B, C), weights: (B,). One ratio a crop, from Beta(alpha, alpha), taken as at
    least a half so that a crop keeps its own place in the batch.
    """
    # Beta by two gammas: torch's samplers take no generator, so the ratio comes from NumPy's, seeded by ours.
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    ratio = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, len(x))).to(x)
    ratio = torch.maximum(ratio, 1 - ratio)
    other = torch.randperm(len(x), generator=generator).to(x.device)
    share = ratio.view(-1, 1, 1, 1)
    mixed = share * x + (1 - share) * x[other]
    targets = ratio[:, None] * targets + (1 - ratio[:, None]) * targets[other]
    return mixed, targets, ratio * weights + (1 - ratio) * weights[other]
