"""Statistics against draws of known truth: intervals, nesting, means of several labels, folds, weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import stack as stack_stage
from tonestack.base import parts
from tonestack.cleaning.methods import Evidence, agree
from tonestack.config.call import Call
from tonestack.deploy.onnx_export import TaggerOfWaves
from tonestack.ensemble import nested_cv, plausibility, resampling, stacking
from tonestack.ensemble.blends import Blend, equal, row_normal, tempered
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.searches import _optuna
from tonestack.ensemble.stack_inputs import StackInputs, StackRows, inner_split
from tonestack.ensemble.tables import Tables
from tonestack.labels import folds, stratify
from tonestack.networks.layers import Network, Normalise, Tagger
from tonestack.settings.data_config import FoldParams, StackParams
from tonestack.settings.model_config import AugmentParams, ModelConfig
from tonestack.tables import load, oof
from tonestack.tables.metrics import resolve
from tonestack.tasks import classify, multilabel, verify
from tonestack.training import augment
from tonestack.training.crops import Clips
from tonestack.training.inference import predict
from tonestack.training.loop import epoch_order

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

# ------------------------------------------------------------------------------------- groups: nesting, inner split


def grouped(groups: int = 60, size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tables (2, N, 4) that know nothing, statistics that tell the groups, one label per group, and the groups."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), size)
    signature = rng.normal(size=(groups, 6))[group] + 0.01 * rng.normal(size=(len(group), 6))
    tables = rng.dirichlet(np.full(4, 5.0), size=(2, len(group))).astype(np.float32)
    return tables, signature.astype(np.float32), rng.integers(4, size=groups)[group], group


def test_a_single_split_nests_whole_groups() -> None:
    """Labels are drawn per group, so every score above chance (1/4) comes from clips of the group itself."""
    tables, signature, truth, group = grouped()
    inputs, fold = StackInputs.of(tables, signature), np.zeros(len(truth), dtype=int)
    found = {}
    for kind, known in (("clips", None), ("groups", group)):
        part = nested_cv.nesting(fold, known)
        rows = StackRows(inputs, truth, np.ones(len(truth)), part, 4, known)
        scores = stacking.nested("lightgbm", rows, inputs, part, StackParams(rounds=40, jobs=1), 0)
        found[kind] = float(resolve("accuracy")(scores, truth))
    assert found["clips"] > 0.5
    assert found["groups"] < 0.35


def test_random_parts_are_whole_groups_of_even_size() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(40), rng.integers(1, 20, 40))
    fold = np.where(rng.random(len(group)) < 0.8, 0, -1)
    part = nested_cv.nesting(fold, group)
    assert (part[fold < 0] == -1).all()
    assert sorted(set(part[fold == 0])) == [0, 1, 2, 3, 4]
    assert pd.Series(part[fold == 0]).groupby(group[fold == 0]).nunique().max() == 1
    sizes = np.bincount(part[fold == 0])
    assert sizes.max() - sizes.min() <= 0.2 * sizes.mean()


def test_clips_without_groups_are_nested_as_before() -> None:
    before = np.random.default_rng(0).permutation(50) % 5
    np.testing.assert_array_equal(nested_cv.nesting(np.zeros(50, dtype=int)), before)
    np.testing.assert_array_equal(nested_cv.nesting(np.zeros(50, dtype=int), np.zeros(50, dtype=int)), before)


def test_the_inner_split_of_one_fold_keeps_groups_whole() -> None:
    tables, _, truth, group = grouped()
    one = StackRows(StackInputs.of(tables), truth, np.ones(len(truth)), np.zeros(len(truth), dtype=int), 4, group)
    for seed in range(5):
        learn, stop = inner_split(one, seed)
        assert not set(group[learn]) & set(group[stop])
        assert 0.1 < stop.mean() < 0.3


def test_the_stage_passes_the_groups_on(tmp_path: Path) -> None:
    """A competition with one validation fold, as the stage reads it from its files."""
    tables, _, truth, group = grouped(20, 6)
    names = [f"c{i}.wav" for i in range(len(truth))]
    table = pd.DataFrame({"clip_id": names, "label": [f"k{t}" for t in truth], "verified": True, "fold": 0})
    table["group"] = [f"g{g}" for g in group]
    classes = ("k0", "k1", "k2", "k3")
    for m, values in enumerate(tables):
        oof.write_fold(tmp_path / f"m{m}@r0", 0, names, ["oof"] * len(names), values, classes, {})
    made = Tables(tmp_path, ("m0@r0", "m1@r0"), table, (), classes, classify.TASK, "accuracy", "geometric")
    np.testing.assert_array_equal(made.groups, pd.factorize(np.array(table["group"]), sort=True)[0])
    assert made.problem().groups is not None
    seen: list[StackRows] = []

    def fit(name: str, rows: StackRows, *rest: Any) -> Any:
        seen.append(rows)
        return lambda inputs: np.ones((len(inputs.extras), 4))

    call = cast(Call, SimpleNamespace(data=SimpleNamespace(stack=StackParams(rounds=2, jobs=1)), seed=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacking, "fit", fit)
        stack_stage.stack(call, made, "logistic", stack_stage.Surroundings())
    assert len(seen) == 6
    for rows in seen:
        assert rows.groups is not None
        assert pd.Series(rows.fold).groupby(rows.groups).nunique().max() == 1


def test_clips_that_are_all_alone_have_no_groups(tmp_path: Path) -> None:
    table = pd.DataFrame({"clip_id": ["a", "b"], "label": "k", "verified": True, "fold": 0, "group": ["", "g"]})
    assert Tables(tmp_path, (), table, (), ("k",), classify.TASK, "accuracy", "geometric").groups is None


# ---------------------------------------------------------------------------------------------- groups: intervals


@pytest.mark.parametrize(("groups", "size"), [(60, 8), (30, 20)])
@pytest.mark.parametrize("metric", ["accuracy", "lwlrap", "auc"])
def test_intervals_cover_where_clips_of_a_group_fail_together(metric: str, groups: int, size: int) -> None:
    """Each group has a shift of its own; the truth is the metric on a hundred times as many groups."""
    if metric == "auc":
        pytest.importorskip("sklearn")
    measure, rng = resolve(metric), np.random.default_rng(0)
    code = np.repeat(np.arange(groups), size)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        truth = np.arange(count * size) % 2
        apart = rng.normal(size=count).repeat(size) * 2 + rng.normal(size=count * size) + 1.0
        margin = np.where(truth == 1, apart, -apart)
        return np.stack([np.zeros_like(margin), margin], axis=1), truth

    far = float(measure(*drawn(100 * groups)))
    hit = {"clips": 0, "groups": 0}
    draws = 100 if measure.decomposes else 30
    for _ in range(draws):
        scores, truth = drawn(groups)
        blind = np.zeros_like(scores)
        for kind, known in (("clips", None), ("groups", code)):
            gap = nested_cv.paired(measure, scores, blind, truth, 200, known)
            offset = float(measure(blind, truth))
            hit[kind] += gap.low <= measure.sign * (far - offset) <= gap.high
    assert hit["groups"] >= 0.87 * draws
    assert hit["clips"] < 0.8 * draws


def test_the_standard_error_counts_groups_once() -> None:
    """Eight copies of each of 50 clips tell no more than the 50 clips."""
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(3, size=50), rng.random((50, 3))
    code = np.repeat(np.arange(50), 8)
    metric = resolve("map@3")
    few = nested_cv.score(metric, scores, truth)[1]
    many = nested_cv.score(metric, scores[code], truth[code], 1000, code)[1]
    assert many == pytest.approx(few, rel=0.1)
    assert nested_cv.score(metric, scores[code], truth[code])[1] < 0.5 * few
    values = metric.per_clip(scores, truth)
    assert resampling.standard_error(values[code], None, code) == pytest.approx(values.std() / np.sqrt(50))
    problem = Problem(scores[None, code].astype(np.float32), truth[code], metric, ("a",), groups=code)
    assert _optuna._standard_error(problem, np.ones(1), 0.0) == pytest.approx(values.std() / np.sqrt(50), rel=1e-4)


def trials_of(speakers: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (N, 1), targets and speakers (N, 2) of trials; each speaker is easy or hard on both sides."""
    ease = rng.normal(size=speakers)
    pairs = rng.integers(speakers, size=(60 * speakers, 2))
    pairs[::2, 1] = pairs[::2, 0]
    same = (pairs[:, 0] == pairs[:, 1]).astype(int)
    scores = 2.5 * same + ease[pairs].sum(axis=1) * 0.7 * (2 * same - 1) + rng.normal(size=len(pairs))
    return scores[:, None], same, pairs


