"""The Judge: how alike are two three-second crops of speech? One tower for both sides, then a small dense head.

The tower reads samples (`conv1d`: 25 ms windows every 10 ms) or a mel spectrogram (`conv2d`), then a bidirectional
LSTM or GRU or nothing. Sizes are those of the few-shot voice matching document; all ten variants are told by the
three words `tower`, `recurrent` and `layers`.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from tonestack.episodes import EpisodeParams
from tonestack.hearing import HearingParams
from tonestack.section import Section
from tonestack.votes import VoteParams

LEARNER = "judge"
HIDDEN = 256  # units a direction, and maps of the last convolution


class Params(Section):
    """The variant, what it hears (`hearing`), how it learns (`episodes`) and how it recognises (`vote`)."""

    tower: Literal["conv1d", "conv2d"] = "conv2d"
    recurrent: Literal["none", "lstm", "gru"] = "lstm"
    layers: int = Field(1, ge=1, le=2, description="of the recurrent part")
    frames: int | None = Field(None, ge=1, description="of a crop; left out: three seconds at 24 kHz")
    hearing: HearingParams = HearingParams()
    episodes: EpisodeParams = EpisodeParams()
    vote: VoteParams = VoteParams()

    @property
    def length(self) -> int:
        """Frames of a crop: they decide the size of the head."""
        return self.frames or (72_000 if self.tower == "conv1d" else 360)

    @model_validator(mode="after")
    def _check_layers(self) -> "Params":
        if self.recurrent == "none" and self.layers != 1:
            raise ValueError("layers is of the recurrent part, and there is none")
        return self

    @model_validator(mode="after")
    def _check_frames(self) -> "Params":
        least = 56 if self.tower == "conv2d" else 30_120 if self.recurrent == "none" else 12_840
        if self.length < least:
            raise ValueError(f"frames {self.length} are fewer than the convolutions need ({least})")
        return self


class Tower(nn.Module):
    """Crops (B, 1, F, T) to embeddings (B, D)."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        waves = params.tower == "conv1d"
        self.waves = waves
        self.maps = _maps_of_waves(params.recurrent == "none") if waves else _maps_of_spectrograms()
        self.recurrent = _recurrent(params)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Convolutions in whatever precision is asked for, the recurrent part in float32."""
        maps = self.maps(x.flatten(1, 2) if self.waves else x)  # (B, 256, T) or (B, 256, 1, T)
        if self.recurrent is None:
            return self.dropout(maps.flatten(1))
        with torch.autocast(x.device.type, enabled=False):
            steps = maps.float().flatten(2).transpose(1, 2)  # (B, T, 256)
            return self.dropout(self.recurrent(steps)[0].relu().flatten(1))


def _maps_of_waves(plain: bool) -> nn.Sequential:
    """600 samples every 240; without a recurrent part all three pools are by four."""
    pools = (4, 4, 4) if plain else (4, 2, 2)
    layers: list[nn.Module] = []
    shapes = ((1, 64, 600, 240), (64, 128, 4, 1), (128, HIDDEN, 4, 1))
    for (n_in, n_out, kernel, stride), pool in zip(shapes, pools, strict=True):
        layers += [nn.Conv1d(n_in, n_out, kernel, stride), nn.BatchNorm1d(n_out), nn.MaxPool1d(pool), nn.ReLU()]
    return nn.Sequential(*layers)


def _maps_of_spectrograms() -> nn.Sequential:
    first, second, third = nn.Conv2d(1, 64, 4, 2, 1), nn.Conv2d(64, 128, 2), nn.Conv2d(128, HIDDEN, 2)
    return nn.Sequential(
        *(first, nn.BatchNorm2d(64), nn.MaxPool2d(4), nn.ReLU()),
        *(second, nn.BatchNorm2d(128), nn.MaxPool2d(2), nn.ReLU()),
        *(third, nn.BatchNorm2d(HIDDEN), nn.MaxPool2d(2), nn.ReLU()),
    )


def _recurrent(params: Params) -> nn.Module | None:
    if params.recurrent == "none":
        return None
    kind = nn.LSTM if params.recurrent == "lstm" else nn.GRU
    return kind(HIDDEN, HIDDEN, params.layers, batch_first=True, bidirectional=True)


class Judge(nn.Module):
    """Tower and head. The head's first layer is linear in both sides, so that each crop passes it once, alone."""

    def __init__(self, params: Params, bands: int) -> None:
        super().__init__()
        self.tower = Tower(params)
        self.width = _width(self.tower, bands, params.length)
        sizes = (1024, 256, 64) if params.tower == "conv1d" else (256, 64)
        self.first = nn.Linear(2 * self.width, sizes[0])
        rest: list[nn.Module] = []
        for n_in, n_out, dropout in zip(sizes, (*sizes[1:], 1), (0.2, 0.1, 0.0), strict=False):
            rest += [nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_in, n_out)]
        self.rest = nn.Sequential(*rest)

    def sample(self, embedding: Tensor) -> Tensor:
        """A candidate's half (B, H) of the first layer, from embeddings (B, D)."""
        return F.linear(embedding, self.first.weight[:, : self.width])

    def target(self, embedding: Tensor) -> Tensor:
        """The half (B, H) of who is to be recognised, from embeddings (B, D)."""
        return F.linear(embedding, self.first.weight[:, self.width :], self.first.bias)

    def compare(self, samples: Tensor, targets: Tensor) -> Tensor:
        """Logits (...) of the halves (..., H), broadcast against each other; their sigmoid is the similarity."""
        logits: Tensor = self.rest(samples + targets)
        return logits.squeeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, B) of every crop (B, 1, F, T) as target against every crop as candidate."""
        embedding = self.tower(x)
        return self.compare(self.sample(embedding), self.target(embedding)[:, None])


@torch.no_grad()
def _width(tower: Tower, bands: int, frames: int) -> int:
    """D, by sending one silent crop through a tower."""
    tower.eval()
    width = tower(torch.zeros(1, 1, bands, frames)).shape[1]
    tower.train()
    return int(width)


def build(params: Params, bands: int, n_classes: int) -> Judge:
    """Build the Judge for crops of `params.length` frames; the number of voices changes nothing."""
    return Judge(params, bands)
