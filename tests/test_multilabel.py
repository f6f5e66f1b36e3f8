"""Multi-label tagging: task, losses, folds, blends and stacks, FSDKaggle2019's layout, and all of it in one run."""

import importlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pseudo_label
from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.cleaning import multilabel_posterior, pseudo_rounds
from tonestack.competition.readers import fsdkaggle2019
from tonestack.competition.readers.demos import demo_multilabel
from tonestack.config.call import Call
from tonestack.ensemble import nested_cv, scoring, searches, stacking
from tonestack.ensemble.blends import Blend
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.stack_inputs import StackInputs, StackRows
from tonestack.labels import folds, stratify, training_labels
from tonestack.labels.training_labels import Labels
from tonestack.settings.data_config import BlendParams, FoldParams, StackParams
from tonestack.settings.model_config import AugmentParams, TrainingParams
from tonestack.tables.metrics import resolve
from tonestack.tasks import multilabel
from tonestack.training.augment import Draws, draw, mixup
from tonestack.training.learners import forest

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score

ABC = ("a", "b", "c")
FEW = settings(max_examples=25, deadline=None)

# ----------------------------------------------------------------------------------------------------------- the task


def test_labels_become_rows_of_0_and_1_and_back() -> None:
    rows = multilabel.TASK.targets(pd.Series(["c,a", "b"], index=[7, 3]), ABC)
    assert rows.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert multilabel.TASK.truth(np.array([[0.5, 0.4, 1.0]])).tolist() == [[1, 0, 1]]
    with pytest.raises(UserError, match="label 'x' is not among the 3 classes"):
        multilabel.TASK.targets(pd.Series(["a,x"]), ABC)


def test_every_class_has_its_own_probability() -> None:
    logits = torch.tensor([[0.0, math.log(3), -200.0, 200.0]])
    logs = multilabel.TASK.log_probabilities(logits).double().numpy()
    np.testing.assert_allclose(multilabel.TASK.probabilities(logs), [[0.5, 0.75, 0, 1]], atol=1e-7)
    assert np.isfinite(logs).all()


def test_a_loss_for_one_label_is_refused(tiny_words: list[str]) -> None:
    run = Call.from_arguments([*tiny_words, "task=multilabel", "metric=lwlrap"])
    assert run.experiment("vgg_small").config.loss["name"] == "bce"
    with pytest.raises(UserError, match="vgg_small: loss 'masked' is for one label per clip"):
        Call.from_arguments([*tiny_words, "task=multilabel", "metric=lwlrap", "loss.name=masked"]).experiment(
            "vgg_small"
        )


def test_mixup_blends_rows_of_several_labels() -> None:
    torch.manual_seed(0)
    x, targets = torch.randn(6, 1, 4, 5), (torch.rand(6, 3) < 0.5).float()
    table = draw(AugmentParams(mixup=0.4), 1, 6, torch.Generator().manual_seed(0))[0]
    _, mixed, _ = mixup(x, targets, torch.ones(6), Draws(table))
    assert ((mixed >= 0) & (mixed <= 1)).all()
    assert mixed.sum() != targets.sum() or not torch.equal(mixed, targets)
    same = mixup(x, torch.ones(6, 3), torch.ones(6), Draws(table))[1]
    np.testing.assert_allclose(same, 1)  # what is in both halves stays whole: rows need not sum to 1


# ------------------------------------------------------------------------------------------------------------- losses


def loss(name: str, logits: Any, targets: Any, weights: Any, **params: Any) -> float:
    module = parts.find("losses", name)
    return float(module.build(module.Params(**params))(*map(torch.tensor, (logits, targets, weights))))


def binary(p: float, there: float) -> float:
    return -there * math.log(p) - (1 - there) * math.log(1 - p)


def test_doubtful_clips_are_smoothed_by_a_share_of_their_own() -> None:
    logits, targets = [[math.log(3), 0.0], [math.log(3), 0.0]], [[1.0, 0.0], [1.0, 0.0]]
    sure = (binary(0.75, 1) + binary(0.5, 0)) / 2
    doubtful = (binary(0.75, 0.8) + binary(0.5, 0.2)) / 2
    found = loss("bce", logits, targets, [1.0, 0.5], doubtful_smoothing=0.4)
    assert found == pytest.approx((sure + 0.5 * doubtful) / 1.5)


