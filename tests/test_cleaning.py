"""Cleaning methods on toys worked by hand, against scikit-learn, and on the real competition's clip counts."""

from dataclasses import replace
from pathlib import Path

from tonestack.base import parts
from tonestack.cleaning import revision_files, revision_tables
from tonestack.cleaning.methods import Evidence, agree, confident, group_index
from tonestack.cleaning.methods import label_spreading as spreading
from tonestack.cleaning.methods import self_verification as verification
from tonestack.cleaning.spreading import knn_graph, normalised, spread
from tonestack.config.layers import CONFIGS, PROJECT
from tonestack.labels import revisions
from tonestack.networks.losses import cross_entropy, generalised_cross_entropy, masked
from tonestack.settings.data_config import CleanParams
from tonestack.tables.decisions import DROP, KEEP, LEAVE, RELABEL, Verdict

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score
from sklearn.semi_supervised import LabelSpreading

REAL = PROJECT.parent / "shared/data/fsdkaggle2018_meta/train.csv"


def evidence(given: list[int], verified: list[int], p: list[list[float]], groups: list[int] | None = None) -> Evidence:
    flags = np.array(verified, bool)
    group_of = np.array(groups or [0] * len(p[0]))
    return Evidence(np.array(given), flags, np.zeros(len(flags), bool), group_of, np.array(p))


