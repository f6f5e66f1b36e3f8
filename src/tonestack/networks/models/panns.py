"""PANNs Cnn6, Cnn10 and Cnn14 (Kong et al. 2020): VGG-like, on log-mel spectrograms of 64 bands from 50 to 14,000 Hz.

The published weights load by their own names (`network.weights=FILE.safetensors`). Frontend: `logmel` at 32 kHz with
n_fft 1024, hop_length 320, in dB as it is (`crop.normalise: none`; the network begins with a normalisation a band).
"""

from typing import Literal

from tonestack.base.section import Section
from tonestack.networks import weights
from tonestack.networks.layers import Network

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

LAST = "classifier."
OWN_FRONTEND = True  # published weights know the bands of one frontend alone
SIZES = {"cnn6": (64, 128, 256, 512), "cnn10": (64, 128, 256, 512), "cnn14": (64, 128, 256, 512, 1024, 2048)}
IGNORED = ("spectrogram_extractor", "logmel_extractor")  # fixed tables of the reference's own frontend


class Params(Section):
    """Which of the networks, and where it starts."""

    size: Literal["cnn6", "cnn10", "cnn14"] = Field("cnn10", description="Cnn6, Cnn10 or Cnn14")
    weights: str | None = Field(None, description="published weights as safetensors; see ./run.sh weights")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout around the dense layer")
    block_dropout: float = Field(0.2, ge=0, lt=1, description="dropout after every block")


class ConvBlock(nn.Module):
    """Two 3 × 3 convolutions, or one 5 × 5, with batch normalisation; then means over squares of `pool`."""

    def __init__(self, n_in: int, n_out: int, wide: bool, pool: int) -> None:
        super().__init__()
        kernel, self.pool = 5 if wide else 3, pool
        self.conv1 = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = None if wide else nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = None if wide else nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, T, F) to (B, n_out, T / pool, F / pool)."""
        x = self.bn1(self.conv1(x)).relu()
        if self.conv2 is not None and self.bn2 is not None:
            x = self.bn2(self.conv2(x)).relu()
        return F.avg_pool2d(x, self.pool) if self.pool > 1 else x


class Blocks(nn.Module):
    """Crops (B, 1, F, T) to sequences (B, D, T')."""

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        widths = SIZES[params.size]
        self.bn0 = nn.BatchNorm2d(bands)
        self.count, self.dropout = len(widths), params.block_dropout
        self.least = 2 ** min(self.count, 5)  # the last of six blocks does not pool
        for number, (n_in, n_out) in enumerate(zip((1, *widths), widths, strict=False), start=1):
            block = ConvBlock(n_in, n_out, params.size == "cnn6", 2 if number < 6 else 1)
            setattr(self, f"conv_block{number}", block)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each band, then the blocks, then the mean over the bands."""
        x = self.bn0(x.transpose(1, 2)).transpose(1, 2).transpose(2, 3)  # (B, 1, T, F)
        short = [max(0, self.least - size) for size in x.shape[2:]]
        if any(short):  # a crop of a few frames, or few bands, is held on at its end
            x = F.pad(x, (0, short[1], 0, short[0]), mode="replicate")
        for number in range(1, self.count + 1):
            x = F.dropout(getattr(self, f"conv_block{number}")(x), self.dropout, self.training)
        return x.mean(dim=3)


class Dense(nn.Module):
    """Sequences (B, D, T) to embeddings (B, D): maximum plus mean, then a dense layer."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.dropout = nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Pool and mix."""
        x = self.dropout(x.amax(dim=2) + x.mean(dim=2))
        embedding: Tensor = self.dropout(self.fc1(x).relu())
        return embedding


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network, its weights random as in the paper."""
    width = SIZES[params.size][-1]
    network = Network(Blocks(bands, params), Dense(width, params.dropout), nn.Linear(width, n_classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def rename(key: str) -> str | None:
    """A published key as ours."""
    if key.startswith(IGNORED):
        return None
    if key.startswith("fc_audioset."):
        return LAST + key.removeprefix("fc_audioset.")
    return f"pool.{key}" if key.startswith("fc1.") else f"body.{key}"


def pretrain(network: Network, params: Params) -> None:
    """Start from published weights: called before the first epoch, never where a trained network is loaded."""
    if params.weights:
        weights.start(network, params.weights, rename, LAST)