def test_the_worst_labels_of_doubtful_clips_are_masked() -> None:
    logits, targets = [[4.0, 0.1], [4.0, 0.2]], [[0.0, 1.0], [0.0, 1.0]]  # class 0 looks like a missing label
    p = [1 / (1 + math.exp(-4)), *(1 / (1 + math.exp(-x)) for x in (0.1, 0.2))]
    first, second = (binary(p[0], 0) + binary(p[1], 1)) / 2, binary(p[2], 1) / 2
    assert loss("masked_bce", logits, targets, [1.0, 0.5]) == pytest.approx((first + 0.5 * second) / 1.5)
    assert loss("masked_bce", logits, targets, [1.0, 0.5], trusted=0.5) > loss(
        "masked_bce", logits, targets, [1.0, 0.5]
    )
    whole = loss("masked_bce", logits, targets, [1.0, 0.5], each="clip")
    assert whole == pytest.approx(first)


def test_the_asymmetric_loss_by_hand() -> None:
    logits, targets, p = [[math.log(3), math.log(3)]], [[1.0, 0.0]], 0.75
    plain = loss("asymmetric", logits, targets, [1.0], gamma_absent=0, shift=0)
    assert plain == pytest.approx((binary(p, 1) + binary(p, 0)) / 2)
    focal = loss("asymmetric", logits, targets, [1.0], gamma_present=2, gamma_absent=2, shift=0)
    assert focal == pytest.approx((0.25**2 * binary(p, 1) + p**2 * binary(p, 0)) / 2)
    shifted = loss("asymmetric", logits, targets, [1.0], gamma_absent=3, shift=0.1)
    assert shifted == pytest.approx((binary(p, 1) - 0.65**3 * math.log(0.35)) / 2)


def test_the_generalised_loss_is_for_doubtful_clips_alone() -> None:
    logits, targets, p = [[math.log(3), math.log(3)]] * 2, [[1.0, 0.0]] * 2, 0.75
    sure = (binary(p, 1) + binary(p, 0)) / 2
    unsure = ((1 - p**0.5) / 0.5 + (1 - 0.25**0.5) / 0.5) / 2
    assert loss("generalised_bce", logits, targets, [1.0, 0.5]) == pytest.approx((sure + 0.5 * unsure) / 1.5)
    near = loss("generalised_bce", logits, targets, [0.5, 0.5], q=1e-4)
    assert near == pytest.approx(sure, rel=1e-3)


MANY = [name for name in parts.names("losses") if not getattr(parts.find("losses", name), "ONE_LABEL", False)]


@pytest.mark.parametrize("name", MANY)
def test_extreme_logits_have_finite_gradients(name: str) -> None:
    logits = torch.tensor([[-200.0, 200.0, 0.0], [200.0, -200.0, 90.0]], requires_grad=True)
    module = parts.find("losses", name)
    for weights in (torch.ones(2), torch.full((2,), 0.5)):
        value = module.build(module.Params())(logits, torch.tensor([[1.0, 0, 1], [0, 1, 0.5]]), weights)
        value.backward()
        assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_unknown_cells_teach_nothing(name: str, weight: float) -> None:
    module, nan = parts.find("losses", name), math.nan
    logits = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.5, -0.5], [0.1, 0.2, 0.3], [2.0, 1.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[1, nan, 0], [0, 0, nan], [nan, nan, nan], [0, 1, 1]])
    value = module.build(module.Params())(logits, targets, torch.full((4,), weight))
    value.backward()
    assert logits.grad is not None
    assert (logits.grad[targets.isnan()] == 0).all()
    assert logits.grad.any(dim=1).tolist()[0:1] == [True]
    other = torch.where(targets.isnan(), logits.detach() + 3, logits.detach())
    without = module.build(module.Params())(other[[0, 1, 3]], targets[[0, 1, 3]], torch.full((3,), weight))
    assert value.item() == pytest.approx(float(without))


