"""Recurrent network: every frame projected, a GRU (Cho et al. 2014) or an LSTM along time, pooling."""

from typing import Literal

from tonestack.base.section import Section
from tonestack.networks.layers import Network, PoolingName, dense_head, headed

from pydantic import Field
from torch import Tensor, nn


class Params(Section):
    """Settings; `project` columns enter the recurrent layers."""

    cell: Literal["gru", "lstm"] = Field("gru", description="recurrent cell")
    project: int = Field(32, ge=1, description="columns that enter the recurrent layers")
    hidden: int = Field(32, ge=1, description="units per direction")
    layers: int = Field(1, ge=1, le=4, description="recurrent layers")
    bidirectional: bool = Field(True, description="read the crop in both directions")
    pool: PoolingName = Field("attention", description="pooling over time; sed: a value a class and frame")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before the classifier")


class Recurrent(nn.Module):
    """Frames (B, 1, F, T) to states (B, D, T)."""

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[params.cell]
        self.project = nn.Sequential(nn.Linear(bands, params.project), nn.ReLU(), nn.Dropout(params.dropout))
        self.recurrent = kind(
            params.project,
            params.hidden,
            params.layers,
            batch_first=True,
            bidirectional=params.bidirectional,
            dropout=params.dropout if params.layers > 1 else 0.0,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Project every frame, then read along time."""
        states: Tensor = self.recurrent(self.project(x[:, 0].transpose(1, 2)))[0]  # (B, T, D)
        return states.transpose(1, 2)


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for any number of bands and frames."""
    width = params.hidden * (1 + params.bidirectional)
    head = dense_head(width, n_classes, 0, "relu", params.dropout)
    return headed(Recurrent(bands, params), head, params.pool, width, n_classes)
