"""The siamese network: how alike are two crops of speech? One tower for both sides, then a small dense head.

The tower reads samples (`conv1d`: 25 ms windows every 10 ms) or a mel spectrogram (`conv2d`), then a bidirectional
LSTM or GRU or nothing. Sizes are those of the few-shot voice matching document; all ten variants are told by the
three words `tower`, `recurrent` and `layers`.
"""

from typing import Any, Literal

from tonestack.base.section import Section
from tonestack.tables.votes import VoteParams

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

LEARNER = "siamese"
MAPS = (64, 128, 256)
HIDDEN = 256  # units a direction
TEMPERED = 10.0  # logits of a correlation of 1
CONVOLUTIONS = {  # kernel, stride and padding of each
    "conv1d": ((600, 240, 0), (4, 1, 0), (4, 1, 0)),
    "conv2d": ((4, 2, 1), (2, 1, 0), (2, 1, 0)),
}


class EpisodeParams(Section):
    """How episodes are drawn. An epoch has `steps` batches of `training.batch_size` episodes."""

    steps: int = Field(100, ge=1, description="batches of training.batch_size episodes per epoch")
    voices: int = Field(0, ge=0, description="candidates per episode; 0: all voices")
    shared: bool = Field(True, description="the episodes of a batch share the candidates' crops")
    speeds: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="speed factors; each makes another voice of every voice"
    )


class VoiceInputParams(Section):
    """Normalisation of every crop, and changes of its recording in training (0 switches one off)."""

    decibels: bool = Field(True, description="false: power")
    levelled: bool = Field(True, description="relative to the clip's mean power")
    range_db: float = Field(60.0, gt=0, description="values further below the level count as silence")
    colour_db: float = Field(
        0.0, ge=0, description="range of a random smooth spectral curve, one per voice and episode"
    )
    equaliser_db: float = Field(0.0, ge=0, description="range of a random smooth spectral curve, one per crop")
    noise_share: float = Field(0.0, ge=0, le=1, description="share of crops with noise added")
    noise_db: tuple[float, float] = Field((-50.0, -10.0), description="level of the noise relative to the clip's")
    narrow_share: float = Field(0.0, ge=0, le=1, description="share of crops cut off above a random band")


