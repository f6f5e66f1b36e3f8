"""Votes of few-shot voice matching: the number of random crops in which a candidate matched a query best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack.base.files import atomic, read_json
from tonestack.base.pictures import new_figure
from tonestack.base.section import Section
from tonestack.tables import oof

import numpy as np
import pandas as pd
from pydantic import Field

PRIOR = 0.5  # votes that every candidate starts with, so that none is impossible
FILE = "votes.csv"
COLUMNS = ["query", "candidate", "count"]
SHOWN = 24  # queries in one picture


class VoteParams(Section):
    """Settings of the vote on a query."""

    crops: int = Field(1000, ge=1, description="crops of the query, each compared with a crop of every candidate")
    references: int = Field(1, ge=1, description="crops of a candidate in one comparison; their mean logit counts")
    batch_size: int = Field(64, ge=1, description="pairs per batch")


def shares(counts: np.ndarray) -> np.ndarray:
    """Vote shares (Q, N) of counts (Q, N), none of them 0; rows sum to 1."""
    return (counts + PRIOR) / (counts.sum(axis=1, keepdims=True) + PRIOR * counts.shape[1])


def counts(shares: np.ndarray, crops: int) -> np.ndarray:
    """Undo `shares`: whole votes (Q, N), `crops` per row."""
    return np.rint(shares * (crops + PRIOR * shares.shape[1]) - PRIOR).astype(int)


def of_folder(folder: Path, queries: Sequence[str], candidates: Sequence[str]) -> pd.DataFrame:
    """Votes (`query, candidate, count`) on the clips to recognise, summed over the networks of all finished folds."""
    total = np.zeros((len(queries), len(candidates)), dtype=int)
    for receipt in oof.receipts(folder).values():
        table = pd.read_parquet(receipt.with_suffix(".parquet"))
        rows = table[table["part"] == "test"].set_index("clip_id")
        crops = int(read_json(receipt, {"config": dict})["config"]["network"]["vote"]["crops"])
        total += counts(rows.loc[list(queries), list(candidates)].to_numpy(np.float64), crops)
    return long(total, queries, candidates)


def long(counts: np.ndarray, queries: Sequence[str], candidates: Sequence[str]) -> pd.DataFrame:
    """Counts (Q, N) as rows `query, candidate, count`."""
    rows = [
        (q, c, int(n)) for q, row in zip(queries, counts, strict=True) for c, n in zip(candidates, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """Rows `query, candidate, count` as one row per query, one column per candidate, in their order."""
    candidates, queries = table["candidate"].unique(), table["query"].unique()
    return table.pivot(index="query", columns="candidate", values="count").loc[queries, candidates]


def are_in(folder: Path) -> bool:
    """True if the folder's tables hold votes: its network has a section `vote`."""
    receipts = oof.receipts(folder).values()
    return any("vote" in read_json(path, {"config": dict})["config"]["network"] for path in receipts)


def rendered(table: pd.DataFrame, truth: dict[str, str]) -> list[dict[str, str]]:
    """One line per query: the best candidate, its share of the votes, and right or wrong where known."""
    lines = []
    for query, row in wide(table).iterrows():
        best = row.sort_values(ascending=False, kind="stable")
        known = truth.get(str(query))
        line = {"query": str(query), "taken for": str(best.index[0]), "votes": f"{best.iloc[0]} of {best.sum()}"}
        if len(best) > 1:
            line["next"] = f"{best.index[1]} {best.iloc[1]}"
        lines.append(line | ({"": "right" if best.index[0] == known else f"wrong: {known}"} if known else {"": ""}))
    return lines


def draw(path: Path, table: pd.DataFrame, truth: dict[str, str]) -> Path:
    """Draw the occurrences of every query as bars, the true voice in red; at most `SHOWN` queries."""
    shown = wide(table).iloc[:SHOWN]
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    figure = new_figure(4 * across, 0.6 + 2.4 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, (query, row) in zip(axes.flat, shown.iterrows(), strict=False):
        colours = ["tab:red" if name == truth.get(str(query)) else "tab:blue" for name in shown.columns]
        _bars(axis, str(query), row, colours)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return path


def _bars(axis: Any, query: str, row: pd.Series, colours: list[str]) -> None:
    places = np.arange(len(row))
    axis.bar(places, row.to_numpy(), color=colours)
    axis.set_title(query.replace("$", r"\$"), fontsize=9)
    axis.set_xticks(places, [str(name).replace("$", r"\$") for name in row.index], rotation=60, fontsize=7)
    axis.set_ylabel("occurrences", fontsize=7)
    axis.tick_params(axis="y", labelsize=7)
