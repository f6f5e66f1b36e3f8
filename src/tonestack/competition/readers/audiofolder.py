"""Hugging Face's `audiofolder`: `metadata.csv` (or `.jsonl`) with `file_name`, or `train/<label>/…`, `test/<label>/…`.

A metadata file lies in the root or in a part's folder (`train`, `test`, `validation`, also below `data/`), and its
names are relative to it. Without a label column the label is the folder of the clip; labels of test clips are read by
`score` alone. A clip's id is its path relative to the root.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import check_clip_name
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.competition.readers.folder import clip_id, recordings
from tonestack.tables import label_grammar
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd
from pydantic import Field

PARTS = {  # spelling of a part -> the part, as Hugging Face's own loader knows them
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
NAMES = ("metadata.csv", "metadata.jsonl")
COLUMNS = ["path", "part", "label", "group", "where"]  # `where`: the place that errors name
Row = tuple[str, str, str, str, str]


class Params(Section):
    """Reader settings: columns of the metadata, and what a submission looks like."""

    label: str = Field("label", description="column of the labels; where there is none, the clip's folder is its label")
    group: str = Field("", description="column of the group that folds keep together; empty: none")
    multilabel: bool = Field(False, description="a clip has several labels: a list, or names separated by commas")
    validation: bool = Field(True, description="the part `validation` is the one fold that validates; false: in train")


def read(params: Params, root: Path) -> Competition:
    """Read the metadata below `root`, or list the recordings; none is opened."""
    table = _table(params, root)
    train, test = table[table["part"] != "test"], table[table["part"] == "test"]
    if train.empty:
        raise UserError(f"{root}: no clip of a train part; put them below {root / 'train'}")
    labels = list(train["label"])
    _check_labels(params, train)
    fixed = params.validation and (train["part"] == "validation").any() and (train["part"] == "train").any()
    fold = [0 if part == "validation" else -1 for part in train["part"]] if fixed else -1
    frame = csvs.train_frame(list(train["path"]), list(train["path"]), labels, True, list(train["group"]), fold)
    classes = tuple(sorted({name for cell in set(labels) for name in _names(params, cell)}))
    ids = list(test["path"])
    tests = csvs.test_frame(ids, ids, list(test["group"]))
    return Competition(root, frame, tests, classes, _submission(params, ids, classes))


def scoring_table(params: Params, root: Path) -> pd.DataFrame | None:
    """Labels of the test clips (`clip_id, label, usage`), None if none is known."""
    table = _table(params, root)
    known = table[table["part"] == "test"]
    if not (known["label"] != "").any():
        return None
    known = known if params.multilabel else known[known["label"] != ""]
    _check_labels(params, known)
    return pd.DataFrame({"clip_id": known["path"], "label": known["label"], "usage": "Public"}).reset_index(drop=True)


def _submission(params: Params, ids: list[str], classes: tuple[str, ...]) -> SubmissionFormat | None:
    if not ids:
        return None
    if params.multilabel:
        return SubmissionFormat(("file_name", *classes), tuple(ids), "scores")
    return SubmissionFormat(("file_name", params.label), tuple(ids), "label", 1)


def _names(params: Params, cell: str) -> list[str]:
    """The classes that a label cell names."""
    return [name for name in label_grammar.parse(cell) if name != "*"] if params.multilabel else [cell]


def _check_labels(params: Params, train: pd.DataFrame) -> None:
    """Refuse a blank label, unless a clip may have several: then nothing is there, and a cell must say clear things."""
    for where, label in zip(train["where"], train["label"], strict=True):
        if params.multilabel:
            try:
                label_grammar.parse(label)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
        elif not label:
            raise UserError(f"{where}: '{params.label}' is blank; give its label or remove the row")


# ----------------------------------------------------------------------------------------------------------- the clips


def _table(params: Params, root: Path) -> pd.DataFrame:
    """Every clip, in `COLUMNS`."""
    sources = [path for folder in _folders(root) for name in NAMES if (path := folder / name).is_file()]
    rows = [row for source in sources for row in _metadata(params, root, source)] if sources else _files(root)
    table = pd.DataFrame(rows, columns=COLUMNS)
    twice = table[table["path"].duplicated()]
    if len(twice):
        path = twice["path"].iloc[0]
        first, second = table.loc[table["path"] == path, "where"].iloc[:2]
        raise UserError(f"{second}: '{path}' is there twice, before in {first}; keep the right row")
    if table.empty:
        raise UserError(f"{root}: neither a {' nor a '.join(NAMES)} nor folders of recordings; check root=")
    return table


def _folders(root: Path) -> list[Path]:
    """The folders that may hold a metadata file: the root, `data/`, and the parts in either."""
    homes = [home for home in (root, root / "data") if home.is_dir()]
    return homes + [path for home in homes for path in sorted(home.iterdir()) if path.name.lower() in PARTS]


def _part(path: str) -> str:
    """The part that a path below the root lies in; train where none of its folders names one."""
    return next((PARTS[name.lower()] for name in path.split("/")[:-1] if name.lower() in PARTS), "train")


def _files(root: Path) -> list[Row]:
    """Clips without metadata: the label is the innermost folder that names no part."""
    rows = []
    for path in recordings(root, root):
        name = clip_id(path, root)
        rows.append((name, _part(name), _folder_label(name), "", str(path)))
    return rows


def _folder_label(path: str) -> str:
    """The clip's folder, unless that is a part or the root."""
    folder = path.split("/")[-2] if "/" in path else ""
    return "" if folder.lower() in {*PARTS, "data"} else folder


