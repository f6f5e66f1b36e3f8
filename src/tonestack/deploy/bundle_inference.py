"""Inference of a bundle under a time limit; a valid submission exists at any moment.

    python infer.py root=DIR [output=submission.csv] [time_limit=9h] [device=auto] [clips=N]

`root` is the competition's folder, laid out as in training. The submission is first written with the class shares
of the training clips in every row, then again as clips are predicted. While the rest can be done in time, every model,
fold and crop is used; then fewer crops, fewer folds, fewer models, the best models kept longest. Clips that are not
reached, or cannot be decoded, keep the class shares. `clips=N` predicts the first N clips only.
"""

import math
import re
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.console import refuse
from tonestack.base.errors import UserError, nearest
from tonestack.base.files import read_json
from tonestack.base.parts import part_params
from tonestack.base.text import plain_streams
from tonestack.competition import submission
from tonestack.deploy.predictor import Predictor, key
from tonestack.ensemble.recipe import NOTHING, About
from tonestack.ensemble.rules.neighbours import Places
from tonestack.features.audio import BadAudio, Clip, PassingFault
from tonestack.features.watched import decode_clip
from tonestack.settings.data_config import DataConfig
from tonestack.tables.competition import TIMES, Competition
from tonestack.tables.metrics import resolve
from tonestack.tables.thresholds import Thresholds

import numpy as np
import pandas as pd

WORDS = {"root": "", "output": "submission.csv", "time_limit": "9h", "device": "auto", "clips": ""}
RESERVE = 0.05  # share of the time limit that is kept for the unforeseen
SIZES, BATCH_SECONDS = (1, 8, 64), 300.0  # clips of the first batch (it warms up), the second and the others; sound
EVERY = 60.0  # seconds between two writings of the submission

Clock = Callable[[], float]


@dataclass(frozen=True)
class Effort:
    """Work per clip: the experiments, the number of their folds, the largest number of crops."""

    experiments: tuple[str, ...]
    folds: int
    crops: int


def efforts(order: Sequence[str], folds: int, crops: int) -> list[Effort]:
    """Return all efforts, from everything to one crop by one fold of the best experiment; `order` is best first."""
    names = tuple(order)
    every = [Effort(names, folds, c) for c in range(crops, 0, -1)]
    every += [Effort(names, k, 1) for k in range(folds - 1, 0, -1)]
    return every + [Effort(names[:m], 1, 1) for m in range(len(names) - 1, 0, -1)]


@dataclass(frozen=True)
class Batch:
    """Some test rows: their numbers (N,) and their samples, one clip per row.

    cut: where rows are windows of recordings, `recording` (number of its clip, as text), `start, end` of each (s).
    about: the rows' files, and where windows lie among each other.
    """

    rows: np.ndarray
    clips: Sequence[Clip]
    cut: pd.DataFrame | None = None
    about: About = NOTHING

    def __len__(self) -> int:
        return len(self.rows)


