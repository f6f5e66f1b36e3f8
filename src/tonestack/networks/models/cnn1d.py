"""1D CNN on raw waveforms: a wide strided convolution learns a filterbank, residual blocks follow it.

The stem is a learnt filterbank whose rectified outputs are compressed by a logarithm, so that loudness acts
as it does on a log-mel spectrogram; the blocks are 1D and halve time.
"""

from tonestack.base.section import Section
from tonestack.networks.layers import Network, PoolingName, dense_head, headed

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn


class Params(Section):
    """Settings; `kernel` and `stride` of the stem are in samples."""

    filters: int = Field(64, ge=1, description="filters of the first convolution")
    kernel: int = Field(512, ge=1, description="length of the first convolution's filters, samples")
    stride: int = Field(160, ge=1, description="step of the first convolution, samples")
    channels: tuple[PositiveInt, ...] = Field((128, 192, 256), min_length=1, description="channels of the blocks")
    pool: PoolingName = Field("avgmax", description="pooling over time; sed: a value a class and frame")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before the classifier")


class Filterbank(nn.Module):
    """Learnt filters with squared, smoothed and log-compressed outputs: (B, 1, 1, N) to (B, filters, T)."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        step = max(1, params.stride // 4)
        self.conv = nn.Conv1d(1, params.filters, params.kernel, step, params.kernel // 2, bias=False)
        self.smooth = nn.AvgPool1d(2 * (params.stride // step), params.stride // step, ceil_mode=True)
        self.norm = nn.BatchNorm1d(params.filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map waveforms to compressed band energies."""
        energy = self.smooth(self.conv(x.flatten(1, 2)).square())  # (B, filters, T)
        y: Tensor = self.norm(torch.log(energy + 1e-5))
        return y


class Block1d(nn.Module):
    """Two convolutions of width 3 with a shortcut, then time is halved."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv1d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm1d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv1d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm1d(n_out),
        )
        self.shortcut = nn.Conv1d(n_in, n_out, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.halve = nn.MaxPool1d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, T) to (B, n_out, T / 2)."""
        y: Tensor = self.halve(self.act(self.residual(x) + self.shortcut(x)))
        return y


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for waveforms (`bands` is 1)."""
    body: list[nn.Module] = [Filterbank(params)]
    width = params.filters
    for n_out in params.channels:
        body.append(Block1d(width, n_out))
        width = n_out
    head = dense_head(width, n_classes, 0, "relu", params.dropout)
    return headed(nn.Sequential(*body), head, params.pool, width, n_classes)
