"""Shared by the networks: the embed / classify contract, pooling heads and activations."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PoolingName = Literal["avg", "max", "avgmax", "attention"]
ActivationName = Literal["relu", "leaky_relu", "silu", "selu", "gelu"]
NormaliseName = Literal["dataset", "training", "level", "minmax", "band", "frame", "none"]
LEVEL_DB, RANGE_DB = 35.0, 70.0  # of `level`: the value that becomes 0, and how far below the loudest silence begins

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
}


def activation(name: str) -> nn.Module:
    """Return a fresh activation module; in place where the module can, which saves a pass over memory."""
    kind = ACTIVATIONS[name]
    return kind() if kind is nn.GELU else kind(inplace=True)


class Network(nn.Module):
    """A network in two parts: `body` and `pool` give the embedding (B, D), `classifier` the logits (B, C)."""

    def __init__(self, body: nn.Module, pool: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.body, self.pool, self.classifier = body, pool, classifier

    @property
    def width(self) -> int:
        """D, the length of an embedding."""
        return next(int(m.in_features) for m in self.classifier.modules() if hasattr(m, "in_features"))  # type: ignore[arg-type]

    def embed(self, x: Tensor) -> Tensor:
        """Map crops (B, 1, F, T) to embeddings (B, D)."""
        embedding: Tensor = self.pool(self.body(x))
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        """Map crops (B, 1, F, T) to logits (B, C)."""
        logits: Tensor = self.classifier(self.embed(x))
        return logits


class Pool(nn.Module):
    """Pool feature maps (B, D, F, T) or sequences (B, D, T) to (B, D).

    Maps are averaged over frequency first; then `avg`, `max`, their sum `avgmax` (PANNs, Kong et al. 2020)
    or a learnt `attention` (softmax over time, one weight per channel) removes time.
    """

    def __init__(self, name: PoolingName, width: int) -> None:
        super().__init__()
        self.name = name
        self.score = nn.Conv1d(width, width, 1) if name == "attention" else None

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, D, F, T) or (B, D, T) to (B, D)."""
        if x.dim() == 4:
            x = x.mean(dim=2)  # (B, D, T)
        if self.score is not None:
            return (x * self.score(x).softmax(dim=-1)).sum(dim=-1)
        if self.name == "avg":
            return x.mean(dim=-1)
        if self.name == "max":
            return x.amax(dim=-1)
        return x.mean(dim=-1) + x.amax(dim=-1)


def dense_head(width: int, n_classes: int, hidden: int, act: ActivationName, dropout: float) -> nn.Sequential:
    """Classifier: dropout, an optional hidden layer with its activation, a linear layer to the classes."""
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    if hidden:
        layers += [nn.Linear(width, hidden), activation(act), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden or width, n_classes))


class CosineClassifier(nn.Module):
    """Logits `scale` x cosine between an embedding (B, D) and one learnt direction per class: (B, C), in float32."""

    def __init__(self, width: int, n_classes: int, scale: float) -> None:
        super().__init__()
        self.in_features, self.scale = width, scale
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_classes, width)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        with torch.autocast(x.device.type, enabled=False):  # three digits are too few for an angle
            return self.scale * F.linear(F.normalize(x.float()), F.normalize(self.weight.float()))


