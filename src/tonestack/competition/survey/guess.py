"""The data config that a first look at a csv and a folder of recordings suggests, for the reader `table`."""

import re
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.competition import csvs
from tonestack.competition.readers import table as reader
from tonestack.competition.survey import columns, labels, recordings, samples
from tonestack.competition.survey.columns import Names
from tonestack.competition.survey.finding import Finding, Question
from tonestack.tables.competition import Competition

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
    labelled, taken = labels.survey(asked, taken)
    several = settings(labelled).get("task") == "multilabel"
    found += [*labelled, *labels.pieces(asked, names.column, several)]
    found += [_groups(asked, taken, names.column, settings(labelled)["reader.label"]), *_flags(asked, taken)]
    found += _test(asked, settings(found))
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
    doubt = ""
    if names.rows < len(asked.table):
        doubt = f"{len(asked.table) - names.rows} rows have none; training stops at them"
    elif (unnamed := len(files) - asked.table[names.column].nunique()) > 0:
        doubt = f"{unnamed} files are in no row: test clips, or forgotten?"
    return names, Finding("clips", said, found, doubt)


def _groups(asked: Question, taken: set[str], clip: str, label: str) -> Finding:
    """What folds keep together."""
    columns.check(asked.group, list(asked.table.columns), "group")
    found = [asked.group] if asked.group else columns.groups(asked.table, taken)
    if found:
        count = asked.table[found[0]].nunique()
        said = f"{found[0]}: {count} groups of {len(asked.table) / count:.1f} clips"
        others = f"; others: {', '.join(found[1:4])}" if found[1:] else ""
        doubt = "" if asked.group else f"do test clips come from other ones than train clips?{others}"
        return Finding("group", said, {"reader.group": found[0]}, doubt)
    labels_of = asked.table.get(label)
    alike = columns.beginnings(list(asked.table[clip]), labels_of)
    if alike is not None:
        mark, count = alike
        said = f"none; but clip names begin alike: {count} beginnings before '{mark}'"
        doubt = f"clips of one source? then say 'reader.name_pattern=^(?P<group>[^{mark}]+){re.escape(mark)}'"
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
    said, doubt = f"{sample.path}: {len(sample.table)} rows", ""
    if sample.names is not None:
        said += f", the clips in {sample.names.folder or asked.root}"
        values |= {"reader.test_audio": sample.names.folder, "reader.test_clip": sample.names.column}
        values |= {"reader.test_suffix": sample.names.suffix} if sample.names.suffix else {}
    elif seconds := samples.window(sample.table):
        said += f", which seem to be windows of {seconds} s"
        values |= samples.of_windows(asked.root, sample.table, seconds)
        doubt = f"every window of the files in {values['reader.test_audio'] or 'FOLDER'} becomes a row: is it so?"
    else:
        doubt = "their recordings are not there yet: say reader.test_audio=FOLDER"
    tested = Finding("test", said, values, doubt)
    return [tested, *_submission(asked.root, sample, so_far | values)]


def _submission(root: Path, sample: samples.Sample, so_far: dict[str, Any]) -> list[Finding]:
    """The style of the submission, as the reader understands the sample; and the metric that goes with it."""
    found = []
    try:
        known = set(_read(root, {k: v for k, v in so_far.items() if "sample" not in k and "test" not in k}).classes)
        columns_of = [str(name) for name in sample.table.columns[1:]]
        if known < set(columns_of):
            more = len(columns_of) - len(known)
            found.append(Finding("more", f"{more} classes of the sample have no clip", {"reader.classes": columns_of}))
        form = _read(root, so_far | settings(found)).submission
    except UserError as error:
        return [*found, Finding("submission", "not understood", doubt=str(error))]
    if form is None:
        return found
    several = so_far.get("task") == "multilabel"
    if several and form.style == "labels" and not sample.is_sample:
        found.append(Finding("scores", "one column per class, as there is no sample", {"reader.style": "scores"}))
        form = _read(root, so_far | settings(found)).submission or form
    metrics = {"label": "accuracy", "probability": "binary_auc", "set": "row_f1"}
    metrics |= {"labels": "lwlrap" if several else f"map@{form.k}"}
    metric = metrics.get(form.style, "log_loss" if so_far.get("task") == "classify" else "lwlrap")
    said = f"{form.style}{f', {form.k} a row' if form.style == 'labels' else ''}: {', '.join(form.columns[:6])}"
    said += " …" if len(form.columns) > 6 else ""
    doubt = f"metric={metric} is a guess: what does the competition score?"
    return [*found, Finding("submission", said, {"metric": metric}, doubt)]


def _read(root: Path, values: dict[str, Any]) -> Competition:
    """The competition as the reader's settings among `values` say."""
    given = {key.removeprefix("reader."): value for key, value in values.items() if key.startswith("reader.")}
    return reader.read(reader.Params.parse(given, "init"), root)
