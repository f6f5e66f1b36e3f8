"""Batched augmentation of normalised crops (B, 1, F, T), all on the crops' device.

All random choices come from one table, drawn on the CPU per epoch and copied to the device at once. A run is then the
same on any device and after a resume, and no step makes the host wait. Only noise itself is drawn on the device. Each
function takes crops and returns new ones of the same shape.
"""

import math
from collections.abc import Callable

from tonestack.settings.model_config import AugmentParams

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

OF_CROPS = 3  # rows for the crops themselves: mixup's ratio, playing speed, first frame
OF_PARTS = 10  # rows for the functions below, used or not; masks and the equaliser's knots come on top
OF_MIXSTYLE = 3  # rows where it is used: whether, with which crop, at which share
OF_BACKGROUNDS = 4  # the last rows, where there are backgrounds: whether, which recording, first frame, level
KNOTS = 6  # of the equaliser's curve, spread evenly over the bands


def draw(params: AugmentParams, steps: int, batch: int, generator: Generator, more: int = 0) -> Tensor:
    """Random numbers of an epoch: (steps, K, B), uniform in [0, 1); row 0 holds the mixup ratios.

    A ratio is fixed, or comes from Beta(alpha, alpha) and is at least a half (r or 1 - r), so that a crop keeps its
    place in the batch; it is 1 in batches that are not mixed. more: rows beside those that `params` asks for.
    """
    count = OF_CROPS + OF_PARTS + 2 * (params.time_masks + params.band_masks) + (KNOTS if params.equaliser_db else 0)
    count += OF_MIXSTYLE if params.mixstyle else 0
    count += more + params.mix_more + (OF_BACKGROUNDS if params.background else 0)
    table = torch.rand(steps, count, batch, generator=generator)
    mixed = torch.rand(steps, 1, generator=generator) < params.mixup_share
    # torch's samplers of gammas take no generator, so the ratios come from NumPy's, seeded by ours
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    if params.mix_ratio:
        table[:, 0] = torch.where(mixed, max(params.mix_ratio, 1 - params.mix_ratio), 1.0)
    elif params.mixup:
        ratio = torch.from_numpy(np.random.default_rng(seed).beta(params.mixup, params.mixup, (steps, batch))).float()
        table[:, 0] = torch.where(mixed, torch.maximum(ratio, 1 - ratio), 1.0)
    return table


class Draws:
    """The random numbers of one batch (K, B), handed out row by row."""

    def __init__(self, table: Tensor) -> None:
        self.table, self.used = table, OF_CROPS

    @property
    def ratio(self) -> Tensor:
        """Mixup's ratios (B,)."""
        return self.table[0]

    @property
    def background(self) -> Tensor:
        """The rows of the backgrounds (4, B): whether, which, first frame, level."""
        return self.table[-OF_BACKGROUNDS:]

    def next(self) -> Tensor:
        """The next unused row: numbers (B,), uniform in [0, 1)."""
        self.used += 1
        return self.table[self.used - 1]

    def between(self, limit: float) -> Tensor:
        """Numbers (B, 1, 1, 1), uniform in [-limit, limit)."""
        return ((self.next() * 2 - 1) * limit).view(-1, 1, 1, 1)

    def stretch(self, size: int, most: float) -> Tensor:
        """One stretch per crop of up to the share `most` of `size` positions: (B, size), true inside."""
        width = self.next()[:, None] * most * size
        first = self.next()[:, None] * (size - width)
        place = torch.arange(size, device=width.device)
        return (place >= first) & (place < first + width)


def augment(x: Tensor, params: AugmentParams, std: Tensor, draws: Draws, blank: Tensor | None = None) -> Tensor:
    """Apply every augmentation that `params` switches on, except mixup, which also changes the targets.

    std: dB per unit (1, 1, F, 1) of the normalisation, so that gains are in dB on dB spectrograms. blank: what masks
    write (`Normalise.blank`), 0 if None.
    """
    waveform = x.shape[2] == 1
    if params.gain_db or params.tilt_db:
        x = scale_wave(x, params.gain_db, draws) if waveform else gain(x, params, std, draws)
    if params.equaliser_db and not waveform:
        x = equalise(x, params.equaliser_db, std, draws)
    if params.mixstyle and not waveform:
        x = mix_styles(x, params.mixstyle, draws)
    if params.shift_bands and not waveform:
        x = shift_bands(x, params.shift_bands, draws)
    for _ in range(params.time_masks):
        x = mask(x, params.time_mask, 3, draws, blank)
    for _ in range(0 if waveform else params.band_masks):
        x = mask(x, params.band_mask, 2, draws, blank)
    if params.erase and not waveform:
        x = erase(x, params.erase, draws)
    if params.noise:
        x = x + torch.randn_like(x) * (draws.next() * params.noise).view(-1, 1, 1, 1)
    return x


