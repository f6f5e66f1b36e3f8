"""Gated attention over the windows of a clip (Ilse et al. 2018): which windows hold what the label names?

Windows that are 0 in every column are padding (`crop.short: pad` after the normalisation) and get no weight.
"""

from tonestack.base.section import Section
from tonestack.networks.layers import Network

from pydantic import Field, model_validator
from torch import Tensor, nn


class Params(Section):
    """Settings; each head weights the windows in its own way."""

    project: int = Field(256, ge=1, description="columns into which a window is projected")
    hidden: int = Field(128, ge=1, description="units of the attention")
    heads: int = Field(4, ge=1, description="attentions side by side, each over its share of the columns")
    dropout: float = Field(0.4, ge=0, lt=1, description="dropout of the projected windows and before the classifier")

    @model_validator(mode="after")
    def _check_heads(self) -> "Params":
        if self.project % self.heads:
            raise ValueError(f"project {self.project} cannot be shared by {self.heads} heads")
        return self


class Windows(nn.Module):
    """Crops (B, 1, F, T) to projected windows, a mask as last channel: (B, D + 1, T)."""

    def __init__(self, bands: int, params: Params) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(bands, params.project), nn.GELU(), nn.Dropout(params.dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Project every window."""
        windows = x[:, 0]  # (B, F, T)
        heard = (windows != 0).any(dim=1, keepdim=True)
        heard = heard | ~heard.any(dim=2, keepdim=True)  # a crop of padding alone is heard as it is
        columns = self.project(windows.transpose(1, 2)).transpose(1, 2)  # (B, D, T)
        made: Tensor = nn.functional.pad(columns, (0, 0, 0, 1))
        made[:, -1:] = heard.to(made)
        return made


class GatedAttention(nn.Module):
    """Windows and their mask (B, D + 1, T) to their weighted sum (B, D)."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.heads = params.heads
        self.value, self.gate = nn.Linear(params.project, params.hidden), nn.Linear(params.project, params.hidden)
        self.score = nn.Linear(params.hidden, params.heads)
        self.dropout = nn.Dropout(params.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Pool over time."""
        windows, heard = x[:, :-1].transpose(1, 2), x[:, -1, :, None]  # (B, T, D), (B, T, 1)
        score = self.score(self.value(windows).tanh() * self.gate(windows).sigmoid())  # (B, T, heads)
        weight = score.float().masked_fill(heard == 0, float("-inf")).softmax(dim=1).to(windows)
        columns = windows.unflatten(2, (self.heads, -1))  # (B, T, heads, D / heads)
        pooled: Tensor = self.dropout((columns * weight[..., None]).sum(dim=1).flatten(1))
        return pooled


def build(params: Params, bands: int, n_classes: int) -> Network:
    """Build the network for frames of any width, any number of them."""
    return Network(Windows(bands, params), GatedAttention(params), nn.Linear(params.project, n_classes))
