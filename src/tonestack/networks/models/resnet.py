"""Residual network of basic blocks (He et al. 2016) with optional squeeze-excitation (Hu et al. 2018)."""

from tonestack.base.section import Section
from tonestack.networks.layers import BandPoolingName, DropPath, Network, PoolingName, dense_head, headed, normed_conv

from pydantic import Field, PositiveInt
from torch import Tensor, nn


class Params(Section):
    """Settings of the residual family; `blocks[i]` basic blocks of `channels[i]` channels in stage i."""

    channels: tuple[PositiveInt, ...] = Field((32, 64, 128, 256), min_length=1, description="channels of the stages")
    blocks: tuple[PositiveInt, ...] = Field((1, 1, 1, 1), min_length=1, description="basic blocks per stage")
    squeeze: int = Field(8, ge=0, description="squeeze-excitation reduction; 0: none")
    pool: PoolingName = Field("avgmax", description="pooling over time and bands; sed: a value a class and frame")
    pool_bands: BandPoolingName = Field("mean", description="pooling over bands: their mean, or a generalised mean")
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout before the classifier")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth: share of crops that skip the last block")


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their global mean."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        hidden = max(4, width // reduction)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale (B, D, F, T)."""
        return x * self.gate(x)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with a shortcut; the first may halve the map (stride 2). drop: share that skips them."""

    def __init__(self, n_in: int, n_out: int, stride: int, squeeze: int, drop: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        ]
        layers += [SqueezeExcite(n_out, squeeze)] if squeeze else []
        self.residual = nn.Sequential(*layers, *([DropPath(drop)] if drop else []))
        same = stride == 1 and n_in == n_out
        project = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.shortcut: nn.Module = nn.Identity() if same else project
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, F, T) to (B, n_out, F / stride, T / stride)."""
        y: Tensor = self.act(self.residual(x) + self.shortcut(x))
        return y


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network: a stride-2 stem, then the stages, each after the first halving the map."""
    width = params.channels[0]
    body: list[nn.Module] = [*normed_conv(1, width, 2), nn.ReLU(inplace=True)]
    last, count = max(1, sum(params.blocks) - 1), 0
    for stage, (n_out, repeats) in enumerate(zip(params.channels, params.blocks, strict=True)):
        for index in range(repeats):
            stride = 2 if stage > 0 and index == 0 else 1
            body.append(BasicBlock(width, n_out, stride, params.squeeze, params.drop_path * count / last))
            width, count = n_out, count + 1
    head = dense_head(width, n_classes, 0, "relu", params.dropout)
    return headed(nn.Sequential(*body), head, params.pool, width, n_classes, params.pool_bands)
