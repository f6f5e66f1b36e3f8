"""Blends, searches, nested judgement, stackers: planted weights, invariances, noise, honesty."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.ensemble import diversity, nested_cv, searches, selection, stacking
from tonestack.ensemble.blends import Blend, equal, from_sum, row_normal, row_ranks, tempered, to_summand
from tonestack.ensemble.nested_cv import nesting
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.searches import _optuna
from tonestack.ensemble.searches.log_loss import loss_and_slope
from tonestack.ensemble.stack_inputs import StackInputs, StackRows, inner_split
from tonestack.settings.data_config import BlendParams, StackParams
from tonestack.tables.metrics import Metric, indicator, resolve
from tonestack.tasks import classify, multilabel

import numpy as np
import pytest

PARAMS = BlendParams(trials=200, batch=50)
SAMPLED = ("tpe", "cmaes")
SLOW = (*SAMPLED, "log_loss", "per_class", "tempered")
TUNED = ("log_loss", "greedy", "tpe", "cmaes", "tempered")


def toy(models: int = 4, clips: int = 300, classes: int = 6, seed: int = 0, metric: str = "map@3") -> Problem:
    """Models of rising quality that share part of their errors."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=clips)
    truth = np.arange(classes) == targets[:, None]
    shared = rng.normal(size=(clips, classes))
    logits = [shared + rng.normal(size=(clips, classes)) + (1 + 0.5 * m) * truth for m in range(models)]
    tables = row_normal(np.exp(np.stack(logits))).astype(np.float32)
    return Problem(tables, targets, resolve(metric), tuple(f"m{m}" for m in range(models)))


