"""The choice among tables: a proper score decides among those that the metric cannot tell apart."""

from dataclasses import dataclass

from tonestack.ensemble import nested_cv, selection
from tonestack.tables.metrics import resolve

import numpy as np
import pytest

CLASSES = 6


@dataclass(frozen=True)
class Table:
    name: str
    scores: np.ndarray
    complexity: int = 0


def drawn(rng: np.random.Generator, clips: int, noises: dict[str, float]) -> tuple[list[Table], np.ndarray, np.ndarray]:
    """Tables whose logits are the truth's behind noise of a deviation, targets, and five parts."""
    targets = rng.integers(CLASSES, size=clips)
    logits = 2.0 * np.eye(CLASSES)[targets]
    tables = []
    for name, noise in noises.items():
        e = np.exp(logits + noise * rng.normal(size=logits.shape))
        tables.append(Table(name, (e / e.sum(axis=1, keepdims=True)).astype(np.float32)))
    return tables, targets, np.arange(clips) % 5


def test_a_clearly_better_metric_wins_whatever_the_log_loss() -> None:
    rng = np.random.default_rng(0)
    (good, bad), targets, part = drawn(rng, 400, {"good": 0.3, "bad": 3.0})
    sharp = Table("good", good.scores**40 / (good.scores**40).sum(axis=1, keepdims=True))  # sure of everything
    found = selection.select([bad, sharp], resolve("accuracy"), targets, part, True)
    assert found.chosen.name == "good"
    assert set(found.by_part.values()) == {"good"}


def test_among_equals_the_least_log_loss_wins() -> None:
    rng = np.random.default_rng(1)
    (one,), targets, part = drawn(rng, 300, {"one": 1.0})
    taken, rows = one.scores.argmax(axis=1), np.arange(300)
    modest = one.scores.copy()  # the same classes first, the true one close behind wherever it is not first
    modest[rows, targets] = np.maximum(modest[rows, targets], 0.95 * modest[rows, taken])
    modest /= modest.sum(axis=1, keepdims=True)
    tables = [one, Table("modest", modest, complexity=9)]
    found = selection.select(tables, resolve("accuracy"), targets, part, True)
    assert found.chosen.name == "modest"  # though it is the less simple one
    assert found.loss["modest"] < found.loss["one"]


def test_an_average_goes_first_unless_its_loss_is_clearly_worse() -> None:
    (table,), targets, part = drawn(np.random.default_rng(5), 400, {"table": 1.0})
    wrong = table.scores.argmax(axis=1) != targets

    def less_sure(share: float, clips: np.ndarray) -> Table:  # of the true class where another one is first
        scores = table.scores.copy()
        scores[clips, targets[clips]] *= share
        return Table("mean", scores / scores.sum(axis=1, keepdims=True))

    few, all_wrong = np.flatnonzero(wrong)[:2], np.flatnonzero(wrong)
    for mean, chosen in ((less_sure(0.5, few), "mean"), (less_sure(0.01, all_wrong), "table")):
        words = [table, mean], resolve("accuracy"), targets, part, True
        found = selection.select(*words, averages=["mean"])
        assert found.loss["mean"] > found.loss["table"]
        assert found.chosen.name == chosen
        assert selection.select(*words).chosen.name == "table"


def test_a_temperature_is_fitted_on_the_other_parts_so_that_scale_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    (table,), targets, part = drawn(rng, 500, {"a": 1.0})
    sharp = table.scores**3 / (table.scores**3).sum(axis=1, keepdims=True)
    plain, sharpened = (selection.nested_losses(s, targets, part, True) for s in (table.scores, sharp))
    assert plain.mean() == pytest.approx(sharpened.mean(), rel=0.02)
    changed = targets.copy()
    changed[part == 0] = rng.integers(CLASSES, size=(part == 0).sum())
    again = selection.nested_losses(table.scores, changed, part, True)
    # the labels of a part decide nothing about the part's own temperature: rows with the same label keep their loss
    same = (part == 0) & (changed == targets)
    np.testing.assert_allclose(again[same], plain[same])


