"""Windows and their neighbours: smoothing within recordings, the maximum of each, and a nested choice of the rule."""

from tonestack.ensemble.problem import Problem
from tonestack.ensemble.recipe import About, Recipe
from tonestack.ensemble.rules import neighbours
from tonestack.ensemble.rules.neighbours import Places, WindowRule
from tonestack.ensemble.stack_inputs import StackInputs
from tonestack.tables.metrics import resolve

import numpy as np
import pandas as pd
import pytest

THREE = Places(np.array([0, 0, 0, 1]), np.array([2, 0, 1, 0]))  # a recording's windows in another order; one by itself


def test_smoothing_follows_the_windows_order_and_is_cut_at_the_ends() -> None:
    values = np.array([[0.9], [0.1], [0.5], [0.7]])  # third, first and second window; another recording
    made = WindowRule((0.25, 0.5, 0.25))(values, THREE)
    np.testing.assert_allclose(
        made[:, 0], [(0.5 * 0.9 + 0.25 * 0.5) / 0.75, (0.5 * 0.1 + 0.25 * 0.5) / 0.75, 0.5, 0.7], rtol=1e-6
    )


def test_the_maximum_counts_within_a_recording_of_several_windows() -> None:
    values = np.array([[0.9, 0.2], [0.1, 0.4], [0.5, 0.0], [0.7, 0.7]])
    made = WindowRule(power=0.5)(values, THREE)
    np.testing.assert_allclose(made[:3], values[:3] * np.sqrt([0.9, 0.4]), rtol=1e-6)
    np.testing.assert_allclose(made[3], values[3], rtol=1e-6)


def test_windows_without_a_prediction_neither_count_nor_get_one() -> None:
    values = np.array([[0.9], [0.1], [np.nan], [0.7]])
    made = WindowRule((0.25, 0.5, 0.25), 0.0)(values, THREE)
    np.testing.assert_allclose(made[[0, 1, 3], 0], [0.9, 0.1, 0.7], rtol=1e-6)
    assert np.isnan(made[2, 0])


def test_long_kernels_on_short_recordings() -> None:
    places = Places(np.array([0, 0]), np.array([0, 1]))
    made = WindowRule((0.2,) * 5)(np.array([[1.0], [0.0]]), places)
    np.testing.assert_allclose(made[:, 0], 0.5, rtol=1e-6)


def test_places_come_from_the_clip_table() -> None:
    clips = pd.DataFrame({"path": ["a", "b", "a"], "start": [5.0, np.nan, 0.0], "end": [10.0, np.nan, 5.0]})
    places = Places.of_table(clips)
    assert places is not None
    assert places.recording.tolist() == [0, 1, 0]
    assert places.order.tolist() == [1, 0, 0]
    assert Places.of_table(clips.assign(start=np.nan, end=np.nan)) is None
    assert Places.of_table(clips.iloc[:2]) is None


@pytest.fixture
def soundscapes() -> tuple[np.ndarray, Places, Problem]:
    """40 recordings of 8 windows in which a class lasts: noisy rows that neighbours improve."""
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.random((80, 3)) < 0.4, 4, axis=0).astype(np.int8)
    values = 1 / (1 + np.exp(-(2 * truth - 1 + rng.normal(0, 1.5, truth.shape))))
    places = Places(np.repeat(np.arange(40), 8), np.tile(np.arange(8), 40))
    return values, places, Problem(values[None].astype(np.float32), truth, resolve("auc"), ("m",), normalise=False)


def test_the_chosen_rule_helps_where_sounds_last(soundscapes: tuple[np.ndarray, Places, Problem]) -> None:
    values, places, problem = soundscapes
    part = np.repeat(np.arange(5), 64)
    rule, nested = neighbours.choose(values, places, problem, np.ones(320, dtype=bool), part)
    assert len(rule.kernel) > 1
    assert problem.metric(nested, problem.targets) > problem.metric(values, problem.targets) + 0.05


def test_rows_of_a_part_do_not_depend_on_its_own_labels(soundscapes: tuple[np.ndarray, Places, Problem]) -> None:
    values, places, problem = soundscapes
    part, scored = np.repeat(np.arange(5), 64), np.ones(320, dtype=bool)
    before = neighbours.choose(values, places, problem, scored, part)[1]
    other = problem.targets.copy()
    other[part == 2] = 1 - other[part == 2]
    changed = Problem(problem.tables, other, problem.metric, ("m",), normalise=False)
    after = neighbours.choose(values, places, changed, scored, part)[1]
    np.testing.assert_array_equal(before[part == 2], after[part == 2])


def test_a_stacker_sees_the_windows_before_and_after_and_the_recording() -> None:
    logs = np.array([[3.0], [1.0], [5.0], [7.0]])  # third, first and second window; another recording
    made = neighbours.around(logs, THREE)[..., 0]
    np.testing.assert_allclose(made, [[2, 0, 0, 2], [0, 4, 2, 4], [-4, -2, -2, 0], [0, 0, 0, 0]])
    assert not neighbours.around(logs, None).any()


def test_columns_of_a_class_have_its_own_neighbours() -> None:
    tables = np.random.default_rng(0).random((2, 4, 3)).astype(np.float32)
    inputs = StackInputs.of(tables, None, True, lambda logs: neighbours.around(logs, THREE))
    assert inputs.around is not None
    np.testing.assert_array_equal(inputs.columns_of(1)[:, -4:], inputs.around[:, :, 1])
    assert inputs.columns.shape[1] == StackInputs.of(tables, None, True).columns.shape[1] + 12
    np.testing.assert_array_equal(inputs.where(np.array([0, 2])).columns, inputs.columns[[0, 2]])


def test_a_recipe_applies_its_rule_to_windows_and_leaves_other_clips_alone() -> None:
    from tonestack.ensemble.recipe import _Windowed

    rows = np.array([[[0.9], [0.1], [0.5], [0.7]]])
    whole = Recipe(
        "windows@r0", (Recipe("a@r0", normalise=False),), _Windowed(WindowRule((0.2, 0.6, 0.2))), None, False
    )
    made = whole.rows({"a@r0": rows}, lambda spec: rows[0], lambda k: k.mean(axis=0), About(THREE))
    np.testing.assert_allclose(made[0], WindowRule((0.2, 0.6, 0.2))(rows[0], THREE))
    np.testing.assert_array_equal(whole.rows({"a@r0": rows}, lambda spec: rows[0], lambda k: k.mean(axis=0)), rows)
    left = whole.only({"a@r0"})
    assert left is not None
    assert left.mix is whole.mix
