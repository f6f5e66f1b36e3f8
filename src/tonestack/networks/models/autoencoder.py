"""Convolutional autoencoder of whole-clip spectrograms, as in the NTU report.

A picture of `bands` × `frames` (513 × 439 there), every clip stretched or squeezed to it, is halved by strided
convolutions, pooled to `grid` and squeezed to `latent_channels` maps: 16 × 16 × 16 = 4,096 numbers. The decoder
goes the same way back. As a model config of its own it also trains as a classifier on the latent.
"""

from itertools import pairwise

from tonestack.base.section import Section
from tonestack.networks.layers import Network

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn


class Params(Section):
    """Sizes; `channels` has one entry a halving."""

    frames: int = Field(439, ge=8, description="frames of the input")
    channels: tuple[int, ...] = Field((16, 32, 64, 64), min_length=1, description="channels after each halving")
    grid: tuple[int, int] = Field((16, 16), description="bands and frames of the embedding")
    latent_channels: int = Field(16, ge=1, description="channels of the embedding")

    @property
    def latent(self) -> int:
        """Numbers in a latent vector."""
        return self.grid[0] * self.grid[1] * self.latent_channels


class Autoencoder(nn.Module):
    """Pictures (B, 1, F, T) in 0..1 to latents (B, latent) and back."""

    def __init__(self, params: Params, bands: int) -> None:
        super().__init__()
        self.grid, self.latent_channels = params.grid, params.latent_channels
        self.sizes = _sizes((bands, params.frames), len(params.channels))
        ins = (1, *params.channels[:-1])
        self.down = nn.Sequential(*(_block(a, b, 2) for a, b in zip(ins, params.channels, strict=True)))
        self.squeeze = nn.Conv2d(params.channels[-1], params.latent_channels, 1)
        backwards = (params.latent_channels, *params.channels[::-1])
        self.up = nn.ModuleList(_block(a, b, 1) for a, b in pairwise(backwards))
        self.last = nn.Conv2d(params.channels[0], 1, 3, padding=1)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> (B, latent)."""
        return self.squeeze(F.adaptive_avg_pool2d(self.down(x), self.grid)).flatten(1)

    def decode(self, latent: Tensor) -> Tensor:
        """(B, latent) -> (B, 1, F, T) in 0..1."""
        x = latent.view(len(latent), self.latent_channels, *self.grid)
        for size, block in zip(self.sizes[::-1], self.up, strict=True):
            x = block(F.interpolate(x, size=size))
        return self.last(x).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (B, 1, F, T)."""
        return self.decode(self.encode(x))


def _sizes(size: tuple[int, int], halvings: int) -> list[tuple[int, int]]:
    """Sizes before each halving, the largest first."""
    sizes = []
    for _ in range(halvings):
        sizes.append(size)
        size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return sizes


def _block(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.LeakyReLU(inplace=True))


class _Encoder(nn.Module):
    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.encode(x)


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build a classifier on the latent."""
    return Network(_Encoder(Autoencoder(params, bands)), nn.Identity(), nn.Linear(params.latent, n_classes))
