"""Submissions, scores, leaderboard and the verbs that make them, on a toy competition of text files."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import blend
import leaderboard as leaderboard_verb
import score
import stack
import submit
from test_fetch import fake_client
from tonestack import tasks
from tonestack.base.errors import UserError
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.ensemble import leaderboard, scoring
from tonestack.ensemble.tables import Tables
from tonestack.tables.competition import SubmissionFormat
from tonestack.tables.load import load
from tonestack.tables.metrics import resolve
from tonestack.tables.oof import write_fold
from tonestack.tables.rows import Rows
from tonestack.training import queue

import numpy as np
import pandas as pd
import pytest

CLASSES = ("Bark", "Flute", "Hi-hat", "Oboe")
FORM = SubmissionFormat(("fname", "label"), ("b.wav", "a.wav"), "labels", 3)
ROWS = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.0]])


def test_rows_in_the_samples_order_and_ties_by_class() -> None:
    table = submission.render(FORM, ["a.wav", "b.wav"], CLASSES, ROWS)
    assert table["fname"].tolist() == ["b.wav", "a.wav"]
    assert table["label"].tolist() == ["Bark Flute Hi-hat", "Oboe Hi-hat Flute"]
    submission.check(table, FORM, CLASSES)


def test_other_styles(tmp_path: Path) -> None:
    one = SubmissionFormat(("id", "class"), ("a.wav", "b.wav"), "label", 1)
    assert submission.render(one, ["a.wav", "b.wav"], CLASSES, ROWS)["class"].tolist() == ["Oboe", "Bark"]
    scores = SubmissionFormat(("fname", *CLASSES[::-1]), ("b.wav", "a.wav"), "scores")
    submission.write(tmp_path / "s.csv", scores, ["a.wav", "b.wav"], CLASSES, ROWS)
    np.testing.assert_allclose(submission.read(tmp_path / "s.csv", scores, CLASSES), ROWS[::-1])


def test_one_row_per_clip_and_class_in_the_samples_order(tmp_path: Path) -> None:
    pairs = (("b.wav", "Oboe"), ("a.wav", "Bark"), ("b.wav", "Bark"))
    form = SubmissionFormat(("Id", "Probability"), ("203", "100", "200"), "pairs", pairs=pairs)
    assert form.clips == ("b.wav", "a.wav")
    submission.write(tmp_path / "s.csv", form, ["a.wav", "b.wav"], CLASSES, ROWS)
    assert (tmp_path / "s.csv").read_text() == "Id,Probability\n203,0.0\n100,0.1\n200,0.5\n"
    read = submission.read(tmp_path / "s.csv", form, CLASSES)
    np.testing.assert_allclose(read, [[0.5, 0, 0, 0.0], [0.1, 0, 0, 0]])
    (tmp_path / "s.csv").write_text("Id,Probability\n203,0.0\n100,1.1\n200,0.5\n")
    with pytest.raises(UserError, match="no probability"):
        submission.read(tmp_path / "s.csv", form, CLASSES)
    wrong = SubmissionFormat(("Id", "Probability"), ("1",), "pairs", pairs=(("a.wav", "Owl"),))
    with pytest.raises(UserError, match="'Owl' is none of the classes"):
        submission.render(wrong, ["a.wav", "b.wav"], CLASSES, ROWS)


def test_a_row_about_several_clips_has_their_maximum() -> None:
    pooled = {"b_5": "b", "a_5": "a", "a_10": "a"}
    form = SubmissionFormat(("fname", *CLASSES), ("a", "b"), "scores", pooled=pooled)
    rows = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.1], [0.6, 0.1, 0.2, 0.1]])
    table = submission.render(form, list(pooled), CLASSES, rows)
    assert table.to_numpy().tolist() == [["a", 0.6, 0.5, 0.2, 0.1], ["b", 0.1, 0.2, 0.3, 0.4]]


def test_labels_keep_their_spelling(tmp_path: Path) -> None:
    classes = ("=cmd()", 'a"b', "c,d", "<script>")
    submission.write(tmp_path / "s.csv", FORM, ["a.wav", "b.wav"], classes, ROWS)
    assert submission.read(tmp_path / "s.csv", FORM, classes)[1, 3] == 1.0
    assert pd.read_csv(tmp_path / "s.csv")["label"][0] == '=cmd() a"b c,d'


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 4)), "row of zeros"),
        (np.full((2, 4), 0.25), "the same for every clip"),
        (np.full((2, 4), np.nan), "NaN"),
    ],
)
def test_refused_matrices(tmp_path: Path, rows: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        submission.write(tmp_path / "s.csv", FORM, ["a.wav", "b.wav"], CLASSES, rows)
    assert not list(tmp_path.iterdir())


def test_refused_files() -> None:
    good = submission.render(FORM, ["a.wav", "b.wav"], CLASSES, ROWS)
    with pytest.raises(UserError, match=r"'c.wav' is not in the test set"):
        submission.render(SubmissionFormat(FORM.columns, ("c.wav",)), ["a.wav", "b.wav"], CLASSES, ROWS)
    with pytest.raises(UserError, match="holds a blank"):
        submission.render(FORM, ["a.wav", "b.wav"], ("a b", "c", "d", "e"), ROWS)
    with pytest.raises(UserError, match="order"):
        submission.check(good.iloc[::-1], FORM, CLASSES)
    with pytest.raises(UserError, match="columns"):
        submission.check(good.rename(columns={"label": "labels"}), FORM, CLASSES)
    for text in ("Bark Bark Oboe", "Bark Oboe", "Bark Oboe Horn", ""):
        with pytest.raises(UserError, match=r"row 2 \('b.wav'\)"):
            submission.check(good.assign(label=[text, "Bark Oboe Flute"]), FORM, CLASSES)


def test_scoring_table(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("fname,label,usage\na,Bark,Public\nb,None,Ignored\nc,Oboe,private\nd,,Public\n")
    labels = scoring.read(path, CLASSES, tasks.find("classify"))
    assert labels["usage"].tolist() == ["Public", "Private"]
    rows = np.array([[0.3, 0.7, 0, 0], [1, 0, 0, 0], [0, 0.1, 0.2, 0.7]])
    found = scoring.score(resolve("map@3"), rows, ["a", "b", "c"], labels, CLASSES, tasks.find("classify"))
    assert found == {"public": 0.5, "private": 1.0}
    path.write_text("clip_id,label\na,Bark\n")
    found = scoring.score(
        resolve("map@3"),
        np.eye(4)[[0]],
        ["a"],
        scoring.read(path, CLASSES, tasks.find("classify")),
        CLASSES,
        tasks.find("classify"),
    )
    assert found["public"] == 1
    assert np.isnan(found["private"])
    for text, message in (
        ("fname,label,usage\na,Bark,Secret\n", "usage 'Secret'"),
        ("fname,label\na,Barq\n", "did you mean 'Bark'"),
        ("fname,label\na,Bark\na,Bark\n", "stands twice"),
        ("x,label\na,Bark\n", "needs the columns"),
        ("", "is empty"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            scoring.read(path, CLASSES, tasks.find("classify"))


# ------------------------------------------------------------------------------------------- windows, pairs and sets

BIRDS = ("crow", "owl", "wren")
WINDOWS = ["s_1_20", "s_1_5"]
HEARD = np.array([[0.9, 0.2, 0.6], [0.1, 0.3, 0.4]])  # of the test set's order: s_1_5, then s_1_20
ORDER = ["s_1_5", "s_1_20"]
SET = SubmissionFormat(("row_id", "birds"), tuple(WINDOWS), "set", nothing="nocall")
PAIRS = submission.pair_ids("{head}_{class}_{tail}", WINDOWS, ("wren", "crow"))
FLAGS = SubmissionFormat(("row_id", "target"), tuple(PAIRS), "flags", pairs=tuple(PAIRS.values()))


def written(path: Path, form: SubmissionFormat) -> tuple[list[list[str]], np.ndarray]:
    """The cells of the file that HEARD makes, and the scores that it is read back as."""
    submission.write(path, form, ORDER, BIRDS, HEARD)
    return pd.read_csv(path, dtype=str).to_numpy().tolist(), submission.read(path, form, BIRDS)


def test_a_set_from_one_half_on_with_a_word_for_nothing(tmp_path: Path) -> None:
    cells, scores = written(tmp_path / "s.csv", SET)
    assert cells == [["s_1_20", "nocall"], ["s_1_5", "crow wren"]]
    assert scores.tolist() == [[0, 0, 0], [1, 0, 1]]
    best = SubmissionFormat(("row_id", "birds"), ("s_1_5",), "set", nothing="nocall")
    one = submission.render(best, ["s_1_5"], BIRDS, np.array([[0.6, 0.2, 0.9]]))
    assert one["birds"].tolist() == ["wren crow"]  # the likeliest first
    good = submission.render(SET, ORDER, BIRDS, HEARD)
    for text in ("nocall owl", "owl owl", "dodo", "", "owl "):
        with pytest.raises(UserError, match=r"row 3 \('s_1_5'\) is '.*', not different labels or 'nocall'"):
            submission.check(good.assign(birds=["owl", text]), SET, BIRDS)


def test_one_row_a_window_and_class(tmp_path: Path) -> None:
    cells, scores = written(tmp_path / "s.csv", FLAGS)
    wanted = [["s_1_wren_20", "False"], ["s_1_crow_20", "False"], ["s_1_wren_5", "True"], ["s_1_crow_5", "True"]]
    assert cells == wanted
    assert scores.tolist() == [[0, 0, 0], [1, 0, 1]]
    order = sorted(PAIRS)
    other = replace(FLAGS, ids=tuple(order), pairs=tuple(PAIRS[name] for name in order))
    cells, scores = written(tmp_path / "s.csv", other)
    assert [name for name, _ in cells] == ["s_1_crow_20", "s_1_crow_5", "s_1_wren_20", "s_1_wren_5"]
    assert scores.tolist() == [[0, 0, 0], [1, 0, 1]]
    good = submission.render(FLAGS, ORDER, BIRDS, HEARD)
    with pytest.raises(UserError, match=r"row 3 \('s_1_crow_20'\) is 'true', not True or False"):
        submission.check(good.assign(target=["True", "true", "True", "True"]), FLAGS, BIRDS)
    with pytest.raises(UserError, match="missing, doubled or not in the sample's order"):
        submission.check(good.iloc[::-1], FLAGS, BIRDS)
    for rule, said in (("{clip}_{bird}", "there is no {bird}; there is clip"), ("{clip}", "gives two rows the id")):
        with pytest.raises(UserError, match=re.escape(said)):
            submission.pair_ids(rule, WINDOWS, BIRDS)


def test_ids_of_clips_and_classes_are_reckoned_up(tmp_path: Path) -> None:
    pairs = submission.pair_ids("{clip}*100+{number}", ["0", "14"], BIRDS)
    form = SubmissionFormat(("Id", "Probability"), tuple(pairs), "pairs", pairs=tuple(pairs.values()))
    submission.write(tmp_path / "s.csv", form, ["14", "0"], BIRDS, HEARD)
    made = pd.read_csv(tmp_path / "s.csv")
    assert made["Id"].tolist() == [0, 1, 2, 1400, 1401, 1402]
    assert made["Probability"].tolist() == [*HEARD[1], *HEARD[0]]
    np.testing.assert_array_equal(submission.read(tmp_path / "s.csv", form, BIRDS), HEARD[::-1])
    with pytest.raises(UserError, match="'Probability' is no probability"):
        submission.check(made.astype({"Id": str}).assign(Probability=2.0 + np.arange(6)), form, BIRDS)


def test_scores_and_the_best_label_of_some_classes(tmp_path: Path) -> None:
    some = SubmissionFormat(("row_id", "wren", "owl"), tuple(WINDOWS), "scores")
    cells, scores = written(tmp_path / "s.csv", some)
    assert cells == [["s_1_20", "0.4", "0.3"], ["s_1_5", "0.6", "0.2"]]
    assert scores.tolist() == [[0, 0.3, 0.4], [0, 0.2, 0.6]]
    best = SubmissionFormat(("row_id", "bird"), tuple(WINDOWS), "label", classes=("owl", "wren"))
    cells, scores = written(tmp_path / "s.csv", best)
    assert cells == [["s_1_20", "wren"], ["s_1_5", "wren"]]
    assert scores.tolist() == [[0, 0, 1], [0, 0, 1]]
    good = submission.render(best, ORDER, BIRDS, HEARD)
    with pytest.raises(UserError, match="'crow', not 1 different labels"):
        submission.check(good.assign(bird=["wren", "crow"]), best, BIRDS)


def test_one_probability_of_several_labels_or_of_one_class_is_no_share(tmp_path: Path) -> None:
    form = SubmissionFormat(("clip", "p"), tuple(WINDOWS), "probability", positive="owl")
    assert [float(p) for _, p in written(tmp_path / "s.csv", form)[0]] == [0.3, 0.2]
    submission.write(tmp_path / "s.csv", form, ORDER, ("owl",), HEARD[:, 1:2])
    assert submission.read(tmp_path / "s.csv", form, ("owl",)).ravel().tolist() == [0.3, 0.2]
    assert submission.render(form, ORDER, ("owl", "wren"), HEARD[:, 1:])["p"].tolist() == pytest.approx([3 / 7, 1 / 4])


def test_text_among_numbers_is_said(tmp_path: Path) -> None:
    form = SubmissionFormat(("clip", "p"), ("a", "b"), "probability", positive="owl")
    (tmp_path / "s.csv").write_text("clip,p\na,0.5\nb,much\n")
    with pytest.raises(UserError, match="cannot be read"):
        submission.read(tmp_path / "s.csv", form, ("owl",))


def test_classes_that_a_submission_does_not_speak_of_count_nowhere() -> None:
    task, labels = (
        tasks.find("multilabel"),
        pd.DataFrame({"clip_id": ORDER, "label": ["crow,wren", "owl"], "usage": "Public"}),
    )
    found = scoring.score(resolve("log_loss"), HEARD, ORDER, labels, BIRDS, task, FLAGS)
    whole = scoring.score(
        resolve("log_loss"), HEARD[:, [0, 2]], ORDER, labels.assign(label=["crow,wren", ""]), ("crow", "wren"), task
    )
    assert found["public"] == pytest.approx(whole["public"])
    rows = Rows(pd.DataFrame(), tuple(ORDER), BIRDS, BIRDS, FLAGS, Path())
    wanted = [[1, np.nan, 1], [0, np.nan, 0]]
    np.testing.assert_array_equal(queue.counted_targets(task, labels["label"], rows), wanted)
    assert queue.counted_targets(tasks.find("classify"), pd.Series(["owl"]), rows).tolist() == [[0, 1, 0]]


def test_place_among_published() -> None:
    published = pd.DataFrame({"system": ["first", "second", "?"], "private": [0.95, 0.9, None]})
    assert "place 2 of 3, below first (0.9500), not below second" in leaderboard.standing(0.92, published)
    assert "above all" in leaderboard.standing(0.96, published)


TRAIN, TEST = [f"{i:03d}.wav" for i in range(160)], [f"t{i:02d}.wav" for i in range(40)]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """FSDKaggle2018's layout with four classes, folds and three models' tables; no audio anywhere."""
    rng = np.random.default_rng(0)
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    root = tmp_path / "input"
    root.mkdir()
    y, yt = rng.integers(4, size=160), rng.integers(4, size=40)
    names = np.array(CLASSES)
    verified = (np.arange(160) % 4 > 0).astype(int)
    pd.DataFrame({"fname": TRAIN, "label": names[y], "manually_verified": verified}).to_csv(
        root / "train.csv", index=False
    )
    sample = pd.DataFrame({"fname": TEST, "label": "Bark Flute Hi-hat"})
    sample.to_csv(root / "sample_submission.csv", index=False)
    usage = np.where(np.arange(40) < 10, "Public", "Private")
    pd.DataFrame({"fname": TEST, "label": names[yt], "usage": usage}).to_csv(tmp_path / "truth.csv", index=False)
    fold = np.arange(160) % 3
    folds = pd.DataFrame({"clip_id": TRAIN, "label": names[y], "verified": verified, "group": "", "fold": fold})
    (tmp_path / "folds" / "toy").mkdir(parents=True)
    folds.to_csv(tmp_path / "folds" / "toy" / "r0.csv", index=False)
    for m, strength in enumerate((1.0, 1.5, 2.0)):
        for k in range(3):
            truth = np.r_[y[fold == k], yt]
            logits = rng.normal(size=(len(truth), 4)) + strength * (np.arange(4) == truth[:, None])
            rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            ids = [t for t, f in zip(TRAIN, fold, strict=True) if f == k]
            part = ["oof"] * len(ids) + ["test"] * 40
            receipt = {"seconds": 2.0, "params": 100}
            write_fold(tmp_path / "oof" / "toy" / f"net{m}@r0", k, ids + TEST, part, rows, CLASSES, receipt)
    return words(tmp_path)


def words(home: Path, *more: str, name: str = "toy") -> Call:
    given = [f"root={home / 'input'}", f"scoring={home / 'truth.csv'}", "blend.trials=60", "stack.rounds=10"]
    return Call.from_arguments(["data=fsdkaggle2018", f"name={name}", "preset=fast", *given, *more])


def test_the_whole_way(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    blend.run(toy)
    stack.run(toy)
    submit.run(toy)
    score.run(toy)
    leaderboard_verb.run(toy)
    printed = capsys.readouterr().out
    assert "against best single" in printed
    assert "place" in printed
    sample = pd.read_csv(toy.root / "sample_submission.csv")
    for name in ("blend", "stack", "submission"):
        table = pd.read_csv(toy.submissions / f"{name}.csv")
        assert table["fname"].tolist() == sample["fname"].tolist()
    log = pd.read_csv(toy.submissions / "log.csv")
    assert log["file"].tolist() == ["submission.csv"]
    assert "blend@r0" in log["from"][0]  # the mean goes first
    board = pd.read_csv(toy.oof / "leaderboard.csv")
    assert list(board.columns) == leaderboard.COLUMNS
    assert set(board["experiment"]) >= {"net0@r0", "blend@r0", "stack-logistic@r0", "stack-lightgbm@r0"}
    assert board[["cv", "cv_se", "public", "private"]].notna().all().all()
    assert board.set_index("experiment").loc["net0@r0", ["seconds", "params"]].tolist() == [6, 100]
    truth = pd.read_csv(toy.home / "truth.csv")
    table = pd.read_csv(toy.submissions / "blend.csv")
    points = [t.split().index(y) for t, y in zip(table["label"], truth["label"], strict=True) if y in t.split()]
    total = sum(1 / (1 + p) for p in points) / 40
    recorded = leaderboard.recorded_scores(toy)["blend.csv"]
    assert 0.25 * recorded["public"] + 0.75 * recorded["private"] == pytest.approx(total)
    made = load(toy.oof / "blend@r0", pd.read_csv(toy.folds / "r0.csv"), TEST, CLASSES)
    assert made.kind == "blend"
    assert made.test is not None
    assert made.test.shape == (3, 40, 4)


def test_the_mean_of_blend_and_stackers_is_a_candidate(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    blend.run(toy)
    submit.run(toy)
    assert not (toy.oof / "mean@r0").exists()  # of one table there is no mean
    stack.run(toy)
    submit.run(toy)
    assert "mean@r0" in capsys.readouterr().out
    parts = ("blend@r0", "stack-logistic@r0", "stack-lightgbm@r0")
    clips = pd.read_csv(toy.folds / "r0.csv")
    mean, *made = [load(toy.oof / name, clips, TEST, CLASSES) for name in ("mean@r0", *parts)]
    for part in ("oof", "test"):
        logs = np.mean([np.log(np.maximum(getattr(table, part), 1e-15)) for table in made], axis=0)
        expected = np.exp(logs) / np.exp(logs).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(getattr(mean, part), expected, rtol=1e-4, atol=1e-6)
    submit.run(words(toy.home, "submit.table=mean@r0"))
    assert pd.read_csv(toy.submissions / "log.csv")["table"].tolist()[-1] == "mean@r0"
    shutil.copytree(toy.oof / "net0@r0", toy.oof / "mean@theirs")
    for name in parts[1:]:
        shutil.rmtree(toy.oof / name)
    submit.run(toy)
    assert not (toy.oof / "mean@r0").exists()  # nor a mean of what is gone
    assert (toy.oof / "mean@theirs/fold0.json").is_file()  # an experiment that is only called so stays


def test_a_blend_is_no_input_of_the_next(toy: Call) -> None:
    blend.run(toy)
    first = pd.read_json(toy.submissions / "blend.json", typ="series")["tables"]
    blend.run(toy)
    assert pd.read_json(toy.submissions / "blend.json", typ="series")["tables"] == first
    assert "blend@r0" not in first
    stack.run(toy)
    blend.run(words(toy.home, "blend.made=true"))
    tables = pd.read_json(toy.submissions / "blend.json", typ="series")["tables"]
    assert "stack-logistic@r0" in tables
    assert "blend@r0" not in tables  # nor ever of the next under its own name


def test_one_table_passes_through(toy: Call) -> None:
    one = words(toy.home, "blend.tables=[net2@r0]")
    blend.run(one)
    folds = pd.read_csv(toy.folds / "r0.csv")
    made, given = (load(toy.oof / n, folds, TEST, CLASSES) for n in ("blend@r0", "net2@r0"))
    np.testing.assert_allclose(made.oof, given.oof, rtol=1e-5)
    np.testing.assert_allclose(made.test, given.test, rtol=1e-5)


def test_tables_without_oof_get_equal_weights(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    folder = toy.oof / "theirs"
    folder.mkdir()
    rows = pd.DataFrame(np.random.default_rng(1).dirichlet(np.ones(4), 40), columns=list(CLASSES))
    rows.assign(clip_id=TEST, part="test").to_csv(folder / "x.csv", index=False)
    blend.run(toy)
    assert "equal weights only" in capsys.readouterr().out
    weights = pd.read_json(toy.submissions / "blend.json", typ="series")["weights"]
    assert set(weights.values()) == {0.25}
    submit.run(toy)
    assert pd.read_csv(toy.submissions / "log.csv")["table"].tolist() == ["net2@r0"]


def test_a_stale_score_is_not_shown(toy: Call) -> None:
    score.run(toy)
    path = toy.oof / "net0@r0" / "fold0.json"
    path.write_text(path.read_text().replace('"seconds": 2.0', '"seconds": 3.0'))
    board = leaderboard.update(toy).set_index("experiment")
    assert pd.isna(board.loc["net0@r0", "private"])
    assert not pd.isna(board.loc["net1@r0", "private"])


def test_an_unfinished_table_is_named_or_left_out(toy: Call) -> None:
    (toy.oof / "net0@r0" / "fold2.json").unlink()
    with pytest.raises(UserError, match="fold 2 is missing"):
        blend.run(toy)
    assert "net0@r0" not in leaderboard.update(toy)["experiment"].tolist()
    shutil.copytree(toy.folds, toy.folds.with_name("other"))
    (toy.folds.with_name("other") / "r0.csv").write_text(
        "clip_id,label,verified,group,fold\nx.wav,Bark,1,,0\ny.wav,Bark,1,,1\n"
    )
    with pytest.raises(UserError, match="not of this competition"):
        blend.run(words(toy.home, name="other"))


def test_nothing_changed_is_said_and_no_table_is_read(
    toy: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(Tables, "read", lambda self, name, _read=Tables.read: read.append(name) or _read(self, name))

    def again(verb: Callable[[Call], None], *more: str) -> bool:
        capsys.readouterr()
        read.clear()
        verb(words(toy.home, *more))
        return "up to date" in capsys.readouterr().out

    for verb in (blend.run, stack.run, submit.run):
        verb(toy)
        assert again(verb)
        assert not read
    assert len(pd.read_csv(toy.submissions / "log.csv")) == 1
    (toy.submissions / "blend.csv").unlink()
    assert not again(blend.run)  # an output is gone
    assert read
    assert not again(blend.run, "blend.power=1.0")  # another setting
    assert again(blend.run, "blend.power=1.0")
    path = toy.oof / "net0@r0" / "fold0.json"
    path.write_text(path.read_text().replace('"seconds": 2.0', '"seconds": 3.0'))
    assert not again(blend.run, "blend.power=1.0")  # another table
    shutil.rmtree(toy.cache)
    assert not again(blend.run, "blend.power=1.0")


def test_a_table_of_ones_own_choice(toy: Call) -> None:
    submit.run(words(toy.home, "submit.table=net0@r0"))
    log = pd.read_csv(toy.submissions / "log.csv")
    assert log["table"].tolist() == ["net0@r0"]
    with pytest.raises(UserError, match=r"did you mean 'net0@r0'"):
        submit.run(words(toy.home, "submit.table=net0@r1"))


def test_upload(toy: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only on request; the client is asked once, and the log says what it answered."""
    asked = fake_client(toy.home)
    monkeypatch.setenv("PATH", f"{toy.home / 'bin'}:/usr/bin:/bin")
    submit.run(toy)
    assert not asked.exists()
    submit.run(words(toy.home, "submit.upload=true"))
    path = toy.submissions / "submission.csv"
    expected = f"competitions submit -c freesound-audio-tagging -f {path} -m net2@r0 cv "
    assert asked.read_text().startswith(expected)
    log = pd.read_csv(toy.submissions / "log.csv", keep_default_na=False)
    assert log["uploaded"].tolist() == ["", "Successfully submitted"]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="not on the PATH"):
        submit.run(words(toy.home, "submit.upload=true"))


