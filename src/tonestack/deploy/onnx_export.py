"""An experiment as one torch module, wave in, probabilities out: frontend, crops, the folds' networks, their means.

It repeats `inference.predict` and `oof.combine_folds` in operations that torch exports with a free batch and length.
"""

import math
import warnings
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.parts import part_params
from tonestack.deploy.new_clips import build_frontend
from tonestack.deploy.trained import TrainedExperiment
from tonestack.networks.layers import Tagger
from tonestack.settings.model_config import ModelConfig
from tonestack.tables.oof import EDGE, FLOOR
from tonestack.training.augment import play_faster
from tonestack.training.learners.network import rebuild

import torch
from torch import Tensor, nn


class Crops(nn.Module):
    """Test-time crops, spread as `crops.even_starts` does: clips (B, T, F) to (B · count, 1, F, length)."""

    fill: Tensor
    bands: Tensor | None

    def __init__(
        self, length: int, settings: ModelConfig, fill: Tensor, speed: float = 1.0, centres: Tensor | None = None
    ) -> None:
        super().__init__()
        self.length, self.most, self.tile = length, settings.inference.crops, settings.crop.short == "tile"
        self.speed, moved = speed, None
        if speed != 1 and centres is not None:  # bands move by fixed weights (F, F)
            moved = play_faster(torch.eye(len(centres))[None, None], torch.tensor([speed]), centres)[0, 0]
        self.register_buffer("bands", moved)
        self.rolls = settings.inference.rolls if self.tile else 1
        hop = Fraction(max(1.0, length * (1.0 - settings.inference.overlap))).limit_denominator(1000)
        self.hop = hop.numerator, hop.denominator
        self.register_buffer("fill", fill)

    def forward(self, frames: Tensor) -> Tensor:
        """Cut clips."""
        total, (over, under) = frames.shape[1], self.hop
        beyond, room = (torch.sym_max(total - n, 0) for n in (self.length, math.ceil(self.length * self.speed)))
        covered = 1 - torch.sym_min(beyond, 1)  # 1 where one crop covers the clip, else 0
        count = torch.sym_min((beyond * under + over - 1) // over + 1, self.most) + covered * (self.rolls - 1)
        order = torch.arange(count, device=frames.device)
        spread: Any = order.double() * room / torch.sym_max(count - 1, 1)
        starts: Any = torch.round(spread).long() * (1 - covered) + covered * (order * total // self.rolls)
        steps = torch.arange(self.length, device=frames.device)
        position = starts[:, None] + (steps * self.speed).long()  # (count, length)
        end = torch.full((), total, device=frames.device)
        inside = position - torch.div(position, end, rounding_mode="floor") * end
        x = frames[:, inside]  # (B, count, length, F)
        if not self.tile:
            x = torch.where((position < end)[..., None], x, self.fill)
        x = x.flatten(0, 1).transpose(1, 2).unsqueeze(1)
        return x if self.bands is None else self.bands @ x


class TaggerOfWaves(nn.Module):
    """Waves (B, N) at `sample_rate` to probabilities (B, C), the mean over the folds given."""

    def __init__(self, trained: TrainedExperiment, fold_mean: str, normalise: bool) -> None:
        super().__init__()
        settings, frontend = trained.settings, trained.settings.frontend
        source = build_frontend(frontend)
        self.sample_rate, self.classes = source.sample_rate, trained.classes
        self.frontend = parts.find("graphs", frontend["name"]).build(part_params("frontends", frontend, "frontend"))
        self.folds = nn.ModuleList(rebuild(settings, trained.tensors(k), len(trained.classes)) for k in trained.folds)
        first: Tagger = self.folds[0]  # type: ignore[assignment]
        # padding is the bands' means, or silence
        fill = torch.zeros(1) if source.width == 1 else first.normalise.mean.flatten().clone()
        self.cuts = nn.ModuleList(
            Crops(settings.crop_frames(source.frame_rate, factor), settings, fill, speed, first.centres)
            for factor, speed in product(settings.inference.lengths, settings.inference.speeds)
        )
        self.log_probabilities = trained.task.log_probabilities
        self.geometric = settings.inference.mean == "geometric"
        self.fold_mean, self.normalise = fold_mean, normalise

    def forward(self, wave: Tensor) -> Tensor:
        """Tag waves."""
        frames = self.frontend(wave)
        crops = [cut(frames) for cut in self.cuts]
        return self._mean([self._one(network, crops, wave.shape[0]) for network in self.folds])

    def _one(self, network: nn.Module, crops: Sequence[Tensor], clips: int) -> Tensor:
        """Probabilities (B, C) by one fold's network: the mean over crops, then over lengths and speeds."""
        if not self.normalise:
            return self._independent([network(x).unflatten(0, (clips, -1)) for x in crops])
        each = [self.log_probabilities(network(x)).unflatten(0, (clips, -1)) for x in crops]  # (B, count, C)
        if not self.geometric:
            each = [logs.exp().mean(dim=1, keepdim=True).clamp_min(1e-12).log() for logs in each]
        logs = torch.stack([logs.mean(dim=1) for logs in each]).mean(dim=0)
        return logs.softmax(dim=1)

    def _independent(self, odds: list[Tensor]) -> Tensor:
        """Probabilities (B, C) of classes that do not exclude each other from the log odds of crops (B, count, C)."""
        if not self.geometric:
            odds = [_log_odds(one.sigmoid().mean(dim=1, keepdim=True)) for one in odds]
        return torch.stack([one.mean(dim=1) for one in odds]).mean(dim=0).sigmoid()

    def _mean(self, rows: list[Tensor]) -> Tensor:
        """Return the mean over folds."""
        if self.fold_mean == "arithmetic":
            mean = torch.stack(rows).mean(dim=0)
        elif self.normalise:
            mean = torch.stack(rows).clamp_min(FLOOR).log().mean(dim=0).exp()
        else:
            mean = _log_odds(torch.stack(rows)).mean(dim=0).sigmoid()
        return mean / mean.sum(dim=1, keepdim=True) if self.normalise else mean


def _log_odds(p: Tensor) -> Tensor:
    p = p.clamp(FLOOR, 1 - float(EDGE))
    return p.log() - (1 - p).log()


def refusal(trained: TrainedExperiment) -> str | None:
    """Return the reason why an experiment cannot be exported; None if it can."""
    frontend, known = trained.settings.frontend["name"], parts.names("graphs")
    if trained.learner != "network":
        return f"{trained.name}: a {trained.learner} cannot be exported; networks on {', '.join(known)} can"
    if frontend not in known:
        return f"{trained.name}: the frontend '{frontend}' cannot be exported; {', '.join(known)} can"
    return None


def build(trained: TrainedExperiment, fold_mean: str, normalise: bool) -> TaggerOfWaves:
    """Return the module of an experiment in eval mode; `UserError` if it cannot be exported."""
    why = refusal(trained)
    if why:
        raise UserError(why)
    return TaggerOfWaves(trained, fold_mean, normalise).eval()


def to_onnx(module: TaggerOfWaves) -> bytes:
    """Convert the module to an ONNX model: input `wave` (batch, samples), output `probabilities` (batch, classes)."""
    import onnx

    example = torch.zeros(2, 2 * module.sample_rate)
    free = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("samples")},)
    names: dict[str, Any] = {"input_names": ["wave"], "output_names": ["probabilities"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own insides
        program = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=free, verbose=False, **names)
    assert program is not None
    model = program.model_proto
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
