"""Noisy-student rounds: labels of the pool, mixing, and that no student learns anything of its own fold."""

import importlib
import json
from pathlib import Path

import soundscapes
from soundscapes import CLASSES
from tonestack.base.errors import UserError
from tonestack.cleaning import student_rounds
from tonestack.config.call import Call
from tonestack.features import pieces
from tonestack.features.store import Store
from tonestack.labels import pool_labels
from tonestack.labels.pool_labels import PoolLabels
from tonestack.studies import planning
from tonestack.tables.metrics import resolve
from tonestack.training import queue
from tonestack.training.augment import Draws, add_partners, united
from tonestack.training.loop import TrainingSet, with_partners

import numpy as np
import pandas as pd
import pytest
import torch

SETTINGS = {"share": 1.0, "power": 2.0, "cut": 0.1, "least": 0.0, "draw": "confident"}


# --------------------------------------------------------------------------------------------------- labels of the pool


def teacher(path: Path, values: list[list[float]]) -> Path:
    places = pd.DataFrame(
        {"recording": "r", "start": np.arange(len(values)) * 5.0, "end": np.arange(len(values)) * 5.0 + 5}
    )
    table = pd.DataFrame(np.array(values, np.float32), columns=list(CLASSES))
    pd.concat([places, table], axis=1).to_parquet(path)
    return path


def test_targets_are_the_teachers_mean_to_a_power_and_small_ones_are_nothing(tmp_path: Path) -> None:
    files = [
        teacher(tmp_path / "a", [[0.9, 0.0], [0.1, 0.0], [0.02, 0.04]]),
        teacher(tmp_path / "b", [[0.7, 0.1], [0.3, 0.0], [0.0, 0.0]]),
    ]
    places, targets, weights = PoolLabels.of(files, SETTINGS | {"drop_path": None}).read(CLASSES)
    assert places["start"].tolist() == [0.0, 5.0]  # the third piece holds nothing that could be drawn
    np.testing.assert_allclose(targets, [[0.64, 0.0], [0.04, 0.0]], atol=1e-6)
    np.testing.assert_allclose(weights, targets.sum(axis=1))


def test_pieces_of_which_nobody_is_sure_are_left_out_where_asked(tmp_path: Path) -> None:
    path = teacher(tmp_path / "a", [[0.9, 0.0], [0.4, 0.0]])
    assert len(PoolLabels.of([path], SETTINGS | {"drop_path": None, "least": 0.5}).read(CLASSES)[0]) == 1
    even = PoolLabels.of([path], SETTINGS | {"drop_path": None, "draw": "even"}).read(CLASSES)
    assert even[2].tolist() == [1, 1]


def test_a_damaged_teachers_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        pool_labels.read(tmp_path / "a", CLASSES)
    teacher(tmp_path / "b", [[float("nan"), 0.0]])
    with pytest.raises(UserError, match="no numbers"):
        pool_labels.read(tmp_path / "b", CLASSES)


def test_teachers_of_other_pieces_are_refused(tmp_path: Path) -> None:
    files = [teacher(tmp_path / "a", [[0.9, 0.0]]), teacher(tmp_path / "b", [[0.9, 0.0], [0.1, 0.1]])]
    with pytest.raises(UserError, match="other pieces"):
        PoolLabels.of(files, SETTINGS | {"drop_path": None}).read(CLASSES)


# -------------------------------------------------------------------------------------------------------------- mixing


def test_a_crop_and_its_partner_are_mixed_and_their_labels_united() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(4, 1, 1, 1)
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.3, 0.2], [0.0, 0.9]])
    draws = Draws(torch.zeros(8, 4))
    mixed, made, weights = add_partners(x, targets, torch.tensor([1.0, 2.0, 9.0, 9.0]), draws, 1.0)
    assert mixed.flatten().tolist() == [2.0, 4.0]
    torch.testing.assert_close(made, torch.tensor([[1.0, 0.2], [0.0, 0.9]]))
    assert weights.tolist() == [1.0, 2.0]


def test_crops_that_no_partner_is_drawn_for_stay_as_they_are() -> None:
    x, targets = torch.arange(4.0).view(4, 1, 1, 1), torch.eye(2).repeat(2, 1)
    draws = Draws(torch.full((8, 4), 0.5))
    mixed, made, _ = add_partners(x, targets, torch.ones(4), draws, 0.4)
    assert mixed.flatten().tolist() == [0.0, 1.0]
    torch.testing.assert_close(made, targets[:2])


def test_an_unknown_class_stays_unknown_unless_the_other_half_has_it() -> None:
    nan = float("nan")
    made = united(torch.tensor([[nan, nan, nan, 0.2]]), torch.tensor([[1.0, 0.4, nan, 0.6]]))
    assert made[0, 0] == 1
    assert torch.isnan(made[0, 1:3]).all()
    assert made[0, 3] == pytest.approx(0.6)


def test_partners_are_drawn_by_weight_and_stand_behind_their_batch() -> None:
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 5.0])
    data = TrainingSet(None, torch.arange(5), torch.zeros(5, 2), weights, 1.0, partners=2, share=1.0)  # type: ignore[arg-type]
    order = with_partners(torch.tensor([[0, 1], [2, 0]]), data, torch.Generator().manual_seed(0))
    assert order.tolist() == [[0, 1, 4, 4], [2, 0, 4, 4]]
    assert len(data) == 3