class Worker:
    """Tags batches of clips with the effort that the remaining time allows."""

    def __init__(self, predictor: Predictor, order: Sequence[str], deadline: float, clock: Clock) -> None:
        self.predictor, self.deadline, self.clock = predictor, deadline, clock
        self.spent: dict[Any, list[float]] = defaultdict(lambda: [0.0, 0.0])  # seconds and units of work, by what
        self.order = [name for name in order if name in predictor.trained]
        self.calls = 0

    def late(self) -> bool:
        """True if the time is up."""
        return self.clock() >= self.deadline

    def __call__(self, batch: "Batch", left: int) -> tuple[np.ndarray | None, bool]:
        """Return probabilities (N, C), None where no model gave any, and True if everything was used.

        left: rows that are still to be done, these among them.
        """
        self.calls += 1
        effort = self.choose(left)
        tables: dict[str, np.ndarray] = {}
        stores: dict[str, Any] = {}
        for name in effort.experiments:
            try:
                rows = self._experiment(name, effort, batch, stores, first=not tables)
            except Exception:  # a submission without this model is better than none
                traceback.print_exc()
                print(f"{name}: left out from here on", flush=True)
                self.order.remove(name)
                continue
            if rows is not None:
                tables[name] = rows
        how = self.predictor.recipe.only(tables)
        if how is None:
            return None, False
        for spec in how.frontends:
            self._store(key(spec), batch, stores)
        return self.predictor.mixed(how, tables, stores, batch.about), self._everything(tables, effort)

    def _everything(self, tables: dict[str, np.ndarray], effort: Effort) -> bool:
        trained = self.predictor.trained
        folds = {name: len(trained[name].folds) for name in trained}
        whole = folds == {name: len(rows) for name, rows in tables.items()}
        return whole and effort.crops >= max(s.settings.inference.crops for s in trained.values())

    def choose(self, left: int) -> Effort:
        """Return the greatest effort possible for the remaining clips; parts not measured yet count as free."""
        trained = [self.predictor.trained[name] for name in self.order]
        if not trained:
            return Effort((), 0, 0)
        folds, crops = max(len(s.folds) for s in trained), max(s.settings.inference.crops for s in trained)
        allowed = (self.deadline - self.clock()) / max(1, left)
        every = efforts(self.order, folds, crops)
        return next((effort for effort in every if self.cost(effort) <= allowed), every[-1])

    def cost(self, effort: Effort) -> float:
        """Return the estimated seconds per clip."""
        how = self.predictor.recipe.only(effort.experiments)
        keys = {key(self.predictor.trained[name].settings.frontend) for name in effort.experiments}
        keys |= {key(spec) for spec in how.frontends} if how else set()
        networks = sum(self._rate(name) * self._units(name, effort) for name in effort.experiments)
        return networks + sum(map(self._rate, keys))

    def _experiment(
        self, name: str, effort: Effort, batch: "Batch", stores: dict[str, Any], first: bool
    ) -> np.ndarray | None:
        """Return the folds' predictions (K, N, C) of one experiment; fewer folds, or None, where the time is up."""
        trained = self.predictor.trained[name]
        if self.late() and not first:
            return None
        store = self._store(key(trained.settings.frontend), batch, stores)
        rows: list[np.ndarray] = []
        for fold in trained.folds[: effort.folds]:
            if rows and self.late():
                break
            model, begin = trained.fold(fold), self.clock()
            rows.append(trained.probabilities(model, store, effort.crops))
            self._note(name, self.clock() - begin, len(batch) * self._units(name, replace(effort, folds=1)))
        return np.stack(rows)

    def _store(self, which: str, batch: "Batch", stores: dict[str, Any]) -> Any:
        if which not in stores:
            begin = self.clock()
            stores |= self.predictor.stores(batch.clips, [which], batch.cut)
            self._note(which, self.clock() - begin, len(batch))
        return stores[which]

    def _units(self, name: str, effort: Effort) -> float:
        """Return the passes per clip through an experiment's models; a forest takes each clip once."""
        trained = self.predictor.trained[name]
        crops = min(effort.crops, trained.settings.inference.crops) if trained.learner == "network" else 1
        return min(effort.folds, len(trained.folds)) * crops

    def _note(self, what: str, seconds: float, units: float) -> None:
        if self.calls > 1:  # the first call pays for imports and caches once
            self.spent[what][0] += seconds
            self.spent[what][1] += units

    def _rate(self, what: str) -> float:
        seconds, units = self.spent[what]
        return seconds / units if units else 0.0


def infer(bundle: Path, words: dict[str, str], clock: Clock = time.monotonic) -> np.ndarray:
    """Write the submission; return per clip (M,) the source of its row: 2 all models, 1 fewer, 0 the class shares."""
    started, limit = clock(), seconds_of(words["time_limit"])
    facts = read_json(bundle / "bundle.json")
    data = DataConfig.parse(facts["data"], str(bundle / "bundle.json"))
    competition = read_competition(data, Path(words["root"]), facts["classes"])
    ids, form, output = competition.test["clip_id"].tolist(), competition.submission, Path(words["output"])
    assert form is not None
    rows = np.tile(np.asarray(facts["prior"], dtype=np.float32), (len(ids), 1))
    state = np.zeros(len(ids), dtype=np.int8)
    limits = np.array(facts["thresholds"]) if facts.get("thresholds") else None
    how = Thresholds(resolve(data.metric), tasks.find(data.task).one_label)

    def write() -> None:
        submission.write(output, form, ids, competition.classes, how.move(rows, limits), same_rows=True)

    write()
    try:
        predictor = Predictor(bundle / "oof", facts["table"], data, words["device"], runtime=data.bundle.runtime)
        worker = Worker(predictor, facts["order"], started + limit * (1 - RESERVE), clock)
        total, wrote = min(len(ids), int(words["clips"] or len(ids))), clock()
        for batch in batches(competition, total, data, lambda: worker.deadline - clock()):
            if worker.late():
                break
            made, full = worker(batch, total - int(batch.rows[0]))
            if made is not None:
                rows[batch.rows], state[batch.rows] = made, 2 if full else 1
            if clock() - wrote > EVERY:
                write()
                wrote = clock()
                print(f"{int(batch.rows[-1]) + 1} of {total} clips, {clock() - started:.0f} s", flush=True)
    finally:
        write()
    wholly, fewer, none = (int((state == s).sum()) for s in (2, 1, 0))
    print(
        f"{output}: {len(ids)} clips in {clock() - started:.1f} s of {limit:.0f} s: {wholly} by all models, "
        f"{fewer} with less effort, {none} by the classes' shares alone"
        + (f" (clips={total}: the other {len(ids) - total} were not looked at)" if total < len(ids) else ""),
        flush=True,
    )
    return state


