"""Merge corrections from the audit page: merge=FILE joins a corrections.csv with the present one.

Takes  a file downloaded from `reports/<name>/audit.html`, and folds/<name>/corrections.csv if there is one.
Leaves folds/<name>/corrections.csv; later training uses it. Where two people differ on a clip, both are
shown and nothing is written until prefer=mine or prefer=theirs is given. Without merge= it prints the counts.
"""

from pathlib import Path
from typing import Literal

import make_folds
from tonestack import cli
from tonestack.base.console import aligned
from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.config.call import Call
from tonestack.labels import corrections

import pandas as pd
from pydantic import Field


class CorrectionsWords(Section):
    """Words that only this stage has."""

    merge: str | None = Field(None, description="a corrections.csv of the audit page")
    prefer: Literal["mine", "theirs"] | None = Field(None, description="whose correction counts where two differ")


def run(call: Call, words: CorrectionsWords) -> pd.DataFrame:
    """Merge, write and count; return the corrections."""
    table = make_folds.run(call, quiet=True)
    mine = call.labels.corrections
    if words.merge is None:
        print(f"corrections: {counts(mine)} in {call.folds / corrections.FILE}")
        return mine
    path = Path(words.merge).expanduser()
    if not path.is_file():
        raise UserError(f"merge={words.merge}: no such file")
    theirs = corrections.read_file(path, table)
    joined, conflicts = corrections.merge(mine, theirs, words.prefer)
    if len(conflicts):
        print(aligned(shown(conflicts)))
    if len(conflicts) and words.prefer is None:
        raise UserError(
            f"{path}: differs from yours on {len(conflicts)} clips, listed above; give prefer=mine or prefer=theirs"
        )
    written = corrections.write(call.folds, joined)
    print(f"corrections: {len(joined) - len(mine)} new, {len(conflicts)} differ; {counts(joined)} in {written}")
    return joined


def counts(corrected: pd.DataFrame) -> str:
    """Number of corrections by decision."""
    found = corrected["decision"].value_counts()
    return ", ".join(f"{int(found.get(name, 0))} {name}" for name in corrections.DECISIONS)


def shown(conflicts: pd.DataFrame) -> pd.DataFrame:
    """The conflicts, one line per clip: each person's decision, name and date."""
    sides = {}
    for side in ("mine", "theirs"):
        said = conflicts[f"decision {side}"].str.cat(conflicts[f"label {side}"], sep=" ").str.strip()
        who = conflicts[f"by {side}"].str.cat(conflicts[f"when {side}"], sep=" ").str.strip()
        sides[side] = [f"{what} ({name})" if name else what for what, name in zip(said, who, strict=True)]
    return pd.DataFrame({"clip": conflicts["clip_id"], **sides})


if __name__ == "__main__":
    cli.main(run, __doc__, own=CorrectionsWords)
