"""Label spreading (Zhou et al. 2004) from verified to unverified clips, inside each group of classes.

There are two kernels: scikit-learn's `rbf` with the parameters of the NTU report (dense: for groups of up to some ten
thousand clips) and `knn`, our sparse graph, for any number. A clip whose spread label is its given one is promoted.
Features are standardised and divided by the root of their number: the distance of two clips is always about 1.4.
The spreading itself is in `cleaning.spreading`.
"""

from typing import Literal

from tonestack.base.section import Section
from tonestack.cleaning.methods import Evidence, verdict
from tonestack.cleaning.spreading import knn_graph, spread
from tonestack.tables.decisions import Verdict

import numpy as np
from pydantic import Field

NEEDS = "embedding"


class Params(Section):
    """Kernel and rates of the NTU report; `pca` 0 keeps all dimensions."""

    kernel: Literal["knn", "rbf"] = Field(
        "knn", description="weights of the graph's edges: k nearest neighbours, or a Gaussian of the distance"
    )
    gamma: float = Field(20.0, gt=0, description="gamma of the kernel rbf")
    neighbours: int = Field(10, ge=1, description="neighbours of the kernel knn")
    alpha: float = Field(0.2, gt=0, lt=1, description="share of a clip's label that comes from its neighbours")
    max_iter: int = Field(100_000, ge=1, description="most iterations")
    tol: float = Field(1e-3, gt=0, description="iterations stop when labels change by less than this")
    standardise: bool = Field(True, description="scale every dimension of the embedding to unit variance first")
    pca: int = Field(0, ge=0, description="principal components kept before spreading; 0: all dimensions")
    relabel: float | None = Field(None, ge=0, le=1, description="least share of another label; none: never")
    drop: float | None = Field(None, ge=0, le=1, description="least share of another label; none: never")


def decide(evidence: Evidence, params: Params) -> Verdict:
    """Promote where spread and given label agree; relabel or drop where another label's share is high."""
    share = spread_in_groups(evidence, params)
    rows = np.arange(len(share))
    confidence, proposed = share[rows, evidence.given], share.argmax(axis=1)
    best = share[rows, proposed]
    keep = (proposed == evidence.given) & (best > 0)
    never = np.zeros(len(rows), bool)
    relabel = never if params.relabel is None else (best >= params.relabel) & ~keep
    made = verdict(evidence, keep, proposed, confidence, relabel, "leave")
    if params.drop is not None:
        made.decision[(made.decision == "leave") & (best >= params.drop)] = "drop"
    return made


def spread_in_groups(evidence: Evidence, params: Params) -> np.ndarray:
    """Return shares (n, C) of every class, each clip within the group of its given label; zeros without audio."""
    x = evidence.embedded()
    usable = np.isfinite(x).all(axis=1)
    labels = np.where(evidence.verified | evidence.promoted, evidence.given, -1)
    share = np.zeros((len(x), len(evidence.group_of)), np.float32)
    for group in np.unique(evidence.group):
        rows = np.flatnonzero((evidence.group == group) & usable)
        if len(rows) > 1 and (labels[rows] >= 0).any():
            share[rows] = _spread(prepared(x[rows], params), labels[rows], share.shape[1], params)
    return share


def prepared(x: np.ndarray, params: Params) -> np.ndarray:
    """Standardise and reduce (n, D) -> (n, D'), scaled so that squared distances are about 2."""
    if params.standardise:
        x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    if params.pca and params.pca < min(x.shape):
        from sklearn.decomposition import PCA

        x = PCA(params.pca, random_state=0).fit_transform(x)
        x = x / max(float(x.std()), 1e-9)
    return x / np.sqrt(x.shape[1]) if params.standardise or params.pca else x


def _spread(x: np.ndarray, labels: np.ndarray, n_classes: int, params: Params) -> np.ndarray:
    if params.kernel == "knn":
        return spread(knn_graph(x, params.neighbours), labels, n_classes, params.alpha, params.tol, params.max_iter)
    from sklearn.semi_supervised import LabelSpreading

    rates = {"alpha": params.alpha, "max_iter": params.max_iter, "tol": params.tol}
    model = LabelSpreading(kernel="rbf", gamma=params.gamma, **rates)
    with np.errstate(divide="ignore", invalid="ignore"):  # a clip too far from all others divides 0 by 0
        model.fit(x, labels)
    share = np.zeros((len(x), n_classes), np.float32)
    share[:, model.classes_] = np.nan_to_num(model.label_distributions_)
    return share