def planted(weights: np.ndarray, clips: int, power: float, seed: int = 0, classes: int = 10) -> Problem:
    """Labels drawn from the blend with these weights: no weighting predicts them better."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(weights), clips, classes)) * 2
    tables = row_normal(np.exp(logits)).astype(np.float32)
    mixed = Blend(weights, power)(tables).astype(np.float64)
    targets = (row_normal(mixed).cumsum(axis=1) > rng.random((clips, 1))).argmax(axis=1)
    return Problem(tables, targets, resolve("map@3"), tuple(f"m{m}" for m in range(len(weights))))


def test_power_means_by_hand() -> None:
    a, b = np.array([[0.8, 0.2]], dtype=np.float32), np.array([[0.4, 0.6]], dtype=np.float32)
    expected = {
        1.0: [0.6, 0.4],
        0.0: row_normal(np.sqrt([0.32, 0.12])),
        -1.0: row_normal(np.array([1 / (0.5 / 0.8 + 0.5 / 0.4), 1 / (0.5 / 0.2 + 0.5 / 0.6)])),
    }
    for power, row in expected.items():
        np.testing.assert_allclose(Blend(equal(2), power)([a, b]), [row], rtol=1e-5)
    np.testing.assert_allclose(Blend(equal(2), 1e-3)([a, b]), [expected[0.0]], rtol=1e-3)
    np.testing.assert_allclose(Blend(np.array([[1, 0.5], [0, 0.5]]), 1.0)([a, b]), [row_normal(np.array([0.8, 0.4]))])


def test_rank_average_and_temperature_by_hand() -> None:
    table = np.array([[0.5, 0.1, 0.3, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(row_ranks(table), [[1.0, 0.5, 0.75, 0.25]])
    np.testing.assert_allclose(tempered(table, 0.5), row_normal(table**2), rtol=1e-5)


def test_a_table_without_weight_has_no_veto() -> None:
    sure = np.array([[0.0, 1.0]], dtype=np.float32)
    other = np.array([[0.7, 0.3]], dtype=np.float32)
    np.testing.assert_allclose(Blend(np.array([0.0, 1.0]), 0.0)([sure, other]), other, rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 1.0, -1.0, 0.5])
@pytest.mark.parametrize("metric", ["map@3", "accuracy", "top@2"])
def test_batched_candidates_equal_the_blend_itself(power: float, metric: str) -> None:
    problem = toy(metric=metric)
    problem.tables[1, :50] = problem.tables[0, :50]  # some agreement, some exact ties
    problem.tables[:, 50:60] = 1 / 6
    weights = np.random.default_rng(1).dirichlet(np.ones(4), 20)
    slow = [problem.score(Blend(w, power)) for w in weights]
    np.testing.assert_allclose(problem.evaluate(weights, power), slow, atol=1e-9)


def test_batched_candidates_of_other_metrics() -> None:
    weights = np.random.default_rng(1).dirichlet(np.ones(4), 5)
    for name in ("log_loss", "auc", "lwlrap"):
        problem = toy(metric=name, clips=100)
        slow = [problem.metric.sign * problem.score(Blend(w, 0.0)) for w in weights]
        np.testing.assert_allclose(problem.evaluate(weights, 0.0), slow, rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 1.0, -1.0])
def test_the_gradient_is_exact(power: float) -> None:
    problem = toy(clips=50)
    summands = np.stack([to_summand(t, power) for t in problem.tables]).astype(np.float64)
    slope_of = partial(
        loss_and_slope, summands=summands, truth=indicator(problem.targets, 6), power=power, normalise=True
    )
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    _, slope = slope_of(weights)
    step = 1e-3
    for m in range(4):
        shift = step * (np.arange(4) == m)
        numeric = (slope_of(weights + shift)[0] - slope_of(weights - shift)[0]) / (2 * step)
        assert slope[m] == pytest.approx(numeric, abs=2e-3)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_planted_weights_are_found(power: float) -> None:
    weights = np.array([0.45, 0.3, 0.15, 0.1, 0.0])
    problem = planted(weights, 60_000, power)
    found = searches.find("log_loss").fit(problem, PARAMS.model_copy(update={"power": power}), 0, None)
    np.testing.assert_allclose(found.weights, weights, atol=0.02)


def test_the_other_searches_come_as_near() -> None:
    problem = planted(np.array([0.5, 0.3, 0.2]), 20_000, 0.0)
    score = {n: problem.score(searches.find(n).fit(problem, PARAMS, 0, None)) for n in TUNED}
    assert max(score.values()) - min(score.values()) < 0.001, score


@pytest.mark.parametrize("name", SAMPLED)
def test_sampling_needs_no_start_from_the_least_log_loss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_optuna, "_starts", lambda problem, params: [np.ones(problem.count)])
    problem = planted(np.array([0.5, 0.3, 0.2]), 20_000, 0.0)
    reference = problem.score(searches.find("log_loss").fit(problem, PARAMS, 0, None))
    assert problem.score(searches.find(name).fit(problem, PARAMS, 0, None)) > reference - 0.001


@pytest.mark.parametrize("name", TUNED)
def test_noise_gets_no_weight(name: str) -> None:
    problem = toy(clips=2000)
    noise = np.random.default_rng(5).dirichlet(np.ones(6), 2000).astype(np.float32)
    noisy = Problem(
        np.concatenate([problem.tables, noise[None]]), problem.targets, problem.metric, (*problem.names, "noise")
    )
    assert searches.find(name).fit(noisy, PARAMS, 0, None).weights[-1] < 0.02


@pytest.mark.parametrize("name", ["log_loss", "greedy", "single", "tempered", "per_class"])
def test_order_of_models_and_clips_changes_nothing(name: str) -> None:
    problem = toy()
    search = searches.find(name)
    order, rows = [2, 0, 3, 1], np.random.default_rng(2).permutation(300)
    moved = search.fit(problem.models(order).rows(rows), PARAMS, 0, None)
    np.testing.assert_allclose(moved.weights, search.fit(problem, PARAMS, 0, None).weights[order], atol=5e-3)


@pytest.mark.parametrize("name", searches.names("probabilities"))
def test_every_search_gives_weights_on_the_simplex(name: str) -> None:
    for problem in (toy(clips=100), toy(models=1, clips=50)):
        weights = searches.find(name).fit(problem, BlendParams(trials=60), 0, None).weights
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=0), 1)


def test_independent_labels() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((400, 5)) < 0.3).astype(int)
    targets[targets.sum(axis=1) == 0, 0] = 1
    tables = [1 / (1 + np.exp(-(rng.normal(size=(400, 5)) + s * (2 * targets - 1)))) for s in (0.1, 0.5, 1.5)]
    problem = Problem(np.stack(tables).astype(np.float32), targets, resolve("lwlrap"), ("a", "b", "c"), False)
    for name in ("log_loss", "greedy", "per_class", "tempered", "arithmetic", "cmaes"):
        blend = searches.find(name).fit(problem, BlendParams(trials=50, power=1.0), 0, None)
        assert problem.score(blend) > 0.75, name
    fold = np.arange(400) % 4
    found = nested_cv.evaluate(problem, fold, ["single", "log_loss"], BlendParams(power=1.0), 0, None)
    assert all(0 < c.se < 0.05 for c in found)
    assert multilabel.TASK.row_truth(["a,c", "b"], ("a", "b", "c")).tolist() == [[1, 0, 1], [0, 1, 0]]
    with pytest.raises(UserError, match="label 'x'"):
        classify.TASK.row_truth(["a", "x"], ("a",))


def test_a_search_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    problem, journal = toy(), tmp_path / "x.journal"
    for name in ("tpe", "cmaes"):
        search = searches.find(name)
        search.fit(problem, BlendParams(trials=60, batch=20), 0, journal)
        size = journal.stat().st_size
        journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "wor')  # killed while it wrote
        more = search.fit(problem, BlendParams(trials=100, batch=20), 0, journal)
        assert journal.stat().st_size > size
        again = search.fit(problem, BlendParams(trials=100, batch=20), 0, journal)
        np.testing.assert_array_equal(more.weights, again.weights)
        journal.unlink()


def test_nested_blends_never_see_their_fold() -> None:
    problem = toy(clips=200)
    fold = np.arange(200) % 4
    first = nested_cv.evaluate(problem, fold, ["log_loss"], PARAMS, 0, None)[0]
    spoiled = Problem(problem.tables, problem.targets.copy(), problem.metric, problem.names)
    spoiled.targets[fold == 1] = (spoiled.targets[fold == 1] + 1) % 6
    second = nested_cv.evaluate(spoiled, fold, ["log_loss"], PARAMS, 0, None)[0]
    np.testing.assert_array_equal(first.by_fold[1].weights, second.by_fold[1].weights)
    assert not np.array_equal(first.by_fold[0].weights, second.by_fold[0].weights)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long) if n in SLOW else n for n in searches.names("probabilities")]
)
def test_the_nested_score_does_not_flatter(name: str) -> None:
    """Over 20 draws it is not above a fresh test set's score by more than two standard errors."""
    params = BlendParams(trials=40, batch=20)
    gaps = []
    for seed in range(20):
        problem = toy(models=6, clips=1200, seed=seed)
        tuned, fresh = problem.rows(np.arange(200)), problem.rows(np.arange(200, 1200))
        found = nested_cv.evaluate(tuned, np.arange(200) % 4, [name], params, 0, None)[0]
        gaps.append(found.cv - fresh.score(found.blend))
    assert np.mean(gaps) < 2 * np.std(gaps) / np.sqrt(len(gaps))


