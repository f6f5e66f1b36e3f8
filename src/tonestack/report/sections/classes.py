"""The metric per class."""

from dataclasses import replace

from tonestack.report import plots
from tonestack.report.blocks import Block, Chart, More, TableBlock
from tonestack.report.material import Material, PredictionTable
from tonestack.tables.metrics import indicator, mean_average_precision

import numpy as np
import pandas as pd

TITLE, ORDER = "Classes", 40
INSTEAD = "average precision"  # what is shown where the metric has no value per class


def blocks(material: Material) -> list[Block]:
    """Return one bar per class, the worst at the top, and the same as a table."""
    found = material.best
    if found is None or found.train.shape[1] < 2 or not len(rows := material.judged(found)):
        return []
    name, values = scores(material, found, rows)
    positive = indicator(material.targets[rows], len(material.classes))
    frame = pd.DataFrame({"Class": material.classes, name: values, "Verified clips": positive.sum(axis=0)})
    frame = frame[frame["Verified clips"] > 0].sort_values([name, "Class"]).reset_index(drop=True)
    if frame.empty:
        return []
    made, metric = chart(frame, name, found.name), material.metric.name
    if name == INSTEAD:
        made = replace(made, caption=f"{made.caption} {metric} has no value for a single class.")
    return [made, More("The same as a table", [TableBlock.of(f"{name} by class", frame)])]


def scores(material: Material, found: PredictionTable, rows: np.ndarray) -> tuple[str, np.ndarray]:
    """The measure's name and its values (C,): the competition's metric where it has a value per class.

    It has one where it is a mean over clips of one label, or over classes.
    """
    p, targets = found.train[rows], material.targets[rows]
    if material.one_label and material.metric.decomposes:
        values = pd.Series(material.metric.per_clip(p, targets)).groupby(targets).mean()
        return material.metric.name, values.reindex(range(len(material.classes))).to_numpy()
    own = material.metric.by_class(p, targets)
    if own is not None:
        return material.metric.name, own
    return INSTEAD, mean_average_precision.by_class(p, targets)


def chart(frame: pd.DataFrame, name: str, table: str) -> Chart:
    """Return one bar per class."""
    made = plots.figure(plots.rows_height(len(frame), 18), yaxis={"autorange": "reversed"}, xaxis={"range": [0, 1]})
    made.add_bar(x=frame[name], y=list(range(len(frame))), orientation="h", marker={"color": plots.COLOURS[0]})
    names = [plots.text(c) for c in frame["Class"]]
    made.data[-1].update(text=names, textposition="none", customdata=None, showlegend=False)
    made.data[-1].hovertemplate = "%{text}: %{x:.4f}<extra></extra>"
    made.update_xaxes(title=name)
    made.update_yaxes(tickvals=list(range(len(frame))), ticktext=[plots.short(c) for c in frame["Class"]])
    worst = ", ".join(f"{row.Class} {row[2]:.2f}" for row in frame.head(3).itertuples())
    return Chart(made, f"{name} of {len(frame)} classes; the worst are {worst}.", f"{name} by class, {table}.")
