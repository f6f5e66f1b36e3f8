"""The leaderboard: the nested or plain CV of every table, and its test scores if `score` has recorded them."""

from pathlib import Path
from typing import Any

from tonestack.base.console import aligned
from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, fingerprint, read_json, write_csv, write_json
from tonestack.config.call import Call
from tonestack.ensemble import nested_cv
from tonestack.ensemble.tables import Tables
from tonestack.tables import oof
from tonestack.tables.metrics import resolve

import numpy as np
import pandas as pd

COLUMNS = ["experiment", "cv", "cv_se", "public", "private", "seconds", "params"]
SCORES = "scores.json"  # beside the leaderboard: what `score` found, keyed by table and its content


def update(call: Call) -> pd.DataFrame:
    """Write `oof/<name>/leaderboard.csv` from the tables that are complete; return it, best CV first."""
    names = oof.experiments(call.oof, made=True)
    if not names:
        return pd.DataFrame(columns=COLUMNS)
    recorded = recorded_scores(call)
    columns = [*COLUMNS[:3], *call.data.more_metrics, *_apart(call), *COLUMNS[3:]]
    table = pd.DataFrame([r for n in names if (r := _row(call, n, recorded)) is not None], columns=columns)
    metric_up = resolve(call.data.metric).greater_is_better
    table = table.sort_values(["cv", "experiment"], ascending=[not metric_up, True], na_position="last")
    table = table.reset_index(drop=True)
    write_csv(call.oof / "leaderboard.csv", table)
    return table


def _row(call: Call, name: str, recorded: dict[str, Any]) -> dict[str, Any] | None:
    """Return the row of one table; None if the table is not complete yet."""
    tables = Tables.of(call, [name])
    try:
        predictions = tables.read(name)
    except (UserError, FileNotFoundError):  # not finished, or another process is making it anew
        return None
    cv, cv_se, more = np.nan, np.nan, dict.fromkeys(call.data.more_metrics, np.nan)
    if predictions.oof is not None:
        problem = tables.problem()
        cv, cv_se = nested_cv.score(
            problem.metric,
            problem.decided(problem.tables[0]),
            problem.targets,
            call.data.blend.bootstrap,
            problem.groups,
        )
        more = {name: problem.value(name, problem.tables[0]) for name in more}
        more |= dict.fromkeys(_apart(call), _on_unverified(tables, predictions.oof))
    seconds = [float(m["seconds"]) for m in predictions.meta if isinstance(m.get("seconds"), int | float)]
    total = max if predictions.kind in oof.MADE else sum  # the receipts of a made table all have its whole time
    params = [m["params"] for m in predictions.meta if isinstance(m.get("params"), int)]
    known = recorded.get(name, {})
    found = known if known.get("content") == content(call.oof / name) else {}
    return {
        "experiment": name,
        "cv": cv,
        "cv_se": cv_se,
        **more,
        "public": found.get("public"),
        "private": found.get("private"),
        "seconds": total(seconds) if seconds else None,
        "params": params[0] if params else None,
    }


def _apart(call: Call) -> list[str]:
    """The column of the metric on unverified clips, where the competition has them apart."""
    name = call.competition().unverified
    return [f"{name} {call.data.metric}"] if name else []


def _on_unverified(tables: Tables, rows: np.ndarray) -> float:
    """The metric on the unverified clips that a table has rows (N, C) of; NaN if there is none."""
    counted = ~tables.folds["verified"].to_numpy(dtype=bool) & (tables.fold >= 0) & np.isfinite(rows).all(axis=1)
    if not counted.any():
        return float("nan")
    decided = rows if tables.thresholds is None else tables.thresholds.move(rows, tables.limits(rows))
    return float(resolve(tables.metric)(decided[counted], tables.targets[counted]))


def content(folder: Path) -> str:
    """Fingerprint of a table's files, so that a score of an older table is not taken for the new one's."""
    files = oof.receipts(folder).values() or sorted(f for f in folder.glob("[!.]*") if f.is_file())
    return fingerprint([file_hash(f) for f in files])


def recorded_scores(call: Call) -> dict[str, Any]:
    """Return the test scores that `score` has recorded, by table."""
    path = call.oof / SCORES
    return dict(read_json(path)) if path.is_file() else {}


def record(call: Call, scores: dict[str, dict[str, float]]) -> None:
    """Add test scores of tables and files to the record."""
    found = recorded_scores(call)
    for name, values in scores.items():
        plain = {k: None if np.isnan(v) else v for k, v in values.items()}
        folder = call.oof / name
        found[name] = {"content": content(folder), **plain} if folder.is_dir() else plain
    write_json(call.oof / SCORES, found)


def render(table: pd.DataFrame) -> str:
    """The leaderboard as aligned text."""
    if table.empty:
        return "no finished experiment yet"
    shown = pd.DataFrame({"experiment": table["experiment"]})
    shown["cv ± se"] = [_pm(c, s) for c, s in zip(table["cv"], table["cv_se"], strict=True)]
    for column in [c for c in table.columns if c not in ("experiment", "cv", "cv_se", "seconds", "params")]:
        shown[column] = [_number(v) for v in table[column]]
    shown["seconds"] = ["" if pd.isna(v) else f"{v:,.0f}" for v in table["seconds"]]
    shown["params"] = ["" if pd.isna(v) else f"{int(v):,}" for v in table["params"]]
    return aligned(shown)


def standing(private: float, published: pd.DataFrame) -> str:
    """Return the rank of a private score among published ones (`system, public, private`), in words."""
    ranked = published.dropna(subset=["private"]).sort_values("private", ascending=False)
    above, below = ranked[ranked["private"] > private], ranked[ranked["private"] <= private]
    upper = (
        f"below {above['system'].iloc[-1]} ({above['private'].iloc[-1]:.4f})" if len(above) else "above all published"
    )
    lower = f", not below {below['system'].iloc[0]} ({below['private'].iloc[0]:.4f})" if len(below) else ""
    return f"{private:.4f}: place {len(above) + 1} of {len(ranked) + 1}, {upper}{lower}"


def _number(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.4f}"


def _pm(value: Any, error: Any) -> str:
    return "" if pd.isna(value) else f"{value:.4f} ± {error:.4f}"
