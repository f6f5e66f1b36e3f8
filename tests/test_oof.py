"""Prediction tables: written and read back, foreign formats, every refusal."""

import pickle
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.tables import oof
from tonestack.tables.load import load
from tonestack.tables.oof import combine_folds, experiments, remove, write_fold

import numpy as np
import pandas as pd
import pytest

CLASSES = ("Bark", "Flute", "Hi-hat")
TRAIN = [f"{i:02d}.wav" for i in range(10)]
TEST = ["t0.wav", "t1.wav", "t2.wav"]
RNG = np.random.default_rng(0)
ROWS = RNG.dirichlet(np.ones(3), 10).astype(np.float32)
TEST_ROWS = RNG.dirichlet(np.ones(3), (2, 3)).astype(np.float32)


@pytest.fixture
def folds() -> pd.DataFrame:
    return pd.DataFrame(
        {"clip_id": TRAIN, "label": "Bark", "verified": [True, False] * 5, "group": "", "fold": [0] * 5 + [1] * 5}
    )


def write_native(folder: Path, kind: str = "train") -> None:
    for k in (0, 1):
        ids = TRAIN[5 * k : 5 * k + 5]
        values = np.concatenate([ROWS[5 * k : 5 * k + 5], TEST_ROWS[k]])
        write_fold(folder, k, ids + TEST, ["oof"] * 5 + ["test"] * 3, values, CLASSES, {"kind": kind, "seconds": 1.5})


