"""Row 31 and on: faults found beyond the list."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from cases import case
from place import Place


@case(31)
def a_class_called_part(place: Place) -> str:
    """A class is called “part”, like a column of every prediction table."""
    place.put("train.csv", (place.root / "train.csv").read_text().replace(",Bell,", ",part,").encode())
    line = place.refused("prepare", naming=("class 'part'", "column of our own tables"))
    return f"refused before anything is decoded: “{line}”. Without the check hours of training ended in a traceback"


@case(31)
def a_name_that_is_no_text(place: Place) -> str:
    """With one folder a class: a recording whose name is not UTF-8, a class whose name rings a bell (0x07)."""
    for i, label in enumerate(("Bell", "Drum") * 4):
        (place.root / "train" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(place.root / f"audio_train/train{i:03d}.wav", place.root / "train" / label / f"{i}.wav")
    odd = os.fsencode(place.root / "train" / "Bell") + b"/caf\xe9.wav"
    shutil.copy(place.root / "audio_train/train000.wav", odd)
    words = ["data=folder", "name=folders"]
    line = place.refused("prepare", *words, naming=("not UTF-8", "rename it"))
    os.remove(odd)
    (place.root / "train" / "Drum").rename(place.root / "train" / "Dr\x07um")
    place.refused("prepare", *words, naming=("control character", "rename it"))
    (place.root / "train" / "Dr\x07um").rename(place.root / "train" / "Drum")
    place.works("prepare", *words)
    return f"refused: “{line}”. Without the check: a traceback when the name is hashed"


@case(31)
def killed_between_two_files(place: Place) -> str:
    """The fold table's csv is there and its json is not, as a kill between the two left it; then folds.n changes."""
    folder = place.folder("folds")
    (folder / "r0.csv").unlink()
    place.works("make_folds", "folds.n=3")
    assert set(pd.read_csv(folder / "r0.csv")["fold"]) == {0, 1, 2}
    order = []
    from tonestack.base import files

    rename = os.replace

    def noting(source: object, target: object) -> None:
        order.append(os.path.basename(str(target)))
        rename(source, target)  # type: ignore[arg-type]

    files.os.replace, before = noting, files.os.replace
    try:
        place.works("make_folds", "folds.n=2")
    finally:
        files.os.replace = before
    assert [name for name in order if name.startswith("r0")] == ["r0.json", "r0.csv"]
    return "the json is written first: a table without one is only ever somebody else's, and is kept as such"


@case(31)
def a_damaged_cache(place: Place) -> str:
    """The features are cut to half of their size; the list of clips becomes garbage; the list of files does."""
    folder = next(place.folder("cache").glob("*/features.npy")).parent
    whole = (folder / "features.npy").read_bytes()
    os.truncate(folder / "features.npy", len(whole) // 2)
    assert " made" in place.works("prepare").out
    assert (folder / "features.npy").read_bytes() == whole
    (folder / "clips.parquet").write_bytes(b"PAR1 and nothing else")
    for verb in ("make_folds", "plan", "report"):
        place.refused(verb, naming=(folder.name, "damaged", "run prepare again"))
    (place.folder("cache") / "files.parquet").write_bytes(b"")
    assert " made" in place.works("train", "fold=0").out
    assert np.isfinite(place.probabilities().to_numpy()).all()
    return "made again. Without the check: a traceback, or a bus error in the middle of training"


@case(31)
def a_thirteenth_month(place: Place) -> str:
    """A setting that YAML takes for a date of the 13th month; one for a number of 5,000 digits; an endless crop."""
    line = place.refused("train", "training.lr=2018-13-01", naming=("training.lr=2018-13-01", "not valid YAML"))
    place.refused("train", f"training.lr={'1' * 5000}", naming=("training.lr",))
    place.refused("train", "crop.seconds=.inf", naming=("crop.seconds", "finite"))
    place.refused("train", "fold=0..999999999", naming=("no fold",))
    return f"refused: “{line}”. Without the check: a traceback from the parser"


@case(31, trained=True)
def an_alias_bomb(place: Place) -> str:
    """A foreign table's table.yaml of 30 lines, each naming the one before twice: 2^30 classes."""
    theirs = place.folder("oof") / "theirs"
    theirs.mkdir()
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)), "classes: *a29"]
    (theirs / "table.yaml").write_text("\n".join([*lines, "oof: oof.npy"]))
    line = place.refused("blend", "blend.tables=[theirs]", naming=("table.yaml", "alias"))
    return f"refused: “{line}”"


