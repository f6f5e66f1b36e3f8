"""The data config that a first look at a csv and a folder of recordings suggests, for the reader `table`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.competition import csvs
from tonestack.competition.readers import table as reader
from tonestack.competition.survey import columns, recordings, samples
from tonestack.competition.survey.columns import Names
from tonestack.competition.survey.finding import Finding

import pandas as pd

FOLDS = 5
MOST_CLASSES = 1000
LAYOUTS = {  # a file or folder of a known competition's own -> the data config that reads it
    "taxonomy.csv": "birdclef",
    "train_short_audio": "birdclef",
    "train_curated.csv": "fsdkaggle2019",
    "FSDKaggle2018.meta": "fsdkaggle2018",
    "FSDKaggle2019.meta": "fsdkaggle2019",
    "FSD50K.ground_truth": "fsd50k",
    "meta/esc50.csv": "esc50",
    "metadata/UrbanSound8K.csv": "urbansound8k",
    "evaluation_setup": "dcase",
    "essential_data/rec_id2filename.txt": "mlsp2013",
    "train_tp.csv": "rainforest",
    "train/audio/_background_noise_": "speech2018",
    "_background_noise_": "speech_commands",
}
COMMON = 0.8  # share of clips in one class from which accuracy says little


@dataclass(frozen=True)
class Question:
    """What is looked at: the train csv and the folder of its recordings, both below `root`; columns that are given."""

    root: Path
    csv: Path
    audio: Path
    table: pd.DataFrame
    label: str | None = None
    group: str | None = None


def look(root: Path, csv: Path, audio: Path, label: str | None = None, group: str | None = None) -> list[Finding]:
    """All that is seen and guessed of a csv and a folder of recordings, in the order of a data config.

    label, group: their columns, where a person has said so. A csv that names no recording is a `UserError`.
    """
    asked = Question(root, csv, audio, csvs.read_table(csv), label, group)
    paths = recordings.paths_below(audio)
    found = [*_known_layout(root), *recordings.survey(audio, paths), _csv(asked)]
    names, clips = _clips(asked, paths)
    found.append(clips)
    taken = {names.column}
    labelled, taken = _labels(asked, taken)
    found += [*labelled, _groups(asked, taken, names), *_flags(asked, taken)]
    found += _test(asked, {key: value for finding in found for key, value in finding.settings.items()})
    return found


def settings(found: list[Finding]) -> dict[str, Any]:
    """The settings of all findings, by dotted key."""
    return {key: value for finding in found for key, value in finding.settings.items()}


def _known_layout(root: Path) -> list[Finding]:
    """The config that reads the files as they are, if they are those of a known competition."""
    data = next((data for mark, data in LAYOUTS.items() if (root / mark).exists()), None)
    if data is None:
        return []
    return [Finding("layout", f"looks like data={data}", doubt=f"./run.sh all data={data} root={root} needs no config")]


def _csv(asked: Question) -> Finding:
    names = ", ".join(asked.table.columns[:20]) + (" …" if len(asked.table.columns) > 20 else "")
    where = asked.csv.relative_to(asked.root).as_posix()
    return Finding("csv", f"{asked.csv}: {len(asked.table)} rows; {names}", {"reader.train_csv": where})


def _clips(asked: Question, paths: list[str]) -> tuple[Names, Finding]:
    """The column of the clips, and where its files are."""
    folder = asked.audio.relative_to(asked.root).as_posix()
    folder = "" if folder == "." else folder
    files = {f"{folder}/{path}" if folder else path for path in paths}
    names = columns.named_files(asked.table, files, folder)
    if names is None:
        example = next(iter(asked.table.iloc[0]))
        raise UserError(
            f"{asked.csv}: no column names a file of {asked.audio} (a row begins with '{example}', a file is "
            f"'{paths[0]}'); check audio="
        )
    found = {"reader.clip": names.column, "reader.train_audio": names.folder}
    found |= {"reader.train_suffix": names.suffix} if names.suffix else {}
    suffix = f" + {names.suffix}" if names.suffix else ""
    said = f"{names.column}{suffix}: {names.rows} of {len(asked.table)} rows have a file"
    distinct = asked.table[names.column].nunique()
    doubt = ""
    if distinct < len(asked.table):
        header = list(asked.table.columns)
        starts, ends = (columns.by_name(header, names) for names in (columns.STARTS, columns.ENDS))
        times = [*starts, *ends]
        found |= {"reader.start": starts[0], "reader.end": ends[0]} if starts and ends else {}
        doubt = f"{len(asked.table) - distinct} rows name a clip again; " + (
            f"are {' and '.join(times)} pieces of it?" if times else "one row a label, or a mistake?"
        )
    elif names.rows < len(asked.table):
        doubt = f"{len(asked.table) - names.rows} rows have none; training stops at them"
    elif names.rows < len(files):
        doubt = f"{len(files) - names.rows} files are in no row: test clips, or forgotten?"
    return names, Finding("clips", said, found, doubt)


# --------------------------------------------------------------------------------------------------------------- labels


def _labels(asked: Question, taken: set[str]) -> tuple[list[Finding], set[str]]:
    """The label column, its form and its classes; and the columns that are taken by now."""
    columns.check(asked.label, list(asked.table.columns), "label")
    candidates = [asked.label] if asked.label else columns.label_columns(asked.table, taken)
    times = columns.by_name(list(asked.table.columns), (*columns.STARTS, *columns.ENDS))
    hot = [] if asked.label else columns.one_hot(asked.table, taken | set(times))
    if hot and not columns.by_name(candidates, columns.LABELS):
        return [_one_hot(hot)], taken | set(hot)
    if not candidates:
        raise UserError(f"{asked.csv}: no column seems to hold labels; say label=COLUMN")
    column, others = candidates[0], candidates[1:4]
    sure = asked.label or columns.by_name(candidates, columns.LABELS) == [column]
    doubt = "" if sure else f"is it this column? {'others: ' + ', '.join(others) if others else 'say label=COLUMN'}"
    mark = columns.label_mark(asked.table[column])
    found = Finding("label", _described(mark, column), {"reader.label": column} | _form(mark), doubt)
    return [found, *_classes(asked.table[column], mark)], taken | {column}


def _described(mark: str, column: str) -> str:
    forms = {"": "one label a clip", "[]": "lists as Python writes them", " ": "several labels, separated by blanks"}
    return f"{column}: {forms.get(mark, f'several labels, separated by {mark!r}')}"


def _form(mark: str) -> dict[str, Any]:
    """The settings of a label form."""
    if not mark:
        return {"task": "classify", "metric": "accuracy"}
    form = {";": "semicolons", "|": "bars", " ": "blanks", "[]": "list"}.get(mark)
    said = {"reader.label_form": form} if form else {"reader.multilabel": True}
    return said | {"task": "multilabel", "metric": "mean_average_precision"}


def _one_hot(hot: list[str]) -> Finding:
    said = f"{len(hot)} columns of 0 and 1: {', '.join(hot[:4])} …"
    return Finding(
        "label",
        said,
        {"reader.label_form": "columns", "reader.label_columns": hot, **_form(",")},
        "are all of them classes?",
    )


def _classes(cells: pd.Series, mark: str) -> list[Finding]:
    """Number and sizes of the classes, and what follows for folds and metric."""
    parts = cells.str.strip("[]").str.split("," if mark == "[]" else mark) if mark else cells.map(lambda cell: [cell])
    single = parts.explode().str.strip(" '\"")
    counts = single[single != ""].value_counts()
    said = f"{len(counts)}: {', '.join(f'{name} ({count})' for name, count in counts.head(4).items())}"
    said += f" … {counts.index[-1]} ({counts.iloc[-1]})" if len(counts) > 4 else ""
    blank = int((cells == "").sum())
    small = int((counts < FOLDS).sum())
    if len(counts) > MOST_CLASSES:
        return [Finding("classes", said, doubt="so many: is this a column of classes?")]
    if blank and not mark:
        return [
            Finding(
                "classes",
                said,
                doubt=f"{blank} rows have no label: is nothing there (task=multilabel), or is it missing?",
            )
        ]
    if small:
        found = {"folds.small_classes": "warn"}
        return [Finding("classes", said, found, f"{small} have fewer clips than the {FOLDS} folds: join or drop them?")]
    if not mark and counts.iloc[0] > COMMON * len(cells):
        return [
            Finding("classes", said, {"metric": "balanced_accuracy"}, "one is most of it: accuracy would say little")
        ]
    return [Finding("classes", said)]


# -------------------------------------------------------------------------------------------------- groups, folds, test


def _groups(asked: Question, taken: set[str], names: Names) -> Finding:
    """What folds keep together."""
    columns.check(asked.group, list(asked.table.columns), "group")
    found = [asked.group] if asked.group else columns.groups(asked.table, taken)
    if found:
        count = asked.table[found[0]].nunique()
        said = f"{found[0]}: {count} groups of {len(asked.table) / count:.1f} clips"
        others = f"; others: {', '.join(found[1:4])}" if found[1:] else ""
        doubt = "" if asked.group else f"do test clips come from other ones than train clips?{others}"
        return Finding("group", said, {"reader.group": found[0]}, doubt)
    alike = columns.beginnings(list(asked.table[names.column]))
    if alike is not None:
        mark, counts = alike
        said = f"none; but clip names begin alike: {len(counts)} beginnings before '{mark}'"
        doubt = "clips of one source? put the beginning into a column and say group="
        return Finding("group", said, doubt=doubt)
    doubt = "are several clips cut from one recording, or of one speaker? then say group=COLUMN"
    return Finding("group", "no column seems to say what clips were cut from", doubt=doubt)


def _flags(asked: Question, taken: set[str]) -> list[Finding]:
    """Official folds and flags of verification."""
    found = []
    for column in columns.by_name(list(asked.table.columns), columns.FOLDS):
        cells = asked.table[column]
        if column not in taken and cells.str.fullmatch(r"[0-9]{1,4}").all():
            first = int(cells.astype(int).min())
            values = {"reader.fold": column} | ({"reader.first_fold": first} if first else {})
            found.append(Finding("folds", f"{column}: {cells.nunique()} official folds, from {first}", values))
            break
    for column in columns.by_name(list(asked.table.columns), columns.CHECKED):
        if set(asked.table[column].str.lower()) <= {*csvs.TRUE, *csvs.FALSE}:
            share = asked.table[column].str.lower().isin(csvs.TRUE).mean()
            found.append(Finding("verified", f"{column}: {share:.0%} of the clips", {"reader.verified": column}))
            break
    return found


def _test(asked: Question, so_far: dict[str, Any]) -> list[Finding]:
    """The test clips and the submission; read back by the reader, so that what is written works."""
    found = samples.find(asked.root, asked.csv)
    if not found:
        doubt = "is there a sample submission, or a csv of test clips? put it into the root"
        return [Finding("test", "no csv of test clips: cross-validation alone", doubt=doubt)]
    sample = next((one for one in found if one.is_sample), found[0])
    values: dict[str, Any] = {"reader.sample_submission" if sample.is_sample else "reader.test_csv": sample.path}
    if sample.names is None:
        doubt = "their recordings are not there yet: say reader.test_audio=FOLDER"
        return [Finding("test", f"{sample.path}: {len(sample.table)} rows", values, doubt)]
    values |= {"reader.test_audio": sample.names.folder, "reader.test_clip": sample.names.column}
    values |= {"reader.test_suffix": sample.names.suffix} if sample.names.suffix else {}
    where = sample.names.folder or str(asked.root)
    tested = Finding("test", f"{sample.path}: {len(sample.table)} clips in {where}", values)
    return [tested, _submission(asked.root, so_far | values)]


def _submission(root: Path, so_far: dict[str, Any]) -> Finding:
    """The style of the submission, as the reader understands the sample; and the metric that goes with it."""
    given = {key.removeprefix("reader."): value for key, value in so_far.items() if key.startswith("reader.")}
    try:
        form = reader.read(reader.Params.parse(given, "init"), root).submission
    except UserError as error:
        return Finding("submission", "not understood", doubt=str(error))
    assert form is not None
    metrics = {"labels": f"map@{form.k}", "label": "accuracy", "probability": "binary_auc"}
    metric = metrics.get(form.style, "log_loss" if so_far.get("task") == "classify" else "lwlrap")
    said = f"{form.style}{f', {form.k} a row' if form.style == 'labels' else ''}: {', '.join(form.columns[:6])}"
    said += " …" if len(form.columns) > 6 else ""
    return Finding(
        "submission", said, {"metric": metric}, f"metric={metric} is a guess: what does the competition score?"
    )
