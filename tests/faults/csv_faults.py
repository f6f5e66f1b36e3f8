"""Rows 13 to 20: damaged, unusual and hostile csv files."""

import os
import shutil

import pandas as pd
import soundfile
from cases import case
from place import Place

HEADER = "fname,label,manually_verified\n"


@case(13)
def names_that_lead_out(place: Place) -> str:
    """train.csv names ../x.wav, then an absolute path, a Windows path and a name with a NUL byte."""
    lines = []
    for name in ("../x.wav", "/etc/passwd", "C:\\x.wav", "a\0b.wav"):
        place.edit("train.csv", "train000.wav", name)
        lines.append(place.refused("prepare", naming=("row 2", repr(name), "leaves its folder")))
        place.edit("train.csv", name, "train000.wav")
    return f"refused: “{lines[0]}”"


@case(14)
def no_plain_files(place: Place) -> str:
    """A link to a recording outside, a FIFO and a folder stand where three training clips should."""
    outside = place.root.with_name("outside.wav")
    shutil.copy(place.root / "audio_train/train000.wav", outside)
    for i in range(3):
        (place.root / f"audio_train/train{i:03d}.wav").unlink()
    (place.root / "audio_train/train000.wav").symlink_to(outside)
    os.mkfifo(place.root / "audio_train/train001.wav")
    (place.root / "audio_train/train002.wav").mkdir()
    naming = ("3 training clip(s)", "train000.wav: a link that leads out", "train001.wav: not a regular file")
    line = place.refused("prepare", naming=(*naming, "train002.wav: not a regular file"))
    os.mkfifo(place.root / "fifo.csv")
    place.refused("score", f"scoring={place.root / 'fifo.csv'}", naming=("fifo.csv", "no such file"))
    (place.root / "train.csv").unlink()
    os.mkfifo(place.root / "train.csv")
    place.refused("prepare", naming=("train.csv",))
    return f"refused at once, without a hang: “{line}”"


@case(15)
def labels_gone_wrong(place: Place) -> str:
    """A blank label; a label that is no class, where the classes are given; labels and names in stray blanks."""
    place.edit("train.csv", "train001.wav,Drum", "train001.wav, ")
    line = place.refused("prepare", naming=("train.csv", "row 3", "'label' is blank"))
    place.edit("train.csv", "train001.wav, ", "train001.wav,Drumm")
    classes = "reader.classes=[Bell,Drum,Hiss,Whistle]"
    place.refused("prepare", classes, naming=("row 3", "unknown label 'Drumm'", "did you mean 'Drum'"))
    place.edit("train.csv", "train001.wav,Drumm", " train001.wav , Drum ")
    place.works("make_folds")
    table = pd.read_csv(place.folder("folds") / "r0.csv")
    assert set(table["label"]) == {"Bell", "Drum", "Hiss", "Whistle"}
    assert "train001.wav" in set(table["clip_id"])
    return f"refused: “{line}”; blanks around cells are stripped"


@case(16)
def one_name_twice(place: Place) -> str:
    """train000.wav is there a second time, with another label."""
    place.edit("train.csv", "train005.wav,Drum", "train000.wav,Drum")
    line = place.refused("prepare", naming=("rows 2 and 7", "train000.wav"))
    return f"refused: “{line}”"


@case(17)
def strange_csv(place: Place) -> str:
    """The csv with a byte-order mark, CRLF and semicolons; without its label column; without rows; without a byte."""
    plain = (place.root / "train.csv").read_text()
    place.put("train.csv", b"\xef\xbb\xbf" + plain.replace(",", ";").replace("\n", "\r\n").encode())
    assert "folds: up to date (24 clips)" in place.works("make_folds").out
    place.put("train.csv", plain.replace("label", "lable").encode())
    line = place.refused("prepare", naming=("train.csv", "no column 'label'", "did you mean 'lable'"))
    place.put("train.csv", HEADER.encode())
    place.refused("prepare", naming=("train.csv", "no rows"))
    place.put("train.csv", b"")
    place.refused("prepare", naming=("train.csv", "is empty"))
    return f"the first is read like the plain one; refused: “{line}”"


@case(17)
def a_lone_quote(place: Place) -> str:
    """A quote opens one cell of train.csv, and nothing closes it: the rows behind it would belong to the cell."""
    place.edit("train.csv", "train005.wav,Drum", 'train005.wav,"Drum')
    line = place.refused("prepare", naming=("train.csv", "row 7", "over rows of their own"))
    return f"refused: “{line}”. Without the check those clips were left out"