# ------------------------------------------------------------------------------------ by trying every verb on bad input


def without_model(place: Place) -> Place:
    """The same place, its words naming no model: verbs take the table that `submit` chose."""
    return Place(place.root, place.home, [w for w in place.words if not w.startswith(("model=", "network."))])


def change(path: Path, **values: object) -> None:
    """Set keys of a json; None takes a key out."""
    known = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in known.items() if value is not None}))


@case(31)
def no_recordings(place: Place) -> str:
    """predict, verify and match get a missing file, text, 0 bytes, and a folder of nothing, with nothing trained."""
    here = place.root.parent
    good = str(place.root / "audio_test/test000.wav")
    (here / "text.wav").write_text("<html>404</html>")
    (here / "zero.wav").touch()
    (here / "nothing").mkdir()
    line, there = "", ("name=others", "preset=fast")
    for name, reason in (("gone.wav", "missing"), ("text.wav", "cannot be decoded"), ("zero.wav", "0 bytes")):
        bad = str(here / name)
        line = place.refused("verify", *there, "data=voxceleb1_verify", bad, good, naming=(name, reason))
        place.refused("match", *there, "data=voices", bad, naming=(name, reason))
    place.refused("match", *there, "data=voices", good, f"enrol={here / 'nothing'}", naming=("no recordings",))
    place.refused("predict", str(here / "gone.wav"), naming=("gone.wav", "no such file"))
    place.refused("predict", str(here / "nothing"), naming=("no recording in this folder",))
    assert not list(place.home.rglob("*.safetensors"))
    return f"refused at once: “{line}”. Before, the model was trained first, for hours, and the file opened then"