def foreign(rows: np.ndarray = ROWS, ids: list[str] = TRAIN, part: str = "oof") -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(CLASSES))
    return table.assign(clip_id=ids, part=part)


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns in another order."""
    return table.sample(frac=1, random_state=1)[table.columns[::-1]]


def test_native_round_trip(tmp_path: Path, folds: pd.DataFrame) -> None:
    write_native(tmp_path / "vgg@r0")
    found = load(tmp_path / "vgg@r0", folds, TEST, CLASSES)
    assert found.oof is not None
    assert found.test is not None
    np.testing.assert_array_equal(found.oof, ROWS)
    np.testing.assert_array_equal(found.test, TEST_ROWS)
    assert (found.kind, found.name) == ("train", "vgg@r0")
    assert found.meta[1]["fold"] == 1
    assert found.meta[0]["seconds"] == 1.5


def test_rows_and_classes_are_aligned_by_name(tmp_path: Path, folds: pd.DataFrame) -> None:
    write_native(tmp_path / "a")
    found = load(tmp_path / "a", folds.iloc[::-1], TEST[::-1], CLASSES[::-1])
    np.testing.assert_array_equal(found.oof, ROWS[::-1, ::-1])
    np.testing.assert_array_equal(found.test, TEST_ROWS[:, ::-1, ::-1])


def test_write_refuses_nonsense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="non-finite"):
        write_fold(tmp_path, 0, ["a"], ["oof"], np.array([[np.nan, 1, 0]]), CLASSES, {})
    with pytest.raises(ValueError, match="probabilities for"):
        write_fold(tmp_path, 0, ["a", "b"], ["oof"], np.ones((1, 3)), CLASSES, {})
    assert not list(tmp_path.iterdir())


def test_experiments_leaves_out_what_was_made(tmp_path: Path) -> None:
    write_native(tmp_path / "vgg@r0")
    write_native(tmp_path / "blend@r0", kind="blend")
    (tmp_path / "theirs").mkdir()
    foreign().to_csv(tmp_path / "theirs" / "x.csv", index=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "leaderboard.csv").write_text("x")
    assert experiments(tmp_path) == ["theirs", "vgg@r0"]
    assert experiments(tmp_path, made=True) == ["blend@r0", "theirs", "vgg@r0"]
    assert experiments(tmp_path / "nowhere") == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_foreign_files(tmp_path: Path, folds: pd.DataFrame, suffix: str) -> None:
    for k in (0, 1):
        table = pd.concat([foreign(ROWS[k::2], TRAIN[k::2]), foreign(TEST_ROWS[k], TEST, "test")])
        path = tmp_path / f"model{k}.{suffix}"
        shuffled(table).to_csv(path) if suffix == "csv" else shuffled(table).to_parquet(path)
    found = load(tmp_path, folds, TEST, CLASSES)
    np.testing.assert_allclose(found.oof, ROWS, rtol=1e-6)
    np.testing.assert_allclose(found.test, TEST_ROWS, rtol=1e-6)
    assert found.kind == "foreign"


def test_foreign_without_part_and_with_fname(tmp_path: Path, folds: pd.DataFrame) -> None:
    table = pd.concat([foreign(), foreign(TEST_ROWS[0], TEST, "test")]).drop(columns="part")
    table.rename(columns={"clip_id": "fname"}).to_csv(tmp_path / "all.csv", index=False)
    found = load(tmp_path, folds, TEST, CLASSES)
    assert found.oof is not None
    assert found.test is not None
    assert found.test.shape == (1, 3, 3)


def test_foreign_test_only_and_verified_only(tmp_path: Path, folds: pd.DataFrame) -> None:
    foreign(TEST_ROWS[0], TEST, "test").to_csv(tmp_path / "t.csv", index=False)
    found = load(tmp_path, folds, TEST, CLASSES)
    assert found.oof is None
    assert "equal weights" in found.notes[0]
    foreign(ROWS[::2], TRAIN[::2]).to_csv(tmp_path / "o.csv", index=False)
    rows = load(tmp_path, folds, TEST, CLASSES).oof
    assert rows is not None
    assert np.isnan(rows[1::2]).all()
    assert np.isfinite(rows[::2]).all()


def test_foreign_npy(tmp_path: Path, folds: pd.DataFrame) -> None:
    np.save(tmp_path / "oof.npy", ROWS[::-1])
    np.save(tmp_path / "test.npy", TEST_ROWS)
    (tmp_path / "train.txt").write_text("\n".join(TRAIN[::-1]))
    pd.DataFrame({"fname": TEST, "x": 0}).to_csv(tmp_path / "test.csv", index=False)
    np.save(tmp_path / "classes.npy", np.array(CLASSES))
    words = "oof: oof.npy\noof_ids: train.txt\ntest: [test.npy]\ntest_ids: test.csv\nclasses: classes.npy\n"
    (tmp_path / "table.yaml").write_text(words)
    found = load(tmp_path, folds, TEST, CLASSES)
    np.testing.assert_array_equal(found.oof, ROWS)
    np.testing.assert_array_equal(found.test, TEST_ROWS)
    (tmp_path / "table.yaml").write_text(words.replace("oof.npy", "../oof.npy"))
    with pytest.raises(UserError, match="not a file beside"):
        load(tmp_path, folds, TEST, CLASSES)
    (tmp_path / "table.yaml").write_text(words + "oops: 1\n")
    with pytest.raises(UserError, match="unknown key 'oops'"):
        load(tmp_path, folds, TEST, CLASSES)


class Bomb:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w')",)


def test_pickles_are_never_opened(tmp_path: Path, folds: pd.DataFrame) -> None:
    fuse, folder = tmp_path / "exploded", tmp_path / "theirs"
    folder.mkdir()
    payload = pickle.dumps(Bomb(fuse))
    for name in ("a.pt", "b.npz", "c.joblib", "d.pkl"):
        (folder / name).write_bytes(payload)
    with pytest.raises(UserError, match=r"no prediction table here \(a.pt"):
        load(folder, folds, TEST, CLASSES)
    (folder / "oof.npy").write_bytes(payload)
    (folder / "table.yaml").write_text("oof: oof.npy\noof_ids: i.txt\nclasses: [Bark]\n")
    (folder / "i.txt").write_text("00.wav")
    with pytest.raises(UserError, match="not a plain npy"):
        load(folder, folds, TEST, CLASSES)
    (folder / "table.yaml").unlink()
    (folder / "x.parquet").write_bytes(payload)
    with pytest.raises(UserError, match="cannot be read"):
        load(folder, folds, TEST, CLASSES)
    (folder / "x.parquet").unlink()
    foreign().to_csv(folder / "x.csv", index=False)
    assert "a.pt" in load(folder, folds, TEST, CLASSES).notes[0]
    assert not fuse.exists()


def broken(change: str) -> pd.DataFrame:
    """The foreign table with one fault."""
    table = foreign()
    if change == "missing":
        return table.drop(index=3)
    if change == "repeated":
        return pd.concat([table, table.iloc[[3]]])
    if change == "part":
        return table.assign(part="train")
    if change == "unknown class":
        return table.rename(columns={"Flute": "Fluet"})
    if change == "missing class":
        return table.drop(columns="Flute")
    if change == "text":
        return table.assign(Flute="loud")
    if change == "no ids":
        return table.drop(columns="clip_id")
    table["clip_id"] = table["clip_id"].mask(table.index == 3, "03.wav" if change != "stranger" else "99.wav")
    values = {"nan": [np.nan, 0, 1], "inf": [np.inf, 0, 1], "negative": [-0.1, 0, 1], "zeros": [0, 0, 0]}
    if change in values:
        table.loc[3, list(CLASSES)] = values[change]
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "clip '03.wav'.* no row"),
        ("repeated", "clip '03.wav'.* two rows"),
        ("stranger", "clip '99.wav'.* not in the folds"),
        ("nan", "clip '03.wav'.* NaN"),
        ("inf", "clip '03.wav'.* NaN or infinite"),
        ("negative", "clip '03.wav'.* negative"),
        ("zeros", "clip '03.wav'.* zeros"),
        ("part", "row 2: part is 'train'"),
        ("unknown class", "'Fluet'; did you mean 'Flute'"),
        ("missing class", "no column for class 'Flute'"),
        ("text", "clip '00.wav': 'Flute' is 'loud', not a number"),
        ("no ids", "no column clip_id"),
    ],
)
def test_refusals(tmp_path: Path, folds: pd.DataFrame, change: str, message: str) -> None:
    broken(change).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UserError, match=message):
        load(tmp_path, folds, TEST, CLASSES)


def test_native_refusals(tmp_path: Path, folds: pd.DataFrame) -> None:
    folder = tmp_path / "vgg@r0"
    write_native(folder)
    bytes_before = (folder / "fold1.parquet").read_bytes()
    (folder / "fold1.parquet").write_bytes(bytes_before[:-5] + b"xxxxx")
    with pytest.raises(UserError, match=r"fold1.parquet.*damaged"):
        load(folder, folds, TEST, CLASSES)
    (folder / "fold1.json").unlink()
    with pytest.raises(UserError, match="fold 1 is missing"):
        load(folder, folds, TEST, CLASSES)
    write_native(folder)
    with pytest.raises(UserError, match=r"'00.wav'.* is not of fold 0"):
        load(folder, folds.assign(fold=[1, 0] + [0] * 3 + [1] * 5), TEST, CLASSES)
    with pytest.raises(UserError, match=r"'t3.wav' \(test\) has no row"):
        load(folder, folds, [*TEST, "t3.wav"], CLASSES)
    with pytest.raises(UserError, match=r"did you mean 'vgg@r0'"):
        load(tmp_path / "vgg@r", folds, TEST, CLASSES)


def test_a_clip_in_two_files_is_refused(tmp_path: Path, folds: pd.DataFrame) -> None:
    foreign().to_csv(tmp_path / "a.csv", index=False)
    foreign().to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(UserError, match="given by another file"):
        load(tmp_path, folds, TEST, CLASSES)


def test_clips_outside_of_the_folds_need_no_row(tmp_path: Path, folds: pd.DataFrame) -> None:
    folds["fold"] = [-1] * 5 + [0] * 5
    write_fold(tmp_path / "a", 0, TRAIN[5:], ["oof"] * 5, ROWS[5:], CLASSES, {})
    rows = load(tmp_path / "a", folds, [], CLASSES).oof
    assert rows is not None
    assert np.isnan(rows[:5]).all()


def test_combine_folds() -> None:
    test = np.array([[[0.8, 0.2]], [[0.2, 0.8]], [[0.5, 0.5]]], dtype=np.float32)
    np.testing.assert_allclose(combine_folds(test, "geometric"), [[0.5, 0.5]], atol=1e-6)
    veto = np.array([[[0.0, 1.0]], [[0.9, 0.1]]], dtype=np.float32)
    np.testing.assert_allclose(combine_folds(veto, "arithmetic"), [[0.45, 0.55]], atol=1e-6)
    assert combine_folds(veto, "geometric")[0, 0] < 1e-6
    np.testing.assert_allclose(combine_folds(veto, "arithmetic", normalise=False), veto.mean(axis=0))
    assert oof.FLOOR > 0


def test_test_clips_that_taught_a_model_are_left_out_where_they_would_teach_again(
    tmp_path: Path, folds: pd.DataFrame
) -> None:
    taught = {0: ["t0.wav"], 1: ["t1.wav", "t2.wav"]}
    for k in (0, 1):
        part = ["oof"] * 5 + ["taught" if name in taught[k] else "test" for name in TEST]
        values = np.concatenate([ROWS[5 * k : 5 * k + 5], TEST_ROWS[k]])
        write_fold(tmp_path / "a", k, TRAIN[5 * k : 5 * k + 5] + TEST, part, values, CLASSES, {})
    bare = load(tmp_path / "a", folds, TEST, CLASSES, taught=False).test
    assert bare is not None
    np.testing.assert_array_equal(np.isnan(bare[:, :, 0]), [[True, False, False], [False, True, True]])
    whole = load(tmp_path / "a", folds, TEST, CLASSES).test
    assert whole is not None
    np.testing.assert_allclose(whole, TEST_ROWS, rtol=1e-6)


def test_half_a_table_of_ours_is_nobody_elses(tmp_path: Path) -> None:
    """As a kill between a first fold's rows and its json leaves it."""
    ours, theirs = tmp_path / "blend@r0", tmp_path / "theirs"
    write_fold(ours, 0, ["a"], ["oof"], np.ones((1, 1)), ["x"], {"kind": "blend"})
    assert experiments(tmp_path, made=True) == ["blend@r0"]
    (ours / "fold0.json").unlink()
    theirs.mkdir()
    (theirs / "fold0.parquet").write_bytes((ours / "fold0.parquet").read_bytes())
    assert experiments(tmp_path, made=True) == ["theirs"]
    with pytest.raises(UserError, match="no fold of it is finished"):
        load(ours, pd.DataFrame(), [], ["x"])
    remove(theirs)
    assert not experiments(tmp_path, made=True)