def _metadata(params: Params, root: Path, source: Path) -> list[Row]:
    """Clips of one metadata file."""
    table = _read_csv(source) if source.suffix == ".csv" else _read_jsonl(source)
    columns = [name for name in table.columns if name != "file_name"]
    for name in filter(None, ("file_name", params.group)):
        if name not in table:
            raise UserError(f"{source}: there is no column '{name}'{nearest(name, list(table.columns))}")
    if params.label not in table and columns and not _folder_label(_plain(str(table["file_name"].iloc[0]))):
        raise UserError(f"{source}: which column has the labels? say reader.label= one of {', '.join(columns)}")
    folder = source.parent.relative_to(root).as_posix()
    rows = []
    for row, cells in zip(table.index, table.to_dict("records"), strict=True):
        where = f"{source}: row {row}"
        name = check_clip_name(str(cells["file_name"]), where)
        path = csvs.clip_path("" if folder == "." else folder, _plain(name))
        label = _text(params, cells[params.label], where) if params.label in table else _folder_label(path)
        rows.append((path, _part(path), label, str(cells[params.group]) if params.group else "", where))
    return rows


def _plain(name: str) -> str:
    """The one spelling of a file's name: `./a.wav` and `a.wav` are one file."""
    return PurePosixPath(name).as_posix()


def _read_csv(source: Path) -> pd.DataFrame:
    return csvs.read_table(source)


def _read_jsonl(source: Path) -> pd.DataFrame:
    """One JSON object a line, which may hold other line ends of Unicode; keys that a line lacks are blank."""
    rows: dict[int, dict[str, Any]] = {}
    try:
        for number, line in enumerate(source.read_text(encoding="utf-8-sig").split("\n"), 1):
            if line.strip():
                rows[number] = dict(json.loads(line))
    except UnicodeDecodeError:
        raise UserError(f"{source}: not UTF-8 text; save it as UTF-8") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{source}: row {number}: no JSON object ({error}); fix the line") from None
    if not rows:
        raise UserError(f"{source}: is empty; restore the file")
    table = pd.DataFrame.from_dict(rows, orient="index", dtype=object)
    return table.where(table.notna(), "")


def _text(params: Params, cell: Any, where: str) -> str:
    """A label cell as text: a list's names joined by commas, a JSON number or truth value as JSON writes it."""
    if isinstance(cell, list):
        if not params.multilabel:
            raise UserError(f"{where}: '{params.label}' is a list; say reader.multilabel=true task=multilabel")
        return ",".join(dict.fromkeys(_one(params, name, where) for name in cell))
    if params.multilabel:
        return ",".join(dict.fromkeys(name.strip() for name in str(cell).split(",")))
    return _one(params, cell, where)


def _one(params: Params, cell: Any, where: str) -> str:
    if not isinstance(cell, str | int | float):
        raise UserError(f"{where}: '{params.label}' is {json.dumps(cell)[:60]}, no label; fix the row")
    name = cell.strip() if isinstance(cell, str) else json.dumps(cell)
    if params.multilabel and "," in name:
        raise UserError(f"{where}: label '{name}' holds a comma, which parts labels; rename it")
    return name