def test_every_known_cell_counts_alike() -> None:
    cells = binary(0.75, 1) + binary(0.5, 0) + 0.5 * binary(0.5, 1)
    found = loss("bce", [[math.log(3), 0.0], [0.0, 9.0]], [[1.0, 0.0], [1.0, math.nan]], [1.0, 0.5])
    assert found == pytest.approx(cells / 2.5)


def test_cross_entropy_of_a_set_by_hand() -> None:
    logits, targets = [[math.log(3), 0.0, math.log(2)]], [[1.0, 0.0, 1.0]]
    plain = loss("set_cross_entropy", logits, targets, [1.0], nothing=False)
    assert plain == pytest.approx(-(math.log(3 / 6) + math.log(2 / 6)) / 2)
    with_nothing = loss("set_cross_entropy", logits, targets, [1.0])
    assert with_nothing == pytest.approx(-(math.log(3 / 7) + math.log(2 / 7)) / 2)
    empty = [*logits, [0.0, 0.0, math.log(4)]], [*targets, [0.0, 0.0, 0.0]], [1.0, 1.0]
    assert loss("set_cross_entropy", *empty) == pytest.approx((with_nothing + math.log(7)) / 2)
    assert loss("set_cross_entropy", *empty, nothing=False) == pytest.approx(plain)  # it teaches nothing
    assert loss("set_cross_entropy", [[math.log(3)]], [[0.4]], [1.0]) == pytest.approx(binary(0.75, 0.4))


def test_the_soft_auc_loss_by_hand() -> None:
    logits, targets = [[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0], [0.5, 0.0]]
    lost = {pair: math.log(1 + math.exp(pair[1] - pair[0])) for pair in ((1, 0), (1, -1), (-1, 0))}
    pairs = (lost[1, 0] + 0.5 * lost[1, -1] + 0.5 * lost[-1, 0] + 0.25 * math.log(2)) / 2.25
    assert loss("soft_auc", logits, targets, [1.0] * 3, bce=0) == pytest.approx(pairs)  # class 1 has no pairs
    assert loss("soft_auc", logits, targets, [1.0] * 3, bce=2) == pytest.approx(
        pairs + 2 * loss("bce", logits, targets, [1.0] * 3)
    )
    shifted = [[one + 5, two - 3] for one, two in logits]
    assert loss("soft_auc", shifted, targets, [1.0] * 3, bce=0) == pytest.approx(pairs)


# -------------------------------------------------------------------------------------------------------------- folds


def label_table(rng: np.random.Generator, clips: int, share: np.ndarray) -> pd.DataFrame:
    """Clips of 0.3 × more labels than one, some classes rare; a quarter of them in groups of three."""
    first = rng.choice(len(share), clips, p=share / share.sum())
    labels = [
        ",".join(sorted({f"c{k}", *(f"c{rng.choice(len(share))}" for _ in range(rng.random() < 0.3))})) for k in first
    ]
    group = np.where(np.arange(clips) % 4 == 0, [f"g{i // 12}" for i in range(clips)], "")
    ids = [f"{i}.wav" for i in range(clips)]
    verified = rng.random(clips) < 0.4
    return pd.DataFrame({"clip_id": ids, "label": labels, "verified": verified, "group": group, "fold": -1})


def unevenness(table: pd.DataFrame) -> float:
    """Mean over label × verified of the spread of its clips over the folds, relative to its size."""
    single = table.assign(label=table["label"].str.split(",")).explode("label")
    counts = single.groupby(["label", "verified", "fold"]).size().unstack(fill_value=0)
    return float((counts.std(axis=1) / counts.mean(axis=1)).mean())


def test_every_label_has_its_share_in_every_fold() -> None:
    clips = label_table(np.random.default_rng(0), 600, np.linspace(1, 8, 12))
    made = multilabel.TASK.assign(clips, FoldParams(n=5), "here")
    drawn = clips.assign(fold=np.random.default_rng(1).permutation(len(clips)) % 5)
    assert unevenness(made) < 0.4 * unevenness(drawn)
    assert (made[made["group"] != ""].groupby("group")["fold"].nunique() == 1).all()
    sizes = made.groupby("fold").size()
    assert sizes.max() - sizes.min() < 0.1 * sizes.mean()
    again = multilabel.TASK.assign(clips, FoldParams(n=5), "here")
    assert again["fold"].tolist() == made["fold"].tolist()
    other = multilabel.TASK.assign(clips, FoldParams(n=5, seed=1), "here")
    assert other["fold"].tolist() != made["fold"].tolist()


