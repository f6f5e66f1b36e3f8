"""The input of the siamese network: level and silences evened out and, in training, voice and recording changed.

Spectrograms come in dB from the store. `decibels: false` undoes that, as in the few-shot voice report. Otherwise they
stay in dB, relative to the clip's own level and cut off below: neither loudness nor silence then identifies a voice.
"""

import math

from tonestack.networks.models.siamese import VoiceInputParams
from tonestack.training.crops import Clips

import numpy as np
import torch
from torch import Generator, Tensor, nn


def levels(clips: Clips) -> Tensor:
    """Mean power (N,) of each clip in dB, on the clips' device; 0 for clips without audio."""
    found = []
    for first, frames in zip(clips.offsets.tolist(), clips.frames.tolist(), strict=True):
        x = clips.features[first : first + frames].float()
        power = (x / 32768).square() if clips.features.dtype == torch.int16 else 10 ** (x / 10)
        found.append(10 * math.log10(max(float(power.mean()), 1e-10)) if frames else 0.0)
    return torch.tensor(found, device=clips.features.device)


def speed_matrices(speeds: tuple[float, ...], centres: np.ndarray) -> Tensor:
    """Matrices (S, F, F) that move a spectrogram's bands as playing it faster does; `centres` (F,) in Hz."""
    bands = np.arange(len(centres))
    matrices = np.zeros((len(speeds), len(centres), len(centres)), np.float32)
    for matrix, speed in zip(matrices, speeds, strict=True):
        source = np.interp(centres / speed, centres, bands)  # the band that is moved here
        below = np.minimum(source.astype(int), len(bands) - 2)
        matrix[bands, below] = 1 - (source - below)
        matrix[bands, below + 1] = source - below
    return torch.from_numpy(matrices)


class VoiceInput(nn.Module):
    """Raw crops (B, 1, F, T) with their clips' levels to what the tower takes."""

    moves: Tensor | None

    def __init__(self, params: VoiceInputParams, speeds: tuple[float, ...], centres: np.ndarray | None) -> None:
        super().__init__()
        self.params = params
        self.waves = centres is None
        moves = None if centres is None or speeds == (1.0,) else speed_matrices(speeds, centres)
        self.register_buffer("moves", moves, persistent=False)

    def colours(self, n: int, bands: int, generator: Generator) -> Tensor:
        """Random curves (n, 1, F, 1) in dB for n voices of an episode."""
        return _curves(n, bands, self.params.colour_db, generator)

    def forward(
        self,
        x: Tensor,
        level: Tensor,
        speed: Tensor | None = None,
        colour: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """level: (B,) in dB. In training, of every crop: speed (B,) an index into the speeds, colour (B, 1, F, 1).

        With a generator the recording is changed too.
        """
        p = self.params
        level = level.view(-1, 1, 1, 1) if p.levelled else torch.zeros(1, device=x.device)
        if self.waves:
            x = x * 10 ** (-level / 20)
            return x if generator is None else _waves_rerecorded(x, p, generator)
        x = x - level
        if self.moves is not None and speed is not None:
            x = self.moves[speed.to(x.device)].unsqueeze(1) @ x
        if colour is not None:
            x = x + colour.to(x.device)
        if generator is not None:
            x = _rerecorded(x, p, generator)
        return (x.clamp_min(-p.range_db) + p.range_db / 2) / 20 if p.decibels else 10 ** (x / 10)


def _rerecorded(x: Tensor, params: VoiceInputParams, generator: Generator) -> Tensor:
    """Another microphone (a smooth curve), another room's noise, a narrower line; x (B, 1, F, T) in dB."""
    n, _, bands, frames = x.shape
    if params.equaliser_db:
        x = x + _curves(n, bands, params.equaliser_db, generator).to(x.device)
    if params.noise_share:
        low, high = params.noise_db
        floor = low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)
        floor = floor + _curves(n, bands, 10.0, generator)
        floor = floor.where(_chosen(n, params.noise_share, generator), torch.tensor(-200.0))
        flicker = torch.rand(n, 1, bands, frames, generator=generator).clamp_min(1e-6).log().neg()  # of noise power
        x = 10 * (10 ** (x / 10) + 10 ** (floor.to(x.device) / 10) * flicker.to(x.device)).log10()
    if params.narrow_share:
        cut = bands * (0.4 + 0.6 * torch.rand(n, 1, 1, 1, generator=generator))
        cut = cut.where(_chosen(n, params.narrow_share, generator), torch.tensor(float(bands)))
        x = x.masked_fill((torch.arange(bands).view(1, 1, -1, 1) >= cut).to(x.device), -params.range_db)
    return x


def _curves(n: int, bands: int, swing: float, generator: Generator) -> Tensor:
    """Random smooth curves (n, 1, F, 1) over frequency: half a wave to two waves from end to end."""
    waves = torch.tensor([0.5, 1.0, 2.0])
    heights = (torch.rand(n, 3, generator=generator) * 2 - 1) * swing / 2
    phase = torch.rand(n, 3, 1, generator=generator)
    position = torch.linspace(0, 1, bands)
    return (heights[..., None] * torch.cos(2 * math.pi * (waves[:, None] * position + phase))).sum(1)[:, None, :, None]


def _chosen(n: int, share: float, generator: Generator) -> Tensor:
    return torch.rand(n, 1, 1, 1, generator=generator) < share


def _waves_rerecorded(x: Tensor, params: VoiceInputParams, generator: Generator) -> Tensor:
    """White noise and another gain; x (B, 1, 1, T) at a power of 1."""
    n = len(x)
    if params.equaliser_db:
        gain = (torch.rand(n, 1, 1, 1, generator=generator) * 2 - 1) * params.equaliser_db
        x = x * 10 ** (gain / 20).to(x.device)
    if params.noise_share:
        low, high = params.noise_db
        floor = 10 ** ((low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)) / 20)
        floor = floor * _chosen(n, params.noise_share, generator)
        x = x + (floor * torch.randn(x.shape, generator=generator)).to(x.device)
    return x
