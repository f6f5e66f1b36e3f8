"""Training curves and the folds' scores, from the history that every fold leaves."""

from pathlib import Path

from tonestack.report import plots
from tonestack.report.blocks import Block, Cell, Chart, More, TableBlock
from tonestack.report.material import Material
from tonestack.tables import oof

import numpy as np
import pandas as pd

TITLE, ORDER = "Training", 60

SHOWN = 12  # experiments whose curves are drawn at first; the legend shows the others


def blocks(material: Material) -> list[Block]:
    """Loss by epoch, and the metric of every fold."""
    history = read(material.call.oof)
    table = fold_scores(material)
    shown: list[Block] = [chart(history)] if history is not None else []
    return shown + ([More("Scores of each fold", [table])] if table is not None else [])


def read(folder: Path) -> pd.DataFrame | None:
    """All histories as one table: `experiment, fold, epoch, loss, inner_loss …`; None where there is none."""
    files = [path for name in oof.experiments(folder) for path in sorted((folder / name).glob("fold*.jsonl"))]
    tables = [table for path in files if (table := one_history(path)) is not None]
    kept = [table for table in tables if {"experiment", "epoch", "loss"} <= set(table) and len(table) > 1]
    return pd.concat(kept, ignore_index=True) if kept else None


def one_history(path: Path) -> pd.DataFrame | None:
    """Return one fold's history; None if it is damaged, so that the report is still made."""
    try:
        return pd.read_json(path, lines=True)
    except (ValueError, OSError):
        return None


def chart(history: pd.DataFrame) -> Chart:
    """Mean loss over the folds, one line per experiment; dashed: the loss on an inner split."""
    made = plots.figure(
        420, xaxis={"title": "epoch", "tickformat": "d"}, yaxis={"title": "loss", "type": "log"}, hovermode="x unified"
    )
    columns = [c for c in ("loss", "inner_loss") if c in history]
    means = history.groupby(["experiment", "epoch"])[columns].mean()
    names = list(means.index.unique(level="experiment"))
    for number, name in enumerate(names):
        one, colour = means.loc[name], plots.COLOURS[number % len(plots.COLOURS)]
        for column in columns:
            line = {"color": colour, "dash": "solid" if column == "loss" else "dash", "width": 2}
            if one[column].notna().any():
                title = plots.text(name if column == "loss" else f"{name}, inner split")
                made.add_scatter(x=one.index, y=one[column], mode="lines", name=title, line=line)
                made.data[-1].update(visible=True if number < SHOWN else "legendonly")
    last = history.sort_values("epoch").groupby("experiment")["loss"].last()
    alt = f"Training loss by epoch of {len(names)} experiments, ending between {last.min():.3g} and {last.max():.3g}."
    return Chart(made, alt, "Training loss, mean over the folds; a click on a name hides or shows its line.")


def fold_scores(material: Material) -> TableBlock | None:
    """The metric of every experiment on every fold."""
    rows = []
    for name, receipts in material.receipts.items():
        scores = {f"Fold {r['fold']}": r.get("metrics", {}).get(material.call.data.metric, np.nan) for r in receipts}
        epochs = {int(r["epochs"]) for r in receipts if "epochs" in r}
        rows.append({"Experiment": name, "Epochs": Cell.of(max(epochs, default=None)), **scores})
    frame = pd.DataFrame(rows)
    folds = sorted((c for c in frame if str(c).startswith("Fold ")), key=lambda c: int(str(c)[5:]))
    if not folds:
        return None
    return TableBlock.of(f"{material.metric.name} by fold, verified clips", frame[["Experiment", "Epochs", *folds]])