def test_clips_of_one_fold_alone_cannot_be_nested() -> None:
    problem = toy(2, 40)
    with pytest.raises(UserError, match="all verified clips lie in one fold"):
        nested_cv.evaluate(problem, np.full(40, 3), ["single"], BlendParams(), 0, None)
    inputs = StackInputs.of(problem.tables)
    rows = StackRows(inputs, problem.targets, np.ones(40), np.full(40, 3), 6)
    with pytest.raises(UserError, match="all verified clips lie in one fold"):
        stacking.nested("logistic", rows, inputs, np.arange(40) % 4, StackParams(jobs=1), 0)


def test_one_group_is_split_clip_by_clip() -> None:
    problem = toy(2, 60)
    one = StackRows(StackInputs.of(problem.tables), problem.targets, np.ones(60), np.zeros(60, dtype=int), 6)
    alone = replace(one, groups=np.zeros(60, dtype=int))
    for mine, other in zip(inner_split(alone, 0), inner_split(one, 0), strict=True):
        np.testing.assert_array_equal(mine, other)
        assert 0 < mine.sum() < 60
    for name in ("lightgbm", "logistic"):
        assert stacking.fit(name, alone, StackParams(rounds=5), 0)(alone.inputs).shape == (60, 6)


def test_ties_go_to_the_simpler() -> None:
    problem = toy(clips=400)
    same = Problem(np.repeat(problem.tables[:1], 3, axis=0), problem.targets, problem.metric, ("a", "b", "c"))
    names = ["cmaes", "greedy", "single", "geometric"]
    found = nested_cv.evaluate(same, np.arange(400) % 4, names, BlendParams(trials=40), 0, None)
    part = np.arange(400) % 4
    chosen = selection.select(found, same.metric, same.targets, part, True).chosen
    assert chosen.name == "geometric"
    assert chosen.gain.low <= 0 <= chosen.gain.high
    rng = np.random.default_rng(0)
    noise = rng.dirichlet(np.ones(6), (3, 400)).astype(np.float32)
    mixed = Problem(np.concatenate([problem.tables[3:], noise]), problem.targets, problem.metric, tuple("abcd"))
    found = nested_cv.evaluate(mixed, np.arange(400) % 4, ["geometric", "single"], PARAMS, 0, None)
    assert selection.select(found, mixed.metric, mixed.targets, part, True).chosen.name == "single"