# ------------------------------------------------------------------------------------- pieces of a store's clips


def test_windows_of_recordings_and_pieces_of_a_store() -> None:
    clips = pd.DataFrame(
        {"offset": [0, 20, 20], "frames": [20, 7, 0], "seconds": [10.0, 3.5, 0.0]}, index=["a", "b", "broken"]
    )
    store = Store(np.arange(27.0)[:, None], clips, np.zeros(1), np.ones(1), 2.0, "")
    table = pieces.windows(store, ["a", "b", "broken"], 3.0)
    assert table.values.tolist() == [["a", 0.0, 3.0], ["a", 3.0, 6.0], ["a", 6.0, 9.0], ["b", 0.0, 3.0]]
    wider, ids = pieces.with_pieces(store, table)
    offsets, frames = wider.rows(ids)
    assert (offsets.tolist(), frames.tolist()) == ([0, 6, 12, 20], [6, 6, 6, 6])
    first, last = wider.recordings(ids)
    assert (first.tolist(), last.tolist()) == ([0, 0, 0, 20], [20, 20, 20, 27])


# ---------------------------------------------------------------------------------------------------------- the rounds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny soundscape competition."""
    return soundscapes.write(tmp_path_factory.mktemp("soundscapes"))


@pytest.fixture(scope="module")
def words(root: Path) -> list[str]:
    return [*soundscapes.WORDS, f"root={root}"]


@pytest.fixture(scope="module")
def call(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Call:
    """The rounds, made once."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(home))
        call = Call.from_arguments(words)
        importlib.import_module("student").run(call)
        return call


@pytest.fixture
def at_home(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls made of `call` find its folders."""
    monkeypatch.setenv("TONESTACK_HOME", str(call.home))


def test_the_rounds_leave_a_revision_its_models_and_a_table(call: Call) -> None:
    receipt = json.loads((call.folds / "student1.json").read_text())
    assert receipt["pool"]["teachers"] == {"vgg_small@r0": "vgg_small"}
    assert (call.oof / "vgg_small@student1" / "fold1.json").is_file()
    table = pd.read_csv(call.reports / "student.csv")
    assert table["revision"].tolist() == ["r0", "student1"]
    assert table["pieces"].tolist()[1] == pytest.approx(6, abs=6)
    assert (call.reports / "student.png").is_file()


@pytest.mark.usefixtures("at_home")
def test_a_holdouts_students_read_what_its_own_models_said(call: Call) -> None:
    jobs = queue.build(call.but(revision=None), call.experiments("student1"))
    assert [job.pool.files for job in jobs if job.pool] == [
        (call.oof / "vgg_small@r0" / f"pool{job.fold}.parquet",) for job in jobs
    ]
    one, two = (pool_labels.read(job.pool.files[0], CLASSES) for job in jobs if job.pool)
    assert set(one["recording"]) == {"train_soundscapes/S4.ogg", "train_soundscapes/S5.ogg"}
    assert not one[list(CLASSES)].equals(two[list(CLASSES)])


def test_teachers_find_the_classes_in_the_pool(call: Call) -> None:
    table = pool_labels.read(call.oof / "vgg_small@r0" / "pool0.parquet", CLASSES)
    table = table.set_index(["recording", "start"])
    assert table.loc[("train_soundscapes/S4.ogg", 0.0), "high"] > table.loc[("train_soundscapes/S4.ogg", 4.0), "high"]


@pytest.mark.usefixtures("at_home")
def test_a_second_run_trains_nothing(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("student").run(call)
    printed = capsys.readouterr().out
    assert "student1 up to date" in printed
    assert "0 to train" in printed
    assert "1 to train" not in printed


@pytest.mark.usefixtures("at_home")
def test_other_labels_of_the_pool_make_the_students_stale(call: Call) -> None:
    experiments = call.experiments("student1")
    path = call.oof / "vgg_small@r0" / "pool0.parquet"
    before = path.read_bytes()
    try:
        table = pd.read_parquet(path)
        table.assign(high=0.99).to_parquet(path)
        stale = [job.fold for job in queue.build(call, experiments) if job.finished() is None]
    finally:
        path.write_bytes(before)
    assert stale == [0]


def test_without_a_pool_there_are_no_rounds(call: Call) -> None:
    assert student_rounds.wanted(call)
    assert not student_rounds.wanted(Call.from_arguments(["data=demo_multilabel"]))


def test_the_best_round_is_chosen_by_the_mean_over_folds() -> None:
    part, targets = np.array([0, 0, 1, 1]), np.array([[1], [0], [1], [0]])
    ordered = np.array([[0.2], [0.1], [0.9], [0.8]])  # right in each fold; the second fold's model says it more often
    metric = resolve("auc")
    assert student_rounds.by_fold(metric, ordered, targets, part).tolist() == [1.0, 1.0]
    assert metric(ordered, targets) == pytest.approx(0.75)
    nothing = student_rounds.by_fold(metric, ordered, np.array([[1], [0], [0], [0]]), part)
    assert nothing.tolist() == [1.0]


@pytest.mark.usefixtures("at_home")
def test_a_plan_counts_the_rounds(call: Call) -> None:
    found = planning.label_jobs(call)
    assert [(experiment.model, jobs, stage) for experiment, jobs, stage in found] == [("vgg_small", 2, "student")]
