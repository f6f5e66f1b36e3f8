"""Trials of speaker verification: pairs of clips of one speaker or of two.

A list in VoxCeleb1's format has one line `1 enrol.wav test.wav` (1: the same speaker, 0: not) per trial; without the
first column it is unlabelled. A trial's id is `enrol|test`.
"""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name, read_csv, write_csv
from tonestack.settings.data_config import VerifyParams

import numpy as np
import pandas as pd

FILE = "trials.csv"  # below folds/<name>/: clip_id, label (1, 0 or blank), enrol, test, fold (-1: test only)
COLUMNS = ["clip_id", "label", "enrol", "test", "fold"]
MARK = "|"


def read_list(path: Path) -> pd.DataFrame:
    """Read a trial list: `clip_id, label, enrol, test`; repeated trials are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list of trials ({error})") from None
    found: dict[str, tuple[str, str, str]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            label, enrol, test = _line(line.split(), f"{path}: line {number}")
            if found.setdefault(enrol + MARK + test, (label, enrol, test))[0] != label:
                raise UserError(f"{path}: line {number}: the same trial stands there with another label")
    if not found:
        raise UserError(f"{path}: has no trial; write lines such as '1 id10001/a/00001.wav id10001/b/00001.wav'")
    rows = [(clip_id, *values) for clip_id, values in found.items()]
    return pd.DataFrame(rows, columns=["clip_id", "label", "enrol", "test"])


def _line(cells: list[str], where: str) -> tuple[str, str, str]:
    if len(cells) == 2:
        cells = ["", *cells]
    if len(cells) != 3 or cells[0] not in ("", "0", "1"):
        raise UserError(f"{where}: write '1 enrol.wav test.wav' (1: one speaker, 0: two), or the two files alone")
    for name in cells[1:]:
        check_clip_name(name, where)
        if MARK in name:
            raise UserError(f"{where}: '{name}': a file name with '{MARK}' cannot be part of a trial's id")
    return cells[0], cells[1], cells[2]


def placed(listed: pd.DataFrame | None, clips: pd.DataFrame, params: VerifyParams, origin: str) -> pd.DataFrame:
    """The trials with their folds: a trial belongs to the fold of both its speakers, otherwise it is test only.

    listed: a list's trials, or None. clips: the folds table (`clip_id, label, group, fold`), every speaker in one
    fold. If no listed trial belongs to a fold, trials are drawn within every fold.
    """
    fold = dict(zip(clips["clip_id"], clips["fold"], strict=True))
    if listed is None:
        listed = pd.DataFrame(columns=["clip_id", "label", "enrol", "test"], dtype=object)
    one, two = (listed[side].map(fold).fillna(-1).astype(int) for side in ("enrol", "test"))
    within = (one == two) & (listed["label"] != "")
    table = listed.assign(fold=np.where(within, one, -1))
    if not (table["fold"] >= 0).any():
        table = pd.concat([table, draw(clips, params)], ignore_index=True)
    for k in sorted(set(clips["fold"]) - {-1}):
        kinds = set(table.loc[table["fold"] == k, "label"])
        if kinds != {"0", "1"}:
            lacking = "one speaker" if "1" not in kinds else "two speakers"
            raise UserError(f"{origin}: fold {k} has no trial of {lacking}; give a smaller folds.n")
    return table[COLUMNS]


def draw(clips: pd.DataFrame, params: VerifyParams) -> pd.DataFrame:
    """Draw trials within every fold: half of one speaker, of two groups (sessions) where there are any, half of two."""
    drawn = []
    for k in sorted(set(clips["fold"]) - {-1}):
        rng = np.random.default_rng([params.seed, int(k)])
        inside = clips[clips["fold"] == k].reset_index(drop=True)
        speaker, group = pd.factorize(inside["label"])[0], pd.factorize(inside["group"])[0]
        for label in ("1", "0"):
            pairs = _pairs(rng, speaker, group, label == "1", params.trials // 2)
            names = inside["clip_id"].to_numpy()[pairs]
            ids = [MARK.join(pair) for pair in names]
            drawn.append(
                pd.DataFrame({"clip_id": ids, "label": label, "enrol": names[:, 0], "test": names[:, 1], "fold": k})
            )
    return pd.concat(drawn, ignore_index=True)


def _pairs(rng: np.random.Generator, speaker: np.ndarray, group: np.ndarray, same: bool, count: int) -> np.ndarray:
    """At most `count` different pairs of clips (n, 2), drawn at random."""
    several = pd.Series(group).groupby(speaker).transform("nunique").to_numpy() > 1
    found: dict[tuple[int, int], None] = {}
    for _ in range(50):
        pair = np.sort(rng.integers(len(speaker), size=(4 * count, 2)), axis=1)
        one, two = pair.T
        fits = (speaker[one] == speaker[two]) == same
        if same:  # clips of one session are too easy
            fits &= (group[one] != group[two]) | ~several[one]
        found |= dict.fromkeys(map(tuple, pair[fits & (one != two)].tolist()))
        if len(found) >= count:
            break
    return np.array(list(found)[:count], dtype=int).reshape(-1, 2)


def write(folder: Path, table: pd.DataFrame) -> None:
    """Write trials.csv, unless it is the same already."""
    path = folder / FILE
    if not path.is_file() or not read(folder).equals(table.reset_index(drop=True)):
        write_csv(path, table)


def read(folder: Path) -> pd.DataFrame:
    """Read trials.csv."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{path}: no trials yet; run make_folds first")
    return read_csv(path, COLUMNS[:-1], COLUMNS)