@given(st.lists(st.integers(4, 20), min_size=1, max_size=4), st.integers(2, 4), st.integers(0, 5))
@FEW
def test_clips_of_one_label_are_split_to_within_one_clip(sizes: list[int], n: int, seed: int) -> None:
    code = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.arange(len(sizes)) == code[:, None]
    fold = stratify.assign(labels, np.arange(len(code)), n, seed)
    counts = np.array([[(fold[code == c] == k).sum() for k in range(n)] for c in range(len(sizes))])
    assert (np.ptp(counts, axis=1) <= 1).all()


def test_the_rarest_label_goes_first_by_hand() -> None:
    """Label 1 has two clips, both with label 0 too; were label 0 dealt out first, both could meet in one fold."""
    labels = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [1, 0]], dtype=bool)
    for seed in range(10):
        fold = stratify.assign(labels, np.arange(6), 2, seed)
        assert fold[0] != fold[1]
        assert np.bincount(fold).tolist() == [3, 3]


def test_clips_without_a_label_and_too_few_groups() -> None:
    fold = stratify.assign(np.zeros((6, 1), dtype=bool), np.arange(6), 3, 0)
    assert np.bincount(fold).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="2 groups cannot be put into 3 folds"):
        stratify.assign(np.ones((4, 1), dtype=bool), np.array(["a", "a", "b", "b"]), 3, 0)
    clips = label_table(np.random.default_rng(0), 40, np.ones(3)).assign(label="a,b")
    clips.loc[0, "label"] = "a,rare"
    with pytest.raises(UserError, match="'rare' has 1"):
        multilabel.TASK.assign(clips, FoldParams(n=4), "here")


# ------------------------------------------------------------------------------------------- metrics, blends and stacks


