"""Row 31 and on: faults that nobody had listed."""

import os
import shutil

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
    place.refused("prepare", *words, naming=("control sign", "rename it"))
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
    from tonestack import files

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
