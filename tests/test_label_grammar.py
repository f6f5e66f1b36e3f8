"""Label cells of several labels: weights, unknown and absent classes, empty cells; in folds, targets and scores."""

import importlib
from pathlib import Path
from types import SimpleNamespace

from tonestack.base.errors import UserError
from tonestack.base.files import write_csv
from tonestack.cleaning import multilabel_posterior
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.ensemble import diversity, plausibility, scoring, searches, selection, stacking
from tonestack.ensemble.blends import Blend
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.stack_inputs import StackInputs, StackRows
from tonestack.labels import corrections, folds, revisions, training_labels
from tonestack.labels.label_tables import LabelTables
from tonestack.labels.training_labels import Labels
from tonestack.settings.data_config import BlendParams, FoldParams, StackParams
from tonestack.settings.model_config import TrainingParams
from tonestack.tables import label_grammar, metrics
from tonestack.tables.competition import Competition, SubmissionFormat
from tonestack.tables.load import load
from tonestack.tables.oof import write_fold
from tonestack.tasks import multilabel
from tonestack.training.learners import forest

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

BIRDS = ("crow", "hawk", "owl", "wren")
NAN = float("nan")


def test_a_cell_says_what_is_there_what_is_not_and_what_nobody_knows() -> None:
    cells = pd.Series(["owl, wren:0.5,?hawk,!crow", "!crow,?*", "", "crow,?*", "?*"], index=[9, 8, 7, 6, 5])
    rows = multilabel.TASK.targets(cells, BIRDS)
    wanted = [[0, NAN, 1, 0.5], [0, NAN, NAN, NAN], [0, 0, 0, 0], [1, NAN, NAN, NAN], [NAN] * 4]
    np.testing.assert_array_equal(rows, wanted)
    assert rows.dtype == np.float32
    truth = [[0, -1, 1, 1], [0, -1, -1, -1], [0, 0, 0, 0], [1, -1, -1, -1], [-1] * 4]
    np.testing.assert_array_equal(multilabel.TASK.truth(rows), truth)
    assert multilabel.TASK.label_lists(cells).tolist() == [["owl", "wren"], [], [], ["crow"], []]
    assert multilabel.TASK.label_lists(pd.Series(["owl,wren:0.49"])).tolist() == [["owl"]]
    assert multilabel.TASK.strata(cells).tolist() == [["owl", "wren"], ["!crow"], [""], ["crow"], ["?*"]]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("owl,,wren", "a part '' that names no class"),
        ("owl,!", "a part '!' that names no class"),
        ("?!owl", r"a part '\?!owl' that names no class"),
        ("*", r"a part '\*' that names no class"),
        ("!*", r"a part '!\*' that names no class"),
        ("owl:0", "weight 0 is not above 0"),
        ("owl:1.5", "weight 1.5 is not above 0"),
        ("owl:1.2.3", "weight 1.2.3 is not above 0"),
        ("owl,!owl", "says two things of 'owl'"),
        ("owl,dodo", "label 'dodo' is not among the 4 classes; there is: crow, hawk, owl, wren"),
        ("owl,wrem", "did you mean 'wren'"),
    ],
)
def test_cells_that_say_nothing_clear_are_refused(cell: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        multilabel.TASK.targets(pd.Series([cell]), BIRDS)


@given(st.dictionaries(st.sampled_from([*BIRDS, "a:b", "x y"]), st.sampled_from([0.0, 0.25, 0.5, 1.0, NAN])))
def test_a_cell_is_read_as_it_was_written(weights: dict[str, float]) -> None:
    np.testing.assert_equal(label_grammar.parse(label_grammar.text(weights)), weights)


def test_small_weights_are_written_without_an_exponent_and_read_with_one() -> None:
    shown = {3e-05: "0.00003", 1.5e-07: "0.00000015", 0.5: "0.5", 0.1234567: "0.123457", 1 - 1e-9: "1", 0.25: "0.25"}
    for weight, text in shown.items():
        assert label_grammar.text({"owl": weight}) == f"owl:{text}"
        assert label_grammar.parse(f"owl:{text}") == {"owl": pytest.approx(weight, rel=1e-5)}
    assert label_grammar.parse("owl:3e-05,a:b:2E-3") == {"owl": 3e-05, "a:b": 0.002}
    assert label_grammar.text({"owl": 1.0, "crow": 0.0, "wren": NAN}) == "owl,!crow,?wren"


@pytest.mark.parametrize("name", ["a,b", "?a", "!a", " a", "a:0.5", "a:1", "*"])
def test_classes_that_no_cell_can_hold_are_refused_where_a_clip_has_several(tmp_path: Path, name: str) -> None:
    made = Competition(tmp_path, pd.DataFrame(), pd.DataFrame(), ("owl", name), None)
    assert made.checked().classes == ("owl", name)
    with pytest.raises(UserError, match="cannot stand in a list of labels"):
        made.checked(several=True)
    assert Competition(tmp_path, made.train, made.test, ("a:b", "a b", "a*"), None).checked(several=True)


def test_the_call_tells_the_check_whether_a_clip_has_several_labels(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("fname,label\na.wav,?owl\nb.wav,crow\n")
    words = ["data=table", f"root={tmp_path}", "reader.clip=fname"]
    assert Call.from_arguments(words).competition().classes == ("?owl", "crow")
    with pytest.raises(UserError, match=r"class '\?owl' cannot stand in a list"):
        Call.from_arguments([*words, "task=multilabel", "metric=lwlrap"]).competition()


def clips(labels: list[str]) -> pd.DataFrame:
    ids = [f"{i}.wav" for i in range(len(labels))]
    return pd.DataFrame({"clip_id": ids, "label": labels, "verified": True, "group": "", "fold": -1})


def test_clips_with_nothing_are_a_stratum_and_no_small_class() -> None:
    table = clips(["owl,wren:0.5"] * 8 + ["wren"] * 8 + [""] * 8 + ["!crow,?*"] * 8 + ["?*"])
    made = multilabel.TASK.assign(table, FoldParams(n=4), "here")
    for label in ("", "!crow,?*", "wren"):
        assert made[made["label"] == label].groupby("fold").size().tolist() == [2, 2, 2, 2]
    few = clips(["owl"] * 8 + ["", "!crow,?*"])  # one clip without anything is no class that is too small
    assert set(multilabel.TASK.assign(few, FoldParams(n=4), "here")["fold"]) == {0, 1, 2, 3}


def test_the_folds_file_keeps_empty_cells_and_marks(tmp_path: Path) -> None:
    table = clips(["", "nan", "NA", "?hawk", "!crow,?*", "owl,wren:0.5"]).assign(fold=[0, 1, 0, 1, 0, 1])
    folds.write(tmp_path, table, {})
    assert folds.read(tmp_path)["label"].tolist() == table["label"].tolist()
    rows = LabelTables(tmp_path).revision("r0")
    assert rows["label"].tolist() == ["nan", "?hawk", "owl,wren:0.5", "", "NA", "!crow,?*"]


def test_a_revision_keeps_empty_labels_and_unknown_cells_of_soft_ones(tmp_path: Path) -> None:
    folds.write(tmp_path, clips(["", "owl", "?owl,wren"]).assign(fold=[0, 0, 1]), {})
    hard = pd.DataFrame([("0.wav", 1, "", 1.0, "given"), ("1.wav", 1, "?owl,wren:0.5", 1.0, "given")])
    write_csv(tmp_path / "hard.csv", hard.set_axis(revisions.COLUMNS, axis=1))
    learnt = training_labels.for_holdout(
        LabelTables(tmp_path).revision("hard"), 1, ("owl", "wren"), multilabel.TASK.targets, TrainingParams()
    )
    np.testing.assert_array_equal(learnt.targets, [[0, 0], [NAN, 0.5]])
    assert learnt.fingerprint == learnt.fingerprint
    soft = hard.assign(owl=[0.25, NAN], wren=[NAN, NAN]).set_axis([*revisions.COLUMNS, "owl", "wren"], axis=1)
    write_csv(tmp_path / "soft.csv", soft)
    corrections.write(tmp_path, pd.DataFrame([("0.wav", "relabel", "", "", "")], columns=corrections.COLUMNS))
    rows = LabelTables(tmp_path).revision("soft")
    learnt = training_labels.for_holdout(rows, 1, ("owl", "wren"), multilabel.TASK.targets, TrainingParams())
    assert learnt.clip_ids == ["1.wav", "0.wav"]
    np.testing.assert_array_equal(learnt.targets, [[NAN, NAN], [0, 0]])  # nothing is there, says a person
    (tmp_path / "soft.csv").write_text((tmp_path / "soft.csv").read_text().replace("0.25", "some"))
    with pytest.raises(UserError, match="row 2: 'owl' is 'some', not a number"):
        training_labels.read_revision(tmp_path, "soft")


def test_corrections_name_classes_and_nothing_where_nothing_is_given(tmp_path: Path) -> None:
    table = clips(["owl,wren:0.5", "", "?hawk"]).assign(fold=[0, 1, 0])

    def corrected(*rows: tuple[str, str, str]) -> list[str]:
        made = pd.DataFrame(rows, columns=corrections.NEEDED)
        made.to_csv(tmp_path / corrections.FILE, index=False)
        return corrections.read(tmp_path, table)["label"].tolist()

    assert corrected(("0.wav", "relabel", "wren,?hawk"), ("2.wav", "relabel", "")) == ["wren,?hawk", ""]
    assert corrected(("1.wav", "keep", "")) == [""]
    with pytest.raises(UserError, match="unknown label 'crow'"):
        corrected(("0.wav", "relabel", "owl,!crow"))


def test_scoring_counts_clips_with_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scoring.csv"
    path.write_text('clip_id,label\na,"owl, wren"\nb,\nc,?*\n')
    labels = scoring.read(path, BIRDS, multilabel.TASK)
    assert labels["label"].tolist() == ["owl,wren", "", "?*"]
    path.write_text("clip_id,label\na,wrem\n")
    with pytest.raises(UserError, match="row 2: label 'wrem' is not among the 4 classes; did you mean 'wren'"):
        scoring.read(path, BIRDS, multilabel.TASK)


# ------------------------------------------------------------------------------------------ partial labels in ensembles


def partly(share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables (2, N, C) of which the second is better in the first three classes, their truth, and what is known."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((500, 5)) < 0.3).astype(np.int8)
    seen = [1.5 * (2 * truth - 1) + rng.normal(size=truth.shape) * noise for noise in (2.0, np.r_[[1] * 3, [6] * 2])]
    known = rng.random(truth.shape) > share
    return expit(np.stack(seen) * 2).astype(np.float32), truth, np.where(known, truth, metrics.UNKNOWN).astype(np.int8)


@pytest.mark.parametrize("name", ["log_loss", "per_class", "tempered", "greedy", "arithmetic", "single"])
def test_blends_learn_from_known_cells_alone(name: str) -> None:
    tables, _, known = partly(0.5)
    other = np.where(known == metrics.UNKNOWN, np.float32(0.123), tables)
    params = BlendParams(trials=20)

    def fitted(tables: np.ndarray) -> Blend:
        problem = Problem(tables, known, metrics.resolve("log_loss"), ("a", "b"), normalise=False)
        found = searches.find(name).fit(problem, params, 0, None)
        assert isinstance(found, Blend)
        return found

    np.testing.assert_allclose(fitted(tables).weights, fitted(other).weights, atol=1e-3)


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_stackers_learn_from_known_cells_alone(name: str) -> None:
    tables, truth, known = partly(0.6)
    inputs, fold = StackInputs.of(tables, independent=True), np.arange(500) % 4
    params = StackParams(jobs=1, min_clips=5, rounds=30, learning_rate=0.1)
    log_loss = metrics.resolve("log_loss")

    def loss(targets: np.ndarray) -> float:
        rows = StackRows(inputs, targets, np.ones(500), fold, 5)
        return float(log_loss(stacking.nested(name, rows, inputs, fold, params, 0), truth))

    assert loss(known) < min(loss(np.maximum(known, 0)) - 0.1, float(log_loss(tables.mean(axis=0), truth)))
    assert loss(known) < loss(truth) + 0.08


def test_a_choice_and_the_correlation_of_errors_leave_unknown_cells_out() -> None:
    tables, truth, known = partly(0.5)
    other = np.where(known == metrics.UNKNOWN, np.float32(0.9), tables)
    part = np.arange(500) % 3
    losses = [selection.nested_losses(t[0], known, part, False) for t in (tables, other)]
    np.testing.assert_allclose(*losses)
    assert losses[0].mean() < selection.nested_losses(tables[0], truth, part, False).mean()
    problems = [Problem(t, known, metrics.resolve("auc"), ("a", "b"), False) for t in (tables, other)]
    np.testing.assert_allclose(*(diversity.error_correlation(p).to_numpy() for p in problems))
    np.testing.assert_allclose(*(plausibility._errors(t, known) for t in (tables, other)))


def test_the_posterior_of_an_unknown_class_is_what_the_models_say() -> None:
    tables, truth, known = partly(0.5)
    verified = np.arange(500) < 200
    found = multilabel_posterior.posterior(tables[0], known, verified)
    unknown = known == metrics.UNKNOWN
    right = verified[:, None] & ~unknown
    np.testing.assert_array_equal(found[right], truth[right])
    order = np.argsort(tables[0][unknown], kind="stable")
    assert (np.diff(found[unknown][order]) >= 0).all()
    assert 0 < found[unknown].min() < found[unknown].max() < 1
    crowd = ~verified[:, None] & ~unknown
    assert (found[crowd & (known == 1)] > tables[0][crowd & (known == 1)]).mean() > 0.9


def test_a_forest_and_the_prior_of_silent_clips_learn_from_known_cells() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    truth = (x > 0).astype(np.float32)
    targets = np.where(rng.random(truth.shape) < 0.5, np.float32(np.nan), truth)
    labels = Labels([str(i) for i in range(300)], targets[:300], np.ones(300))
    trees = forest._several_labels({"n_estimators": 20, "random_state": 0}, x[:300], labels)
    assert ((trees.predict(x[300:]) > 0.5) == truth[300:]).mean() > 0.85
    labels = Labels(["a", "b", "c"], np.float32([[1, NAN, NAN], [0, 1, NAN], [NAN, 0, NAN]]), np.float32([3, 1, 1]))
    assert labels.prior.tolist() == [0.75, 0.5, 0]


def test_the_map_tells_clips_with_nothing_from_test_clips() -> None:
    given = clips(["owl", "", "", ""]).assign(part=["train", "train", "test", "test"])
    drawn = importlib.import_module("tonestack.report.sections.map").chart(
        SimpleNamespace(clips=given), np.arange(4), np.zeros((4, 2)), "here"
    )
    assert [(t.name, len(t.x)) for t in drawn.figure.data] == [("test clips", 2), ("nothing", 1), ("owl", 1)]
    assert [t.text[0].partition("<br>")[2] for t in drawn.figure.data] == [
        "test clip",
        "nothing, verified",
        "owl, verified",
    ]


def test_a_clip_may_have_a_row_of_zeros_where_nothing_may_be_there(tmp_path: Path) -> None:
    table = clips(["", "owl"]).assign(fold=0)
    rows = np.array([[0, 0], [0.5, 0]])
    write_fold(tmp_path / "t", 0, table["clip_id"].tolist(), ["oof", "oof"], rows, ("owl", "wren"), {})
    found = load(tmp_path / "t", table, [], ("owl", "wren"), one_label=False).oof
    np.testing.assert_array_equal(found, rows)
    with pytest.raises(UserError, match=r"'0\.wav'.*is all zeros"):
        load(tmp_path / "t", table, [], ("owl", "wren"))
    form = SubmissionFormat(("fname", "owl", "wren"), ("0.wav", "1.wav"), "scores")
    assert submission.render(form, table["clip_id"].tolist(), ("owl", "wren"), rows)["owl"].tolist() == [0, 0.5]