def test_intervals() -> None:
    problem = toy(clips=2000)
    metric, targets = problem.metric, problem.targets
    values = metric.per_clip(problem.tables[0], targets)
    cv, se = nested_cv.score(metric, problem.tables[0], targets)
    assert cv == pytest.approx(values.mean())
    assert se == pytest.approx(values.std() / np.sqrt(2000), rel=0.1)
    gap = nested_cv.paired(metric, problem.tables[3], problem.tables[0], targets)
    assert 0 < gap.low < gap.value < gap.high
    assert nesting(np.zeros(10, dtype=int)).max() == 4
    assert nesting(np.array([0, 1, -1])).tolist() == [0, 1, -1]


def test_diversity() -> None:
    problem = toy()
    table = diversity.per_model(problem, equal(4)).set_index("experiment")
    assert table["map@3"].idxmax() == "m3"
    assert table["gain"].idxmax() == "m3"
    matrix = diversity.error_correlation(problem).to_numpy()
    np.testing.assert_allclose(np.diag(matrix), 1, rtol=1e-4)


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_stackers(name: str) -> None:
    problem = toy(clips=400, classes=4, metric="accuracy")
    inputs = StackInputs.of(problem.tables, np.ones((400, 2)))
    assert inputs.columns.shape == (400, 4 + 4 * 4 + 2 * 4 + 1 + 2)
    fold = np.where(np.arange(400) < 390, np.arange(400) % 4, -1)
    rows = StackRows(inputs, problem.targets, np.ones(400), fold, 4).where(fold >= 0)
    params = StackParams(rounds=10, jobs=1)
    found = stacking.nested(name, rows, inputs, fold, params, 0)
    assert np.isnan(found[390:]).all()
    np.testing.assert_allclose(found[:390].sum(axis=1), 1, rtol=1e-4)
    best = max(float(problem.metric(t[:390], problem.targets[:390])) for t in problem.tables)
    assert float(problem.metric(found[:390], problem.targets[:390])) > best - 0.02
    spoiled = StackRows(rows.inputs, np.where(rows.fold == 2, 0, rows.targets), rows.weights, rows.fold, 4)
    again = stacking.nested(name, spoiled, inputs, fold, params, 0)
    np.testing.assert_array_equal(found[fold == 2], again[fold == 2])


