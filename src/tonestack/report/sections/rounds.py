"""Pseudo-label rounds: the scheduled threshold, the clips that pass it, and the rounds' scores."""

from tonestack.report import plots
from tonestack.report.blocks import Block, Chart, More, TableBlock
from tonestack.report.material import Material

import pandas as pd

TITLE, ORDER = "Pseudo-label rounds", 100


def blocks(material: Material) -> list[Block]:
    """The schedule, the scores, and the table of the rounds."""
    table = material.csv(material.folder / "pseudo.csv")
    if table is None:
        return []
    return [
        schedule(table),
        scores(material, table),
        More("The rounds as a table", [TableBlock.of("Pseudo-label rounds", table)]),
    ]


def schedule(table: pd.DataFrame) -> Chart:
    """Clips used as bars, the bounds as lines over them."""
    made = plots.figure(360, xaxis={"title": "round", "dtick": 1}, yaxis={"title": "clips a holdout"}, barmode="stack")
    made.update_layout(
        yaxis2={"title": "probability", "overlaying": "y", "side": "right", "range": [0, 1.02], "automargin": True}
    )
    made.update_layout(yaxis2_showgrid=False)
    labelled = table["pseudo train"] + table["pseudo test"]
    bars = {"labels as they were": table["clips"] - labelled, "train clips labelled": table["pseudo train"]}
    for number, (name, count) in enumerate((bars | {"test clips labelled": table["pseudo test"]}).items()):
        made.add_bar(
            x=table["round"],
            y=count.clip(lower=0),
            name=name,
            opacity=0.6,
            marker={"color": plots.COLOURS[-1 - number]},
        )
    for name in ("lower", "upper"):
        made.add_scatter(x=table["round"], y=table[name], yaxis="y2", name=f"{name} bound", mode="lines+markers")
        made.data[-1].line = {"color": plots.COLOURS[0 if name == "lower" else 1], "width": 2}
    last = table.iloc[-1]
    alt = f"{len(table) - 1} rounds; the lower bound ends at {last['lower']}, {labelled.iloc[-1]} clips labelled then."
    return Chart(made, alt, "The threshold's schedule against the clips used.")


def scores(material: Material, table: pd.DataFrame) -> Chart:
    """Return the scores on the training clips and on verified held-out clips."""
    made = plots.figure(300, xaxis={"title": "round", "dtick": 1}, yaxis={"title": material.metric.name})
    for name, said in (("train", "clips learnt from"), ("validation", "held-out verified clips")):
        if table[name].notna().any():
            made.add_scatter(x=table["round"], y=table[name], mode="lines+markers", name=said)
    values = ", ".join(f"round {r.round}: {r.validation:.4f}" for r in table.itertuples())
    return Chart(made, f"{material.metric.name} on held-out verified clips: {values}.", "Scores of the rounds.")
