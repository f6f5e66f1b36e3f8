"""What a minute buys: score ± standard error against core-minutes, on real sets, beside a plain reference.

`score.py [set=esc50,fsdmini,demo] [preset=fast | model=a,b] [folds=0] [plain=30] [name=NAME] [key=value ...]`.
The plain reference (`_plain.py`) and every model train on the same label revision and folds in one run; tables that are
up to date are not made again. With all folds trained the blend, the stackers and the submitted table are scored, too,
by nested cross-validation. The reference's core-minutes are processor time, a model's are seconds times threads.
Writes bench/results/score-SET.json and score-SET.png.
"""

import sys
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.training.job import read_receipt

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import _measure
import _plain
import blend
import make_folds
import prepare
import stack
import submit
import train
from tonestack.base.files import atomic
from tonestack.config.call import Call
from tonestack.features.store import Store
from tonestack.labels import revisions
from tonestack.tables import oof
from tonestack.tables.metrics import resolve

RATE = 32_000  # Hz, highest of the plain reference
SHARED = Path(__file__).parents[2] / "shared" / "data"
SETS = {
    "esc50": ["data=esc50", f"root={SHARED / 'esc50'}"],
    "fsdmini": ["data=fsdkaggle2018", f"root={SHARED / 'fsdmini'}"],
    "demo": ["data=demo"],
}


def main(*words: str) -> None:
    """Measure the sets asked for that are at hand."""
    own = {"set": "esc50,fsdmini,demo", "folds": "", "plain": "30"}
    given = dict(word.split("=", 1) for word in words)
    asked = own | {key: value for key, value in given.items() if key in own}
    rest = [word for word in words if word.split("=", 1)[0] not in own]
    for name in asked["set"].split(","):
        if name != "demo" and not (SHARED / name).is_dir():
            print(f"score: {name} is left out: there is no {SHARED / name}")
            continue
        rows = measure(name, asked["folds"], int(asked["plain"]), rest)
        metric = rows[0].pop("metric")
        picture = draw(_measure.RESULTS / f"score-{name}.png", name, metric, rows)
        _measure.report(f"score-{name}", rows, {"about": f"{metric} against core-minutes, {picture}"})


def measure(name: str, folds: str, plain: int, words: list[str]) -> list[dict[str, Any]]:
    """Rows of one set: the plain reference, every model, and the ensemble where all folds are there."""
    known = {"name": f"bench-{name}", **dict(word.split("=", 1) for word in [*SETS[name], *words])}
    if folds:
        known["fold"] = folds
    call = Call.from_arguments([f"{key}={value}" for key, value in known.items()])
    experiments = train.run(call)
    chosen = [int(k) for k in folds.split(",")] if folds else sorted(set(call.labels.folds["fold"]) - {-1})
    rows = [reference(call, chosen, plain)] if plain else []
    for experiment in experiments:
        receipts = oof.receipts(call.oof / experiment.name)
        read = [read_receipt(call.oof / experiment.name, k) for k in chosen if k in receipts]
        minutes = sum(r["seconds"] for r in read) * int(read[0].get("threads", 1)) / 60
        rows.append({"model": experiment.name, **scored(call, experiment.name, chosen), "core-minutes": minutes})
    if not folds and len(experiments) > 1:
        rows += ensemble(call, sum(row["core-minutes"] for row in rows[bool(plain) :]))
    rows[0]["metric"] = call.data.metric
    return rows


def scored(call: Call, name: str, folds: list[int]) -> dict[str, float]:
    """Metric, its standard error over clips, and log loss of a table's OOF rows of some folds, verified clips alone."""
    pieces = [pd.read_parquet(call.oof / name / f"fold{k}.parquet") for k in folds]
    rows = pd.concat([piece[piece["part"] == "oof"] for piece in pieces]).set_index("clip_id")
    table, classes = call.labels.folds, call.competition().classes
    held = table[table["fold"].isin(folds) & table["verified"]]
    targets = call.task.row_truth(held["label"].tolist(), classes)
    return of(call, rows.loc[held["clip_id"], list(classes)].to_numpy(), targets)


