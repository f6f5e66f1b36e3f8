"""The recipe of a table: the tree of blends, stacks and gates over trained experiments, applied to new clips.

A recipe is read from the receipts in oof/<name>/<table>/. It is applied to the experiments' predictions of any clips,
fold by fold, just as `blend` and `stack` do for the test clips.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import read_json
from tonestack.ensemble import gate, stacking
from tonestack.ensemble.blends import Blend, equal
from tonestack.ensemble.rules import neighbours
from tonestack.ensemble.rules.neighbours import Places, WindowRule
from tonestack.ensemble.rules.prior import PriorRule
from tonestack.ensemble.stack_inputs import FittedStacker, StackInputs
from tonestack.ensemble.stacking import Beside
from tonestack.tables import oof

import numpy as np

Combine = Callable[[np.ndarray], np.ndarray]  # test folds (K, N, C) -> (N, C)


@dataclass(frozen=True)
class About:
    """What is known of N clips beside predictions, None where nothing is.

    places: of windows of recordings, all windows of each. paths: the files that the clips are, or lie in. statistics:
    (N, S), of the clips' frames by one frontend.
    """

    places: Places | None = None
    paths: Sequence[str] | None = None
    statistics: np.ndarray | None = None


class Mixer(Protocol):
    """Turns the tables of one fold (M, N, C) into one (N, C), with what else is known of the clips if it needs that."""

    def __call__(self, tables: np.ndarray, about: About) -> np.ndarray: ...


NOTHING = About()


@dataclass(frozen=True)
class Recipe:
    """A table: a trained experiment (no `mix`), or other tables mixed.

    statistics: the frontend whose clip statistics `mix` reads, None if it reads none. normalise: True if a clip has
    exactly one label.
    """

    name: str
    parts: tuple["Recipe", ...] = ()
    mix: Mixer | None = None
    statistics: dict[str, Any] | None = None
    normalise: bool = True

    @property
    def experiments(self) -> list[str]:
        """Names of the trained experiments in the tree, each once."""
        own = [self.name] if self.mix is None else []
        return list(dict.fromkeys([*own, *(e for part in self.parts for e in part.experiments)]))

    @property
    def tables(self) -> list[str]:
        """Names of all tables in the tree, itself included, each once."""
        return list(dict.fromkeys([self.name, *(t for part in self.parts for t in part.tables)]))

    @property
    def frontends(self) -> list[dict[str, Any]]:
        """The frontends whose clip statistics the tree needs."""
        own = [self.statistics] if self.statistics else []
        return [*own, *(f for part in self.parts for f in part.frontends)]

    def rows(
        self,
        tables: dict[str, np.ndarray],
        statistics: Callable[[dict[str, Any]], np.ndarray],
        combine: Combine,
        about: About = NOTHING,
    ) -> np.ndarray:
        """Return rows (K, N, C) from the predictions of each experiment in each of its folds (K, N, C).

        statistics: returns the clips' statistics (N, S) for a frontend. combine: used early, as in `Tables.blend`,
        if experiments differ in their number of folds.
        """
        if self.mix is None:
            return tables[self.name]
        parts = [part.rows(tables, statistics, combine, about) for part in self.parts]
        if len({len(rows) for rows in parts}) > 1:
            parts = [combine(rows)[None] for rows in parts]
        known = replace(about, statistics=statistics(self.statistics) if self.statistics else None)
        return np.stack([self.mix(np.stack(fold), known) for fold in zip(*parts, strict=True)])

    def only(self, kept: Collection[str]) -> "Recipe | None":
        """Return the recipe of the experiments in `kept` alone; None if nothing is left.

        A blend keeps the weights of the remaining tables; a stack or gate that lacks a part becomes an equal blend.
        """
        if self.mix is None:
            return self if self.name in kept else None
        left = [(m, part.only(kept)) for m, part in enumerate(self.parts)]
        there = [(m, part) for m, part in left if part is not None]
        parts = tuple(part for _, part in there)
        if not parts or parts == self.parts:
            return self if parts else None
        power = 0.0 if self.normalise else 1.0
        even = _Blended(Blend(equal(len(self.parts)), power, normalise=self.normalise))
        if isinstance(self.mix, (_Windowed, _Reweighted)):
            return replace(self, parts=parts)
        mix = self.mix if isinstance(self.mix, _Blended) else even
        return Recipe(self.name, parts, mix.of([m for m, _ in there]), normalise=self.normalise)


def read(folder: Path, name: str, normalise: bool = True) -> Recipe:
    """The recipe of the table `name` in `folder` (oof/<data>/); one without weights of its own is a `UserError`."""
    receipts = oof.receipts(folder / name)
    if not receipts:
        known = nearest(name, [n for n in oof.experiments(folder, made=True) if oof.receipts(folder / n)])
        foreign = (folder / name).is_dir()
        what = "was made elsewhere: there are no weights to predict a new clip with" if foreign else "is not there"
        raise UserError(f"{folder / name}: the table {what}{'' if foreign else known}")
    receipt = read_json(next(iter(receipts.values())))
    make = {"train": _trained, "blend": _blend, "stack": _stack, "gate": _gate}.get(str(receipt.get("kind", "train")))
    if make is None:
        raise UserError(f"{folder / name}: a table of kind '{receipt['kind']}' cannot be made for new clips")
    try:
        return make(folder, name, receipt, normalise)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / name}: its json is not as this version writes it ({error!r}); make the table again"
        ) from None


def _trained(folder: Path, name: str, receipt: dict[str, Any], normalise: bool) -> Recipe:
    return Recipe(name, normalise=normalise)


def _blend(folder: Path, name: str, receipt: dict[str, Any], normalise: bool) -> Recipe:
    """A blend of the tables that have a weight."""
    weights = np.array([receipt["weights"][table] for table in receipt["tables"]])
    used = np.flatnonzero(weights.reshape(len(weights), -1).any(axis=1))
    heat = receipt.get("temperatures")
    blend = Blend(weights[used], receipt["power"], None if heat is None else np.array(heat)[used], normalise)
    parts = _parts(folder, [receipt["tables"][m] for m in used], normalise)
    if receipt.get("rule"):
        return Recipe(name, parts, _Windowed(WindowRule.of(receipt["rule"])), None, normalise)
    if receipt.get("factors"):
        factors = np.array([receipt["factors"][label] for label in receipt["classes"]])
        return Recipe(name, parts, _Reweighted(PriorRule(factors)), None, normalise)
    return Recipe(name, parts, _Blended(blend), None, normalise)


def _stack(folder: Path, name: str, receipt: dict[str, Any], normalise: bool) -> Recipe:
    path = folder / name / "stacker.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: the fitted stacker is missing; run stack again")
    mix = _Stacked(*stacking.restore(receipt["search"], path), not normalise)
    return Recipe(name, _parts(folder, receipt["tables"], normalise), mix, receipt.get("statistics"), normalise)


def _gate(folder: Path, name: str, receipt: dict[str, Any], normalise: bool) -> Recipe:
    by_group: dict[str, str] = receipt["tables"]
    mix = _Gated(tuple(by_group), receipt["groups"], tuple(receipt["classes"]))
    return Recipe(name, _parts(folder, [receipt["gate"], *by_group.values()], normalise), mix)


def _parts(folder: Path, names: Sequence[str], normalise: bool) -> tuple[Recipe, ...]:
    return tuple(read(folder, name, normalise) for name in names)


@dataclass(frozen=True)
class _Blended:
    blend: Blend

    def __call__(self, tables: np.ndarray, about: About) -> np.ndarray:
        return self.blend(tables)

    def of(self, kept: list[int]) -> "_Blended":
        """The blend of some of its tables."""
        weights = self.blend.weights[kept]
        heat = None if self.blend.temperatures is None else self.blend.temperatures[kept]
        weights = weights / np.maximum(weights.sum(axis=0), 1e-9)
        return _Blended(replace(self.blend, weights=weights, temperatures=heat))


@dataclass(frozen=True)
class _Windowed:
    rule: WindowRule

    def __call__(self, tables: np.ndarray, about: About) -> np.ndarray:
        return tables[0] if about.places is None else self.rule(tables[0], about.places)


@dataclass(frozen=True)
class _Reweighted:
    rule: PriorRule

    def __call__(self, tables: np.ndarray, about: About) -> np.ndarray:
        return self.rule(tables[0])


@dataclass(frozen=True)
class _Stacked:
    stacker: FittedStacker
    beside: Beside
    independent: bool

    def __call__(self, tables: np.ndarray, about: About) -> np.ndarray:
        from tonestack.ensemble.clip_components import project

        columns, beside = [], self.beside
        if beside.projection is not None and about.statistics is not None:
            columns.append(project(about.statistics, beside.projection))
        if beside.names is not None:
            columns.append(beside.names(about.paths or [""] * tables.shape[1]))
        others = partial(neighbours.around, places=about.places) if beside.around else None
        extra = np.concatenate(columns, axis=1) if columns else None
        return self.stacker(StackInputs.of(tables, extra, self.independent, others))


@dataclass(frozen=True)
class _Gated:
    groups: tuple[str, ...]
    members: gate.Groups
    classes: tuple[str, ...]

    def __call__(self, tables: np.ndarray, about: About) -> np.ndarray:
        return gate.join(tables[0], dict(zip(self.groups, tables[1:], strict=True)), self.members, self.classes)
