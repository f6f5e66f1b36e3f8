"""The members of the blend: weights, gains, correlation of their errors."""

from tonestack.base.files import read_json
from tonestack.report import plots
from tonestack.report.blocks import Block, Chart, TableBlock
from tonestack.report.material import Material

import numpy as np
import pandas as pd

TITLE, ORDER = "Ensemble", 30

HEADS = {
    "experiment": "Table",
    "log_loss": "Log loss",
    "weight": "Weight",
    "leave_one_out": "Mean without it",
    "gain": "Gain",
    "mean_error_correlation": "Error correlation",
}


def blocks(material: Material) -> list[Block]:
    """Weights as bars, error correlation as a heat map, both as a table."""
    folder = material.call.submissions
    table = material.csv(folder / "diversity.csv", HEADS)
    alike = material.csv(folder / "error_correlation.csv", ["experiment"])
    shown: list[Block] = [] if table is None else [weights(material, table), members(table)]
    return shown + ([] if alike is None or len(alike) < 2 else [correlation(alike)])


def weights(material: Material, table: pd.DataFrame) -> Chart:
    """The chosen blend's weights."""
    path = material.call.submissions / "blend.json"
    receipt = read_json(path) if path.is_file() else {}
    ranked = table.sort_values("weight", ascending=False)
    made = plots.figure(plots.rows_height(len(ranked)), yaxis={"autorange": "reversed"}, xaxis={"title": "weight"})
    made.add_bar(x=ranked["weight"], y=[plots.short(n) for n in ranked["experiment"]], orientation="h")
    made.data[0].update(hovertemplate="%{y}: %{x:.3f}<extra></extra>", showlegend=False)
    said = f"Blend '{receipt.get('search', '?')}'"
    if isinstance(receipt.get("cv"), float):
        said += f", nested CV {receipt['cv']:.4f} ± {receipt.get('cv_se', float('nan')):.4f}"
    heaviest = ", ".join(f"{r.experiment} {r.weight:.2f}" for r in ranked.head(3).itertuples())
    return Chart(made, f"{said}. The largest weights: {heaviest}.", f"{said}: weights of its tables.")


def members(table: pd.DataFrame) -> TableBlock:
    """Return each table's score, weight, and gain: the loss of the equal-weights mean without it."""
    frame = table.rename(columns=HEADS).sort_values("Gain", ascending=False)
    return TableBlock.of(
        "Members of the blend; the gain is that of the mean of all tables over the mean without it", frame
    )


def correlation(alike: pd.DataFrame) -> Chart:
    """Return the correlation of the tables' errors."""
    names = alike["experiment"].astype(str).tolist()
    values = alike.drop(columns="experiment").to_numpy(float)
    made = plots.heat(values, names, names, plots.DIVERGING, zmin=-1, zmax=1, colorbar={"thickness": 12})
    hover = [[f"{plots.text(a)}<br>{plots.text(b)}<br>{v:.2f}" for b, v in zip(names, row, strict=True)]
             for a, row in zip(names, values, strict=True)]  # fmt: skip
    made.data[0].update(hovertext=hover, hoverinfo="text", xgap=1, ygap=1)
    apart = values[~np.eye(len(values), dtype=bool)]
    alt = f"Correlation of errors of {len(names)} tables, from {apart.min():.2f} to {apart.max():.2f}."
    return Chart(made, alt, "Correlation of the tables' errors (1 - probability of the true class): low is good.")