class Params(Section):
    """The variant, its input (`hearing`), how it learns (`episodes`) and how it recognises (`vote`)."""

    tower: Literal["conv1d", "conv2d"] = Field(
        "conv2d", description="convolutions along time, or along time and frequency"
    )
    recurrent: Literal["none", "lstm", "gru"] = Field("lstm", description="recurrent layers after the convolutions")
    layers: int = Field(1, ge=1, le=2, description="recurrent layers")
    shortcut: bool = Field(True, description="the logit begins as the correlation of both towers' means over time")
    frames: int | None = Field(None, ge=1, description="frames of a crop; left out: three seconds at 24 kHz")
    hearing: VoiceInputParams = VoiceInputParams()
    episodes: EpisodeParams = EpisodeParams()
    vote: VoteParams = VoteParams()

    @property
    def length(self) -> int:
        """Frames of a crop: they decide the size of the head."""
        return self.frames or (72_000 if self.tower == "conv1d" else 360)

    @field_validator("layers")
    @classmethod
    def _check_layers(cls, layers: int, info: ValidationInfo) -> int:
        if info.data.get("recurrent") == "none" and layers != 1:
            raise ValueError("network.layers needs network.recurrent=lstm or gru")
        return layers

    @field_validator("frames")
    @classmethod
    def _check_frames(cls, frames: int | None, info: ValidationInfo) -> int | None:
        known: dict[str, Any] = {key: info.data.get(key) for key in ("tower", "recurrent")}
        if frames and None not in known.values() and cls.model_construct(**known).steps(frames) < 1:
            raise ValueError("the convolutions need more frames")
        return frames

    @property
    def pools(self) -> tuple[int, int, int]:
        """Max-pooling behind each convolution; samples without a recurrent part are pooled more."""
        return (4, 4, 4) if (self.tower, self.recurrent) == ("conv1d", "none") else (4, 2, 2)

    def steps(self, length: int) -> int:
        """What the convolutions leave of `length` frames (or, of spectrograms, bands)."""
        for (kernel, stride, padding), pool in zip(CONVOLUTIONS[self.tower], self.pools, strict=True):
            length = max((length + 2 * padding - kernel) // stride + 1, 0) // pool
        return length


class Tower(nn.Module):
    """Crops (B, 1, F, T) to embeddings (B, D)."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.waves = params.tower == "conv1d"
        self.maps = _maps(params)
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


def _maps(params: Params) -> nn.Sequential:
    """Three convolutions, each normalised and pooled."""
    one = params.tower == "conv1d"
    convolution, normalise, pool = (
        (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d) if one else (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)
    )
    layers: list[nn.Module] = []
    n_in = 1
    for n_out, shape, size in zip(MAPS, CONVOLUTIONS[params.tower], params.pools, strict=True):
        layers += [convolution(n_in, n_out, *shape), normalise(n_out), pool(size), nn.ReLU()]
        n_in = n_out
    return nn.Sequential(*layers)


def _recurrent(params: Params) -> nn.Module | None:
    if params.recurrent == "none":
        return None
    kind = nn.LSTM if params.recurrent == "lstm" else nn.GRU
    return kind(MAPS[-1], HIDDEN, params.layers, batch_first=True, bidirectional=True)


class Siamese(nn.Module):
    """Tower and head. The head's first layer is linear in both sides, so that each crop passes it once, alone.

    shortcut: what the head says is added to TEMPERED times the correlation of the towers' means over time. The head
    alone, which sees both sides added up, is long in finding that they are to be compared, if it does; with this
    the tower learns from the first step, as in a matching network (Vinyals et al. 2016). It has no weights.
    """

    def __init__(self, params: Params, bands: int) -> None:
        super().__init__()
        self.tower = Tower(params)
        self.shortcut = params.shortcut
        steps = params.steps(params.length) * (1 if self.tower.waves else params.steps(bands))
        self.width = steps * (MAPS[-1] if self.tower.recurrent is None else 2 * HIDDEN)
        sizes = (1024, 256, 64) if params.tower == "conv1d" else (256, 64)
        self.first = nn.Linear(2 * self.width, sizes[0])
        rest: list[nn.Module] = []
        for n_in, n_out, dropout in zip(sizes, (*sizes[1:], 1), (0.2, 0.1, 0.0), strict=False):
            rest += [nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_in, n_out)]
        self.rest = nn.Sequential(*rest)

    def sample(self, embedding: Tensor) -> Tensor:
        """A candidate's half (B, H) of the first layer and its summary, from embeddings (B, D): (B, H + S)."""
        return self._with_summary(F.linear(embedding, self.first.weight[:, : self.width]), embedding)

    def target(self, embedding: Tensor) -> Tensor:
        """The half of who is to be recognised and its summary, from embeddings (B, D): (B, H + S)."""
        return self._with_summary(F.linear(embedding, self.first.weight[:, self.width :], self.first.bias), embedding)

    def compare(self, samples: Tensor, targets: Tensor) -> Tensor:
        """Logits (...) of both sides (..., H + S), broadcast against each other; their sigmoid is the similarity."""
        hidden = self.first.out_features
        logits: Tensor = self.rest(samples[..., :hidden] + targets[..., :hidden]).squeeze(-1)
        if not self.shortcut:
            return logits
        return logits.float() + TEMPERED * (samples[..., hidden:] * targets[..., hidden:]).sum(-1, dtype=torch.float32)

    def _with_summary(self, half: Tensor, embedding: Tensor) -> Tensor:
        """Beside it the embedding's mean over time, minus its own mean and of length 1: products are correlations."""
        if not self.shortcut:
            return half
        shape, time = ((MAPS[-1], -1), 2) if self.tower.recurrent is None else ((-1, 2 * HIDDEN), 1)
        mean = embedding.unflatten(1, shape).mean(time)
        unit = F.normalize(mean - mean.mean(dim=1, keepdim=True), dim=1)
        return torch.cat([half, unit.to(half.dtype)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, B) of every crop (B, 1, F, T) as target against every crop as candidate."""
        embedding = self.tower(x)
        return self.compare(self.sample(embedding), self.target(embedding)[:, None])


def build(params: Params, bands: int, n_classes: int) -> Siamese:
    """Build the network for crops of `params.length` frames; the number of voices changes nothing."""
    return Siamese(params, bands)