class Normalise(nn.Module):
    """Bring crops to a common level; `how` says by what.

    `dataset`: minus the train clips' mean, divided by their standard deviation, a band (both are saved with the
    weights); `training`: likewise, of the clips that this network learns from. By the crop's own values: `level`
    relative to the power of its loudest frame, of what lies 70 dB below it or more nothing is left; `minmax` to
    0..1; `band`, `frame`: mean 0 and deviation 1 in every band or every frame. `none`: as it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, how: NormaliseName = "dataset") -> None:
        super().__init__()
        self.how = how
        self.register_buffer("mean", mean.float().view(1, 1, -1, 1))
        self.register_buffer("std", std.float().clamp_min(1e-5).view(1, 1, -1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise crops (B, 1, F, T)."""
        if self.how in ("dataset", "training"):
            return (x - self.mean) / self.std
        if self.how == "none":
            return x
        if self.how == "level":
            return (levelled(x) + LEVEL_DB) / (RANGE_DB / 4)
        if self.how == "minmax":
            low, high = torch.aminmax(x.flatten(1), dim=1)
            return (x - low.view(-1, 1, 1, 1)) / (high - low).clamp_min(1e-5).view(-1, 1, 1, 1)
        dim = 3 if self.how == "band" else 2
        std, mean = torch.std_mean(x, dim=dim, keepdim=True, correction=0)
        return (x - mean) / std.clamp_min(1e-5)

    @property
    def unit(self) -> Tensor:
        """Decibels (1, 1, F, 1) of a dB spectrogram that are 1 after the normalisation."""
        return torch.full_like(self.std, RANGE_DB / 4) if self.how == "level" else self.std

    @property
    def blank(self) -> Tensor:
        """What a mask writes into normalised crops (1, 1, F or 1, 1): the value that tells the network nothing.

        That is the mean where the normalisation has one (`dataset`, `training`, `band`, `frame`: 0; `none`: the train
        clips' mean, which padding holds, too), else its floor, which is silence (`minmax`: 0, `level`: -2). For
        `none`, 0 would be the loudest value of a dB spectrogram.
        """
        if self.how == "none":
            return self.mean
        return torch.full_like(
            self.mean[:, :, :1], (LEVEL_DB - RANGE_DB) / (RANGE_DB / 4) if self.how == "level" else 0
        )

    def decibels(self, x: Tensor) -> Tensor:
        """Undo the normalisation of a dB spectrogram, for what has to be done to powers (`INVERTIBLE` ones alone)."""
        if self.how == "level":
            return x * (RANGE_DB / 4) - LEVEL_DB
        return x if self.how == "none" else x * self.std + self.mean

    def again(self, x: Tensor) -> Tensor:
        """Normalise what `decibels` gave, without looking for the level again."""
        return (x + LEVEL_DB) / (RANGE_DB / 4) if self.how == "level" else self.forward(x)


INVERTIBLE = ("dataset", "training", "level", "none")


def levelled(x: Tensor) -> Tensor:
    """Spectrograms in dB (B, 1, F, T) relative to the loudest frame's power, with a floor of -70 dB added to them."""
    nepers = x * (math.log(10) / 10)
    level = nepers.logsumexp(dim=2, keepdim=True).amax(dim=3, keepdim=True)
    floor = torch.full((), -RANGE_DB * math.log(10) / 10, device=x.device)
    return torch.logaddexp(nepers - level, floor) * (10 / math.log(10))


class Tagger(nn.Module):
    """A network behind its input normalisation: raw features (B, 1, F, T) to logits (B, C).

    centres: (F,) of the bands in Hz, of mel spectrograms alone; training's changes of speed need them.
    """

    centres: Tensor | None

    def __init__(self, normalise: Normalise, network: Network, centres: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("centres", centres, persistent=False)
        self.normalise, self.network = normalise, network

    def forward(self, x: Tensor) -> Tensor:
        """Map raw crops (B, 1, F, T) to logits (B, C)."""
        logits: Tensor = self.network(self.normalise(x))
        return logits

    def embed(self, x: Tensor) -> Tensor:
        """Map raw crops (B, 1, F, T) to embeddings (B, D)."""
        return self.network.embed(self.normalise(x))


def count_parameters(module: nn.Module) -> int:
    """Number of learnable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@torch.no_grad()
def count_multiply_adds(module: nn.Module, x: Tensor) -> int:
    """Multiply-adds of one forward pass on `x` (convolutions, linear and recurrent layers' products)."""
    from torch.utils.flop_counter import FlopCounterMode

    module.eval()
    with FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops() // 2
