"""Dense layers on pooled frames: the usual head on frozen embeddings."""

from tonestack.base.section import Section
from tonestack.networks.layers import ActivationName, Network, Pool, PoolingName, activation, headed

from pydantic import Field, PositiveInt
from torch import Tensor, nn


class Params(Section):
    """Settings; without hidden layers it is a linear classifier."""

    hidden: tuple[PositiveInt, ...] = Field((512,), description="units of the hidden layers")
    activation: ActivationName = Field("gelu", description="activation")
    pool: PoolingName = Field("avg", description="pooling over the windows of a crop; sed: a value a class and window")
    input_dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the input's columns")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout after every hidden layer")


class Columns(nn.Module):
    """Crops (B, 1, F, T) as sequences (B, F, T)."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop the channel."""
        return x[:, 0]


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for frames of any width, any number of them."""
    layers: list[nn.Module] = [nn.Dropout(params.input_dropout)]
    width = bands
    for units in params.hidden:
        layers += [nn.Linear(width, units), activation(params.activation), nn.Dropout(params.dropout)]
        width = units
    if params.pool == "sed":
        return headed(Columns(), nn.Sequential(*layers, nn.Linear(width, n_classes)), "sed", bands, n_classes)
    return Network(Columns(), nn.Sequential(Pool(params.pool, bands), *layers), nn.Linear(width, n_classes))
