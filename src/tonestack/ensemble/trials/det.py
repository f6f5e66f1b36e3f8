"""DET plots: misses over false acceptances, on axes where normal scores give straight lines (Martin et al. 1997)."""

from pathlib import Path

from tonestack.base.files import atomic
from tonestack.base.pictures import new_figure
from tonestack.tables import metrics
from tonestack.tables.error_rates import error_rates

import numpy as np
from scipy.stats import norm

TICKS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
SPAN = (0.0005, 0.9)


def draw(path: Path, scores: dict[str, np.ndarray], same: np.ndarray) -> Path:
    """Draw one curve per table of scores (N, 1), trials with same (N,) 1 or 0; EERs stand in the legend."""
    figure = new_figure(6.5, 6)
    axes = figure.add_subplot()
    eer = metrics.resolve("eer")
    for name, values in scores.items():
        false_acceptance, miss = (norm.ppf(np.clip(rate, *SPAN)) for rate in error_rates(values, same))
        axes.plot(false_acceptance, miss, lw=1.5, label=f"{name}: EER {100 * float(eer(values, same)):.2f} %")
    ends = norm.ppf(SPAN)
    axes.plot(ends, ends, color="0.7", lw=0.8, ls="--")
    axes.set(xlim=ends, ylim=ends, xlabel="false acceptances, %", ylabel="misses, %", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(norm.ppf(TICKS), [f"{100 * tick:g}" for tick in TICKS])
    axes.grid(color="0.9")
    axes.legend(fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path