def gain(x: Tensor, params: AugmentParams, std: Tensor, draws: Draws) -> Tensor:
    """Add one random gain and one random tilt along frequency per crop, both in dB."""
    ramp = torch.linspace(-1, 1, x.shape[2], device=x.device).view(1, 1, -1, 1)
    return x + (draws.between(params.gain_db) + ramp * draws.between(params.tilt_db)) / std


def equalise(x: Tensor, deviation_db: float, std: Tensor, draws: Draws) -> Tensor:
    """Add one random smooth curve over the bands per crop: straight lines between normally distributed knots."""
    even = torch.stack([draws.next() for _ in range(KNOTS)], dim=1)  # (B, KNOTS), even in [0, 1)
    knots = deviation_db * torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4))
    curve = F.interpolate(knots[:, None], x.shape[2], mode="linear", align_corners=True)  # (B, 1, F)
    return x + curve[..., None] / std


def mix_styles(x: Tensor, probability: float, draws: Draws) -> Tensor:
    """Give crops the bands' means and deviations over time of a mixture of two, as if other devices had recorded them.

    Freq-MixStyle (Zhou et al. 2021, per band as of Kim et al. 2022); a crop keeps at least half of its own values.
    """
    chosen = (draws.next() < probability).view(-1, 1, 1, 1)
    other, share = draws.next().argsort(stable=True), (1 + draws.next().view(-1, 1, 1, 1)) / 2
    std, mean = torch.std_mean(x, dim=3, keepdim=True, correction=0)
    std = std.clamp_min(1e-4)  # a band of silence
    styled = (x - mean) / std * torch.lerp(std[other], std, share) + torch.lerp(mean[other], mean, share)
    return torch.where(chosen, styled, x)


def play_faster(x: Tensor, rate: Tensor, centres: Tensor) -> Tensor:
    """Move the bands of mel or constant-Q spectrograms (B, 1, F, T) as playing at `rate` (B,) times the speed does.

    centres: (F,) of the bands in Hz. A band takes its value from where its centre came from, between two bands;
    beyond both ends the last band is repeated.
    """
    came_from = (centres / rate[:, None]).clamp(centres[0], centres[-1])  # (B, F), Hz
    above = torch.searchsorted(centres, came_from).clamp(1, len(centres) - 1)
    below = above - 1
    share = (came_from - centres[below]) / (centres[above] - centres[below])
    low, high = (x.gather(2, index[:, None, :, None].expand_as(x)) for index in (below, above))
    return torch.lerp(low, high, share[:, None, :, None])


def playing_rate(params: AugmentParams, draws: Tensor) -> Tensor:
    """Playing speeds from their random numbers: 1 where neither `speed` nor `stretch` is set."""
    return 1 + (draws * 2 - 1) * max(params.speed, params.stretch)


def scale_wave(x: Tensor, gain_db: float, draws: Draws) -> Tensor:
    """Multiply each waveform by one random gain and flip its sign half the time."""
    factor = 10 ** (draws.between(gain_db) / 20)
    return x * torch.where(draws.between(1.0) < 0, -factor, factor)


