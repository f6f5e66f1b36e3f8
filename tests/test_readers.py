"""Readers and the csv rules: toy files in, tables or one clear line out."""

import os
from pathlib import Path

from refusals import refused
from tonestack.base import parts
from tonestack.competition import csvs
from tonestack.competition.readers import esc50, folder, fsdkaggle2018, table
from tonestack.tables.competition import Competition

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_line_ends_bom_and_blanks(tmp_path, mark, end):
    text = (
        end.join(mark.join(row) for row in [("fname ", "label"), (" a.wav", "Dog "), ("b.wav", "NA"), ("", "")]) + end
    )
    got = csvs.read_table(write(tmp_path / "t.csv", b"\xef\xbb\xbf" + text.encode()), ["fname", "label"])
    assert got.to_dict("list") == {"fname": ["a.wav", "b.wav"], "label": ["Dog", "NA"]}
    assert list(got.index) == [2, 3]


def test_blank_lines_keep_row_numbers_and_quotes_keep_separators(tmp_path):
    got = csvs.read_table(write(tmp_path / "t.csv", 'fname,label\n\na.wav,"Dog, big"\n'), ["label"])
    assert got.to_dict("list") == {"label": ["Dog, big"]}
    assert list(got.index) == [3]


def test_only_the_columns_asked_for(tmp_path):
    path = write(tmp_path / "t.csv", "fname,label,usage\na.wav,Dog,Public\n")
    assert list(csvs.read_table(path, ["fname"], ["usage", "absent"]).columns) == ["fname", "usage"]
    assert list(csvs.read_table(path).columns) == ["fname", "label", "usage"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ("t.csv", "empty")),
        (b"\n\n", ("t.csv", "empty")),
        (b"fname,label\n", ("t.csv", "no rows")),
        (b"fname,labels\na,b\n", ("t.csv", "'label'", "did you mean 'labels'")),
        (b"fname,label,label\na,b,c\n", ("t.csv", "'label'", "twice")),
        (b"fname,label\na.wav,x\nb.wav,y,z\n", ("t.csv", "row 3", "3 cells")),
        (b"fname,label\n\xff\xfe,x\n", ("t.csv", "UTF-8")),
        (b"fname,label\na," + b"x" * (4 << 20) + b"x\n", ("t.csv", "row 2", "limit")),
    ],
)
def test_unreadable_csv_refused(tmp_path, text, words):
    refused(lambda: csvs.read_table(write(tmp_path / "t.csv", text), ["fname", "label"]), *words)


def test_absent_csv_and_fifo_refused_without_a_hang(tmp_path):
    refused(lambda: csvs.read_table(tmp_path / "t.csv"), "t.csv", "no such file")
    os.mkfifo(tmp_path / "f.csv")
    refused(lambda: csvs.read_table(tmp_path / "f.csv"), "f.csv", "no such file")


# --- fsdkaggle2018 --------------------------------------------------------------------------------------------------


HEADER = "fname,label,manually_verified\n"


def kaggle(root: Path, rows: str = "b.wav,Dog,1\na.wav,None,0\n", test: str | None = "z.wav,Dog\ny.wav,Dog\n"):
    write(root / "train.csv", HEADER + rows)
    if test is not None:
        write(root / "sample_submission.csv", "fname,label\n" + test)
    return fsdkaggle2018.read(fsdkaggle2018.Params(), root)


def test_kaggle_layout(tmp_path):
    got = kaggle(tmp_path)
    assert list(got.train.columns) == ["clip_id", "path", "label", "verified", "group", "fold"]
    assert got.train.values.tolist() == [
        ["b.wav", "audio_train/b.wav", "Dog", True, "", -1],
        ["a.wav", "audio_train/a.wav", "None", False, "", -1],
    ]
    assert got.test.values.tolist() == [["z.wav", "audio_test/z.wav", ""], ["y.wav", "audio_test/y.wav", ""]]
    assert got.classes == ("Dog", "None")
    assert got.submission is not None
    assert (got.submission.columns, got.submission.ids) == (("fname", "label"), ("z.wav", "y.wav"))
    assert (got.submission.style, got.submission.k) == ("labels", 3)
    assert got.train["verified"].dtype == bool
    assert got.train["fold"].dtype == "int64"


