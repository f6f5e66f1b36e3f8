"""The tables of a label revision, made of a cleaning method's verdicts: training rows, decisions, counts by group.

The files themselves are written by `revision_files` and read by `labels.revisions`.
"""

from collections.abc import Sequence
from typing import Any

from tonestack.settings.data_config import CleanParams
from tonestack.tables.decisions import DECISIONS, DROP, KEEP, LEAVE, NOT_ASKED, RELABEL, Source, Verdict

import numpy as np
import pandas as pd


def rows_of(
    table: pd.DataFrame, holdout: int, asked: np.ndarray, made: Verdict, classes: Sequence[str], params: CleanParams
) -> pd.DataFrame:
    """Return one holdout's rows. table: the folds table; asked: indices (n,) of the clips that `made` decides on.

    Soft verdicts give class columns and every clip a row of full weight: the probabilities express the doubt.
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
    """Return one row per clip: the majority decision of its holdouts, its majority label, the mean confidence.

    verdicts: by holdout, the indices (n,) of its clips in `table` and their verdicts.
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


def group_table(decided: pd.DataFrame, groups: dict[str, list[str]]) -> pd.DataFrame:
    """Return the table of the NTU report: clips, verified, newly verified and shares, by group of given labels."""
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
