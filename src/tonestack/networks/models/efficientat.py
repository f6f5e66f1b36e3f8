"""EfficientAT's MobileNetV3 for audio (Schmid et al. 2023), mn04 to mn40: width 0.4 to 4.

The published weights load by their own names (`network.weights=FILE.safetensors`). Frontend: `efficientat_mel`, whose
numbers are the published ones, with `crop.normalise: none`.
"""

from functools import partial

from tonestack.base.section import Section
from tonestack.networks import weights
from tonestack.networks.layers import Network

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

LAST = "classifier.2."
OWN_FRONTEND = True  # published weights know the bands of one frontend alone
# input, kernel, expanded, output, squeeze-excitation, Hardswish, stride: MobileNetV3-Large (Howard et al. 2019)
BLOCKS = (
    *((16, 3, 16, 16, False, False, 1), (16, 3, 64, 24, False, False, 2), (24, 3, 72, 24, False, False, 1)),
    *((24, 5, 72, 40, True, False, 2), (40, 5, 120, 40, True, False, 1), (40, 5, 120, 40, True, False, 1)),
    *((40, 3, 240, 80, False, True, 2), (80, 3, 200, 80, False, True, 1), (80, 3, 184, 80, False, True, 1)),
    *((80, 3, 184, 80, False, True, 1), (80, 3, 480, 112, True, True, 1), (112, 3, 672, 112, True, True, 1)),
    *((112, 5, 672, 160, True, True, 2), (160, 5, 960, 160, True, True, 1), (160, 5, 960, 160, True, True, 1)),
)
NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class Params(Section):
    """Width of the network, and where it starts."""

    width: float = Field(1.0, gt=0, le=8, description="factor of the channels: 0.4 is mn04, 1 is mn10, 4 is mn40")
    weights: str | None = Field(None, description="published weights as safetensors; see ./run.sh weights")
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout before the classifier")


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, divisible(channels // 4))
        self.fc2 = nn.Linear(divisible(channels // 4), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale (B, D, F, T)."""
        gate = self.fc2(self.fc1(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


class ConcurrentSE(nn.Module):
    """Holds its one gate in a list, as the published keys name it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcite(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Scale (B, D, F, T)."""
        y: Tensor = self.conc_se_layers[0](x)
        return y


class InvertedResidual(nn.Module):
    """Widen, convolve each channel alone, gate, narrow; added to the input where the shape stays."""

    def __init__(self, n_in: int, kernel: int, wide: int, n_out: int, gated: bool, hard: bool, stride: int) -> None:
        super().__init__()
        unit = partial(Conv2dNormActivation, norm_layer=NORM)
        act = nn.Hardswish if hard else nn.ReLU
        layers: list[nn.Module] = [unit(n_in, wide, kernel_size=1, activation_layer=act)] if wide != n_in else []
        layers.append(unit(wide, wide, kernel_size=kernel, stride=stride, groups=wide, activation_layer=act))
        layers += [ConcurrentSE(wide)] if gated else []
        layers.append(unit(wide, n_out, kernel_size=1, activation_layer=None))
        self.block, self.adds = nn.Sequential(*layers), stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, F, T) to (B, n_out, F / stride, T / stride)."""
        y: Tensor = self.block(x)
        return x + y if self.adds else y


class Dense(nn.Module):
    """Maps (B, D, F, T) to embeddings: their mean, then a dense layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Pool and widen."""
        return F.hardswish(self.layer(x.mean(dim=(2, 3))))


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for any number of bands and frames, its weights random as published."""
    first = divisible(16 * params.width)
    unit = partial(Conv2dNormActivation, norm_layer=NORM, activation_layer=nn.Hardswish)
    features: list[nn.Module] = [unit(1, first, kernel_size=3, stride=2)]
    for n_in, kernel, wide, n_out, gated, hard, stride in BLOCKS:
        sizes = [divisible(size * params.width) for size in (n_in, wide, n_out)]
        features.append(InvertedResidual(sizes[0], kernel, sizes[1], sizes[2], gated, hard, stride))
    last, hidden = divisible(160 * params.width), divisible(1280 * params.width)
    features.append(unit(last, 6 * last, kernel_size=1))
    head = nn.Sequential(nn.Identity(), nn.Dropout(params.dropout), nn.Linear(hidden, n_classes))
    network = Network(nn.Sequential(*features), Dense(6 * last, hidden), head)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return network


def rename(key: str) -> str | None:
    """A published key as ours."""
    if key.startswith("classifier.2."):
        return "pool.layer." + key.removeprefix("classifier.2.")
    if key.startswith("classifier.5."):
        return LAST + key.removeprefix("classifier.5.")
    return key.replace("features.", "body.", 1)


def pretrain(network: Network, params: Params) -> None:
    """Start from published weights: called before the first epoch, never where a trained network is loaded."""
    if params.weights:
        weights.start(network, params.weights, rename, LAST)