def planted(clips: int = 600, classes: int = 6, models: int = 3, seed: int = 0) -> Problem:
    """Models that share part of their errors, each blind to a class of its own, and overconfident."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((clips, classes)) < 0.25).astype(np.int8)
    truth[truth.sum(axis=1) == 0, 0] = 1
    shared = rng.normal(size=(clips, classes))
    tables = []
    for m in range(models):
        odds = shared + rng.normal(size=(clips, classes)) + 1.5 * (2 * truth - 1) - 0.5
        odds[:, m] = rng.normal(size=clips)
        tables.append(1 / (1 + np.exp(-2 * odds)))
    names = tuple("abc"[:models])
    return Problem(np.stack(tables).astype(np.float32), truth, resolve("lwlrap"), names, normalise=False)


def test_a_batch_of_lwlrap_is_scikit_learns_with_label_weights() -> None:
    problem = planted(clips=80)
    weight = problem.targets.sum(axis=1)
    tied = problem.tables.round(1)
    for metric_of in (problem.tables, tied):
        each = [label_ranking_average_precision_score(problem.targets, t, sample_weight=weight) for t in metric_of]
        np.testing.assert_allclose(problem.metric(metric_of, problem.targets), each)
    empty = problem.metric(problem.tables[0, :3], np.zeros((3, 6)))
    assert np.isnan(empty)


def test_the_standard_error_of_lwlrap_is_that_of_resampled_clips() -> None:
    problem = planted(clips=150)
    cv, se = nested_cv.score(problem.metric, problem.tables[0], problem.targets, 400)
    assert cv == pytest.approx(float(problem.metric(problem.tables[0], problem.targets)))
    rng = np.random.default_rng(3)
    drawn = [
        float(problem.metric(problem.tables[0, i], problem.targets[i])) for i in rng.integers(150, size=(400, 150))
    ]
    assert se == pytest.approx(np.std(drawn), rel=0.2)
    gap = nested_cv.paired(problem.metric, problem.tables[1], problem.tables[0], problem.targets)
    assert gap.low < gap.value < gap.high


def test_a_mean_of_ranks_keeps_its_scale_where_classes_are_independent() -> None:
    tables = planted(clips=20).tables
    ranks = Blend(np.full(3, 1 / 3), power=None, normalise=False)(tables)
    assert ranks.max() <= 1
    assert ranks.sum(axis=1).max() > 1
    found = searches.find("rank_average").fit(planted(), BlendParams(), 0, None)
    assert planted().score(found) > max(float(resolve("lwlrap")(t, planted().targets)) for t in planted().tables)


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_stackers_learn_which_model_to_believe_of_which_class(name: str) -> None:
    problem = planted()
    inputs = StackInputs.of(problem.tables, independent=True)
    fold = np.where(np.arange(600) < 590, np.arange(600) % 4, -1)
    rows = StackRows(inputs, problem.targets, np.ones(600), fold, 6).where(fold >= 0)
    params = StackParams(jobs=1, min_clips=5, rounds=40, learning_rate=0.1)
    found = stacking.nested(name, rows, inputs, fold, params, 0)
    assert np.isnan(found[590:]).all()
    assert ((found[:590] > 0) & (found[:590] < 1)).all()
    truth, kept = problem.targets[:590], problem.tables[:, :590]
    log_loss = resolve("log_loss")
    mean = kept.mean(axis=0)
    assert float(log_loss(found[:590], truth)) < float(log_loss(mean, truth)) - 0.02
    assert float(problem.metric(found[:590], truth)) > float(problem.metric(mean, truth))
    wrong = np.where((rows.fold == 2)[:, None], 1 - rows.targets, rows.targets)
    again = stacking.nested(name, StackRows(rows.inputs, wrong, rows.weights, rows.fold, 6), inputs, fold, params, 0)
    np.testing.assert_array_equal(found[fold == 2], again[fold == 2])  # the stacker of a fold never sees its labels
    assert not np.array_equal(found[fold == 1], again[fold == 1])


def test_a_forest_has_one_output_a_class() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    targets = np.stack([x[:, 0] > 0, x[:, 1] > 0, x[:, 0] + x[:, 1] > 0], axis=1).astype(np.float32)
    settings = {"n_estimators": 30, "min_samples_leaf": 2, "random_state": 0}
    labels = Labels([str(i) for i in range(200)], targets[:200], np.ones(200))
    trees = forest._several_labels(settings, x[:200], labels)
    found = forest.Forest.of(trees.estimators_, None, 3).predict(x[200:])
    np.testing.assert_allclose(found, trees.predict(x[200:]), atol=2e-3)  # leaves are kept in float16
    assert (found.sum(axis=1) > 1.5).any()
    assert ((found > 0.5) == (targets[200:] > 0.5)).mean() > 0.85


# ---------------------------------------------------------------------------------------------------- FSDKaggle2019


def kaggle(root: Path) -> Path:
    (root / "train_curated").mkdir(parents=True)
    (root / "train_curated.csv").write_text('fname,labels\na1.wav,"Meow,Bark"\na2.wav,Bark\n')
    (root / "train_noisy.csv").write_text("fname,labels\nn1.wav,Meow\n")
    (root / "sample_submission.csv").write_text("fname,Meow,Bark,Yell\nt2.wav,0,0,0\nt1.wav,0,0,0\n")
    return root


def zenodo(root: Path) -> Path:
    meta = root / fsdkaggle2019.META
    meta.mkdir(parents=True)
    license_of = "http://creativecommons.org/licenses/by/3.0/"
    (meta / "train_curated_post_competition.csv").write_text(
        f'fname,labels,freesound_id,license\na1.wav,"Meow,Bark",11,{license_of}\na2.wav,Yell,12,{license_of}\n'
    )
    (meta / "train_noisy_post_competition.csv").write_text(
        "fname,labels,flickr_video_URL,license\nn1.wav,Meow,v/1,x\nn2.wav,Bark,v/1,x\nn3.wav,Bark,v/2,x\n"
    )
    (meta / "test_post_competition.csv").write_text(
        'fname,labels,usage,freesound_id,license\nt1.wav,"Bark,Yell",Public,21,x\nt2.wav,Meow,Private,22,x\n'
    )
    return root


def test_kaggles_layout(tmp_path: Path) -> None:
    got = fsdkaggle2019.read(fsdkaggle2019.Params(), kaggle(tmp_path))
    assert got.classes == ("Bark", "Meow", "Yell")
    assert got.train.values.tolist() == [
        ["a1.wav", "train_curated/a1.wav", "Meow,Bark", True, "", -1],
        ["a2.wav", "train_curated/a2.wav", "Bark", True, "", -1],
        ["n1.wav", "train_noisy/n1.wav", "Meow", False, "", -1],
    ]
    assert got.test["path"].tolist() == ["test/t2.wav", "test/t1.wav"]
    assert got.submission is not None
    assert got.submission.columns == ("fname", "Meow", "Bark", "Yell")
    assert got.submission.style == "scores"
    assert fsdkaggle2019.scoring_table(fsdkaggle2019.Params(), tmp_path) is None
    (tmp_path / "train_noisy.csv").unlink()
    assert fsdkaggle2019.read(fsdkaggle2019.Params(), tmp_path).train["verified"].all()


def test_zenodos_layout_groups_clips_of_one_video(tmp_path: Path) -> None:
    params = fsdkaggle2019.Params(distrust=("a2.wav",))
    got = fsdkaggle2019.read(params, zenodo(tmp_path))
    assert got.classes == ("Bark", "Meow", "Yell")
    assert got.train["path"].tolist()[::2] == [
        "FSDKaggle2019.audio_train_curated/a1.wav",
        "FSDKaggle2019.audio_train_noisy/n1.wav",
        "FSDKaggle2019.audio_train_noisy/n3.wav",
    ]
    assert got.train["group"].tolist() == ["", "", "v/1", "v/1", "v/2"]
    assert got.train["verified"].tolist() == [True, False, False, False, False]
    assert got.test["path"].tolist() == ["FSDKaggle2019.audio_test/t1.wav", "FSDKaggle2019.audio_test/t2.wav"]
    assert list(got.test.columns) == ["clip_id", "path", "group"]  # no label comes along
    path = fsdkaggle2019.scoring_table(params, tmp_path)
    assert path is not None
    labels = scoring.read(path, got.classes, tasks.find("multilabel"))
    right = np.array([[0.9, 0.1, 0.8], [0.1, 0.9, 0.2]])
    found = scoring.score(resolve("lwlrap"), right, ["t1.wav", "t2.wav"], labels, got.classes, tasks.find("multilabel"))
    assert found == {"public": 1.0, "private": 1.0}
    half = scoring.score(
        resolve("lwlrap"), right[:, ::-1], ["t1.wav", "t2.wav"], labels, got.classes, tasks.find("multilabel")
    )
    assert half["public"] == 1.0  # Bark and Yell still first
    upside = scoring.score(
        resolve("lwlrap"), 1 - right, ["t1.wav", "t2.wav"], labels, got.classes, tasks.find("multilabel")
    )
    assert upside == {"public": pytest.approx((1 / 2 + 2 / 3) / 2), "private": pytest.approx(1 / 3)}


def test_csv_files_that_cannot_be_read_safely(tmp_path: Path) -> None:
    def spoil(name: str, text: str) -> Callable[[], object]:
        (tmp_path / name).write_text(text)
        return lambda: fsdkaggle2019.read(fsdkaggle2019.Params(), tmp_path)

    with pytest.raises(UserError, match=r"there is no train_curated\.csv"):
        fsdkaggle2019.read(fsdkaggle2019.Params(), tmp_path)
    kaggle(tmp_path)
    with pytest.raises(UserError, match=r"row 2: unknown label 'Barc'; did you mean 'Bark'"):
        spoil("train_noisy.csv", 'fname,labels\nn1.wav,"Meow,Barc"\n')()
    with pytest.raises(UserError, match=r"'a1\.wav' is in the curated and in the noisy csv"):
        spoil("train_noisy.csv", "fname,labels\na1.wav,Meow\n")()
    with pytest.raises(UserError, match=r"'\.\./n\.wav' leaves its folder"):
        spoil("train_noisy.csv", "fname,labels\n../n.wav,Meow\n")()
    with pytest.raises(UserError, match=r"'t1\.wav' is a train clip too"):
        spoil("train_noisy.csv", "fname,labels\nt1.wav,Meow\n")()


# ---------------------------------------------------------------------------------------------------------- the demo

SMALL = demo_multilabel.Params(n_curated=24, n_noisy=16, n_test=12, seed=3)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, very small."""
    root = tmp_path_factory.mktemp("several") / "demo"
    demo_multilabel.make(SMALL, root, jobs=2)
    return root


