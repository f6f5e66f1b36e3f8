"""Split the training clips into folds: stratified by label × verified, grouped, official folds honoured.

Takes the clip table and, if recordings have been decoded, the clips with the same audio.
Leaves folds/<name>/r0.csv (clip_id, label, verified, group, fold) and r0.json; for verification also trials.csv.
"""

from typing import Any

from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.base.files import claimed, fingerprint
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.features import store
from tonestack.labels import folds
from tonestack.settings.data_config import FoldParams
from tonestack.tables import oof

import pandas as pd


def run(call: Call, quiet: bool = False) -> pd.DataFrame:
    """Return the fold table, made anew only when the clips, labels or settings have changed.

    quiet: print nothing if the table is up to date. A task whose rows are not clips writes them beside it.
    """
    with claimed(call.folds / ".lock", f"{call.folds}: another process is making the folds"):
        table = split(call, quiet)
        origin = f"configs/data/{call.words.data}.yaml: folds"
        call.task.write_rows(call.folds, table, call.competition(), call.options, origin)
    return table


def split(call: Call, quiet: bool) -> pd.DataFrame:
    """The fold table."""
    if call.competition().train.empty:  # folds of nothing would stand in the way of those of the clips
        fix = "check root= and the reader's settings, or download the data"
        raise UserError(f"{call.root}: holds no training clip that the reader takes; {fix}")
    for note in () if quiet else call.competition().notes:
        print(f"note: {note}")
    if folds.is_given(call.folds):
        return _given(call, quiet, inputs(call)[0])
    if folds.receipt(call.folds):
        folds.read(call.folds)  # refuses what was changed by hand, before it is made again
    if not why(call):
        if not quiet:
            print(f"folds: up to date ({len(call.competition().train)} clips)")
        return call.labels.folds
    joined, receipt = inputs(call)
    refuse_changed_meaning(call, folds.receipt(call.folds), receipt["settings"])
    origin = f"configs/data/{call.words.data}.yaml: folds"
    table = call.task.assign(joined, settings_of(call), origin)
    folds.check_verified(table, origin)
    folds.warn_of_split_groups(joined, table, origin)
    folds.warn_of_two_labels(joined, store.audio_hashes(call.cache, joined["clip_id"]), origin)
    folds.write(call.folds, table, receipt)
    sizes = table[table["fold"] >= 0].groupby("fold").size()
    stay = f"; {len(table) - sizes.sum()} stay in training in every fold" if sizes.sum() < len(table) else ""
    print(f"folds: {sizes.sum()} clips in {len(sizes)} folds of {sizes.min()} to {sizes.max()}{stay}")
    return table


def inputs(call: Call) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The clips, groups joined where the audio is known to be the same; and the inputs that the folds depend on."""
    train = call.competition().train
    hashes = store.audio_hashes(call.cache, train["clip_id"])
    shared = train["path"].where(train["path"].duplicated(keep=False), "")  # files that several clips are pieces of
    known = [shared] if hashes is None else [shared, hashes]
    joined = train.assign(group=folds.join_duplicates(train["group"], *known))
    return joined, {
        "settings": settings_of(call).model_dump(exclude={"repeats"}),
        "clips": fingerprint(train[folds.COLUMNS].astype(str).to_numpy().tolist()),
        "groups": fingerprint(joined["group"].tolist()),
    }


def settings_of(call: Call) -> FoldParams:
    """The settings of the folds; small classes are treated as `folds.small_classes` once said for these folds."""
    known: Any = folds.receipt(call.folds).get("settings", {})
    typed, params = call.words.overrides.get("folds", {}), call.data.folds
    remembered = known.get("small_classes", "refuse")
    if remembered == "refuse" or "small_classes" in typed:
        return params
    return params.model_copy(update={"small_classes": remembered})


def why(call: Call) -> str:
    """Reason for making the folds again; empty if they are up to date."""
    known = folds.receipt(call.folds)
    if not known or folds.is_given(call.folds):
        return "" if folds.is_given(call.folds) else "not made yet"
    now = inputs(call)[1]
    if store.audio_hashes(call.cache, call.competition().train["clip_id"]) is None:
        del now["groups"]  # no recordings here: the table stands
    changed = [name for name, value in now.items() if known.get(name) != value]
    return f"{', '.join(changed)} changed" if changed else ""


def _given(call: Call, quiet: bool, joined: pd.DataFrame) -> pd.DataFrame:
    """Keep a fold table given by the user (it has no r0.json), if it has these clips."""
    table = call.labels.folds
    unknown = set(table["clip_id"]) ^ set(call.competition().train["clip_id"])
    if unknown:
        raise UserError(
            f"{call.folds / 'r0.csv'}: not of this competition: clip '{min(unknown)}' is in one of them only; "
            "fix the table, or delete it to have it made"
        )
    path, classes = call.folds / "r0.csv", call.competition().classes
    folds.check_labels(path, table, lambda text: call.task.targets(pd.Series([text]), classes))
    folds.check_verified(table, str(path))
    folds.warn_of_split_groups(joined, table, str(path))
    if not quiet:
        print(f"folds: r0.csv as it was put there ({len(table)} clips)")
        given = table["clip_id"].map(joined.set_index("clip_id")["label"])
        if len(other := table.loc[given != table["label"], "clip_id"]):
            print(f"note: r0.csv has other labels than the competition for {len(other)} clips, first '{other.iloc[0]}'")
    return table


def refuse_changed_meaning(call: Call, known: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse to redraw, with other settings, folds on which experiments were trained."""
    if known and known.get("settings") != settings and oof.experiments(call.oof):
        changed = layers.differences({"folds": known["settings"]}, {"folds": settings})
        raise UserError(
            f"{call.folds / 'r0.csv'} was made with other settings ({'; '.join(changed)}) and {call.oof} holds tables "
            "that were made on it; give name=WORD to keep both (another preset, say), or delete both folders"
        )


if __name__ == "__main__":
    cli.main(run, __doc__)
