"""Plots of the difference between sets of clips."""

from pathlib import Path

from tonestack.base.files import atomic
from tonestack.base.pictures import new_figure
from tonestack.studies.shift.adversarial import Comparison

import numpy as np


def draw(found: dict[str, tuple[Comparison, np.ndarray]], profiles: dict[str, np.ndarray], path: Path) -> None:
    """Write a png: ROC curves on the left, the sets' mean spectra on the right.

    found: comparison, and mask of the second set's clips, by name. profiles: (2, F), centres of the bands in Hz and
    their mean level in dB, by set.
    """
    figure = new_figure(11, 4.5)
    curves, spectra = figure.subplots(1, 2)
    for name, (comparison, second) in found.items():
        label = f"{name}: {comparison.auc:.3f} [{comparison.low:.3f}, {comparison.high:.3f}]"
        curves.plot(*roc(comparison.scores, second), label=label)
    curves.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    curves.set(
        xlabel="share of the first set taken for the second", ylabel="share of the second set found", aspect="equal"
    )
    curves.set_title("can the sets be told apart? (area, 95 %)", fontsize=10)
    curves.legend(fontsize=7, loc="lower right")
    for name, (hertz, level) in profiles.items():
        spectra.semilogx(hertz, level, label=name)
    spectra.set(xlabel="frequency, Hz", ylabel="mean level, dB")
    spectra.set_title("mean spectra", fontsize=10)
    spectra.legend(fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def roc(scores: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC curve of scores (N,): false and true positive shares, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([[0], np.cumsum(second[order])])
    misses = np.concatenate([[0], np.cumsum(~second[order])])
    return misses / max(misses[-1], 1), hits / max(hits[-1], 1)
