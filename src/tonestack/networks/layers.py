"""Shared by the networks: the embed / classify contract, pooling heads and activations."""

import math
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PoolingName = Literal["avg", "max", "avgmax", "attention", "sed"]
BandPoolingName = Literal["mean", "gem"]
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


class Outputs(NamedTuple):
    """What a network says of crops: logits (B, C), embedding (B, D) and, if it has them, logits a frame (B, C, T)."""

    logits: Tensor
    embedding: Tensor
    frames: Tensor | None = None


class Network(nn.Module):
    """A network in two parts: `body` and `pool` give the embedding (B, D), `classifier` the logits (B, C)."""

    def __init__(self, body: nn.Module, pool: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.body, self.pool, self.classifier = body, pool, classifier
        self.frozen: tuple[nn.Module, ...] = ()

    def freeze(self, count: int) -> None:
        """Keep the first `count` stages below the classifier: neither their weights nor their statistics move."""
        self.frozen = tuple(self.stages()[:-1][:count])
        for stage in self.frozen:
            stage.requires_grad_(False).eval()

    def stages(self) -> list[nn.Module]:
        """The parts with weights, from the input to the classifier, for rates and freezing by depth."""
        found = [*_unfolded(self.body), self.pool, self.classifier]
        return [stage for stage in found if next(stage.parameters(), None) is not None]

    def train(self, mode: bool = True) -> Self:
        """Switch dropout and batch statistics on or off; frozen stages stay as in use."""
        super().train(mode)
        for stage in self.frozen:
            stage.eval()
        return self

    @property
    def width(self) -> int:
        """D, the length of an embedding."""
        return next(int(m.in_features) for m in self.classifier.modules() if hasattr(m, "in_features"))  # type: ignore[arg-type]

    def embed(self, x: Tensor) -> Tensor:
        """Map crops (B, 1, F, T) to embeddings (B, D)."""
        embedding: Tensor = self.pool(self.body(x))
        return embedding

    def outputs(self, x: Tensor) -> Outputs:
        """Map crops (B, 1, F, T) to all that a loss may read."""
        embedding = self.embed(x)
        return Outputs(self.classifier(embedding), embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Map crops (B, 1, F, T) to logits (B, C)."""
        return self.outputs(x).logits


def _unfolded(body: nn.Module) -> list[nn.Module]:
    """The parts of a body in their order: its children, those of its sequences each on its own."""
    children = list(body.children())
    if not children or next(body.parameters(recurse=False), None) is not None:
        return [body]
    if len(children) == 1:
        return _unfolded(children[0])
    return [part for child in children for part in (child if type(child) is nn.Sequential else [child])]


class FrameNetwork(Network):
    """A network with a value a class and frame, for sound event detection (Kong et al. 2020).

    `pool` removes the bands alone; `classifier` gives every frame's logits, `attention` says how much a frame counts
    for a class. A crop's logit is the mean of its frames' by those weights.
    """

    def __init__(self, body: nn.Module, pool: nn.Module, classifier: nn.Module, n_classes: int) -> None:
        super().__init__(body, pool, classifier)
        self.attention = nn.Linear(self.width, n_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Map crops (B, 1, F, T) to embeddings (B, D), the mean over the frames."""
        states: Tensor = self.pool(self.body(x))
        return states.mean(dim=2)

    def frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and attention of every frame (B, C, T') of crops (B, 1, F, T), float32; T' frames span the crop."""
        return self._frames(self.pool(self.body(x)))

    def _frames(self, states: Tensor) -> tuple[Tensor, Tensor]:
        steps = states.transpose(1, 2)  # (B, T', D)
        logits, attention = self.classifier(steps), self.attention(steps).tanh()
        return logits.transpose(1, 2).float(), attention.transpose(1, 2).float()

    def outputs(self, x: Tensor) -> Outputs:
        """Map crops (B, 1, F, T) to all that a loss may read."""
        states = self.pool(self.body(x))  # (B, D, T')
        logits, attention = self._frames(states)
        return Outputs((attention.softmax(dim=2) * logits).sum(dim=2), states.mean(dim=2), logits)


class BandPool(nn.Module):
    """Remove the bands of feature maps (B, D, F, T): by their `mean`, or by `gem` (Radenovic et al. 2018).

    The exponent of this generalised mean is learnt: 1 is the mean, a large one the maximum. Sequences (B, D, T) have no
    bands.
    """

    def __init__(self, name: BandPoolingName) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.full((1,), 3.0)) if name == "gem" else None

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, D, F, T) to (B, D, T)."""
        if x.dim() == 3:
            return x
        if self.power is None:
            return x.mean(dim=2)
        power = self.power.clamp_min(1.0)
        return x.float().clamp_min(1e-4).pow(power).mean(dim=2).pow(1 / power)


class Pool(nn.Module):
    """Pool feature maps (B, D, F, T) or sequences (B, D, T) to (B, D).

    Bands are removed first; then `avg`, `max`, their sum `avgmax` (PANNs, Kong et al. 2020)
    or a learnt `attention` (softmax over time, one weight per channel) removes time.
    """

    def __init__(self, name: PoolingName, width: int, bands: BandPoolingName = "mean") -> None:
        super().__init__()
        if name == "sed":
            raise ValueError("a head with frames is made by `headed`")
        self.name, self.bands = name, BandPool(bands)
        self.score = nn.Conv1d(width, width, 1) if name == "attention" else None

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, D, F, T) or (B, D, T) to (B, D)."""
        x = self.bands(x)  # (B, D, T)
        if self.score is not None:
            return (x * self.score(x).softmax(dim=-1)).sum(dim=-1)
        if self.name == "avg":
            return x.mean(dim=-1)
        if self.name == "max":
            return x.amax(dim=-1)
        return x.mean(dim=-1) + x.amax(dim=-1)


def headed(
    body: nn.Module,
    classifier: nn.Sequential,
    pool: PoolingName,
    width: int,
    n_classes: int,
    bands: BandPoolingName = "mean",
) -> Network:
    """The network of a body of `width` channels: a `FrameNetwork` if `pool` is `sed`, else one value a crop."""
    if pool == "sed":
        return FrameNetwork(body, BandPool(bands), classifier, n_classes)
    return Network(body, Pool(pool, width, bands), classifier)


def dense_head(width: int, n_classes: int, hidden: int, act: ActivationName, dropout: float) -> nn.Sequential:
    """Classifier: dropout, an optional hidden layer with its activation, a linear layer to the classes."""
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    if hidden:
        layers += [nn.Linear(width, hidden), activation(act), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden or width, n_classes))


class FirstConv(nn.Conv2d):
    """A convolution of crops (B, 1, F, T): the same weights and, up to rounding, the same maps as `nn.Conv2d`.

    On a GPU it is one matrix product with all patches. cuDNN pads the one channel to eight there, which took a fifth of
    ResNet-18's step.
    """

    @classmethod
    def like(cls, conv: nn.Conv2d) -> "FirstConv":
        """A convolution of one channel with the weights of another."""
        one = nn.utils.skip_init(
            cls, 1, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None
        )  # draws no random numbers
        one.weight, one.bias = conv.weight, conv.bias
        return one

    def forward(self, x: Tensor) -> Tensor:
        """Map crops (B, 1, F, T) to maps (B, D, F', T')."""
        return self.product(x) if x.is_cuda else super().forward(x)

    def product(self, x: Tensor) -> Tensor:
        """The same as a product: patches (B, F', T', K) times weights (K, D), K a multiple of 8 as products want it."""
        (high, wide), (down, right) = self.kernel_size, self.stride
        above, left = (int(n) for n in self.padding)
        width = -(-wide // 8) * 8  # columns of zeros in the weights
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # before it becomes `high` x `width` as much
        x = F.pad(x[:, 0], (left, left + width - wide, above, above))
        patches = x.unfold(1, high, down).unfold(2, width, right)
        weight = F.pad(self.weight, (0, width - wide)).flatten(1)
        maps = F.linear(patches.flatten(3), weight, self.bias)
        return maps.permute(0, 3, 1, 2)


def normed_conv(n_in: int, n_out: int, stride: int = 1) -> list[nn.Module]:
    """A convolution of 3 x 3 that keeps the size at stride 1, and its batch normalisation."""
    kind = FirstConv if n_in == 1 else nn.Conv2d
    return [kind(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out)]


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, a residual branch counts for a random part of the crops."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Set the branch (B, ...) of about `share` of the crops to 0 and scale the others up to the same mean."""
        if not self.training or not self.share:
            return x
        kept = torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device) >= self.share
        return x * kept / (1 - self.share)


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
        """Undo the normalisation of a dB spectrogram, for what has to be done to powers (one of `INVERTIBLE`)."""
        if self.how == "level":
            return x * (RANGE_DB / 4) - LEVEL_DB
        return x if self.how == "none" else x * self.std + self.mean

    def again(self, x: Tensor) -> Tensor:
        """Normalise what `decibels` gave, without looking for the level again."""
        return (x + LEVEL_DB) / (RANGE_DB / 4) if self.how == "level" else self.forward(x)


def levelled(x: Tensor) -> Tensor:
    """Spectrograms in dB (B, 1, F, T) relative to the loudest frame's power, with a floor of -70 dB added to them."""
    nepers = x * (math.log(10) / 10)
    level = nepers.logsumexp(dim=2, keepdim=True).amax(dim=3, keepdim=True)
    floor = torch.full((), -RANGE_DB * math.log(10) / 10, device=x.device)
    return torch.logaddexp(nepers - level, floor) * (10 / math.log(10))


class Tagger(nn.Module):
    """A network behind its input normalisation: raw features (B, 1, F, T) to logits (B, C).

    centres: (F,) of mel or constant-Q bands in Hz; training's changes of speed need them.
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

    @property
    def has_frames(self) -> bool:
        """True if the network has a value a class and frame."""
        return isinstance(self.network, FrameNetwork)

    def frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and attention (B, C, T') of every frame of raw crops (B, 1, F, T)."""
        found: tuple[Tensor, Tensor] = self.network.frames(self.normalise(x))  # type: ignore[operator]
        return found


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
