"""CRNN: convolutions shrink frequency and time, a bidirectional GRU reads the sequence (Cakir et al. 2017)."""

from tonestack.base.section import Section
from tonestack.networks.layers import Network, PoolingName, dense_head, headed, normed_conv

from pydantic import Field, PositiveInt
from torch import Tensor, nn


class Params(Section):
    """Settings; each convolution block halves frequency and time."""

    channels: tuple[PositiveInt, ...] = Field(
        (32, 64, 128), min_length=1, description="channels of the convolution blocks; each halves bands and frames"
    )
    hidden: int = Field(128, ge=1, description="GRU units per direction")
    layers: int = Field(1, ge=1, le=4, description="recurrent layers")
    pool: PoolingName = Field("attention", description="pooling over time; sed: a value a class and frame")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before the classifier")


class Sequence(nn.Module):
    """Read the time steps of a map with a bidirectional GRU: (B, D, F, T) to (B, 2 · hidden, T)."""

    def __init__(self, width: int, params: Params) -> None:
        super().__init__()
        self.gru = nn.GRU(width, params.hidden, params.layers, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Average over frequency, then read along time."""
        steps = x.mean(dim=2).transpose(1, 2)  # (B, T, D)
        y: Tensor = self.gru(steps)[0].transpose(1, 2)  # (B, 2 · hidden, T)
        return y


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for spectrograms of any number of bands and frames."""
    body: list[nn.Module] = []
    n_in = 1
    for n_out in params.channels:
        body += [*normed_conv(n_in, n_out), nn.ReLU(inplace=True)]
        body += [nn.MaxPool2d(2, ceil_mode=True)]
        n_in = n_out
    body.append(Sequence(n_in, params))
    width = 2 * params.hidden
    head = dense_head(width, n_classes, 0, "relu", params.dropout)
    return headed(nn.Sequential(*body), head, params.pool, width, n_classes)