def noisy(n: int = 600, c: int = 6, seed: int = 0) -> tuple[Evidence, np.ndarray]:
    """Clips of c classes, 40 % verified, a third of the others wrong; judges that are mostly right but unsure."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, c, n)
    verified = rng.random(n) < 0.4
    wrong = ~verified & (rng.random(n) < 1 / 3)
    given = np.where(wrong, (truth + rng.integers(1, c, n)) % c, truth)
    logits = rng.normal(0, 1, (n, c)) + 4 * np.eye(c)[truth]
    p = np.exp(logits / 2)
    return Evidence(given, verified, np.zeros(n, bool), np.zeros(c, int), p / p.sum(1, keepdims=True)), truth


# --- methods -------------------------------------------------------------------------------------------------------


def test_agreement_without_calibration_is_a_pair_of_thresholds() -> None:
    p = [[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.02, 0.97, 0.01], [0.1, 0.1, 0.8]]
    shown = evidence([0, 0, 0, 0], [0, 0, 0, 1], p)
    made = agree.decide(shown, agree.Params(keep=0.5, relabel=0.95, calibrate=False, posterior=False, rest=DROP))
    assert made.decision.tolist() == [KEEP, DROP, RELABEL, KEEP]
    assert made.proposed.tolist() == [0, 0, 1, 0]
    assert made.confidence == pytest.approx([0.9, 0.3, 0.02, 1.0])


def test_a_witness_of_known_reliability_is_weighed_by_bayes() -> None:
    p, rates = np.array([[0.2, 0.7, 0.1]]), np.array([0.6, 0.3, 0.1])
    groups = np.array([0, 0, 1])  # the wrong label stays within {0, 1} with 0.3; class 2 says 0 or 1 with 0.05 each
    found = agree.posterior(p, np.array([0]), rates, groups)
    joint = np.array([0.2 * 0.6, 0.7 * 0.3, 0.1 * 0.05])
    assert found[0] == pytest.approx(joint / joint.sum())
    assert agree.likelihood(rates, np.array([0]), groups)[0] == pytest.approx([0.6, 0.3, 0.05])


def test_temperature_restores_what_was_softened() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.5] * 4, 4000)
    labels = (p.cumsum(1) > rng.random((4000, 1))).argmax(1)
    soft = agree.sharpen(np.maximum(p, 1e-12), 3.0)
    assert agree.temperature(soft, labels) == pytest.approx(1 / 3, rel=0.1)


def test_agreement_finds_the_noise_and_its_rate() -> None:
    shown, truth = noisy()
    made = agree.decide(shown, agree.Params())
    doubtful = ~shown.verified
    right = (shown.given == truth)[doubtful]
    assert roc_auc_score(right, made.confidence[doubtful]) > 0.98
    kept = (made.decision == KEEP)[doubtful]
    assert kept[right].mean() > 0.95
    assert kept[~right].mean() < 0.1
    relabelled = made.decision == RELABEL
    assert (made.proposed == truth)[relabelled].mean() > 0.9
    assert (made.decision[shown.verified] == KEEP).all()
    rates = agree.noise_rates(agree.sharpen(shown.predicted(), 1 / 8), shown)  # exact, by how `noisy` draws
    assert rates[0] == pytest.approx(2 / 3, abs=0.06)


def test_confident_learning_is_cleanlabs_and_spares_verified_clips() -> None:
    from cleanlab.filter import find_label_issues

    shown, truth = noisy()
    made = confident.decide(shown, confident.Params(rest=DROP))
    issues = find_label_issues(shown.given, shown.predicted(), n_jobs=1)
    assert ((made.decision == DROP) == (issues & ~shown.verified)).all()
    assert (shown.given != truth)[made.decision == DROP].mean() > 0.9
    absent = replace(shown, given=np.where(shown.given == 5, 0, shown.given))  # a class without any label
    assert set(confident.decide(absent, confident.Params()).decision) == {KEEP, LEAVE}


def test_self_verification_takes_the_surest_few_a_class_and_keeps_earlier_ones() -> None:
    p = [[0.97, 0.03], [0.99, 0.01], [0.96, 0.04], [0.03, 0.97], [0.02, 0.98], [0.5, 0.5]]
    shown = evidence([0, 0, 0, 0, 1, 1], [0] * 6, p)
    made = verification.decide(shown, verification.Params(threshold=0.95, most=2))
    assert made.decision.tolist() == [KEEP, KEEP, LEAVE, LEAVE, KEEP, LEAVE]
    again = replace(shown, promoted=made.decision == KEEP)
    assert (verification.decide(again, verification.Params(threshold=0.95, most=2)).decision == KEEP)[:3].all()


# --- label spreading -----------------------------------------------------------------------------------------------


def blobs(n: int = 240, c: int = 4, d: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    truth = np.arange(n) % c
    return rng.normal(0, 1, (n, d)) + 3 * rng.normal(0, 1, (c, d))[truth], truth


def test_spreading_on_our_graph_equals_scikit_learns_on_the_same_graph() -> None:
    x, truth = blobs()
    labels = np.where(np.arange(len(x)) % 5 == 0, truth, -1)
    graph = knn_graph(x, 10)
    model = LabelSpreading(kernel=lambda a, b: graph.toarray().astype(float), alpha=0.2, tol=1e-6, max_iter=1000)
    model.fit(x, labels)
    ours = spread(graph, labels, 4, 0.2, 1e-6, 1000)
    assert ours == pytest.approx(np.nan_to_num(model.label_distributions_), abs=1e-4)
    assert (ours.argmax(1) == truth).mean() > 0.95


def test_the_graph_is_symmetric_sparse_and_normalised() -> None:
    x, _ = blobs(60)
    graph = knn_graph(x, 5)
    assert abs(graph - graph.T).max() == 0
    assert graph.diagonal().max() == 0
    assert graph.nnz <= 2 * 60 * 5
    assert np.linalg.eigvalsh(normalised(graph).toarray()).max() == pytest.approx(1, abs=1e-5)
    assert knn_graph(x[:3], 10).shape == (3, 3)  # fewer clips than neighbours


@pytest.mark.parametrize("kernel", ["knn", "rbf"])
def test_spreading_stays_inside_groups_and_promotes_agreement(kernel: str) -> None:
    x, truth = blobs()
    rng = np.random.default_rng(2)
    verified = rng.random(len(x)) < 0.4
    given = np.where(~verified & (rng.random(len(x)) < 1 / 3), truth ^ 1, truth)  # wrong within {0, 1} and {2, 3}
    x[5] = np.nan
    shown = Evidence(given, verified, np.zeros(len(x), bool), np.array([0, 0, 1, 1]), None, x)
    share = spreading.spread_in_groups(shown, spreading.Params(kernel=kernel))  # type: ignore[arg-type]
    assert share[np.isin(given, [0, 1])][:, 2:].max() == 0
    assert (share[5] == 0).all()
    made = spreading.decide(shown, spreading.Params(kernel=kernel, relabel=0.8))  # type: ignore[arg-type]
    kept = (made.decision == KEEP) & ~verified
    assert (given == truth)[kept].mean() > 0.9
    assert made.decision[5] == (KEEP if verified[5] else LEAVE)
    assert (made.proposed == truth)[made.decision == RELABEL].mean() > 0.9


def test_features_are_standardised_and_reduced() -> None:
    x, _ = blobs()
    x = x * 1000
    z = spreading.prepared(x, spreading.Params())
    assert ((z[:, None] - z) ** 2).sum(2).mean() == pytest.approx(2, abs=0.1)
    assert spreading.prepared(x, spreading.Params(pca=3)).shape == (240, 3)


# --- rows and decisions --------------------------------------------------------------------------------------------

CLASSES = ("a", "b")
TABLE = pd.DataFrame(
    {
        "clip_id": ["w", "x", "y", "z"],
        "label": list("aabb"),
        "verified": [True, False, False, False],
        "fold": [0, 1, 2, 3],
    }
)


def word(decision: list[str], proposed: list[int], confidence: list[float]) -> Verdict:
    return Verdict(np.array(decision, dtype=object), np.array(proposed), np.array(confidence))


def test_verdicts_become_rows() -> None:
    made = word([KEEP, RELABEL, DROP, LEAVE], [0, 1, 1, 1], [1, 0.1, 0.2, 0.3])
    params = CleanParams(relabel_weight=0.5, leave_weight=0.25)
    rows = revision_tables.rows_of(TABLE, 7, np.arange(4), made, CLASSES, params)
    assert rows.to_numpy().tolist() == [
        ["w", 7, "a", 1.0, "verified"],
        ["x", 7, "b", 0.5, "relabelled"],
        ["z", 7, "b", 0.25, "given"],
    ]


def test_decisions_are_the_majority_of_the_holdouts_and_ties_the_more_careful() -> None:
    verdicts = {
        0: (np.array([1, 2, 3]), word([KEEP, RELABEL, DROP], [0, 0, 1], [0.9, 0.1, 0.2])),
        1: (np.array([0, 2, 3]), word([KEEP, RELABEL, LEAVE], [0, 0, 1], [1.0, 0.3, 0.4])),
        2: (np.array([0, 1, 3]), word([KEEP, LEAVE, KEEP], [0, 0, 1], [1.0, 0.5, 0.9])),
        3: (np.array([0, 1, 2]), word([KEEP, KEEP, KEEP], [0, 0, 1], [1.0, 0.7, 0.8])),
    }
    made = revision_tables.decisions(TABLE, verdicts, CLASSES, "toy")
    assert made["decision"].tolist() == [KEEP, KEEP, RELABEL, LEAVE]
    assert made["proposed_label"].tolist() == ["a", "a", "a", "b"]
    assert made["toy"].tolist() == pytest.approx([1.0, 0.7, 0.4, 0.5])


def test_decisions_file_has_a_confidence_column_a_method(tmp_path: Path) -> None:
    base = pd.DataFrame({"clip_id": ["x"], "given_label": ["a"], "verified": [0], "proposed_label": ["a"]})
    rows = pd.DataFrame(columns=revisions.COLUMNS)
    revision_files.write(tmp_path, "agree", rows, base.assign(decision="keep", agree=0.9), {"parent": "r0"})
    revision_files.write(tmp_path, "confident", rows, base.assign(decision="leave", confident=0.2), {"parent": "r0"})
    revision_files.publish(tmp_path, "confident")
    table = pd.read_csv(tmp_path / "decisions.csv")
    assert list(table.columns) == [*revisions.SHOWN, "confident", "agree"]
    assert table.iloc[0].tolist() == ["x", "a", 0, "a", "leave", "confident", 0.2, 0.9]
    assert revision_files.publish(tmp_path, "r0") is None


# --- groups --------------------------------------------------------------------------------------------------------


def groups(scheme: str) -> dict[str, list[str]]:
    known: dict[str, dict[str, list[str]]] = yaml.safe_load((CONFIGS / "data/fsdkaggle2018.yaml").read_text())["groups"]
    return known[scheme]


def test_absent_classes_are_ignored_and_unnamed_ones_stay_together() -> None:
    assert group_index(("a", "b", "c", "d"), {"x": ["a", "zebra"], "y": ["c"]}).tolist() == [0, 2, 1, 2]


@pytest.mark.skipif(not REAL.is_file(), reason="the real competition's train.csv is not here")
def test_groups_give_the_documents_counts_on_the_real_table() -> None:
    table = pd.read_csv(REAL)
    decided = pd.DataFrame({"given_label": table["label"], "verified": table["manually_verified"], "decision": "leave"})
    found = {}
    for scheme in ("2", "3", "5"):
        counts = revision_tables.group_table(decided, groups(scheme))
        assert "other" not in set(counts["group"])
        found |= {row.group: (row.clips, row.verified) for row in counts.itertuples()}
    assert found == {
        "music": (4827, 2068),  # the document: 2,069
        "non-music": (4646, 1642),  # the document: 4,626, less than its own parts
        "musical": (1779, 853),
        "strings": (1200, 572),
        "percussion": (1848, 643),  # the document: 644
        "creature": (2464, 708),
        "non-human": (2182, 934),
        "all": (9473, 3710),
    }
    assert [sum(name in set(table["label"]) for name in names) for names in groups("5").values()] == [7, 4, 8, 10, 12]


# --- losses --------------------------------------------------------------------------------------------------------


def test_generalised_cross_entropy_lies_between_its_limits() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    targets, weights = torch.tensor([[1.0, 0, 0], [0, 0.4, 0.6]]), torch.tensor([1.0, 3.0])
    p = logits.softmax(1)

    def loss(q: float) -> float:
        return float(generalised_cross_entropy.build(generalised_cross_entropy.Params(q=q))(logits, targets, weights))

    by_hand = ((targets * (1 - p**0.7) / 0.7).sum(1) * weights).sum() / 4
    assert loss(0.7) == pytest.approx(float(by_hand))
    assert loss(1.0) == pytest.approx(float((((1 - p) * targets).sum(1) * weights).sum() / 4))
    plain = cross_entropy.build(cross_entropy.Params())(logits, targets, weights)
    assert loss(1e-4) == pytest.approx(float(plain), rel=1e-3)
    extreme = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    generalised_cross_entropy.build(generalised_cross_entropy.Params())(
        extreme, torch.tensor([[1.0, 0.0]]), torch.ones(1)
    ).backward()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


def test_the_worst_unverified_clips_are_masked() -> None:
    logits = torch.tensor([[-5.0, 0.0], [-4.8, 0.0], [-1.0, 0.0], [-4.9, 0.0]])
    targets = torch.tensor([[1.0, 0.0]] * 4)
    weights = torch.tensor([0.6, 1.0, 0.6, 0.6])  # the second is verified
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    found = masked.build(masked.Params())(logits, targets, weights)
    assert float(found) == pytest.approx(float((each[1] + 0.6 * each[2]) / 1.6))
    trusting = masked.build(masked.Params(trusted=0.5))(logits, targets, weights)
    assert float(trusting) == pytest.approx(float((each * weights).sum() / weights.sum()))
    alone = masked.build(masked.Params())(logits[:1], targets[:1], weights[:1])  # nothing left: no step, no NaN
    assert float(alone) == 0


def test_every_method_is_a_part() -> None:
    for name in parts.names("cleaning"):
        module = parts.find("cleaning", name)
        assert module.NEEDS in ("probabilities", "embedding")
        assert callable(module.decide)
