"""The mix of classes: factors from counts, a nested power, the corrected table among the candidates of submit."""

import blend
import submit
from test_submission import CLASSES, TEST, Call, toy, words
from tonestack.ensemble import recipe
from tonestack.ensemble.rules import prior
from tonestack.ensemble.rules.prior import PriorRule
from tonestack.tables.load import load

import numpy as np
import pandas as pd
import pytest

__all__ = ["toy"]  # a fixture of that module

EVEN = np.full(4, 0.25)
OTHER = np.array([0.55, 0.25, 0.15, 0.05])


def drawn(shares: np.ndarray, clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips of a mix, heard by a calibrated network that takes all classes for equally frequent; and their parts."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(4, clips, p=shares)
    logits = rng.normal(size=(clips, 4)) + 1.0 * (np.arange(4) == targets[:, None])
    rows = np.exp(logits)
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32), targets, np.arange(clips) % 5


def test_shares_of_many_clips_are_their_counts() -> None:
    targets = np.repeat(np.arange(4), (OTHER * 4000).astype(int))
    np.testing.assert_allclose(prior.ratios(targets, EVEN), OTHER / EVEN, rtol=0.02)


def test_counts_that_luck_explains_change_little() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.choice(4, 40, p=EVEN) for _ in range(100)]
    by_counts = [np.abs(np.bincount(targets, minlength=4) / 40 / EVEN - 1).mean() for targets in draws]
    drift = [np.abs(prior.ratios(targets, EVEN) - 1).mean() for targets in draws]
    assert np.mean(drift) < 0.5 * np.mean(by_counts)


def test_another_mix_is_corrected_and_the_same_one_is_left_alone() -> None:
    rows, targets, part = drawn(OTHER, 600)
    rule, nested = prior.choose(rows, targets, part, EVEN)
    loss = [-np.log(p[np.arange(600), targets]).mean() for p in (rows, nested)]
    assert rule.changes
    assert loss[1] < loss[0] - 0.1
    np.testing.assert_allclose(nested.sum(axis=1), 1, rtol=1e-5)
    rows, targets, part = drawn(EVEN, 600)
    rule, nested = prior.choose(rows, targets, part, EVEN)
    assert np.abs(rule.factors - 1).max() < 0.1


def test_rows_of_a_part_do_not_depend_on_its_own_labels() -> None:
    rows, targets, part = drawn(OTHER, 300)
    before = prior.choose(rows, targets, part, EVEN)[1]
    other = np.where(part == 2, 3 - targets, targets)
    after = prior.choose(rows, other, part, EVEN)[1]
    np.testing.assert_array_equal(before[part == 2], after[part == 2])
    assert (before[part == 1] != after[part == 1]).any()


@pytest.fixture
def skewed(toy: Call) -> Call:
    """The toy competition with another mix among the verified clips: two in three Barks lose their mark."""
    for path in (toy.folds / "r0.csv", toy.root / "train.csv"):
        table = pd.read_csv(path)
        mark = "verified" if "verified" in table.columns else "manually_verified"
        barks = np.flatnonzero((table["label"] == CLASSES[0]) & (table[mark] == 1))
        table.loc[np.delete(barks, slice(None, None, 3)), mark] = 0
        table.to_csv(path, index=False)
    return words(toy.home)


def test_submit_tries_the_corrected_table_and_a_recipe_makes_it_again(skewed: Call) -> None:
    blend.run(skewed)
    submit.run(skewed)
    made = load(skewed.oof / "prior@r0", pd.read_csv(skewed.folds / "r0.csv"), TEST, CLASSES)
    source = load(skewed.oof / "blend@r0", pd.read_csv(skewed.folds / "r0.csv"), TEST, CLASSES)
    assert made.test is not None
    assert source.test is not None
    assert made.test[..., 0].mean() < source.test[..., 0].mean()  # fewer Barks
    tree = recipe.read(skewed.oof, "prior@r0")
    assert isinstance(tree.mix, recipe._Reweighted)
    part = tree.parts[0]
    assert part.name == "blend@r0"
    again = np.stack([tree.mix(rows[None], recipe.About()) for rows in source.test])
    np.testing.assert_allclose(again, made.test, rtol=1e-5)


def test_the_table_goes_where_it_no_longer_holds(skewed: Call) -> None:
    blend.run(skewed)
    submit.run(skewed)
    assert (skewed.oof / "prior@r0").is_dir()
    table = pd.read_csv(skewed.folds / "r0.csv")
    table.assign(verified=1).to_csv(skewed.folds / "r0.csv", index=False)
    blend.run(words(skewed.home))
    submit.run(words(skewed.home))
    assert not (skewed.oof / "prior@r0").exists()


def test_factors_are_of_odds() -> None:
    np.testing.assert_allclose(PriorRule(np.array([1.0, 3.0]))(np.array([0.5, 0.5])), [0.25, 0.75])