def test_the_choice_is_nested_itself() -> None:
    rng = np.random.default_rng(3)
    (one, two), targets, part = drawn(rng, 200, {"one": 1.0, "two": 1.0})
    lucky = one.scores.copy()
    lucky[part == 0] = np.eye(CLASSES)[targets[part == 0]] * 0.9 + 0.1 / CLASSES  # right on one part alone
    found = selection.select(
        [Table("one", one.scores), Table("lucky", lucky), two], resolve("accuracy"), targets, part, True
    )
    rows = {"one": one.scores, "lucky": lucky, "two": two.scores}
    for k, name in found.by_part.items():
        np.testing.assert_array_equal(found.scores[part == k], rows[name][part == k])
    honest = float(resolve("accuracy")(found.scores, targets))
    assert honest <= float(resolve("accuracy")(lucky, targets)) + 1e-9


@pytest.mark.parametrize("classes", [CLASSES, 1])
def test_a_part_decides_nothing_about_the_choice_without_it(classes: int) -> None:
    rng = np.random.default_rng(7)
    (table,), targets, part = drawn(rng, 200, {"one": 1.0})
    scores, truth = table.scores[:, :classes], targets if classes > 1 else (targets == 0).astype(int)
    rows = part != 2
    apart = selection.losses_within(scores, truth, part, True)(rows)
    changed = np.where(rows, truth, truth[::-1])
    np.testing.assert_array_equal(selection.losses_within(scores, changed, part, True)(rows), apart)
    np.testing.assert_allclose(selection.nested_losses(scores[rows], truth[rows], part[rows], True), apart)
    every = selection.losses_within(scores, truth, part, True)(np.ones(200, dtype=bool))
    np.testing.assert_array_equal(every, selection.nested_losses(scores, truth, part, True))


def test_several_labels_and_trials_have_their_own_proper_score() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random((300, 4)) < 0.3).astype(np.int8)
    noisy = {n: 1 / (1 + np.exp(-(3.0 * truth - 1.5 + n * rng.normal(size=truth.shape)))) for n in (0.5, 3.0)}
    part = np.arange(300) % 5
    good, bad = (Table(str(n), s.astype(np.float32)) for n, s in noisy.items())
    assert selection.select([bad, good], resolve("lwlrap"), truth, part, False).chosen.name == "0.5"
    by_hand = -np.log(np.where(truth == 1, good.scores, 1 - good.scores)).sum(axis=1)
    at_one = selection._binary(good.scores, truth > 0, 1.0)
    np.testing.assert_allclose(at_one, by_hand, rtol=1e-4)
    same = (rng.random(300) < 0.5).astype(int)
    cosine = [Table(str(n), (same + n * rng.normal(size=300)).astype(np.float32)[:, None]) for n in (0.3, 2.0)]
    assert selection.select(cosine, resolve("eer"), same, part, False).chosen.name == "0.3"


def test_on_fresh_draws_the_choice_is_no_worse_than_the_simplest_within_one_error() -> None:
    """Twenty draws of 250 clips with a test of 4,000: mean test accuracy of the choice against an old rule's."""
    metric, new, old = resolve("accuracy"), [], []
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        noises = {f"t{i}": 1.2 + 0.1 * i for i in range(6)}
        tables, targets, _ = drawn(rng, 4250, noises)
        small = [Table(t.name, t.scores[:250], complexity=9 - i) for i, t in enumerate(tables)]
        part = np.arange(250) % 5
        chosen = selection.select(small, metric, targets[:250], part, True).chosen.name
        best = max(small, key=lambda t: float(metric(t.scores, targets[:250])))
        gap = {t.name: nested_cv.paired(metric, best.scores, t.scores, targets[:250], 100) for t in small}
        simple = min((t for t in small if gap[t.name].value <= gap[t.name].se + 1e-12), key=lambda t: t.complexity)
        test = {t.name: float(metric(t.scores[250:], targets[250:])) for t in tables}
        new.append(test[chosen])
        old.append(test[simple.name])
    assert np.mean(new) > np.mean(old)