def test_from_sum_inverts_to_summand() -> None:
    row = np.array([[0.2, 0.3, 0.5]])
    for power in (-1.0, 0.0, 0.5, 1.0):
        np.testing.assert_allclose(from_sum(to_summand(row, power), power, True), row, rtol=1e-6)


def test_greedy_by_margins_equals_greedy_by_weights() -> None:
    problem = toy(models=5)
    margins = problem.margins(0.0)
    taken = np.array([2, 0, 1, 0, 3])
    candidates = (taken + np.eye(5)) / (taken.sum() + 1)
    added = margins.evaluate_added((taken[:, None] * margins.values).sum(axis=0))
    np.testing.assert_allclose(added, problem.evaluate(candidates, 0.0), atol=1e-9)


def test_stackers_know_when_there_is_nothing_to_learn() -> None:
    """Labels drawn from a pool of the tables: no stacker is far below that pool."""
    problem = planted(np.array([0.5, 0.3, 0.2]), 3000, 0.0, classes=6)
    fold = np.arange(3000) % 4
    rows = StackRows(StackInputs.of(problem.tables), problem.targets, np.ones(3000), fold, 6)
    best = problem.score(Blend(np.array([0.5, 0.3, 0.2]), 0.0))
    for name in ("logistic", "lightgbm"):
        found = stacking.nested(name, rows, rows.inputs, fold, StackParams(rounds=20), 0)
        assert float(problem.metric(found, problem.targets)) > best - 0.01, name


class Slow:
    """A metric over all rows that takes half a second of a made-up clock."""

    GREATER_IS_BETTER, DEFAULT_K = True, None

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def overall(self, scores: np.ndarray, targets: np.ndarray) -> float:
        self.clock[0] += 0.5
        return float(scores[np.arange(len(scores)), targets].mean())


def test_a_blend_of_a_slow_metric_says_in_a_log_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("tonestack.base.console.time.monotonic", lambda: clock[0])
    slow = replace(toy(clips=60), metric=Metric("slow", 0, Slow(clock)))  # type: ignore[arg-type]
    params = BlendParams(trials=40, batch=20)
    found = nested_cv.evaluate(slow, np.arange(60) % 2, ["geometric", "greedy", "cmaes"], params, 0, None)
    said = capsys.readouterr().err.splitlines()
    assert len(said) > 20  # a line every ten seconds, within searches too
    assert [line for line in said if re.fullmatch(r"blend: \d+/\d+ weightings, .*/s, .* left, greedy, all folds", line)]
    counts = [[int(n) for n in re.findall(r"(\d+)/(\d+)", line)[0]] for line in said]
    assert [done for done, _ in counts] == sorted(done for done, _ in counts)
    assert counts[-1][0] == counts[-1][1] > 600  # all that was to be done is done
    selection.select(found, slow.metric, slow.targets, np.arange(60) % 2, True)
    assert re.search(r"choice: \d+/9 scores, .* left", capsys.readouterr().err)


def test_a_quick_blend_says_nothing_of_its_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tonestack.base.console.time.monotonic", lambda: 0.0)
    nested_cv.evaluate(toy(clips=60), np.arange(60) % 2, ["geometric", "greedy"], BlendParams(), 0, None)
    assert capsys.readouterr().err == ""


def test_searches_of_large_tables_work_on_some_of_the_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = toy(clips=600)
    auc = replace(problem, metric=resolve("auc"))
    monkeypatch.setattr(nested_cv, "CELLS", 6 * 200)
    assert len(nested_cv.searched(problem)) == 600  # a metric of ranks is fast enough on all
    assert len(nested_cv.searched(auc)) == 200
    seen: list[int] = []
    single = searches.find("single")
    fit = single.fit

    def noted(problem: Problem, *rest: Any) -> Any:
        seen.append(problem.tables.shape[1])
        return fit(problem, *rest)

    monkeypatch.setattr(single, "fit", noted)
    found = nested_cv.evaluate(auc, np.arange(600) % 2, ["single"], PARAMS, 0, None)[0]
    assert set(seen) <= {150, 200}
    assert found.cv == float(auc.metric(found.scores, auc.targets))  # the score is of all clips
