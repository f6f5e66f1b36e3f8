"""Plots of cleaning: clips in the plane before and after, pseudo-label rounds, the autoencoder."""

from pathlib import Path
from typing import Any

from tonestack.base.files import atomic
from tonestack.base.pictures import new_figure

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

MOST = 2000  # clips in a t-SNE picture; more are drawn at random
STEPS = 500  # of t-SNE: a picture to look at, not a result


def before_and_after(x: np.ndarray, decided: pd.DataFrame, groups: dict[str, list[str]], stem: Path) -> None:
    """Draw `<stem>-<group>.png` for each group: t-SNE of x (N, D), left by given label, right the kept clips.

    decided: a decisions table in the order of x.
    """
    inside = {name for names in groups.values() for name in names}
    rest = sorted(set(decided["given_label"]) - inside)
    for group, names in {**groups, "other" if groups else "all": rest}.items():
        rows = np.flatnonzero(decided["given_label"].isin(names).to_numpy() & np.isfinite(x).all(axis=1))
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
        if len(rows) >= 10:
            _one(plane(x[rows]), decided.iloc[rows], stem.with_name(f"{stem.name}-{group}.png"))


def plane(x: np.ndarray) -> np.ndarray:
    """Return t-SNE of (n, D) to (n, 2) (van der Maaten & Hinton 2008), after standardisation and PCA to at most 50."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    x = PCA(min(50, *x.shape), random_state=0).fit_transform(x)
    perplexity = min(30, (len(x) - 1) / 3)
    with threadpool_limits(1):  # threads wait for each other in every step, long on busy cores
        placed: np.ndarray = TSNE(perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0).fit_transform(x)
    return placed


def _one(xy: np.ndarray, decided: pd.DataFrame, path: Path) -> None:
    figure, axes = _figure(1, 2, (12, 5.5))
    used = decided["decision"].isin(["keep", "relabel"]).to_numpy()
    classes = sorted(set(decided["given_label"]) | set(decided["proposed_label"][used]))
    colours = _colours(len(classes))
    sides = (
        ("given labels", decided["given_label"], np.ones(len(decided), bool)),
        ("kept, relabelled and verified", decided["proposed_label"], used),
    )
    for axis, (title, label, shown) in zip(axes[0], sides, strict=True):
        axis.scatter(*xy[~shown].T, s=3, color="0.85")
        for name, colour in zip(classes, colours, strict=True):
            here = shown & (label == name).to_numpy()
            axis.scatter(*xy[here].T, s=6, color=colour, label=name)
        axis.set(title=title, xticks=[], yticks=[])
    axes[0][1].legend(fontsize=6, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def rounds(table: pd.DataFrame, path: Path) -> None:
    """Draw the rounds: clips used as bars, train and validation score as lines."""
    figure, axes = _figure(1, 1, (7, 4))
    axis = axes[0][0]
    axis.bar(table["round"], table["clips"], color="0.85")
    axis.set(xlabel="round", ylabel="clips used per holdout")
    scores = axis.twinx()
    scores.plot(table["round"], table["train"], "o--", label="train")
    scores.plot(table["round"], table["validation"], "o-", label="validation")
    scores.set(ylabel="score")
    scores.legend(loc="lower right")
    _save(figure, path)


def students(table: pd.DataFrame, path: Path) -> None:
    """Draw student rounds: the score on labelled clips with its standard error, and the labels found in the pool."""
    figure, axes = _figure(1, 1, (7, 4))
    axis = axes[0][0]
    axis.bar(table["round"], table["labels"].astype(float).fillna(0), color="0.85")
    axis.set(xlabel="round", ylabel="labels found in the pool per holdout", xticks=table["round"])
    scores = axis.twinx()
    scores.errorbar(table["round"], table["cv"], table["se"], fmt="o-", capsize=4)
    scores.set(ylabel="score")
    _save(figure, path)


def reconstructions(originals: np.ndarray, made: np.ndarray, path: Path) -> None:
    """Draw originals (n, 1, F, T) over their reconstructions."""
    figure, axes = _figure(2, len(originals), (2 * len(originals), 4.5))
    for column, pair in enumerate(zip(originals, made, strict=True)):
        for row, picture in enumerate(pair):
            axes[row][column].imshow(1 - picture[0], origin="lower", aspect="auto", vmin=0, vmax=1, cmap="magma")
            axes[row][column].set(xticks=[], yticks=[])
    axes[0][0].set_ylabel("original")
    axes[1][0].set_ylabel("reconstruction")
    _save(figure, path)


def loss_curve(history: pd.DataFrame, path: Path) -> None:
    """Draw `loss` and `inner_loss` by epoch on a logarithmic scale."""
    figure, axes = _figure(1, 1, (6, 4))
    for column, name in (("loss", "training clips"), ("inner_loss", "held-out clips")):
        axes[0][0].semilogy(history["epoch"], history[column], label=name)
    axes[0][0].set(xlabel="epoch", ylabel="mean squared error")
    axes[0][0].legend()
    _save(figure, path)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Return a figure without a window or global state."""
    figure = new_figure(*size)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["gist_ncar"](i / max(count, 2)) for i in range(count)]


def _save(figure: Any, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