@pytest.mark.parametrize("name", ["test_post_competition", "test_post_competition_scoring_clips"])
def test_zenodo_layout(tmp_path, name):
    meta = tmp_path / "FSDKaggle2018.meta"
    write(meta / "train_post_competition.csv", "fname,label,manually_verified,freesound_id,license\na.wav,Dog,1,7,CC\n")
    # The test labels are not even looked at: a blank one passes.
    scoring = write(meta / f"{name}.csv", "fname,label,usage\nz.wav,,Public\n")
    got = fsdkaggle2018.read(fsdkaggle2018.Params(), tmp_path)
    assert list(got.train["path"]) == ["FSDKaggle2018.audio_train/a.wav"]
    assert list(got.test["path"]) == ["FSDKaggle2018.audio_test/z.wav"]
    assert "label" not in got.test
    assert fsdkaggle2018.scoring_table(fsdkaggle2018.Params(), tmp_path) == scoring


def test_test_clips_from_the_listing(tmp_path):
    for name in ("z.wav", "y.wav", ".hidden.wav", "notes.txt"):
        write(tmp_path / "audio_test" / name, b"")
    got = kaggle(tmp_path, test=None)
    assert list(got.test["clip_id"]) == ["y.wav", "z.wav"]


def test_no_test_set_and_no_scoring_table(tmp_path):
    got = kaggle(tmp_path, test=None)
    assert got.submission is None
    assert list(got.test.columns) == ["clip_id", "path", "group"]
    assert len(got.test) == 0
    assert fsdkaggle2018.scoring_table(fsdkaggle2018.Params(), tmp_path) is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a.wav,Dog,1\nb.wav, ,1\n", ("train.csv", "row 3", "'label' is blank")),
        (",Dog,1\n", ("train.csv", "row 2", "'fname' is blank")),
        ("a.wav,Dog,1\nb.wav,Dog,0\na.wav,Cat,0\n", ("train.csv", "rows 2 and 4", "'a.wav'")),
        ("a.wav,Dog,1\na.wav,Dog,1\n", ("train.csv", "rows 2 and 3", "'a.wav'")),
        ("a.wav,Dog,1\nb.wav,Dog,maybe\n", ("train.csv", "row 3", "'maybe'")),
        ("a.wav,Big dog,1\n", ("train.csv", "row 2", "'Big dog'", "blank")),
        ("../x.wav,Dog,1\n", ("train.csv", "row 2", "leaves its folder")),
        ("/etc/x.wav,Dog,1\n", ("train.csv", "row 2", "leaves its folder")),
        ("C:\\x.wav,Dog,1\n", ("train.csv", "row 2", "leaves its folder")),
        ("a\0.wav,Dog,1\n", ("train.csv", "row 2", "leaves its folder")),
        ("z.wav,Dog,1\n", ("sample_submission.csv", "'z.wav'", "train clip")),
    ],
)
def test_bad_rows_refused(tmp_path, rows, words):
    refused(lambda: kaggle(tmp_path, rows), *words)


def test_unknown_label_refused_where_the_classes_are_given(tmp_path):
    kaggle(tmp_path)
    refused(
        lambda: fsdkaggle2018.read(fsdkaggle2018.Params(classes=("Dog", "Nona")), tmp_path), "row 3", "'None'", "'Nona'"
    )


def test_missing_column_and_missing_folder_named(tmp_path):
    refused(lambda: fsdkaggle2018.read(fsdkaggle2018.Params(), tmp_path), "train.csv", "root=")
    write(tmp_path / "train.csv", "fname,label,manually_verifed\na.wav,Dog,1\n")
    refused(lambda: fsdkaggle2018.read(fsdkaggle2018.Params(), tmp_path), "'manually_verified'", "'manually_verifed'")


def test_formula_and_markup_stay_text(tmp_path):
    got = kaggle(tmp_path, "=cmd(),<script>,1\n")
    assert got.train[["clip_id", "label"]].values.tolist() == [["=cmd()", "<script>"]]


# --- esc50 ----------------------------------------------------------------------------------------------------------


ESC = "filename,fold,target,category,esc10,src_file,take\n"
ESC_ROWS = "1-100032-A-0.wav,1,0,dog,True,100032,A\n5-9032-A-0.wav,5,12,crackling_fire,False,9032,A\n"


def esc(root: Path, rows: str = ESC_ROWS, **params) -> Competition:
    write(root / "meta" / "esc50.csv", ESC + rows)
    return esc50.read(esc50.Params(**params), root)


