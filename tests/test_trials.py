"""Speaker verification: lists of trials, error rates, score normalisation, fusion, and a run as a user types it."""

import contextlib
import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import embed
import make_folds
import verify
from tonestack.base.errors import UserError
from tonestack.config.call import Call
from tonestack.ensemble import nested_cv, searches
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.trials import fusion
from tonestack.labels import folds, trials
from tonestack.settings.data_config import BlendParams, FoldParams, VerifyParams
from tonestack.tables import metrics
from tonestack.tasks import verify as task

import numpy as np
import pandas as pd
import pytest
import soundfile

EER, MIN_DCF = metrics.resolve("eer"), metrics.resolve("min_dcf")


def column(*scores: float) -> np.ndarray:
    return np.array(scores, dtype=np.float32)[:, None]


# ------------------------------------------------------------------------------------------------------ error rates


@pytest.mark.parametrize(
    ("scores", "same", "eer"),
    [
        ([3, 4, 1, 2], [1, 1, 0, 0], 0.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 1.0),
        ([1, 3, 2, 4], [1, 1, 0, 0], 0.5),
        ([5, 5, 5, 5], [1, 0, 1, 0], 0.5),  # constant scores tell nothing
        ([9, 5, 5, 1], [1, 1, 0, 0], 0.25),  # the tie passes at once: from (0, 1/2) to (1/2, 0)
        ([9, 8, 7, 6, 5, 4], [1, 1, 0, 1, 0, 0], 1 / 3),
        ([9, 8, 7, 6, 5], [1, 0, 1, 0, 0], 1 / 3),  # misses fall past it while one of three is accepted
    ],
)
def test_the_equal_error_rate_by_hand(scores: list[float], same: list[int], eer: float) -> None:
    assert float(EER(column(*scores), np.array(same))) == pytest.approx(eer)


def test_the_equal_error_rate_is_that_of_the_roc_curve() -> None:
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(0)
    same = rng.integers(0, 2, 500)
    scores = np.round(rng.normal(size=500) + same, 1)  # many ties
    false_acceptance, hit, _ = roc_curve(same, scores, drop_intermediate=False)
    expected = brentq(lambda x: x - 1 + np.interp(x, false_acceptance, hit), 0, 1)
    assert float(EER(scores[:, None], same)) == pytest.approx(expected, abs=1e-9)


def test_the_least_detection_cost_is_that_of_the_best_threshold() -> None:
    rng = np.random.default_rng(1)
    same = rng.integers(0, 2, 300)
    scores = np.round(rng.normal(size=300) + 2.5 * same, 1)
    costs = [1.0]
    for threshold in np.unique(scores):
        accepted = scores >= threshold
        costs.append((0.01 * (~accepted)[same == 1].mean() + 0.99 * accepted[same == 0].mean()) / 0.01)
    assert float(MIN_DCF(scores[:, None], same)) == pytest.approx(min(costs))
    assert 0 < min(costs) < 1


@pytest.mark.parametrize("metric", [EER, MIN_DCF])
def test_trials_of_one_kind_have_no_error_rate_and_less_is_better(metric: metrics.Metric) -> None:
    assert np.isnan(metric(column(1, 2), np.array([1, 1])))
    assert metric.sign == -1
    good, bad = column(1, 2, 3, 4), column(1, 3, 2, 4)
    assert nested_cv.paired(metric, good, bad, np.array([0, 0, 1, 1])).value > 0


# ------------------------------------------------------------------------------------------------------------ lists


def listed(tmp_path: Path, text: str) -> pd.DataFrame:
    path = tmp_path / "veri_test.txt"
    path.write_text(text)
    return trials.read_list(path)


