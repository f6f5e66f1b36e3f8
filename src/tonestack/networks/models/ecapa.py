"""ECAPA-TDNN (Desplanques et al. 2020) in the compact form of the Voice Biometrics report.

A convolution of width 5, three blocks (widening convolution, Res2Net unit, squeeze-excitation), all blocks' outputs
side by side, attentive statistics pooling, a linear layer to the embedding. With `dilations: [1, 1, 1]`, `mask: false`
and `unused: true` it is the report's network of 1,329,039 parameters for 1,211 speakers. The paper dilates its blocks
by 2, 3 and 4; frames of padding are masked, so that an embedding does not depend on how much of it follows.
"""

from typing import Literal

from tonestack.base.section import Section
from tonestack.networks.layers import CosineClassifier, Network

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn


class Params(Section):
    """Settings; a block widens `channels` to `2 x channels` and cuts them into `scale` groups."""

    channels: int = Field(80, ge=1, description="channels of the convolutions")
    scale: int = Field(4, ge=2, description="groups of a Res2Net block")
    squeeze: int = Field(10, ge=1, description="channels of the squeeze-and-excitation bottleneck")
    attention: int = Field(480, ge=1, description="channels of the attention in the pooling")
    embedding: int = Field(192, ge=1, description="size of the embedding")
    dilations: tuple[PositiveInt, ...] = Field((2, 3, 4), min_length=1, description="dilation of each block")
    mask: bool = Field(True, description="ignore frames that are 0 in every band, such as padding")
    unused: bool = Field(False, description="keep the Voice Biometrics report's unused convolution in each block")
    head: Literal["cosine", "linear"] = Field("cosine", description="cosine: for aam_softmax")
    head_scale: float = Field(30.0, gt=0, description="scale of the cosine classifier")

    @model_validator(mode="after")
    def _check_groups(self) -> "Params":
        if self.channels % self.scale:
            raise ValueError(f"channels {self.channels} cannot be cut into {self.scale} even groups")
        return self


class Unit(nn.Module):
    """Convolution, batch normalisation and ReLU over time: (B, n_in, T) to (B, n_out, T); masked frames are 0."""

    def __init__(self, n_in: int, n_out: int, width: int, dilation: int = 1, bias: bool = True) -> None:
        super().__init__()
        padding = dilation * (width // 2)
        self.conv = nn.Conv1d(n_in, n_out, width, padding=padding, dilation=dilation, bias=bias)
        self.norm = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the activations."""
        y: Tensor = self.norm(self.conv(x)).relu() * mask
        return y


class Stem(Unit):
    """The first convolution; here the document normalises after the ReLU."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the activations."""
        y: Tensor = self.norm(self.conv(x).relu()) * mask
        return y


class Res2(nn.Module):
    """Res2Net unit (Gao et al. 2019): groups of channels, each convolved with the sum of itself and the one before."""

    def __init__(self, params: Params, dilation: int) -> None:
        super().__init__()
        narrow, wide, self.scale = params.channels, 2 * params.channels, params.scale
        group = narrow // params.scale
        self.narrow, self.wide = nn.Conv1d(wide, narrow, 1), nn.Conv1d(narrow, wide, 1)
        self.groups = nn.ModuleList(Unit(group, group, 3, dilation, bias=False) for _ in range(params.scale - 1))
        self.unused = Unit(group, group, 3, dilation, bias=False) if params.unused else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, 2 x channels, T) to the same shape."""
        first, *others = (self.narrow(x) * mask).chunk(self.scale, dim=1)
        outputs = [first]  # the first group passes as it is
        for group, unit in zip(others, self.groups, strict=True):
            outputs.append(unit(group + outputs[-1], mask))
        return x + self.wide(torch.cat(outputs, dim=1)) * mask


class SqueezeExcite1d(nn.Module):
    """Widen, then scale channels by a gate from their mean over time; the unscaled ones are added."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        wide = 2 * params.channels
        self.widen = Unit(params.channels, wide, 3, bias=False)
        self.gate = nn.Sequential(
            nn.Linear(wide, params.squeeze), nn.ReLU(), nn.Linear(params.squeeze, wide), nn.Sigmoid()
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, channels, T) to (B, 2 x channels, T)."""
        x = self.widen(x, mask)
        mean = x.sum(dim=2) / mask.sum(dim=2)
        y: Tensor = x + x * self.gate(mean).unsqueeze(2)
        return y


class Block(nn.Module):
    """Widen, Res2, narrow, squeeze-excite, narrow: (B, channels, T) to the same shape."""

    def __init__(self, params: Params, dilation: int) -> None:
        super().__init__()
        narrow, wide = params.channels, 2 * params.channels
        units: list[nn.Module] = [Unit(narrow, wide, 3), Res2(params, dilation), Unit(wide, narrow, 3)]
        self.steps = nn.ModuleList([*units, SqueezeExcite1d(params), Unit(wide, narrow, 3)])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the block's output."""
        for step in self.steps:
            x = step(x, mask)
        return x


class Frames(nn.Module):
    """Crops (B, 1, F, T) to all blocks' outputs side by side (B, 3 x channels, T), a mask (B, 1, T) as last channel."""

    def __init__(self, params: Params, bands: int) -> None:
        super().__init__()
        self.mask = params.mask
        self.stem = Stem(bands, params.channels, 5)
        self.blocks = nn.ModuleList(Block(params, dilation) for dilation in params.dilations)
        width = params.channels * len(params.dilations)
        self.join = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the frames."""
        x = x.squeeze(1)  # (B, F, T)
        mask = self.heard(x)
        y = self.stem(x, mask)
        outputs = []
        for block in self.blocks:
            y = block(y, mask)
            outputs.append(y)
        joined = self.join(torch.cat(outputs, dim=1)).relu() * mask
        return torch.cat([joined, mask.to(joined)], dim=1)

    def heard(self, x: Tensor) -> Tensor:
        """1 for the frames that count (B, 1, T), all of them where none would."""
        if not self.mask:
            return torch.ones_like(x[:, :1])
        heard = (x != 0).any(dim=1, keepdim=True)
        return (heard | ~heard.any(dim=2, keepdim=True)).to(x)


class AttentiveStatistics(nn.Module):
    """Mean and deviation over time, frames weighted by a learnt attention (Okabe et al. 2018)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Conv1d(3 * width, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Pool frames and their mask (B, D + 1, T) to (B, 2 D)."""
        x, mask = x[:, :-1], x[:, -1:]
        mean, std = _statistics(x, mask / mask.sum(dim=2, keepdim=True))
        context = torch.cat([x, mean.expand_as(x), std.expand_as(x)], dim=1)
        weight = self.score(context).masked_fill(mask == 0, float("-inf")).softmax(dim=2)
        return torch.cat(_statistics(x, weight), dim=1).squeeze(2)


def _statistics(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over time (B, D, 1), frames weighted by (B, 1, T)."""
    mean = (x * weight).sum(dim=2, keepdim=True)
    variance = ((x - mean).square() * weight).sum(dim=2, keepdim=True)
    return mean, variance.clamp_min(1e-6).sqrt()


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network."""
    width = params.channels * len(params.dilations)
    pool = nn.Sequential(
        AttentiveStatistics(width, params.attention),
        nn.Linear(2 * width, params.embedding),
        nn.BatchNorm1d(params.embedding),
    )
    head = (
        CosineClassifier(params.embedding, n_classes, params.head_scale)
        if params.head == "cosine"
        else nn.Linear(params.embedding, n_classes)
    )
    return Network(Frames(params, bands), pool, head)