def test_the_demos_faults_are_as_many_as_it_says() -> None:
    clips = demo_multilabel.plan(demo_multilabel.Params())
    noisy = clips[clips["folder"] == "train_noisy"]
    rest = clips[clips["folder"] != "train_noisy"]
    assert (rest["labels"] == rest["truth"]).all()
    gone = [len(set(t) - set(x)) for t, x in zip(noisy["truth"], noisy["labels"], strict=True)]
    new = [len(set(x) - set(t)) for t, x in zip(noisy["truth"], noisy["labels"], strict=True)]
    kinds = pd.Series(list(zip(gone, new, strict=True))).value_counts()
    assert kinds.to_dict() == {(0, 0): 160, (1, 1): 80, (1, 0): 48, (0, 1): 32}
    assert all(noisy["labels"].map(len) > 0)
    assert (
        clips.loc[clips["folder"] == "test", "usage"].value_counts() == pd.Series({"Private": 120, "Public": 40})
    ).all()
    assert set(clips["truth"].explode()) == set(parts.find("readers", "demo_multilabel").synth.CLASSES)


def test_the_demo_has_fsdkaggle2019s_layout_and_is_made_once(small: Path) -> None:
    names = {"train_curated", "train_noisy", "test", "train_curated.csv", "train_noisy.csv", "truth.csv"}
    assert {p.name for p in small.iterdir()} == names | {
        "sample_submission.csv",
        "test_post_competition.csv",
        "demo.json",
    }
    got = demo_multilabel.read(SMALL, small)
    assert got.train["verified"].sum() == 24
    assert all((small / p).is_file() for p in [*got.train["path"], *got.test["path"]])
    before = (small / "demo.json").stat().st_mtime_ns
    demo_multilabel.read(SMALL, small)
    assert (small / "demo.json").stat().st_mtime_ns == before