def shift_bands(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Move each spectrogram up or down by up to `share` of its bands; edge bands are repeated."""
    bands = x.shape[2]
    limit = round(share * bands)
    move = (draws.next()[:, None] * (2 * limit + 1)).long() - limit  # (B, 1)
    index = (torch.arange(bands, device=x.device) + move).clamp(0, bands - 1)  # (B, F)
    return x.gather(2, index[:, None, :, None].expand_as(x))


def mask(x: Tensor, share: float, dim: int, draws: Draws, blank: Tensor | None = None) -> Tensor:
    """SpecAugment (Park et al. 2019): set one random stretch of time (3) or bands (2) per crop to `blank`, or to 0."""
    shape = [len(x), 1, 1, 1]
    shape[dim] = x.shape[dim]
    hidden = draws.stretch(x.shape[dim], share).view(shape)
    return x.masked_fill(hidden, 0.0) if blank is None else torch.where(hidden, blank, x)


def erase(x: Tensor, probability: float, draws: Draws) -> Tensor:
    """Random erasing (Zhong et al. 2020): fill one rectangle, each side up to a third, with noise."""
    chosen = (draws.next() < probability).view(-1, 1, 1, 1)
    bands, times = draws.stretch(x.shape[2], 1 / 3)[:, None, :, None], draws.stretch(x.shape[3], 1 / 3)[:, None, None]
    return torch.where(chosen & bands & times, torch.randn_like(x), x)


Mix = Callable[[Tensor, Tensor, Tensor], Tensor]


def mix_values(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """The weighted mean of two batches of crops."""
    return share * x + (1 - share) * other


def mix_powers(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Spectrograms in dB of two batches' sounds mixed at amplitudes `share` and 1 - `share`.

    Between-class learning (Tokozume et al. 2018) mixes waveforms and divides by the root of the summed squares of the
    shares. Powers then add up by the squares; their cross term is zero on average.
    """
    scale = math.log(10) / 10
    one, two = share.clamp_min(1e-3).square(), (1 - share).clamp_min(1e-3).square()
    mixed = torch.logaddexp(x * scale + one.log(), other * scale + two.log())
    return (mixed - (one + two).log()) / scale


def mix_cut(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """The first `share` of each crop, then the rest of another: CutMix (Yun et al. 2019) along time."""
    return torch.where(torch.arange(x.shape[3], device=x.device) < share * x.shape[3], x, other)


def mix_waves(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """The same for two batches of waves: the weighted sum, at the level of uncorrelated sounds."""
    return mix_values(x, other, share) / (share.square() + (1 - share).square()).sqrt()


def put_under(x: Tensor, under: Tensor, chances: Tensor, params: AugmentParams) -> Tensor:
    """Mix a background under a random part of raw crops (B, 1, F, T): spectrograms in dB, or waves.

    under: crops of backgrounds, of the same shape; chances: (B,) numbers for whether and for the level, even in [0, 1).
    A crop's mean power lies `background_db` over that of its background.
    """
    chosen, low, high = chances[0] < params.background, *params.background_db
    above = (low + (high - low) * chances[1]).view(-1, 1, 1, 1)
    under = louder(under, power_above(x, under) - above)
    scale = math.log(10) / 10
    mixed = x + under if x.shape[2] == 1 else torch.logaddexp(x * scale, under * scale) / scale
    return torch.where(chosen.view(-1, 1, 1, 1), mixed, x)


def power_above(x: Tensor, other: Tensor) -> Tensor:
    """How far the mean power of crops (B, 1, F, T) lies above that of others, dB: spectrograms in dB, or waves."""
    if x.shape[2] == 1:
        one, two = (wave.square().mean(dim=(2, 3), keepdim=True).clamp_min(1e-10).log() for wave in (x, other))
    else:
        one, two = ((crop * (math.log(10) / 10)).logsumexp(dim=(2, 3), keepdim=True) for crop in (x, other))
    return (one - two) * (10 / math.log(10))


def louder(x: Tensor, level: Tensor) -> Tensor:
    """Crops `level` dB louder: spectrograms in dB, or waves."""
    return x * 10 ** (level / 20) if x.shape[2] == 1 else x + level


def united(targets: Tensor, other: Tensor) -> Tensor:
    """The labels (B, C) of both crops in full; what one has for sure is there, even if nobody knows of the other."""
    sure = (targets == 1) | (other == 1)
    return torch.where(sure, 1.0, torch.maximum(targets, other))  # the maximum with NaN is NaN: unknown


def mixup(
    x: Tensor, targets: Tensor, weights: Tensor, draws: Draws, mix: Mix = mix_values, union: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Mixup (Zhang et al. 2018): mix each crop, its target and its weight with another's.

    x: (B, 1, F, T), targets: (B, C), weights: (B,). union: a mixed crop has the labels of both crops in full. Otherwise
    each half's label counts by its own weight: with any loss that is linear in targets, the mixed crop's weight times
    its loss is ratio · w1 · loss(y1) + (1 - ratio) · w2 · loss(y2).
    """
    ratio, other = draws.ratio, draws.next().argsort(stable=True)
    mixed = mix(x, x[other], ratio.view(-1, 1, 1, 1))
    both = ratio * weights + (1 - ratio) * weights[other]
    alone = (ratio == 1)[:, None]
    if union:
        return mixed, torch.where(alone, targets, united(targets, targets[other])), both
    alike = (weights == weights[other]) | (both == 0)
    share = torch.where(alike, ratio, ratio * weights / both.clamp_min(1e-8))[:, None]
    return mixed, torch.where(alone, targets, share * targets + (1 - share) * targets[other]), both


def add_partners(
    x: Tensor, targets: Tensor, weights: Tensor, draws: Draws, share: float, mix: Mix = mix_values
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix the first half of a batch with the second at equal parts, and unite their labels; return the first half.

    x: (2 B, 1, F, T); targets: (2 B, C); weights: (2 B,), of which the first half count. share: of crops that are
    mixed; the others stay as they are. A class unknown to one half is there where the other half has it for sure.
    """
    count = len(x) // 2
    chosen = draws.next()[:count] < share
    even = x.new_full((count, 1, 1, 1), 0.5)
    mixed = torch.where(chosen.view(-1, 1, 1, 1), mix(x[:count], x[count:], even), x[:count])
    own, other = targets[:count], targets[count:]
    return mixed, torch.where(chosen[:, None], united(own, other), own), weights[:count]