def read_competition(data: DataConfig, root: Path, classes: Sequence[str]) -> Competition:
    """Read the competition's csv files; `UserError` if the classes differ from training or there is no test set."""
    if not root.is_dir():
        raise UserError(f"root={root}: no such folder")
    params = part_params("readers", data.reader, "bundle.json: reader")
    competition: Competition = parts.find("readers", data.reader["name"]).read(params, root)
    if competition.submission is None or competition.test.empty:
        raise UserError(f"{root}: there is no test set to predict")
    if list(competition.classes) != list(classes):
        raise UserError(f"{root}: the classes differ from those of the bundle's models")
    return competition


def batches(competition: Competition, total: int, data: DataConfig, left: Clock = lambda: math.inf) -> Iterator[Batch]:
    """Yield the first `total` test rows that can be decoded, in order of their files; small batches first.

    A file is decoded once and its rows stay together, whether it is one clip or has many windows. left: the seconds
    that are left; no file takes longer to decode.
    """
    table = competition.test.reindex(columns=["path", *TIMES]).iloc[:total].reset_index(drop=True)
    files = {str(path): rows.to_numpy() for path, rows in table.groupby("path", sort=False).groups.items()}
    table = table.astype(dict.fromkeys(TIMES, float))
    held: list[tuple[np.ndarray, Clip]] = []
    sizes, seconds = list(SIZES), 0.0
    for path, rows in files.items():
        try:
            allowed = max(1.0, min(60 * data.audio.decode_minutes, left()))
            clip = decode_clip(competition.root / path, data.audio, competition.root, allowed)
        except (BadAudio, PassingFault) as error:  # a submission of all other clips is better than none
            print(f"{path}: {error}", flush=True)
            continue
        held.append((rows, clip))
        seconds += len(clip.wave) / clip.rate
        if len(held) >= sizes[0] or seconds >= BATCH_SECONDS:
            yield from _batches(held, table)
            held, seconds, sizes = [], 0.0, sizes[1:] or sizes
    yield from _batches(held, table)


def _batches(held: Sequence[tuple[np.ndarray, Clip]], table: pd.DataFrame) -> Iterator[Batch]:
    """The batch of some files' rows (numbers in `table`: `path, start, end`) and samples; none if no row is inside."""
    if held and len(made := _batch(held, table)):
        yield made


def _batch(held: Sequence[tuple[np.ndarray, Clip]], table: pd.DataFrame) -> Batch:
    """Make a batch, which may be empty."""
    rows, clips = np.concatenate([own for own, _ in held]), [clip for _, clip in held]
    numbers = np.repeat([str(number) for number in range(len(held))], [len(own) for own, _ in held])
    times = table.iloc[rows].reset_index(drop=True)
    if times[TIMES].isna().all(axis=None):
        return Batch(rows, clips, about=About(paths=times["path"].tolist()))
    length = np.array([len(clips[int(number)].wave) / clips[int(number)].rate for number in numbers])
    cut = pd.DataFrame({"recording": numbers, "start": times["start"].fillna(0.0), "end": times["end"].fillna(np.inf)})
    there = (cut["start"] < length).to_numpy()  # a window behind the end of its recording keeps the class shares
    cut = cut[there].reset_index(drop=True)
    paths = times["path"][there].tolist()
    return Batch(rows[there], clips, cut, About(Places.of_table(cut.assign(path=paths)), paths))


def seconds_of(text: str) -> float:
    """Return the seconds of `9h`, `30m`, `45s` or a plain number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([hms]?)", text)
    if not match:
        raise UserError(f"time_limit={text}: write 9h, 30m, 45s or a number of seconds")
    return float(match[1]) * {"h": 3600, "m": 60}.get(match[2], 1)


def main(arguments: list[str], bundle: Path) -> int:
    """Return the exit status: 0 done, 2 a wrong call (one line), 1 a defect (the submission stays valid)."""
    with plain_streams():
        return _main(arguments, bundle)


def _main(arguments: list[str], bundle: Path) -> int:
    try:
        words = dict(WORDS)
        for argument in arguments:
            word, equals, text = argument.partition("=")
            if not equals or word not in WORDS:
                raise UserError(f"'{argument}' is none of the words{nearest(word, WORDS)}")
            words[word] = text
        if not words["root"]:
            raise UserError("give root=DIR, the competition's folder")
        infer(bundle, words)
    except UserError as error:
        return refuse(error)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
