"""Files of label revisions: verdicts are written as rows, and as a table of decisions for people.

folds/<name>/<revision>.csv             clip_id, holdout, label, weight, source (+ class columns)
folds/<name>/<revision>.decisions.csv   one row per clip, the majority over its holdouts
folds/<name>/<revision>.json            parent, method, settings, inputs; written last
folds/<name>/decisions.csv              the decisions of the chosen revision, one confidence column per method
folds/<name>/chosen.json                the revision that `all` trained on last, and that `train` goes on with
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tonestack.base.files import file_hash, read_csv, read_json, write_csv, write_json
from tonestack.settings.data_config import CleanParams
from tonestack.tables.decisions import DECISIONS, DROP, KEEP, LEAVE, NOT_ASKED, RELABEL, Source, Verdict

import numpy as np
import pandas as pd

COLUMNS = ["clip_id", "holdout", "label", "weight", "source"]
CHOSEN = "chosen.json"
SHOWN = ["clip_id", "given_label", "verified", "proposed_label", "decision", "revision"]


def rows_of(
    table: pd.DataFrame, holdout: int, asked: np.ndarray, made: Verdict, classes: Sequence[str], params: CleanParams
) -> pd.DataFrame:
    """One holdout's rows. table: the folds table; asked: indices (n,) of the clips that `made` decides on.

    Soft verdicts give class columns and a row of full weight for every clip: the probabilities express the doubt.
    """
    clips = table.iloc[asked]
    verified = clips["verified"].to_numpy()
    kinds = {KEEP: Source.PROMOTED, RELABEL: Source.RELABELLED, LEAVE: Source.GIVEN}
    weights = {KEEP: 1.0, RELABEL: params.relabel_weight, LEAVE: params.leave_weight}
    decision = pd.Series(made.decision, index=clips.index)
    rows = pd.DataFrame(
        {
            "clip_id": clips["clip_id"],
            "holdout": holdout,
            "label": np.array(classes)[made.proposed],
            "weight": decision.map(weights).astype(float),
            "source": np.where(verified, Source.VERIFIED, decision.map(kinds)),
        }
    )
    if made.soft is not None:
        shares = pd.DataFrame(made.soft.round(6), columns=list(classes))
        every = rows.assign(weight=1.0, source=rows["source"].fillna(Source.GIVEN)).reset_index(drop=True)
        return pd.concat([every, shares], axis=1)
    return rows[decision.isin(kinds).to_numpy()].reset_index(drop=True)


def decisions(
    table: pd.DataFrame, verdicts: dict[int, tuple[np.ndarray, Verdict]], classes: Sequence[str], column: str
) -> pd.DataFrame:
    """One row per clip: the majority decision of its holdouts, the majority label under it, the mean confidence.

    verdicts: by holdout, the indices (n,) of its clips in `table` and the verdict on them.
    """
    shape = (len(verdicts), len(table))
    word = np.full(shape, NOT_ASKED, dtype=object)
    label = np.full(shape, -1)
    confidence = np.full(shape, np.nan)
    for i, (asked, made) in enumerate(verdicts.values()):
        word[i, asked], label[i, asked], confidence[i, asked] = made.decision, made.proposed, made.confidence
    votes = np.stack([(word == name).sum(axis=0) for name in DECISIONS])  # (4, N)
    decided = np.array(DECISIONS, dtype=object)[votes.argmax(axis=0)]
    given = pd.Index(list(classes)).get_indexer(pd.Index(table["label"]))
    proposed = [_majority(label[word[:, n] == decided[n], n], given[n]) for n in range(len(table))]
    return pd.DataFrame(
        {
            "clip_id": table["clip_id"],
            "given_label": table["label"],
            "verified": table["verified"].astype(int),
            "proposed_label": np.array(classes)[proposed],
            "decision": decided,
            column: np.nanmean(confidence, axis=0).round(6),
        }
    )


def _majority(labels: np.ndarray, otherwise: int) -> int:
    return int(np.bincount(labels).argmax()) if len(labels) else int(otherwise)


def up_to_date(folder: Path, revision: str, inputs: dict[str, Any]) -> bool:
    """True if the revision was made from exactly these inputs."""
    path = folder / f"{revision}.json"
    return path.is_file() and (folder / f"{revision}.csv").is_file() and read_json(path).get("inputs") == inputs


def write(folder: Path, revision: str, rows: pd.DataFrame, decided: pd.DataFrame, receipt: dict[str, Any]) -> None:
    """Write a revision's three files, the json last."""
    path = folder / f"{revision}.json"
    path.unlink(missing_ok=True)  # an old receipt must not stand beside new rows
    write_csv(folder / f"{revision}.csv", rows)
    write_csv(folder / f"{revision}.decisions.csv", decided)
    write_json(path, {"revision": revision} | receipt)


