"""Per-group models joined by a gate: p(class) = p(group) p(class | group).

A group's model is an ordinary experiment, trained on a label revision of the group's clips alone. The gate is a model
of all classes (its mass on a group's classes), or one trained to tell the groups (on a revision whose soft labels are
even within each group). All models of fold k are trained without fold k, and so is the joined table.
"""

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import fingerprint, read_json, write_csv, write_json
from tonestack.ensemble.tables import Tables
from tonestack.labels.label_tables import LabelTables
from tonestack.tables.oof import FLOOR

import numpy as np
import pandas as pd

Groups = dict[str, list[str]]  # group -> its classes
GATE = "gate"  # revision of the network that tells the groups


def checked(groups: dict[str, Groups], name: str, classes: tuple[str, ...]) -> Groups:
    """Return the grouping `name`, without classes that this data set lacks; each class must be in exactly one group."""
    if name not in groups:
        raise UserError(f"the data config has no grouping '{name}' below groups:{nearest(name, groups)}")
    present = {group: [c for c in members if c in classes] for group, members in groups[name].items()}
    named = [c for members in present.values() for c in members]
    wrong = [c for c in named if named.count(c) > 1] + [c for c in classes if c not in named]
    if wrong:
        raise UserError(f"groups.{name}: class '{wrong[0]}' is in two groups or in none")
    return {group: members for group, members in present.items() if members}


def write_revisions(
    labels: LabelTables, name: str, groups: Groups, classes: tuple[str, ...], parent: str = "r0"
) -> None:
    """Write the revisions `<name>-<group>` and `<name>-gate` from a parent revision, where they are not up to date."""
    rows = labels.revision(parent)
    content = fingerprint([list(rows.columns), rows.astype(str).to_numpy().tolist()])
    for group in (*groups, GATE):
        path = labels.folder / f"{name}-{group}.csv"
        receipt = {"parent": parent, "method": "groups", "groups": groups, "group": group, "rows": content}
        known = path.with_suffix(".json")
        if path.is_file() and known.is_file() and read_json(known) == receipt:
            continue
        known.unlink(missing_ok=True)  # an old receipt must not stand beside new rows
        write_csv(path, _soft(rows, groups, classes) if group == GATE else rows[rows["label"].isin(groups[group])])
        write_json(known, receipt)


def _soft(rows: pd.DataFrame, groups: Groups, classes: tuple[str, ...]) -> pd.DataFrame:
    """Rows whose targets are even over the classes of the label's group."""
    even = {c: np.isin(classes, members) / len(members) for members in groups.values() for c in members}
    targets = np.stack([even[label] for label in rows["label"]]).astype(np.float32)
    return pd.concat([rows, pd.DataFrame(targets, columns=list(classes), index=rows.index)], axis=1)


def join(gate: np.ndarray, by_group: dict[str, np.ndarray], groups: Groups, classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (..., C) from the gate's (..., C) and every group's model's (..., C)."""
    result = np.empty_like(gate)
    for group, members in groups.items():
        columns = np.flatnonzero(np.isin(classes, members))
        within = np.maximum(by_group[group][..., columns], np.float32(FLOOR))
        mass = gate[..., columns].sum(axis=-1, keepdims=True)
        result[..., columns] = mass * within / within.sum(axis=-1, keepdims=True)
    joined: np.ndarray = result / result.sum(axis=-1, keepdims=True)
    return joined


def write_joined(tables: Tables, name: str, gate: str, by_group: dict[str, str], groups: Groups) -> None:
    """Join prediction tables into the table `name`, OOF and every test fold alike."""
    of = {group: tables.read(table) for group, table in by_group.items()}
    whole = tables.read(gate)
    tests = [t.test for t in (whole, *of.values())]
    test = None
    if whole.test is not None and all(t is not None for t in tests):
        test = join(whole.test, {g: t.test for g, t in of.items() if t.test is not None}, groups, tables.classes)
    rows = join(tables.oof(gate), {g: tables.oof(t) for g, t in by_group.items()}, groups, tables.classes)
    tables.write(name, rows, test, {"kind": "gate", "gate": gate, "tables": by_group, "groups": groups})