def test_a_list_is_read_with_and_without_labels(tmp_path: Path) -> None:
    table = listed(
        tmp_path, "1 a/1/x.wav a/2/y.wav\n\n0 a/1/x.wav b/1/z.wav\nb/1/z.wav a/2/y.wav\n1 a/1/x.wav a/2/y.wav\n"
    )
    assert table["clip_id"].tolist() == ["a/1/x.wav|a/2/y.wav", "a/1/x.wav|b/1/z.wav", "b/1/z.wav|a/2/y.wav"]
    assert table["label"].tolist() == ["1", "0", ""]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("2 a.wav b.wav", "line 1: write '1 enrol.wav test.wav'"),
        ("a.wav", "line 1: write"),
        ("1 a.wav b.wav c.wav", "line 1: write"),
        ("1 ../a.wav b.wav", "leaves its folder"),
        ("1 a|c.wav b.wav", "cannot be part of a trial's id"),
        ("1 a.wav b.wav\n0 a.wav b.wav", "line 2: the same trial stands there with another label"),
        ("\n", "has no trial"),
    ],
)
def test_a_bad_list_is_refused_by_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        listed(tmp_path, text)


CLIPS = pd.DataFrame(
    [(f"{s}/{v}/{n}.wav", s, f"{s}/{v}", "abcd".index(s) // 2) for s in "abcd" for v in (1, 2) for n in range(4)],
    columns=["clip_id", "label", "group", "fold"],
)


def test_a_trial_belongs_to_the_fold_of_both_its_speakers(tmp_path: Path) -> None:
    pairs = ["1 a/1/0 a/2/0", "0 a/1/0 b/1/0", "0 a/1/0 c/1/0", "1 c/1/0 c/2/0", "0 c/1/0 d/1/0", "c/1/1 d/1/1"]
    text = "".join(" ".join([*line.split()[:-2], *(f"{c}.wav" for c in line.split()[-2:])]) + "\n" for line in pairs)
    placed = trials.placed(listed(tmp_path, text), CLIPS, VerifyParams(), "here")
    assert placed["fold"].tolist() == [0, 0, -1, 1, 1, -1]  # of two folds, or without a label: for test alone
    with pytest.raises(UserError, match=r"here: fold 1 has no trial of two speakers; give a smaller folds\.n"):
        trials.placed(listed(tmp_path, "\n".join(text.splitlines()[:4])), CLIPS, VerifyParams(), "here")


def test_trials_are_drawn_within_folds_across_sessions() -> None:
    drawn = trials.placed(None, CLIPS, VerifyParams(trials=40), "here")
    assert len(drawn) == 80
    assert not drawn["clip_id"].duplicated().any()
    speaker, session = ({side: drawn[side].str.split("/").str[i] for side in ("enrol", "test")} for i in (0, 1))
    same = speaker["enrol"] == speaker["test"]
    assert (same == (drawn["label"] == "1")).all()
    assert (session["enrol"] != session["test"])[same].all()
    fold = CLIPS.set_index("clip_id")["fold"]
    assert (drawn["enrol"].map(fold) == drawn["fold"]).all()
    assert (drawn["test"].map(fold) == drawn["fold"]).all()
    pd.testing.assert_frame_equal(drawn, trials.placed(None, CLIPS, VerifyParams(trials=40), "here"))


def test_folds_hold_whole_speakers() -> None:
    train = CLIPS.assign(verified=True, fold=-1)
    table = task.TASK.assign(train, FoldParams(n=2), "here")
    assert table.groupby("label")["fold"].nunique().eq(1).all()
    assert table.groupby("fold")["label"].nunique().tolist() == [2, 2]
    assert table["group"].tolist() == train["group"].tolist()  # sessions: an inner split keeps them whole
    with pytest.raises(UserError, match="4 speakers cannot fill 3 folds of two"):
        task.TASK.assign(train, FoldParams(n=3), "here")


# ------------------------------------------------------------------------------------------------- scores and fusion


class Heard:
    """A network that knows every clip's embedding; NaN for what it cannot hear."""

    def __init__(self, known: dict[str, list[float]]) -> None:
        self.known = known

    def unit_embeddings(self, names: list[str]) -> np.ndarray:
        x = np.array([self.known[name] for name in names], dtype=np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def job(**options: Any) -> Any:
    labels = SimpleNamespace(clip_ids=["x", "y", "z"], targets=np.eye(2)[[0, 0, 1]])
    pairs = {"held_out": ["a|b", "a|c"], "test": ["b|c", "a|mute"]}
    return SimpleNamespace(**pairs, labels=labels, fold=0, options=VerifyParams(**options), name="a fold")


def unused() -> np.ndarray:
    """Trials need no probabilities of classes."""
    raise AssertionError


KNOWN = {"a": [1, 0], "b": [3, 4], "c": [0, 2], "mute": [np.nan, np.nan], "x": [1, 0], "y": [4, 3], "z": [0, -1]}


def test_scores_are_cosines_and_an_unheard_clip_says_nothing() -> None:
    raw = task.TASK.tables(job(), Heard(KNOWN), unused)[""]
    assert raw[:, 0].tolist() == pytest.approx([0.6, 0.0, 0.8, (0.6 + 0.0 + 0.8) / 3])


def test_adaptive_s_norm_by_hand() -> None:
    normed = task.TASK.tables(job(top=2), Heard(KNOWN), unused)["snorm"][:, 0]
    a, b = np.array([1.0, 0.8]), np.array([0.6, 0.96])  # the two best of the cohort x, y, z
    by_hand = 0.5 * ((0.6 - a.mean()) / a.std() + (0.6 - b.mean()) / b.std())
    assert normed[0] == pytest.approx(by_hand, rel=1e-4)
    speakers = task.TASK.tables(job(cohort="speakers"), Heard(KNOWN), unused)["snorm"][:, 0]
    assert np.isfinite(speakers).all()
    assert not np.allclose(speakers, normed)


def test_models_without_embedding_are_refused() -> None:
    job_of_trees = job()
    job_of_trees.name = "clip_forest@r0"
    with pytest.raises(UserError, match="clip_forest@r0: has no embedding"):
        task.TASK.tables(job_of_trees, object(), unused)


def toy(n: int = 2000) -> Problem:
    """Two systems whose errors are independent, the second on another scale, and one that is noise."""
    rng = np.random.default_rng(0)
    same = rng.integers(0, 2, n)
    tables = np.stack([same + rng.normal(size=n), 40 * (same + rng.normal(size=n)) - 7, rng.normal(size=n)])
    return Problem(tables[..., None].astype(np.float32), same, EER, ("a", "b", "noise"), False, False)


def test_fusion_beats_its_parts_and_is_a_log_likelihood_ratio() -> None:
    problem = toy()
    fused = fusion.fitted(problem.tables, problem.targets)
    scores = fused(problem.tables)
    parts = [float(EER(t, problem.targets)) for t in problem.tables]
    assert float(EER(scores, problem.targets)) < min(parts) - 0.03
    # of two unit-variance scores one apart: weights 1 and 1/40, bias -(1/2 + 1/2) + 7/40
    assert fused.weights == pytest.approx([1, 1 / 40, 0], abs=0.15)
    assert fused.bias == pytest.approx(-1 + 7 / 40, abs=0.15)


def test_calibration_of_one_table_keeps_its_order() -> None:
    problem = toy().models([1])
    scores = searches.find("logistic").fit(problem, BlendParams(), 0, None)(problem.tables)
    assert float(EER(scores, problem.targets)) == pytest.approx(float(EER(problem.tables[0], problem.targets)))


def test_the_best_single_table_of_scores_keeps_its_order_and_is_calibrated() -> None:
    problem = toy()
    values = [float(EER(table, problem.targets)) for table in problem.tables]
    single = searches.find("single").fit(problem, BlendParams(), 0, None)
    assert np.flatnonzero(single.weights).tolist() == [int(np.argmin(values))]
    scores = single(problem.tables)
    assert float(EER(scores, problem.targets)) == pytest.approx(min(values))
    assert scores.min() < 0 < scores.max()  # log-likelihood ratios
    assert np.log1p(np.exp(-scores[problem.targets == 1])).mean() < np.log(2)


def test_tables_of_other_scales_can_be_pooled_once_calibrated() -> None:
    """Half the trials by the first table, half by the second, forty times as wide and shifted."""
    problem = toy()
    problem.tables[1] += 500
    single = [searches.find("single").fit(problem.models([m]), BlendParams(), 0, None) for m in (0, 1)]
    half = (np.arange(2000) % 2)[:, None]
    pooled = np.where(half, *(fit(problem.tables[[m]]) for m, fit in enumerate(single)))
    raw = np.where(half, problem.tables[0], problem.tables[1])
    assert float(EER(pooled, problem.targets)) < 0.34  # of each: 0.31
    assert float(EER(raw, problem.targets)) > 0.45


def test_searches_of_probabilities_are_refused_for_scores() -> None:
    problem = toy(50)
    with pytest.raises(UserError, match="'greedy' cannot join scores; there is: logistic, single"):
        nested_cv.evaluate(problem, np.arange(50) % 2, ["greedy"], BlendParams(), 0, None)


@pytest.mark.parametrize(
    ("word", "fault"), [("metric=map@3", "does not fit task=verify"), ("fold_mean=geometric", "neg")]
)
def test_settings_of_classes_are_refused(word: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        Call.from_arguments(["data=voxceleb1", "task=verify", word])


# ------------------------------------------------------------------------------------------------------- as a user

WORDS = [
    *("data=voxceleb1", "task=verify", "preset=fast", "model=ecapa", "device=cpu", "jobs=1", "folds.n=2"),
    *("verify.trials=60", "network.channels=8", "network.attention=8", "network.embedding=12", "crop.seconds=0.3"),
    *("training.epochs=6", "training.min_steps=0", "training.batch_size=8", "training.lr=0.01", "training.ema=0"),
    *("inference.crops=2", "blend.bootstrap=50", "frontend.n_mels=30", "frontend.n_mfcc=20"),
]
SPEAKERS = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six 'speakers' (tones of different pitch and colour), two sessions of four clips; the last two are listed."""
    root, rng = tmp_path_factory.mktemp("voxceleb1"), np.random.default_rng(0)
    names = []
    for speaker, session, number in np.ndindex(SPEAKERS, 2, 4):
        name = f"id{10001 + speaker}/video{session}/{number:05d}.wav"
        t = np.arange(rng.integers(4000, 7000)) / 16_000
        wave = sum(np.sin(2 * np.pi * (120 + 90 * speaker) * k * t) / k ** (1 + speaker % 3) for k in range(1, 9))
        (root / "wav" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "wav" / name, 0.1 * wave + 0.01 * rng.normal(size=len(t)), 16_000)
        names.append((speaker, name))
    strangers = [(s, name) for s, name in names if s >= SPEAKERS - 2]
    lines = [f"{int(s == t)} {a} {b}" for s, a in strangers for t, b in strangers if a < b]
    (root / "veri_test.txt").write_text("\n".join(lines) + "\n")
    return root


@dataclass(frozen=True)
class Done:
    """A finished `./run.sh all`."""

    home: Path
    words: list[str]
    printed: str

    def folder(self, kind: str) -> Path:
        return self.home / kind / "voxceleb1_verify"


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    home, words = tmp_path_factory.mktemp("home"), [*WORDS, f"root={root}"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setenv("TONESTACK_HOME", str(home))
        importlib.import_module("all").run(Call.from_arguments(words))
    return Done(home, words, printed.getvalue())


def test_listed_speakers_are_strangers_and_the_rest_are_folded(done: Done) -> None:
    table = folds.read(done.folder("folds"))
    assert set(table["label"]) == {f"id{10001 + s}" for s in range(SPEAKERS - 2)}
    written = trials.read(done.folder("folds"))
    assert written.loc[written["fold"] == -1, "enrol"].str.startswith(("id10005", "id10006")).all()
    assert set(written["fold"]) == {-1, 0, 1}


def test_tables_have_one_score_a_trial(done: Done) -> None:
    written = trials.read(done.folder("folds"))
    for name in ("ecapa@r0", "ecapa-snorm@r0", "blend@r0"):
        for k in (0, 1):
            table = pd.read_parquet(done.folder("oof") / name / f"fold{k}.parquet")
            assert list(table.columns) == ["clip_id", "part", "score"]
            assert set(table.loc[table["part"] == "oof", "clip_id"]) == set(
                written.loc[written["fold"] == k, "clip_id"]
            )
            assert set(table.loc[table["part"] == "test", "clip_id"]) == set(
                written.loc[written["fold"] < 0, "clip_id"]
            )


def test_the_leaderboard_shows_error_rates_least_first(done: Done) -> None:
    table = pd.read_csv(done.folder("oof") / "leaderboard.csv")
    assert list(table.columns[:4]) == ["experiment", "cv", "cv_se", "min_dcf"]
    assert table["cv"].is_monotonic_increasing
    assert set(table["experiment"]) == {"ecapa@r0", "ecapa-snorm@r0", "blend@r0"}
    assert table["public"].between(0, 0.5).all()  # the list's own labels, read by score
    assert table["public"].notna().all()
    assert (done.folder("reports") / "det.png").stat().st_size > 10_000
    assert "stack: scores of trials have no classes" in done.printed


def test_the_submission_has_a_score_for_every_listed_trial(done: Done, root: Path) -> None:
    made = pd.read_csv(done.folder("submissions") / "submission.csv")
    assert made["trial"].tolist() == trials.read_list(root / "veri_test.txt")["clip_id"].tolist()
    assert made["score"].nunique() > 10


def test_a_second_run_changes_nothing(done: Done, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(done.home))
    before = {p: p.read_bytes() for p in done.folder("oof").rglob("*.parquet")}
    importlib.import_module("all").run(Call.from_arguments(done.words))
    printed = capsys.readouterr().out
    assert "2 of 2 folds up to date" in printed
    assert "blend: up to date" in printed
    assert {p: p.read_bytes() for p in before} == before


def test_verify_tells_one_speaker_from_two(
    done: Done, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(done.home))
    one, other, third = (str(root / "wav" / name) for name in ("id10005/video0/00000.wav", "id10005/video1/00001.wav",
                                                               "id10001/video0/00000.wav"))  # fmt: skip

    def asked(*clip: str, word: str = "verify.prior=0.5") -> float:
        return verify.run(Call.from_arguments([*done.words, word]), verify.Wanted(clip=clip))

    same = asked(one, other)
    assert 0 <= asked(one, third) < same <= 1
    assert "calibrated on" in capsys.readouterr().out
    assert asked(one, one) == pytest.approx(same, abs=0.1)
    assert asked(one, other, word="verify.prior=0.01") < same
    with pytest.raises(UserError, match="give two recordings"):
        asked(one)
    with pytest.raises(UserError, match=r"nowhere\.wav: "):
        asked(one, "nowhere.wav")


def test_embeddings_products_are_the_tables_scores(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(done.home))
    embed.run(Call.from_arguments([*done.words, "fold=1"]))
    made = pd.read_parquet(done.folder("reports") / "embeddings" / "ecapa@r0-fold1.parquet").set_index("clip_id")
    assert len(made) == SPEAKERS * 8
    assert list(made.columns) == [f"d{i}" for i in range(12)]
    table = pd.read_parquet(done.folder("oof") / "ecapa@r0" / "fold1.parquet")
    enrol, test = zip(*table["clip_id"].str.split("|"), strict=True)
    product = (made.loc[list(enrol)].to_numpy() * made.loc[list(test)].to_numpy()).sum(axis=1)
    np.testing.assert_allclose(table["score"], product, atol=1e-5)


def test_speakers_of_the_list_alone_are_split_over_the_folds(root: Path, tmp_path: Path) -> None:
    names = sorted(p.relative_to(root / "wav").as_posix() for p in (root / "wav").rglob("*.wav"))
    lines = [f"{int(a[:7] == b[:7])} {a} {b}" for a in names[::3] for b in names[1::3]]
    (tmp_path / "wav").symlink_to(root / "wav")
    (tmp_path / "veri_test.txt").write_text("\n".join(lines) + "\n")
    run = Call.from_arguments([*WORDS, f"root={tmp_path}"])
    make_folds.run(run)
    written = trials.read(run.folds)
    assert len(written) == len(lines)  # none is drawn
    assert {"0", "1"} == set(written.loc[written["fold"] == 0, "label"])
    assert (written["fold"] == -1).sum() > 0
    assert run.scoring is None  # every network has trained on a speaker of each other trial
    assert make_folds.run(run)["label"].nunique() == SPEAKERS