def choose(folder: Path, revision: str) -> None:
    """Store the revision that `train` uses by default."""
    write_json(folder / CHOSEN, {"revision": revision})


def chosen(folder: Path) -> str:
    """The revision that the pipeline chose last; r0 where it has not, or where its file is gone."""
    path = folder / CHOSEN
    name = str(read_json(path).get("revision", "r0")) if path.is_file() else "r0"
    return name if (folder / f"{name}.csv").is_file() else "r0"


def cross_fitted(folder: Path, revision: str) -> bool:
    """True if the revision's test clips may be predicted only by models that were not trained on them."""
    path = folder / f"{revision}.json"
    return path.is_file() and bool(read_json(path).get("settings", {}).get("cross_fit", False))


def content(folder: Path, revision: str) -> str:
    """Content hash of a revision's rows."""
    return file_hash(folder / f"{revision}.csv")


def read_decisions(folder: Path, revision: str) -> pd.DataFrame | None:
    """A revision's decisions; None for r0 and for revisions made elsewhere."""
    path = folder / f"{revision}.decisions.csv"
    text = ["clip_id", "given_label", "proposed_label", "decision"]
    return read_csv(path, text, text) if path.is_file() else None


def publish(folder: Path, revision: str) -> pd.DataFrame | None:
    """Write decisions.csv: the decisions of `revision` and every revision's confidence column; None for r0."""
    chosen = read_decisions(folder, revision)
    if chosen is None:
        return None
    chosen = chosen.assign(revision=revision)
    for path in sorted(folder.glob("*.decisions.csv")):
        other = read_decisions(folder, path.name.removesuffix(".decisions.csv"))
        if other is None or other["given_label"].tolist() != chosen["given_label"].tolist():
            continue  # of an older clip table
        new = [c for c in other.columns if c not in SHOWN and c not in chosen.columns]
        chosen = chosen.assign(**{c: other[c] for c in new})
    confidences = [c for c in chosen.columns if c not in SHOWN]
    chosen = chosen[[*SHOWN, *confidences]]
    write_csv(folder / "decisions.csv", chosen)
    return chosen


def group_table(decided: pd.DataFrame, groups: dict[str, list[str]]) -> pd.DataFrame:
    """The NTU report's table: by group of given labels, clips in all, verified, newly verified, and shares."""
    lines = [_line(name, decided[decided["given_label"].isin(names)]) for name, names in groups.items()]
    inside = {name for names in groups.values() for name in names}
    rest = decided[~decided["given_label"].isin(inside)]
    lines += [_line("other", rest)] if len(rest) else []
    return pd.DataFrame([*[line for line in lines if line["clips"]], _line("all", decided)])


def _line(name: str, clips: pd.DataFrame) -> dict[str, Any]:
    n = max(len(clips), 1)
    verified = int(clips["verified"].astype(int).sum())
    count = clips[clips["verified"].astype(int) == 0]["decision"].value_counts()
    new = int(count.get(KEEP, 0))
    return {
        "group": name,
        "clips": len(clips),
        "verified": verified,
        "share": round(verified / n, 4),
        "newly verified": new,
        "all verified": verified + new,
        "new share": round((verified + new) / n, 4),
        "relabelled": int(count.get(RELABEL, 0)),
        "dropped": int(count.get(DROP, 0)),
        "left": int(count.get(LEAVE, 0)),
    }