def test_foreign_tables_of_ten_folds_join_in(toy: Call) -> None:
    """Ten fold models of somebody else's split: their OOF rows in ten files, their test rows one file each."""
    rng = np.random.default_rng(2)
    train = pd.read_csv(toy.root / "train.csv")
    y = train["label"].map({c: i for i, c in enumerate(CLASSES)}).to_numpy()
    folder = toy.oof / "theirs"
    folder.mkdir()
    order = rng.permutation(160)
    for k in range(10):
        mine = order[k::10]
        rows = np.exp(rng.normal(size=(len(mine), 4)) + 3 * np.eye(4)[y[mine]])
        table = pd.DataFrame(rows / rows.sum(axis=1, keepdims=True), columns=list(CLASSES))
        table = table.assign(clip_id=train["fname"][mine].to_numpy(), part="oof")
        test = pd.DataFrame(rng.dirichlet(np.ones(4), 40), columns=list(CLASSES)).assign(clip_id=TEST, part="test")
        pd.concat([table, test]).to_csv(folder / f"m{k}.csv", index=False)
    for verb in (blend, stack, submit, score):
        verb.run(toy)
    weights = pd.read_json(toy.submissions / "blend.json", typ="series")["weights"]
    assert weights["theirs"] > 0
    assert leaderboard.recorded_scores(toy)["theirs"]["private"] is not None