def test_esc50_official_folds_and_groups(tmp_path):
    got = esc(tmp_path)
    assert got.train.values.tolist() == [
        ["1-100032-A-0.wav", "audio/1-100032-A-0.wav", "dog", True, "100032", 0],
        ["5-9032-A-0.wav", "audio/5-9032-A-0.wav", "crackling_fire", True, "9032", 4],
    ]
    assert got.classes == ("crackling_fire", "dog")
    assert got.submission is None
    assert len(got.test) == 0


def test_esc10_subset(tmp_path):
    assert list(esc(tmp_path, subset="esc10").train["label"]) == ["dog"]
    refused(lambda: esc(tmp_path, subset="all"), "2 classes", "auto")
    refused(lambda: esc(tmp_path, ESC_ROWS.replace("True", "False"), subset="esc10"), "no row")


@pytest.mark.parametrize(
    ("fold", "words"), [("0", ("row 2", "from 1")), ("x", ("row 2", "'x'")), ("9" * 20, ("row 2", "999"))]
)
def test_esc50_bad_fold_refused(tmp_path, fold, words):
    refused(lambda: esc(tmp_path, ESC_ROWS.replace("wav,1,", f"wav,{fold},")), *words)


# --- folder ---------------------------------------------------------------------------------------------------------


def tree(root: Path, *names: str, **params) -> Competition:
    for name in names:
        write(root / name, b"")
    return folder.read(folder.Params(**params), root)


def test_folder_with_train_and_test(tmp_path):
    names = (
        "train/dog/1.wav",
        "train/dog/s2/2.FLAC",
        "train/cat/1.mp3",
        "train/cat/n.txt",
        "test/1.ogg",
        "test/.x.wav",
    )
    got = tree(tmp_path, *names, "train/cat/.h.wav", "train/.git/x/1.wav")
    assert got.train[["clip_id", "path", "label", "group"]].values.tolist() == [
        ["train/cat/1.mp3", "train/cat/1.mp3", "cat", ""],
        ["train/dog/1.wav", "train/dog/1.wav", "dog", ""],
        ["train/dog/s2/2.FLAC", "train/dog/s2/2.FLAC", "dog", "dog/s2"],
    ]
    assert list(got.test["clip_id"]) == ["test/1.ogg"]
    assert got.submission is not None
    assert (got.submission.columns, got.submission.style, got.submission.k) == (("fname", "label"), "labels", 3)


def test_folder_without_train_uses_the_root(tmp_path):
    got = tree(tmp_path, "dog/1.wav", "cat/1.wav", "loose.wav", "test/1.wav")
    assert list(got.train["clip_id"]) == ["cat/1.wav", "dog/1.wav"]
    assert list(got.test["clip_id"]) == ["test/1.wav"]
    assert tree(tmp_path / "dog", "x/1.wav").submission is None


def test_folder_class_with_a_blank_gives_one_label_a_row(tmp_path):
    got = tree(tmp_path, "train/big dog/1.wav", "test/1.wav")
    assert got.submission is not None
    assert (got.submission.style, got.submission.k) == ("label", 1)
    refused(lambda: tree(tmp_path, k=3), "reader.k=3", "'big dog'", "say reader.k=1")
    refused(lambda: tree(tmp_path / "none"), "none: there is no such folder")


