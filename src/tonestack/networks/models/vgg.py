"""VGG-like networks (Simonyan & Zisserman 2015) on spectrograms, as in the NTU report.

Blocks of 3 × 3 convolutions with batch normalisation, halved in both directions after each block, pooled
globally, then one dense layer. The report's small network has two convolutions per block, LeakyReLU and a
dense layer of 1,024 with SELU; the large one three convolutions per block and 4,096.
"""

from typing import Literal

from tonestack.base.section import Section
from tonestack.networks.layers import (
    ActivationName,
    BandPoolingName,
    Network,
    PoolingName,
    activation,
    dense_head,
    headed,
    normed_conv,
)

from pydantic import Field, PositiveInt
from torch import nn


class Params(Section):
    """Settings of the VGG family."""

    channels: tuple[PositiveInt, ...] = Field((64, 128, 256, 512), min_length=1, description="channels of the blocks")
    convs: int = Field(2, ge=1, le=4, description="convolutions per block")
    first_convs: int | None = Field(
        None, ge=1, le=4, description="convolutions of the first block, the most expensive one; none: convs"
    )
    activation: ActivationName = Field("leaky_relu", description="activation after each convolution")
    stem_stride: Literal[1, 2] = Field(1, description="step of the first convolution")
    block_pool: Literal["avg", "max"] = Field("max", description="pooling at the end of a block")
    pool: PoolingName = Field("avgmax", description="pooling over time and bands; sed: a value a class and frame")
    pool_bands: BandPoolingName = Field("mean", description="pooling over bands: their mean, or a generalised mean")
    dense: int = Field(1024, ge=0, description="units of the layer before the classifier; 0: none")
    dense_activation: ActivationName = Field("selu", description="activation of that layer")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before the classifier")


def _block(n_in: int, n_out: int, params: Params, convs: int, stride: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for index in range(convs):
        step = stride if index == 0 else 1
        layers += [*normed_conv(n_in, n_out, step), activation(params.activation)]
        n_in = n_out
    return layers


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for spectrograms of any number of bands and frames."""
    halve = nn.MaxPool2d if params.block_pool == "max" else nn.AvgPool2d
    body: list[nn.Module] = []
    n_in = 1
    for index, n_out in enumerate(params.channels):
        first = index == 0
        convs = params.first_convs or params.convs if first else params.convs
        body += _block(n_in, n_out, params, convs, params.stem_stride if first else 1)
        if index < len(params.channels) - 1:
            body.append(halve(2, ceil_mode=True))
        n_in = n_out
    head = dense_head(n_in, n_classes, params.dense, params.dense_activation, params.dropout)
    return headed(nn.Sequential(*body), head, params.pool, n_in, n_classes, params.pool_bands)
