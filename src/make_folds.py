"""Split the training clips into folds: stratified by label × verified, grouped, official folds honoured.

Takes the clip table and, where recordings have been decoded, which clips hold the same audio.
Leaves folds/<name>/r0.csv (clip_id, label, verified, group, fold) and r0.json; for verification also trials.csv.
"""

from typing import Any

from tonestack import cli
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import claimed, fingerprint
from tonestack.config.call import Run
from tonestack.features import store
from tonestack.labels import folds
from tonestack.tables import oof
from tonestack.training import queue

import pandas as pd


def run(run: Run, quiet: bool = False) -> pd.DataFrame:
    """Return the fold table, made anew only when the clips, labels or settings have changed.

    quiet: nothing is said where the table stands; for stages that only need it. A task whose rows are not clips
    (`write_rows(run, table)`) writes them beside it.
    """
    with claimed(run.folds / ".lock", f"{run.folds}: another process is making the folds"):
        table = split(run, quiet)
        write_rows = getattr(parts.find("tasks", run.data.task), "write_rows", None)
        if write_rows:
            write_rows(run, table)
    return table


def split(run: Run, quiet: bool) -> pd.DataFrame:
    """The fold table. A task that splits by something else than clips has `assign` like `folds.assign`."""
    for note in () if quiet else run.competition().notes:
        print(f"note: {note}")
    if folds.is_given(run.folds):
        return _given(run, quiet, inputs(run)[0])
    if not why(run):
        if not quiet:
            print(f"folds: up to date ({len(run.competition().train)} clips)")
        return folds.read(run.folds)
    joined, receipt = inputs(run)
    refuse_changed_meaning(run, folds.receipt(run.folds), receipt["settings"])
    place = f"configs/data/{run.words.data}.yaml: folds"
    assign = getattr(parts.find("tasks", run.data.task), "assign", folds.assign)
    table = assign(joined, run.data.folds, place, run.data.task)
    folds.warn_of_split_groups(joined, table, place)
    folds.write(run.folds, table, receipt)
    sizes = table.groupby("fold").size()
    print(f"folds: {len(table)} clips in {len(sizes)} folds of {sizes.min()} to {sizes.max()}")
    return table


def inputs(run: Run) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The clips, those with the same audio joined into groups where that is known; and what the folds depend on."""
    train = run.competition().train
    hashes = store.audio_hashes(run.cache, train["clip_id"])
    joined = train if hashes is None else train.assign(group=folds.join_duplicates(train["group"], hashes))
    return joined, {
        "settings": run.data.folds.model_dump(exclude={"repeats"}),
        "clips": fingerprint(train[folds.COLUMNS].astype(str).to_numpy().tolist()),
        "groups": fingerprint(joined["group"].tolist()),
    }


def why(run: Run) -> str:
    """Why the folds would be made anew; empty where they stand."""
    known = folds.receipt(run.folds)
    if not known or folds.is_given(run.folds):
        return "" if folds.is_given(run.folds) else "not made yet"
    now = inputs(run)[1]
    if store.audio_hashes(run.cache, run.competition().train["clip_id"]) is None:
        del now["groups"]  # no recordings here: the table stands
    changed = [name for name, value in now.items() if known.get(name) != value]
    return f"{', '.join(changed)} changed" if changed else ""


def _given(run: Run, quiet: bool, joined: pd.DataFrame) -> pd.DataFrame:
    """A fold table that somebody put there (it has no r0.json) is kept, if it is of these clips."""
    table = folds.read(run.folds)
    unknown = set(table["clip_id"]) ^ set(run.competition().train["clip_id"])
    if unknown:
        raise UserError(
            f"{run.folds / 'r0.csv'}: not of this competition: clip '{min(unknown)}' is in one of them only; "
            "mend the table, or delete it to have it made"
        )
    folds.warn_of_split_groups(joined, table, str(run.folds / "r0.csv"))
    if not quiet:
        print(f"folds: r0.csv as it was put there ({len(table)} clips)")
    return table


def refuse_changed_meaning(run: Run, known: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse to redraw, with other settings, folds on which experiments were trained."""
    if known and known.get("settings") != settings and oof.experiments(run.oof):
        changed = queue.differences({"folds": known["settings"]}, {"folds": settings})
        raise UserError(
            f"{run.folds / 'r0.csv'} was made with other settings ({'; '.join(changed)}) and {run.oof} holds tables "
            "that were made on it; give another name= to keep both, or delete both folders"
        )


if __name__ == "__main__":
    cli.main(run, __doc__)