def test_intervals_of_trials_cover_by_speakers_on_both_sides() -> None:
    eer, rng = resolve("eer"), np.random.default_rng(0)
    scores, same, _ = trials_of(3000, rng)
    far, draws = float(eer(scores, same)), 30
    hit = {"trials": 0, "speakers": 0}
    for _ in range(draws):
        scores, same, pairs = trials_of(20, rng)
        for kind, known in (("trials", None), ("speakers", pairs)):
            gap = nested_cv.paired(eer, scores, same[:, None].astype(float), same, 100, known)
            hit[kind] += gap.low <= -far <= gap.high
    assert hit["speakers"] >= 0.83 * draws
    assert hit["trials"] <= 0.6 * draws


def test_trials_know_the_speakers_of_both_sides(tmp_path: Path) -> None:
    placed = pd.DataFrame({"clip_id": ["a|b", "a|c"], "label": ["1", "0"], "enrol": "a", "test": ["b", "c"], "fold": 0})
    clips = pd.DataFrame({"clip_id": ["a", "b", "c"], "label": ["s", "s", "t"]})
    competition: Any = SimpleNamespace(extras={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify.trials, "read", lambda folder: placed)
        rows = verify.TASK.rows(tmp_path, clips, competition)
    assert rows.oof[["group", "other_group"]].to_numpy().tolist() == [["s", "s"], ["s", "t"]]
    made = Tables(tmp_path, (), rows.oof, (), ("score",), verify.TASK, "eer", "arithmetic")
    np.testing.assert_array_equal(made.groups, [[0, 0], [0, 1]])


# ------------------------------------------------------------------------------------- several labels: log odds


def test_means_of_several_labels_are_of_log_odds() -> None:
    """0.9 and 0.1 of one class mean one half; the mean of log p says 0.3."""
    pair = np.array([[[0.9, 0.5]], [[0.1, 0.5]]], dtype=np.float32)
    np.testing.assert_allclose(oof.combine_folds(pair, "geometric", normalise=False), [[0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(Blend(equal(2), 0.0, normalise=False)(pair), [[0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(tempered(pair[0], 0.5, normalise=False), [[0.81 / 0.82, 0.5]], atol=1e-6)
    sure = np.array([[[1.0, 0.0]], [[1.0, 0.0]]], dtype=np.float32)
    assert np.isfinite(oof.combine_folds(sure, "geometric", normalise=False)).all()


def test_a_problem_scores_several_labels_as_its_blend_does() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((80, 5)) < 0.3).astype(np.int8)
    tables = rng.random((3, 80, 5)).astype(np.float32)
    problem = Problem(tables, truth, resolve("auc"), ("a", "b", "c"), normalise=False)
    weights = rng.dirichlet(np.ones(3), 4)
    slow = [problem.score(Blend(w, 0.0, normalise=False)) for w in weights]
    np.testing.assert_allclose(problem.evaluate(weights, 0.0), slow, rtol=1e-6)


def test_means_of_log_odds_score_better_where_models_err_in_log_odds() -> None:
    """Networks' logits are the truth's plus noise; the mean of log probabilities leans to the lowest of them."""
    rng, metric = np.random.default_rng(0), resolve("mean_average_precision")
    gain = []
    for _ in range(10):
        odds = rng.normal(size=(400, 10)) * 2 - 2
        truth = (rng.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(np.int8)
        folds = 1 / (1 + np.exp(-(odds + 1.5 * rng.normal(size=(5, *odds.shape))))).astype(np.float32)
        by_logs = np.exp(np.log(folds).mean(axis=0))
        gain.append(float(metric(oof.combine_folds(folds, "geometric", False), truth) - metric(by_logs, truth)))
    assert np.mean(gain) > 0.002
    assert min(gain) > -0.001


class Bands(nn.Module):
    """Logits of a crop: its first two bands' means over time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3)[:, 0, :2]


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_crops_of_several_labels_are_averaged_as_log_odds(mean: str) -> None:
    """Two crops with logits 4 and -4: one half, by log odds and by probabilities; by log p it was 0.13."""
    features = torch.zeros(32, 2)
    features[:16, 0], features[16:, 0] = 4.0, -4.0
    length = torch.tensor([32])
    clips = Clips(features.half(), torch.tensor([0]), length, torch.zeros(2))
    plain = {"frontend": {"name": "logmel"}, "network": {"name": "vgg"}}
    config = ModelConfig.parse(plain | {"crop": {"seconds": 1.0}, "training": {"precision": "float32"}}, "here")
    own = config.inference.model_copy(update={"crops": 2, "overlap": 0.0, "mean": mean})
    network = Network(Bands(), nn.Identity(), nn.Identity())
    model = Tagger(Normalise(torch.zeros(2), torch.ones(2)), network)
    task = multilabel.TASK
    logs = predict(model, clips, config.model_copy(update={"inference": own}), 16.0, task.log_probabilities, True)
    np.testing.assert_allclose(task.probabilities(logs), [[0.5, 0.5]], atol=1e-4)
    exported = TaggerOfWaves.__new__(TaggerOfWaves)
    nn.Module.__init__(exported)
    exported.geometric, exported.normalise, exported.fold_mean = mean == "geometric", False, "geometric"
    crops = torch.tensor([[[[4.0]], [[0.0]]], [[[-4.0]], [[0.0]]]]).transpose(1, 2)  # (2, 1, 2, 1): crops of one clip
    row = exported._one(network, [crops], 1)
    np.testing.assert_allclose(row.numpy(), [[0.5, 0.5]], atol=1e-4)
    np.testing.assert_allclose(exported._mean([torch.tensor([[0.9]]), torch.tensor([[0.1]])]), [[0.5]], atol=1e-5)


def themed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, 12) of 80 groups of one to seven clips; each group has labels of its own that many clips share."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(80), rng.integers(1, 8, 80))
    theme = rng.random((80, 12)) < 0.15
    labels = rng.random((len(group), 12)) < np.where(theme[group], 0.5, 0.05) * rng.uniform(0.2, 1, 12)
    labels[~labels.any(axis=1), 0] = True
    return labels, group


def imbalance(labels: np.ndarray, fold: np.ndarray) -> float:
    """Root mean square of the labels' relative distances from even shares in five folds."""
    counts = np.stack([labels[fold == k].sum(axis=0) for k in range(5)])
    return float(np.sqrt(np.mean((counts / counts.mean(axis=0) - 1) ** 2)))


def test_groups_of_several_labels_are_spread_by_all_labels_at_once() -> None:
    """Label after label, as clips by themselves are placed, leaves .24."""
    found = []
    for seed in range(20):
        labels, group = themed(seed)
        fold = stratify.assign(labels, group, 5, seed)
        assert pd.Series(fold).groupby(group).nunique().max() == 1
        sizes = np.bincount(fold)
        assert sizes.max() - sizes.min() < 0.25 * sizes.mean()
        found.append(imbalance(labels, fold))
    assert np.mean(found) < 0.18


# --------------------------------------------------------------------------------- training: mixup, balance, folds


def halves(weights: list[float]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Eight crops of classes and weights, mixed: their draws' ratios, their partners, mixed targets and weights."""
    params = AugmentParams(mixup=1.0)
    table = augment.draw(params, 1, 8, torch.Generator().manual_seed(0))[0]
    targets, known = torch.eye(4)[torch.arange(8) % 4], torch.tensor(weights)
    _, mixed, both = augment.mixup(torch.zeros(8, 1, 2, 3), targets, known, augment.Draws(table))
    return table[0], table[augment.OF_CROPS].argsort(stable=True), targets, mixed, both


@pytest.mark.parametrize("name", ["cross_entropy", "bce", "generalised_cross_entropy"])
def test_each_half_of_a_mixed_crop_counts_by_its_own_weight(name: str) -> None:
    weights = [1.0, 1.0, 1.0, 0.3, 0.3, 0.3, 1.0, 0.1]
    ratio, other, targets, mixed, both = halves(weights)
    module = parts.find("losses", name)
    loss, own = module.build(module.Params()), torch.tensor(weights)
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))

    def each(truth: Tensor) -> Tensor:
        return torch.stack([loss(logits[[i]], truth[[i]], torch.ones(1)) for i in range(8)])

    expected = ratio * own * each(targets) + (1 - ratio) * own[other] * each(targets[other])
    torch.testing.assert_close(both * each(mixed), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss(logits, mixed, both), expected.sum() / both.sum(), atol=1e-5, rtol=1e-5)


def test_doubtful_labels_weigh_what_they_should_in_mixed_batches() -> None:
    """Half of the clips are of class 0 with weight .3: their labels are .3 / 1.3 = .23 of all."""
    params, generator = AugmentParams(mixup=1.0), torch.Generator().manual_seed(0)
    label = torch.arange(256) % 2
    targets, weights = torch.eye(2)[label], torch.where(label == 0, 0.3, 1.0)
    mass = torch.zeros(2)
    for table in augment.draw(params, 40, 256, generator):
        _, mixed, both = augment.mixup(torch.zeros(256, 1, 1, 1), targets, weights, augment.Draws(table))
        mass += (both[:, None] * mixed).sum(dim=0)
    assert float(mass[0] / mass.sum()) == pytest.approx(0.3 / 1.3, abs=0.005)


def test_balanced_sampling_follows_the_clips_and_not_the_tails_of_soft_labels() -> None:
    """900 clips of class 0, 100 of class 1, none of class 2; tails of soft labels are all that it has."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [900, 100])
    odds = 3.0 * np.eye(3)[label] + rng.normal(size=(1000, 3)) - np.array([0, 0, 5.0])
    soft = torch.from_numpy(np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)).float()
    order = epoch_order(soft, 1.0, torch.Generator().manual_seed(0)).numpy()
    likeliest = soft.numpy().argmax(axis=1)[order]
    assert float((likeliest == 0).mean()) == pytest.approx(0.5, abs=0.06)
    assert np.bincount(order, minlength=1000).max() < 20
    hard = torch.eye(3)[torch.from_numpy(label)]
    before = torch.multinomial(
        hard @ hard.sum(0).clamp_min(1e-6) ** -1.0, 1000, True, generator=torch.Generator().manual_seed(0)
    )
    np.testing.assert_array_equal(epoch_order(hard, 1.0, torch.Generator().manual_seed(0)), before)


@pytest.mark.parametrize("grouped", [False, True])
def test_few_verified_clips_of_a_class_do_not_meet_in_one_fold(grouped: bool) -> None:
    """Three verified clips among 15 of each of 20 classes and five folds; now and then they met by chance."""
    label = np.repeat([f"c{i}" for i in range(20)], 15)
    group = np.where(np.arange(300) % 15 < 12, np.arange(300) // 2, 1000 + np.arange(300)).astype(str)
    for seed in range(5):
        verified = pd.Series(np.random.default_rng(seed).permuted(np.arange(15) < 3).tolist() * 20)
        table = pd.DataFrame({"label": label, "verified": verified, "group": group if grouped else ""})
        fold = folds.split(table, FoldParams(n=5, seed=seed))
        per_class = table.assign(fold=fold).groupby(["label", "fold"]).size().unstack(fill_value=0)
        known = table[table["verified"]].assign(fold=fold[table["verified"]])
        meeting = known.groupby(["label", "fold"]).size().unstack(fill_value=0).max(axis=1)
        if grouped:
            assert pd.Series(fold).groupby(group).nunique().max() == 1
            assert (meeting <= 2).all()
        else:
            assert (meeting == 1).all()
            assert (per_class == 3).all(axis=None)


# ---------------------------------------------------------------------------------------- hard zeros, masks


@pytest.mark.parametrize("one_label", [True, False])
def test_a_foreign_tables_hard_zeros_do_not_veto(tmp_path: Path, one_label: bool) -> None:
    """Two tables say .9, one that was rounded says 0: their geometric mean still prefers the class."""
    frame = pd.DataFrame({"clip_id": ["a", "b"], "part": "oof", "k0": [0.0, 0.6], "k1": [1.0, 0.4]})
    (tmp_path / "theirs").mkdir()
    frame.to_csv(tmp_path / "theirs" / "table.csv", index=False)
    table = pd.DataFrame({"clip_id": ["a", "b"], "verified": True, "fold": [0, 0]})
    found = load.load(tmp_path / "theirs", table, (), ("k0", "k1"), one_label=one_label).oof
    assert found is not None
    np.testing.assert_allclose(found, [[1e-6, 1.0 - (not one_label) * 1e-6], [0.6, 0.4]], rtol=1e-6)
    sure = np.repeat([[[0.999, 0.001]]], 2, axis=0)
    mean = oof.combine_folds(np.concatenate([sure, found[None, :1]]).astype(np.float32), "geometric", one_label)
    assert mean[0, 0] > 0.3
    veto = oof.combine_folds(np.concatenate([sure, [[[0.0, 1.0]]]]).astype(np.float32), "geometric", one_label)
    assert veto[0, 0] < 0.01


@pytest.mark.parametrize("how", ["dataset", "training", "level", "minmax", "band", "frame", "none"])
def test_a_mask_writes_the_mean_or_the_floor_of_its_normalisation(how: Any) -> None:
    rng = torch.Generator().manual_seed(0)
    x = -60 + 15 * torch.randn(4, 1, 8, 20, generator=rng)  # dB
    normalise = Normalise(x.mean(dim=(0, 1, 3)), x.std(dim=(0, 1, 3)), how)
    y = normalise(x)
    params = AugmentParams(time_masks=1, time_mask=1.0)
    table = augment.draw(params, 1, 4, rng)[0]
    masked = augment.augment(y, params, normalise.std, augment.Draws(table), normalise.blank)
    hidden = masked != y
    assert hidden.any()
    written = torch.where(hidden, masked, torch.zeros(()))
    torch.testing.assert_close(written, normalise.blank.expand_as(y) * hidden)
    silence = normalise(torch.where(torch.arange(20) == 3, -300.0, x))[..., 3]  # one silent frame
    if how in ("level", "minmax"):
        torch.testing.assert_close(normalise.blank.expand(4, 1, 8, 1)[..., 0], silence, atol=1e-4, rtol=1e-4)
    else:
        assert float((normalise.blank - y.mean()).abs().max()) < 0.5 * float(y.std()) + 1e-3


# ------------------------------------------------------------------------- cleaning: temperature of unverified clips


def harder(heat: float, seed: int, verified: int = 400, others: int = 1600) -> tuple[Evidence, np.ndarray]:
    """Ten classes; the models' p is right on verified clips and too sure by `heat` on others, a third of them wrong."""
    rng, n = np.random.default_rng(seed), verified + others
    known = np.arange(n) < verified
    logits = rng.normal(size=(n, 10)) * 3
    real = np.exp(logits / np.where(known, 1.0, heat)[:, None])
    truth = ((real / real.sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    wrong = ~known & (rng.random(n) < 1 / 3)
    label = np.where(wrong, (truth + rng.integers(1, 10, n)) % 10, truth)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evidence(label, known, np.zeros(n, bool), np.zeros(10, int), p), truth


@pytest.mark.parametrize("heat", [1.0, 2.0])
def test_agreement_fits_a_temperature_of_the_unverified_clips(heat: float) -> None:
    found, rates, loss = [], [], {"one": 0.0, "two": 0.0}
    for seed in range(5):
        shown, truth = harder(heat, seed)
        p, others = np.maximum(shown.predicted(), agree.FLOOR), ~shown.verified
        first = agree.temperature(p[~others], shown.given[~others])
        own = agree.second_temperature(p, shown, first)
        found.append(own)
        rates.append(agree.noise_rates(agree.sharpen(p, own), shown)[0])
        for kind, used in (("one", first), ("two", own)):
            q = agree.sharpen(p, used)
            q = agree.posterior(q, shown.given, agree.noise_rates(q, shown), shown.group_of)[others]
            loss[kind] -= float(np.log(q[np.arange(len(q)), truth[others]]).mean()) / 5
        made = agree.decide(shown, agree.Params())
        q = agree.sharpen(p, own)
        q = agree.posterior(q, shown.given, agree.noise_rates(q, shown), shown.group_of)
        np.testing.assert_allclose(made.confidence[others], q[np.arange(len(q)), shown.given][others])
    assert np.mean(found) == pytest.approx(heat, rel=0.12)
    assert np.mean(rates) == pytest.approx(2 / 3, abs=0.03)
    assert loss["two"] < loss["one"] + 0.005
    if heat > 1:
        assert loss["two"] < loss["one"] - 0.02


# ------------------------------------------------------------------------------------------- too good to be true


def four(
    rng: np.random.Generator, margins: list[float], clips: int = 600, several: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Tables (4, N, 10) that share part of their errors, whose true classes stand out by `margins`, and targets."""
    truth = rng.integers(10, size=clips)
    right = rng.random((clips, 10)) < 0.2 if several else np.arange(10) == truth[:, None]
    shared = rng.normal(size=(clips, 10))
    odds = np.stack([shared + rng.normal(size=(clips, 10)) + m * (right - 0.5 * several) for m in margins])
    if several:
        return (1 / (1 + np.exp(1.0 - odds))).astype(np.float32), right.astype(np.int8)
    return row_normal(np.exp(odds)).astype(np.float32), truth


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("own", "test", "flagged"),
    [
        ([2.5, 3.0, 2.8, 3.2], [2.5, 3.0, 2.8, 3.2], False),
        ([2.5, 6.0, 2.8, 3.2], [2.5, 6.0, 2.8, 3.2], False),  # really better
        ([3.5, 6.0, 3.8, 4.2], [1.7, 3.0, 1.9, 2.1], False),  # better, and the test clips are harder
        ([2.5, 6.0, 2.8, 3.2], [2.5, 3.0, 2.8, 3.2], True),  # trained on what it predicts
    ],
)
def test_a_table_too_good_on_its_oof_rows_is_found(
    own: list[float], test: list[float], flagged: bool, several: bool
) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        rows, truth = four(rng, own, several=several)
        found = plausibility.suspicious(rows, four(rng, test, several=several)[0], truth, not several)
        assert [m for m, *_ in found] == ([1] if flagged else [])


def test_blend_notes_a_table_too_good_to_be_true(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, truth = four(rng, [2.5, 6.0, 2.8, 3.2], 400)
    test, _ = four(rng, [2.5, 3.0, 2.8, 3.2], 300)
    classes = tuple(f"k{c}" for c in range(10))
    names, asked = [f"c{i}" for i in range(400)], [f"t{i}" for i in range(300)]
    table = pd.DataFrame(
        {"clip_id": names, "label": [f"k{t}" for t in truth], "verified": True, "fold": 0, "group": ""}
    )
    for m in range(4):
        part = ["oof"] * 400 + ["test"] * 300
        oof.write_fold(tmp_path / f"m{m}@r0", 0, names + asked, part, np.concatenate([rows[m], test[m]]), classes, {})
    experiments = tuple(f"m{m}@r0" for m in range(4))
    made = Tables(tmp_path, experiments, table, tuple(asked), classes, classify.TASK, "accuracy", "geometric")
    (note,) = plausibility.notes(made)
    assert note.startswith("m1@r0: too good on its OOF rows? Its error there is 0.")
    two = Tables(tmp_path, experiments[:2], table, tuple(asked), classes, classify.TASK, "accuracy", "geometric")
    assert plausibility.notes(two) == []


def test_small_resamples_of_a_large_table_give_the_same_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the rows a resample: deviations are taken back by the root of the fifth."""
    rng = np.random.default_rng(0)
    truth = (rng.random((1500, 4)) < 0.3).astype(int)
    good, bad = (rng.normal(size=truth.shape) + strength * truth for strength in (1.5, 1.0))
    metric = resolve("auc")
    whole, gain = nested_cv.score(metric, good, truth), nested_cv.paired(metric, good, bad, truth)
    monkeypatch.setattr(nested_cv, "CELLS", truth.size // 5)
    assert len(next(resampling.rows(1500, 1, None, 0.2))) == 300
    value, se = nested_cv.score(metric, good, truth)
    assert value == whole[0]
    assert se == pytest.approx(whole[1], rel=0.3)
    part = nested_cv.paired(metric, good, bad, truth)
    assert part.value == gain.value
    assert (part.se, part.low, part.high) == pytest.approx((gain.se, gain.low, gain.high), rel=0.3)


def test_some_rows_are_drawn_from_every_part() -> None:
    part = np.repeat([0, 1, 2], [1000, 100, 10])
    drawn = resampling.some(part, 222)
    assert len(drawn) <= 222
    assert np.bincount(part[drawn]).tolist() == [200, 20, 2]
    assert resampling.some(part, 2000).tolist() == list(range(1110))
