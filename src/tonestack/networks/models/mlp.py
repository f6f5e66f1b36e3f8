"""Dense layers on every window, then pooling: the usual head on frozen embeddings.

With `pool: sed` every window has its own value a class (`configs/model/embedding_sed.yaml`).
"""

from tonestack.base.section import Section
from tonestack.networks.layers import ActivationName, Network, PoolingName, activation, headed

from pydantic import Field, PositiveInt
from torch import Tensor, nn


class Params(Section):
    """Settings; without hidden layers it is a linear classifier."""

    hidden: tuple[PositiveInt, ...] = Field((512,), description="units of the hidden layers")
    activation: ActivationName = Field("gelu", description="activation")
    pool: PoolingName = Field("avg", description="pooling over the windows of a crop")
    input_dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the input's columns")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout after every hidden layer")


class Windows(nn.Module):
    """Crops (B, 1, F, T) to states of every window (B, D, T)."""

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Dropout(params.input_dropout)]
        for n_in, n_out in zip((bands, *params.hidden), params.hidden, strict=False):
            layers += [nn.Linear(n_in, n_out), activation(params.activation), nn.Dropout(params.dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Send every window through the layers."""
        states: Tensor = self.layers(x[:, 0].transpose(1, 2))
        return states.transpose(1, 2)


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for frames of any width, any number of them."""
    width = (bands, *params.hidden)[-1]
    head = nn.Sequential(nn.Linear(width, n_classes))
    return headed(Windows(bands, params), head, params.pool, width, n_classes)