def test_folder_refuses_links_out_fifos_and_folders_named_as_clips(tmp_path):
    outside = write(tmp_path / "outside.wav", b"")
    root = tmp_path / "root"
    tree(root, "train/dog/1.wav")
    (root / "train/dog/2.wav").symlink_to(root / "train/dog/1.wav")
    assert len(tree(root).train) == 2
    for make, word in (
        (lambda p: p.symlink_to(outside), "link out of"),
        (lambda p: p.symlink_to(root / "gone.wav"), "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda p: p.mkdir(), "folder with the name of a recording"),
        (lambda p: p.symlink_to(tmp_path), "link to a folder"),
    ):
        make(bad := root / "train/dog/3.wav")
        refused(lambda: tree(root), "3.wav", word)
        bad.rmdir() if bad.is_dir() and not bad.is_symlink() else bad.unlink()


def test_folder_empty_or_outside_refused(tmp_path):
    refused(lambda: tree(tmp_path, "notes.txt"), "no class folder")
    refused(lambda: tree(tmp_path, "dog/1.wav", train_dir="../x"), "'../x'")


# --- table ----------------------------------------------------------------------------------------------------------


NAMES = {"train_csv": "meta/t.csv", "clip": "id", "label": "kind", "train_audio": "wavs", "train_suffix": ".wav"}


def any_table(root: Path, text: str, **params) -> Competition:
    write(root / "meta" / "t.csv", text)
    return table.read(table.Params(**(NAMES | params)), root)


def test_table_columns_by_name(tmp_path):
    text = "kind;id;who;part;ok\nDog;001;ann;1;yes\nBig cat;002;bob;2;no\n"
    got = any_table(tmp_path, text, verified="ok", group="who", fold="part", first_fold=1)
    assert got.train.values.tolist() == [
        ["001", "wavs/001.wav", "Dog", True, "ann", 0],
        ["002", "wavs/002.wav", "Big cat", False, "bob", 1],
    ]
    assert got.submission is None
    refused(lambda: any_table(tmp_path, text, fold="part", first_fold=2), "row 2", "first_fold")
    refused(lambda: any_table(tmp_path, text, group="hwo"), "t.csv", "'hwo'", "'who'")
    refused(lambda: any_table(tmp_path, text, classes=("Dog",)), "row 3", "'Big cat'")


def test_table_multilabel(tmp_path):
    got = any_table(tmp_path, 'id,kind\n1,"Dog, Cat"\n2,Cat\n', multilabel=True)
    assert list(got.train["label"]) == ["Dog,Cat", "Cat"]
    assert got.classes == ("Cat", "Dog")
    refused(lambda: any_table(tmp_path, 'id,kind\n1,"Dog,,Cat"\n', multilabel=True), "row 2", "blank")


def test_table_with_the_same_names_in_train_and_test(tmp_path):
    write(tmp_path / "sample.csv", "id,kind\n1,Dog\n3,Dog\n")
    test = {"sample_submission": "sample.csv", "test_audio": "unseen", "test_suffix": ".wav"}
    got = any_table(tmp_path, "id,kind\n1,Dog\n2,Cat\n", **test)
    assert got.train["clip_id"].tolist() == got.train["path"].tolist() == ["wavs/1.wav", "wavs/2.wav"]
    assert (got.test["clip_id"].tolist(), got.test["path"].tolist()) == (["1", "3"], ["unseen/1.wav", "unseen/3.wav"])
    assert got.submission is not None
    assert got.submission.clips == ("1", "3")
    assert got.notes == ("1 names such as '1' are in train and test: train clips are called by their paths",)
    again = test | {"test_audio": "wavs"}
    refused(lambda: any_table(tmp_path, "id,kind\n1,Dog\n2,Cat\n", **again), "sample.csv: '1' is a train clip too")


TRAIN = "id,kind\n1,Dog\n2,Cat\n"


@pytest.mark.parametrize(
    ("sample", "params", "style", "k"),
    [
        ("id,Dog,Cat\n9,0,0\n", {}, "scores", 1),
        ("id,kind\n9,Dog\n", {}, "label", 1),
        ("id,kind\n9,Dog Cat\n", {}, "labels", 2),
        ("id,kind\n9,\n", {"k": 3}, "labels", 3),
        ("id,kind\n9,Dog\n", {"style": "labels", "k": 5}, "labels", 5),
        ("row,kind\n9,Dog\n", {}, "label", 1),
    ],
)
def test_table_submission_style(tmp_path, sample, params, style, k):
    write(tmp_path / "s.csv", sample)
    got = any_table(tmp_path, TRAIN, sample_submission="s.csv", test_audio="t", test_suffix=".flac", **params)
    assert got.submission is not None
    assert (got.submission.style, got.submission.k, got.submission.ids) == (style, k, ("9",))
    assert got.submission.columns == tuple(sample.splitlines()[0].split(","))
    assert list(got.test["path"]) == ["t/9.flac"]


def test_table_bad_samples_refused(tmp_path):
    for sample, words in (
        ("id,Dog,Cats\n9,0,0\n", ("'Cats'", "'Cat'")),
        ("id,Dog\n9,0\n", ("'Cat'", "no column")),
        ("id,kind\n1,Dog\n", ("'1'", "train clip")),
    ):
        write(tmp_path / "s.csv", sample)
        refused(lambda: any_table(tmp_path, TRAIN, sample_submission="s.csv"), "s.csv", *words)
    write(tmp_path / "s.csv", "id,kind\n9,Dog Cat\n")
    refused(lambda: any_table(tmp_path, "id,kind\n1,Big dog\n", sample_submission="s.csv"), "'Big dog'", "blank")


def test_table_test_csv_and_scoring(tmp_path):
    write(tmp_path / "test.csv", "id,who\n9,ann\n8,bob\n")
    got = any_table(tmp_path, "id,kind,who\n1,Dog,cid\n", test_csv="test.csv", group="who")
    assert got.test.values.tolist() == [["9", "audio_test/9", "ann"], ["8", "audio_test/8", "bob"]]
    assert got.submission is not None
    assert (got.submission.columns, got.submission.ids) == (("id", "kind"), ("9", "8"))
    write(tmp_path / "s.csv", "id,kind\n9,Dog\n")
    refused(lambda: any_table(tmp_path, TRAIN, test_csv="test.csv", sample_submission="s.csv"), "s.csv", "'8'")
    assert table.scoring_table(table.Params(), tmp_path) is None
    assert table.scoring_table(table.Params(scoring_csv="s.csv"), tmp_path) == tmp_path / "s.csv"


def test_table_says_what_a_truth_or_test_csv_lacks(tmp_path):
    write(tmp_path / "truth.csv", "id,kinds\n9,Dog\n")
    given = NAMES | {"scoring_csv": "truth.csv", "label_form": "semicolons", "secondary_label": "more"}
    refused(lambda: table.scoring_table(table.Params(**given), tmp_path), "truth.csv", "'kind'", "'kinds'")
    found = table.scoring_table(table.Params(**(given | {"label": "kinds"})), tmp_path)
    assert found.values.tolist() == [["9", "Dog", "Public"]]
    write(tmp_path / "test.csv", "id,start,stop\n9,0,5\n")
    train = "id,kind,start,end\n1,Dog,0,5\n2,Cat,0,5\n"
    times = {"test_csv": "test.csv", "start": "start", "end": "end"}
    refused(lambda: any_table(tmp_path, train, **times), "test.csv", "no column 'end' (reader.end) beside 'start'")


@pytest.mark.parametrize("folder", ["t", "t/", "./t", "t//", "", "."])
def test_table_names_the_files_of_a_folder_however_it_is_written(tmp_path, folder):
    write(tmp_path / "t" / "night" / "a.wav", b"")
    got = any_table(tmp_path, TRAIN, test_rows="files", test_audio=folder, test_suffix=".wav")
    assert got.test["clip_id"].tolist() == ["night/a" if "t" in folder else "t/night/a"]
    assert got.test["path"].tolist() == ["t/night/a.wav"]


@pytest.mark.parametrize("folder", ["/tmp", "../t"])
def test_table_refuses_a_test_folder_outside(tmp_path, folder):
    refused(lambda: any_table(tmp_path, TRAIN, test_rows="files", test_audio=folder), "reader.test_audio", folder)


# --- contract and real data -----------------------------------------------------------------------------------------


def test_parts_in_folders_of_their_package_are_found_and_no_name_stands_for_two():
    assert parts.modules("readers")["demo_stories"] == "tonestack.competition.readers.demos.demo_stories"
    for kind, room in parts.ROOMS.items():
        files = [f for f in (parts.PACKAGE / room.replace(".", "/")).rglob("*.py") if not f.stem.startswith("_")]
        assert len(files) == len(parts.names(kind)), kind


def test_every_reader_keeps_the_contract():
    for name in parts.names("readers"):
        module = parts.find("readers", name)
        assert callable(module.read)
        refused(lambda params=module.Params: params.parse({"nonsense": 1}, "data"), "nonsense")


@pytest.mark.skipif(not (SHARED / "fsdkaggle2018_meta").is_dir(), reason="the real competition's csv files are absent")
def test_the_real_competition():
    got = fsdkaggle2018.read(fsdkaggle2018.Params(), SHARED / "fsdkaggle2018_meta")
    assert (len(got.train), int(got.train["verified"].sum()), len(got.test), len(got.classes)) == (9473, 3710, 9400, 41)


@pytest.mark.skipif(not (SHARED / "fsdmini").is_dir(), reason="the small set of real recordings is absent")
def test_the_small_real_set():
    got = fsdkaggle2018.read(fsdkaggle2018.Params(), SHARED / "fsdmini")
    assert (len(got.train), len(got.test), len(got.classes)) == (998, 650, 26)
    assert all((got.root / path).is_file() for path in [*got.train["path"], *got.test["path"]])


@pytest.mark.skipif(not (SHARED / "bark6").is_dir(), reason="the generated voices are absent")
def test_folders_of_voices():
    got = folder.read(folder.Params(), SHARED / "bark6")
    assert got.train.groupby("label").size().to_dict() == dict.fromkeys(got.classes, 30)
    assert len(got.classes) == 6
