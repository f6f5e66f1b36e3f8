"""The clips in the plane, coloured by label, each playable: t-SNE of a sample and PCA of all."""

from typing import Any

from tonestack.base.files import array_hash, fingerprint, write_array
from tonestack.ensemble import clip_components
from tonestack.report import plots
from tonestack.report.blocks import Block, Chart, Finder, Tabs, Text
from tonestack.report.material import Material

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

TITLE, ORDER = "Map of the clips", 80

STEPS = 500  # of t-SNE: a map to look at, not a result
FOLDS = (
    "Every fold's clips are predicted by networks that have not heard them, another one for each fold: where a label "
    "has several islands in the map of probabilities, they may be the folds and no kinds of sounds."
)
NOTHING = "nothing"  # the name of clips in which no class is there


def blocks(material: Material) -> list[Block]:
    """Return one tab per map, and a field that finds clips."""
    spaces = {}
    if material.best is not None and material.best.train.shape[1] > 2:
        spaces["probabilities"] = np.sqrt(material.best.every)  # their distances are Hellinger's
    statistics = clip_components.known(material.call, material.clips["clip_id"].tolist())
    if statistics is not None:
        spaces["clip statistics"] = statistics
    tabs: dict[str, Block] = {}
    for name, x in spaces.items():
        rows = np.flatnonzero(np.isfinite(x).all(axis=1) & (x != 0).any(axis=1))
        sample = np.sort(np.random.default_rng(0).permutation(rows)[: material.params.map_clips])
        if len(sample) >= 10:
            tabs[f"{name}, t-SNE"] = chart(material, sample, tsne(material, x[sample]), f"t-SNE of {name}")
            tabs[f"{name}, PCA"] = chart(material, rows, components(x[rows], 2), f"PCA of {name}")
    folds = [Text(FOLDS)] if "probabilities" in spaces and material.folds["fold"].nunique() > 1 else []
    return [*folds, Tabs("Maps of the clips", tabs), Finder()] if tabs else []


def tsne(material: Material, x: np.ndarray) -> np.ndarray:
    """t-SNE (n, 2) (van der Maaten & Hinton 2008) of x (n, D), kept in the cache."""
    path = material.call.cache / "report" / f"tsne-{fingerprint([array_hash(x), STEPS])}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    low = components(x, 30)
    perplexity = min(30, (len(x) - 1) / 3)
    with threadpool_limits(1):  # threads wait for each other in every step, long on busy cores
        placed: np.ndarray = TSNE(perplexity=perplexity, init="pca", max_iter=STEPS, random_state=0).fit_transform(low)
    write_array(path, placed)
    return placed


def components(x: np.ndarray, count: int) -> np.ndarray:
    """The first principal components of x (n, D)."""
    found: np.ndarray = PCA(min(count, *x.shape), random_state=0).fit_transform(x)
    return found


def chart(material: Material, rows: np.ndarray, xy: np.ndarray, name: str) -> Chart:
    """One trace per label; clips of the test set are grey, unverified ones faint."""
    clips = material.clips.iloc[rows].reset_index(drop=True)
    size = 7 if len(rows) <= 1500 else 5
    made = plots.figure(620, legend={"orientation": "v", "x": 1.0, "y": 1.0, "yanchor": "top", "xanchor": "left"})
    for axis in (made.update_xaxes, made.update_yaxes):
        axis(showticklabels=False, showgrid=False, zeroline=False, ticks="")
    hover = [_hover(row) for row in clips.itertuples()]
    test = clips["part"] == "test"
    labels = sorted(set(clips["label"][~test]))
    tests = [(-1, "")] if test.any() else []
    for number, label in [*tests, *enumerate(labels)]:  # drawn first, so below the others
        here = np.flatnonzero(test if number < 0 else (clips["label"] == label) & ~test)
        colour, symbol = plots.colour_and_symbol(number) if number >= 0 else (plots.COLOURS[-1], "circle")
        opacity = np.where(clips["verified"].to_numpy(bool)[here], 0.95, 0.5) if number >= 0 else 0.25
        made.add_scatter(x=xy[here, 0].round(3), y=xy[here, 1].round(3), mode="markers", customdata=rows[here])
        made.data[-1].update(
            name=plots.short(label or ("test clips" if number < 0 else NOTHING)),
            text=[hover[i] for i in here],
            hoverinfo="text",
        )
        made.data[-1].marker = {"color": colour, "symbol": symbol, "size": size, "opacity": opacity}
    some = "" if len(rows) == len(material.clips) else f", {len(rows):,} of {len(material.clips):,} drawn at random"
    alt = f"{name}: {len(rows):,} clips coloured by {len(labels)} labels. The field below finds and plays single clips."
    return Chart(made, alt, f"{name}{some}. A click plays a clip; faint ones are unverified, grey ones the test set.")


def _hover(row: Any) -> str:
    state = "verified" if row.verified else "unverified"
    said = "test clip" if row.part == "test" else f"{plots.text(row.label or NOTHING)}, {state}"
    return f"{plots.text(row.clip_id)}<br>{said}"