def of(call: Call, rows: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Metric, standard error and log loss of rows (N, C)."""
    metric = resolve(call.data.metric)
    found = {"score": float(metric(rows, targets))}
    if metric.decomposes:
        each = metric.per_clip(rows, targets)
        found["se"] = float(each.std() / np.sqrt(len(each)))
    return found | {"log loss": float(resolve("log_loss")(rows, targets))}


def reference(call: Call, folds: list[int], epochs: int) -> dict[str, Any]:
    """The plain network's row, on the same folds and the same labels as the models of this call."""
    prepare.run(call, [_frontend(call)])
    table = make_folds.run(call, quiet=True)
    store = Store.open(call.cache, _frontend(call), call.data.audio)
    revision = call.labels.revision(call.words.revision or revisions.chosen(call.folds))
    classes = call.competition().classes
    ids = list(dict.fromkeys([*table["clip_id"], *revision["clip_id"]]))
    place = {name: i for i, name in enumerate(ids)}
    offsets, frames = store.rows(ids)
    clips = [torch.from_numpy(np.array(store.features[o : o + n])) for o, n in zip(offsets, frames, strict=True)]
    rows, targets, spent = [], [], 0.0
    for k in folds:
        learnt = revision[(revision["holdout"] == k) & (revision["weight"] > 0)]
        learnt = learnt[[len(clips[place[name]]) > 0 for name in learnt["clip_id"]]]
        held = table[(table["fold"] == k) & table["verified"]]
        truth = torch.zeros(len(ids), dtype=torch.long)
        for part in (held, learnt):
            truth[[place[name] for name in part["clip_id"]]] = torch.tensor([classes.index(c) for c in part["label"]])
        picked, asked = (np.array([place[name] for name in part["clip_id"]]) for part in (learnt, held))
        made, seconds = _plain.run(clips, truth, picked, asked, len(classes), epochs)
        rows.append(made)
        targets.append(truth[asked].numpy())
        spent += seconds
    found = of(call, np.concatenate(rows), np.concatenate(targets))
    return {"model": f"plain reference, {epochs} epochs", **found, "core-minutes": spent / 60}


def _frontend(call: Call) -> dict[str, Any]:
    """The plain reference's features, at the recordings' own rate up to 32 kHz."""
    rate = min(call.rate or RATE, RATE)
    hop = round(rate * _plain.SECONDS_PER_FRAME)
    given = _plain.FRONTEND | {"sample_rate": rate, "n_fft": 2 ** (hop - 1).bit_length(), "hop_length": hop}
    params = parts.part_params("frontends", given | {"fmax": min(rate / 2, 15_500.0)}, "plain")
    return {"name": "logmel"} | params.model_dump(mode="json")


def ensemble(call: Call, minutes: float) -> list[dict[str, Any]]:
    """Rows of the blend, the stackers, their mean and the submitted table."""
    for verb in (blend, stack, submit):
        verb.run(call)
    names = [name for name in oof.experiments(call.oof, made=True) if name not in oof.experiments(call.oof)]
    folds = sorted(set(call.labels.folds["fold"]))
    return [{"model": name, **scored(call, name, folds), "core-minutes": minutes} for name in names]


def draw(path: Path, name: str, metric: str, rows: list[dict[str, Any]]) -> Path:
    """Draw score over core-minutes, one point per model with its standard error."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for number, row in enumerate(rows):
        plain = number == 0 and str(row["model"]).startswith("plain")
        style = {"fmt": "s" if plain else "o", "capsize": 3, "color": "black" if plain else f"C{number % 10}"}
        axis.errorbar(row["core-minutes"], row["score"], yerr=row.get("se"), label=str(row["model"]), **style)
    axis.set_xlabel("core-minutes")
    axis.set_ylabel(metric)
    axis.set_title(f"{name}: what a minute buys")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
