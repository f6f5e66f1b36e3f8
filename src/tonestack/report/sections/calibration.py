"""Calibration of the probabilities: accuracy by confidence, and the expected calibration error."""

from tonestack.report import plots
from tonestack.report.blocks import Block, Chart
from tonestack.report.material import Material, PredictionTable

import numpy as np

TITLE, ORDER = "Calibration", 70

BINS = 10
TABLES = 4  # the table that the pages look into, and the best others
UNDER = "right more often than the model says"
LEAST = 5  # fewest clips in a bin that is drawn


def blocks(material: Material) -> list[Block]:
    """Return one reliability diagram of the best tables."""
    if not material.one_label or material.best is None:
        return []
    ranked = material.board.loc[material.board["cv"].notna(), "experiment"].astype(str)
    others = [name for name in ranked if name != material.best.name][: TABLES - 1]
    tables = [material.best, *(found for name in others if (found := material.predictions(name)))]
    tables = [table for table in tables if table.train.shape[1] > 1 and len(material.judged(table))]
    return [chart(material, tables)] if tables else []


def chart(material: Material, tables: list[PredictionTable]) -> Chart:
    """Accuracy over confidence; a point's size is its share of the clips."""
    made = plots.figure(420, xaxis={"title": "probability of the first choice", "range": [0, 1.02]})
    made.update_yaxes(title="share that is right", range=[0, 1.02])
    made.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", hoverinfo="skip")
    made.data[0].line = {"dash": "dot", "width": 1, "color": plots.COLOURS[-1]}
    said = []
    for table in tables:
        rows = material.judged(table)
        confidence, right, share = reliability(table.train[rows], material.targets[rows])
        error = float((share * np.abs(right - confidence)).sum())
        said.append(f"{table.name} {error:.3f}")
        drawn = share * len(rows) >= LEAST - 0.5
        name = plots.text(f"{table.name} ({error:.3f})")
        made.add_scatter(x=confidence[drawn], y=right[drawn], mode="lines+markers", name=name, text=share[drawn])
        made.data[-1].marker.size = 5 + 22 * np.sqrt(share[drawn])
        made.data[-1].hovertemplate = "says %{x:.2f}, right %{y:.2f}<br>%{text:.0%} of the clips"
    alt = f"Reliability diagram. Expected calibration error: {', '.join(said)}."
    return Chart(made, alt, f"In brackets the expected calibration error. Points over the diagonal: {UNDER}.")


def reliability(p: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean confidence, accuracy and share of the clips per non-empty bin of confidence."""
    best = p.max(axis=1)
    right = p.argmax(axis=1) == truth
    place = np.minimum((best * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    full = count > 0
    mean = [np.bincount(place, weights=w, minlength=BINS)[full] / count[full] for w in (best, right)]
    return mean[0], mean[1], count[full] / len(p)