@case(18)
def a_small_class(place: Place) -> str:
    """A class of one clip, two folds."""
    place.edit("train.csv", "train000.wav,Bell", "train000.wav,Gong")
    line = place.refused("make_folds", naming=("'Gong' has 1", "folds.small_classes=warn"))
    found = place.works("make_folds", "folds.small_classes=warn")
    assert "'Gong' has 1" in found.err
    assert set(pd.read_csv(place.folder("folds") / "r0.csv")["fold"]) == {0, 1}
    assert "up to date" in place.works("make_folds").out  # the word need not be repeated
    place.edit("train.csv", "train001.wav,Drum", "train001.wav,Bell")
    place.works("make_folds")
    return f"refused: “{line}”; folded with a warning by choice, which is kept with the folds"


@case(19)
def the_same_audio_twice(place: Place) -> str:
    """A training clip's bytes under another name; its samples as FLAC; its samples as a test clip; official folds."""
    audio = place.root / "audio_train"
    wave, rate = soundfile.read(audio / "train000.wav", dtype="int16")
    shutil.copy(audio / "train000.wav", audio / "train004.wav")
    soundfile.write(audio / "train008.wav", wave, rate, format="FLAC")
    soundfile.write(place.root / "audio_test/test000.wav", wave, rate, format="FLAC")
    printed = place.works("prepare").out
    assert "4 clips hold 1 recordings" in printed
    line = next(line.strip() for line in printed.splitlines() if "in train and in test" in line)
    assert line.endswith("train000.wav and train004.wav and train008.wav = test000.wav")
    place.works("make_folds")
    folds = pd.read_csv(place.folder("folds") / "r0.csv").set_index("clip_id")["fold"]
    assert folds[["train000.wav", "train004.wav", "train008.wav"]].nunique() == 1
    table = pd.read_csv(place.root / "train.csv")
    table.assign(fold=[i // 4 % 2 for i in range(len(table))]).to_csv(place.root / "train.csv", index=False)
    reader = ["data=table", "name=fsdkaggle2018", "reader.fold=fold", "reader.verified=manually_verified"]
    err = place.works("make_folds", *reader).err
    assert "1 recordings lie in several folds, first train000.wav = train004.wav" in err
    return f"kept in one fold; flagged: “{line}”; in official folds a warning"


@case(20)
def formula_and_script(place: Place) -> str:
    """A class =cmd('calc'), a class <script>, a clip called =train.wav: the whole pipeline, pages included."""
    for old, new in (("Bell", "=cmd('calc')"), ("Drum", "<script>alert(1)</script>")):
        for name in ("train.csv", "test_post_competition_scoring_clips.csv", "sample_submission.csv"):
            place.put(name, (place.root / name).read_text().replace(old, new).encode())
    for name in ("train.csv",):
        place.edit(name, "train000.wav", "=train000.wav")
    (place.root / "audio_train/train000.wav").rename(place.root / "audio_train/=train000.wav")
    place.works("all", "stack.rounds=5", "blend.trials=20", "clean.method=agree", "clean.settings.agree.keep=0")
    made = [f for f in place.home.rglob("*.csv") if f.parent != place.folder("submissions") or f.name == "log.csv"]
    assert {"r0.csv", "leaderboard.csv", "log.csv"} <= {f.name for f in made}
    for path in made:
        cells = pd.read_csv(path, header=None, dtype=str, keep_default_na=False).to_numpy().ravel()
        running = [cell for cell in cells if cell.startswith(("=", "+", "@", "\t"))]
        assert not running, f"{path}: {running[:2]}"
    labels = pd.read_csv(place.folder("folds") / "r0.csv")["label"]
    assert "'=cmd('calc')" in set(labels)  # guarded there, and read back as it is spelt:
    shipped = pd.read_csv(place.folder("submissions") / "submission.csv")
    assert set(shipped["label"].str.split(" ").explode()) <= {
        "=cmd('calc')",
        "<script>alert(1)</script>",
        "Hiss",
        "Whistle",
    }
    for page in place.home.rglob("*.html"):
        assert "<script>alert(1)" not in page.read_text(), page
    return (
        "guarded by an apostrophe in every csv of ours, escaped in pages; a submission has the competition's spelling"
    )