@case(31, trained=True)
def a_json_of_another_version(place: Place) -> str:
    """A fold's json is cut in half; lacks its classes, its settings; choice.json and a blend's json say nothing."""
    receipt = place.folder("oof") / "vgg_small@r0/fold0.json"
    whole, wav = receipt.read_text(), str(place.root / "audio_test/test000.wav")
    receipt.write_text(whole[: len(whole) // 2])
    for verb in ("report", "export", "embed", "plan", "repeat", "blend"):
        place.refused(verb, "folds.repeats=1", naming=("fold0.json", "not valid json"))
    place.refused("predict", wav, naming=("fold0.json", "not valid json"))
    line = ""
    for key in ("classes", "config", "checksums"):
        receipt.write_text(whole)
        change(receipt, **{key: None})
        line = place.refused("predict", wav, naming=("fold0.json", f"'{key}' is missing"))
        place.refused("export", naming=("fold0.json", f"'{key}' is missing"))
    receipt.write_text(whole)
    change(receipt, classes=4)
    place.refused("embed", naming=("fold0.json", "'classes' is missing or no list"))
    receipt.write_text(whole)
    for name, text in (("blend@r0/fold0.json", '{"kind": "blend"}'), ("blend@r0/fold1.json", '{"kind": "blend"}')):
        (place.folder("oof") / name).parent.mkdir(exist_ok=True)
        (place.folder("oof") / name).write_text(text)
    place.folder("submissions").mkdir(parents=True)
    (place.folder("submissions") / "choice.json").write_text("{}")
    free = without_model(place)
    free.refused("predict", wav, naming=("choice.json", "'table' is missing"))
    free.refused("predict", wav, "submit.table=blend@r0", naming=("blend@r0", "its json"))
    return f"refused: “{line}”. Without the check: KeyError"


@case(31, trained=True)
def a_damaged_table(place: Place) -> str:
    """A fold's parquet is cut in half; it is garbage to which the json's checksum has been made to fit."""
    from tonestack.base.files import file_hash

    path = place.folder("oof") / "vgg_small@r0/fold0.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    line = place.refused("blend", naming=("fold0.parquet", "not as its json says"))
    receipt = path.with_suffix(".json")
    sums = json.loads(receipt.read_text())["checksums"]
    change(receipt, checksums=sums | {path.name: file_hash(path)})
    place.refused("blend", naming=("fold0.parquet", "cannot be read as a table"))
    place.refused("stack", naming=("fold0.parquet", "cannot be read as a table"))
    return f"refused: “{line}”"


@case(31, trained=True)
def a_report_of_ruins(place: Place) -> str:
    """An empty csv of shift, half a line in a history, half a record of stages; then json and csv that lack things."""
    shift = place.folder("reports") / "shift"
    place.works("shift")
    (shift / "features.csv").write_text("\n")
    (place.folder("oof") / "vgg_small@r0/fold0.jsonl").write_text('{"epoch": 1, "lo')
    place.works("report")
    for record in (place.home / "cache").rglob("stages/*.json"):
        record.write_text('{"key": "')
    assert "up to date" not in place.works("report").out
    (shift / "shift.json").write_text("{}")
    line = place.refused("report", naming=("shift.json", "'comparisons' is missing"))
    shutil.rmtree(shift)
    (place.folder("folds") / "decisions.csv").write_text("clip_id,verified\n1,2\n")
    place.refused("report", naming=("decisions.csv", "column 'given_label' is missing"))
    (place.folder("folds") / "decisions.csv").write_bytes(b"\xff\xfe\0")
    place.refused("report", naming=("decisions.csv", "cannot be read"))
    return (
        f"what is a curve less is left out, what is a table less is refused: “{line}”. Without the checks: tracebacks"
    )


@case(31, trained=True)
def folds_and_corrections_gone_wrong(place: Place) -> str:
    """r0.csv, somebody else's, with a fold called x, without a column; corrections without a column, not UTF-8."""
    folder = place.folder("folds")
    whole = (folder / "r0.csv").read_text()
    (folder / "r0.json").unlink()
    (folder / "r0.csv").write_text(whole.replace(",0\n", ",x\n", 1))
    line = place.refused("blend", naming=("r0.csv", "'fold' holds more than whole numbers"))
    (folder / "r0.csv").write_text(whole.replace("group", "grp"))
    place.refused("blend", naming=("r0.csv", "column 'group' is missing"))
    (folder / "r0.csv").write_text(whole)
    bad = place.home / "theirs.csv"
    bad.write_text("clip_id,decision\ntrain000.wav,keep\n")
    place.refused("corrections", f"merge={bad}", naming=("theirs.csv", "column 'label' is missing"))
    bad.write_bytes(b"\xff\xfe\0\1")
    place.refused("corrections", f"merge={bad}", naming=("theirs.csv", "cannot be read as csv"))
    shutil.copy(bad, folder / "corrections.csv")
    for verb in ("train", "report", "corrections"):
        place.refused(verb, "variant=again", naming=("corrections.csv", "cannot be read as csv"))
    return f"refused: “{line}”. Without the checks: ValueError"


@case(31, trained=True)
def folds_edited_by_hand(place: Place) -> str:
    """A label, then a fold number is changed in the r0.csv that make_folds has made; then a clip is there twice."""
    path = place.folder("folds") / "r0.csv"
    whole = path.read_text()
    line = ""
    for text in (whole.replace("Bell", "Drum", 1), whole.replace(",0\n", ",7\n", 1)):
        path.write_text(text)
        line = place.refused("blend", naming=("r0.csv", "changed by hand"))
    path.write_text(whole + whole.splitlines()[1] + "\n")
    place.refused("blend", naming=("r0.csv", "rows 2 and 26", "is there twice"))
    path.write_text(whole)
    place.works("blend", "blend.trials=20")
    return f"refused: “{line}”. Without the check the table counted as up to date"


@case(31)
def a_name_guarded_twice(place: Place) -> str:
    """A clip called =train000.wav is corrected; the corrections are read, written and read again."""
    place.edit("train.csv", "train000.wav", "=train000.wav")
    (place.root / "audio_train/train000.wav").rename(place.root / "audio_train/=train000.wav")
    theirs = place.home / "theirs.csv"
    theirs.write_text("clip_id,decision,label\n'=train000.wav,relabel,Drum\n")
    for _ in range(2):
        place.works("corrections", f"merge={theirs}")
    assert "\n'=train000.wav," in (place.folder("folds") / "corrections.csv").read_text()
    assert "0 keep, 1 relabel" in place.works("corrections").out
    return "guarded by one apostrophe each time. Before, the second reading knew no clip of that name"


@case(31)
def a_device_that_is_none(place: Place) -> str:
    """device=quantum, on a machine without a GPU."""
    line = place.refused("train", "device=quantum", naming=("device=quantum", "cuda:N"))
    return f"refused: “{line}”. Before, it trained on the CPU, and was refused on machines with a GPU alone"