def test_the_demo_is_the_same_whatever_the_number_of_processes(small: Path, tmp_path: Path) -> None:
    demo_multilabel.make(SMALL, tmp_path / "again", jobs=1)
    for path in sorted(small.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(small)).read_bytes(), path.name


# -------------------------------------------------------------------------------------------------------- in one run


@pytest.fixture(scope="module")
def finished(small: Path, tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """`./run.sh all` on the small demo."""
    given = {w.partition("=")[0]: w for w in tiny_words}
    given |= {"data": "data=demo_multilabel", "root": f"root={small}", "model": "model=vgg_small,clip_forest"}
    words = [w for key, w in given.items() if not key.startswith(("network.", "crop.seconds"))]
    sizes = [f"reader.{key}={value}" for key, value in SMALL.model_dump().items()]
    words += ["stack.rounds=5", "stack.min_clips=2", "crop.seconds=0.5", "blend.searches=[single,rank_average]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(tmp_path_factory.mktemp("home")))
        run = Call.from_arguments([*words, *sizes])
        assert run.home.is_dir()  # looked up once: later tests have homes of their own
        importlib.import_module("all").run(run)
        yield run


def test_from_recordings_to_a_scored_submission(finished: Call, small: Path) -> None:
    run = finished
    made = pd.read_csv(run.submissions / "submission.csv")
    sample = pd.read_csv(small / "sample_submission.csv")
    assert list(made.columns) == list(sample.columns)
    assert made["fname"].tolist() == sample["fname"].tolist()
    values = made[list(made.columns[1:])].to_numpy()
    assert ((values >= 0) & (values <= 1)).all()
    board = pd.read_csv(run.oof / "leaderboard.csv").set_index("experiment")
    tables = {"vgg_small@r0", "clip_forest@r0", "blend@r0", "mean@r0", "stack-logistic@r0", "stack-lightgbm@r0"}
    assert set(board.index) == tables
    assert board[["cv", "cv_se", "public", "private"]].notna().all().all()
    receipt = read_json(run.oof / "vgg_small@r0" / "fold0.json")
    assert set(receipt["metrics"]) == {"lwlrap", "mean_average_precision", "auc", "log_loss"}
    folded = pd.read_csv(run.folds / "r0.csv")
    assert set(folded["fold"]) == {0, 1}


def test_noisy_clips_get_soft_labels_that_no_label_of_the_holdout_decides(
    finished: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(finished.home))
    words = {"train": "weigh", "soft": True, "test": False, "rounds": 1, "lower": [0, 0], "upper": [1, 1]}
    overrides = {
        "pseudo": words | {"models": ["clip_forest"]},
        "network": {"trees": 10},
        "clean": {"method": "none"},
        **{key: finished.words.overrides[key] for key in ("reader", "folds", "blend")},
    }
    run = finished.but(model=("clip_forest",), variant="few", overrides=overrides)
    monkeypatch.setattr(
        pseudo_rounds, "experiments", lambda run, params, base: [run.but(revision=None).experiment("clip_forest", base)]
    )
    assert pseudo_label.run(run) == ["pseudo1"]
    rows = pd.read_csv(run.folds / "pseudo1.csv")
    competition, table = run.competition(), folds.read(run.folds).set_index("clip_id")
    noisy = rows[rows["source"] == "pseudo"]
    assert len(noisy) == 16  # each noisy clip teaches the model of the other fold
    assert (table.loc[rows["clip_id"], "fold"].to_numpy() != rows["holdout"].to_numpy()).all()
    soft = noisy[list(competition.classes)].to_numpy()
    assert ((soft >= 0) & (soft <= 1)).all()
    assert not set(np.unique(soft)) <= {0.0, 1.0}
    curated = rows[rows["source"] == "verified"].set_index("clip_id")
    wanted = multilabel.TASK.targets(table.loc[curated.index, "label"], competition.classes)
    np.testing.assert_array_equal(curated[list(competition.classes)].to_numpy(), wanted)
    learnt = training_labels.for_holdout(rows, 0, competition.classes, multilabel.TASK.targets, TrainingParams())
    assert learnt.targets.shape == (len(rows[rows["holdout"] == 0]), 12)


def test_the_given_labels_are_weighed_against_the_judges() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((2000, 8)) < 0.15
    seen = rng.normal(size=truth.shape) + 1.5 * truth
    odds = np.log(0.15 / 0.85) + 1.5 * seen - 1.5**2 / 2  # what an ideal judge would say
    p = 1 / (1 + np.exp(-2 * odds))  # twice as sure as it should be
    given = np.where(truth, rng.random(truth.shape) < 0.7, rng.random(truth.shape) < 0.02)
    verified = np.arange(2000) < 500
    given[verified] = truth[verified]
    found = multilabel_posterior.posterior(p, given, verified)
    np.testing.assert_array_equal(found[verified], truth[verified])
    unsure = ~verified
    log_loss = resolve("log_loss")

    def loss_of(q: np.ndarray) -> float:
        return float(log_loss(q[unsure], truth[unsure].astype(int)))

    assert loss_of(found) < 0.8 * min(loss_of(np.clip(p, 0.001, 0.999)), loss_of(np.where(given, 0.9, 0.05)))
    calibrated = multilabel_posterior.calibrated(np.log(p / (1 - p)), np.log(p / (1 - p))[verified], truth[verified])
    named, invented = multilabel_posterior.rates(1 / (1 + np.exp(-calibrated[unsure])), given[unsure])
    assert named == pytest.approx(0.7, abs=0.06)
    assert invented == pytest.approx(0.02, abs=0.01)


def test_weighing_is_for_clips_of_several_labels(tiny_words: list[str]) -> None:
    run = Call.from_arguments([*tiny_words, "pseudo.train=weigh"])
    with pytest.raises(UserError, match=r"clean\.method=agree weighs single ones"):
        pseudo_rounds.settings(run)
