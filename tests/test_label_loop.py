"""The label loop on a toy competition: what holdout k trains on does not hang on any label of fold k."""

from collections.abc import Callable
from pathlib import Path

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, read_json, write_array, write_csv, write_json, write_parquet
from tonestack.cleaning import (
    choose,
    embeddings,
    method_revision,
    pair_models,
    pseudo_rounds,
    pseudo_rules,
    revision_files,
)
from tonestack.cleaning.pair_models import Partition
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.features import store
from tonestack.labels import folds, revisions, training_labels
from tonestack.labels.label_tables import LabelTables
from tonestack.settings.data_config import AudioParams, PseudoParams
from tonestack.settings.model_config import TrainingParams
from tonestack.settings.words import Words
from tonestack.tables import load
from tonestack.tables.competition import Competition
from tonestack.tables.decisions import KEEP
from tonestack.tasks import classify
from tonestack.training import queue

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

CLASSES = ("cat", "dog", "owl")
N, TEST, FRAMES, BANDS = 75, 12, 4, 6
TOY = ["clean.pictures=false", "jobs=1", "preset=smoke"]

SMALL = {
    "clip_forest": {"network": {"trees": 12}},
    "autoencoder": {
        "network": {"frames": 8, "channels": [4], "grid": [2, 2], "latent_channels": 2},
        "training": {"epochs": 2, "precision": "float32"},
    },
    "vgg_small": {
        "network": {"channels": [4], "dense": 0},
        "training": {"epochs": 1, "batch_size": 16, "precision": "float32"},
    },
}

MakeRun = Callable[..., Call]


def toy_table(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A folds table of 75 clips, three classes, five folds, 40 % verified, a third of the others wrong; the truth."""
    rng = np.random.default_rng(seed)
    truth = np.arange(N) % 3
    verified = rng.random(N) < 0.4
    wrong = ~verified & (rng.random(N) < 1 / 3)
    given = np.where(wrong, (truth + 1) % 3, truth)
    ids = [f"{i:03d}.wav" for i in range(N)]
    fold = (np.arange(N) // 3) % 5
    label = np.array(CLASSES)[given]
    return pd.DataFrame({"clip_id": ids, "label": label, "verified": verified, "group": "", "fold": fold}), truth


def write_features(run: Call, truth: np.ndarray, test_ids: list[str]) -> None:
    """A feature store whose clips are noise around their class's own shape."""
    rng = np.random.default_rng(5)
    every = [*(f"{i:03d}.wav" for i in range(N)), *test_ids]
    shape = rng.normal(0, 6, (3, BANDS))[np.concatenate([truth, np.arange(len(test_ids)) % 3])]
    features = np.repeat(shape, FRAMES, axis=0) + rng.normal(0, 4, (len(every) * FRAMES, BANDS))
    clips = pd.DataFrame({"clip_id": every, "offset": np.arange(len(every)) * FRAMES, "frames": FRAMES})
    meta = {"mean": [0.0] * BANDS, "std": [1.0] * BANDS, "frame_rate": 10.0, "fingerprint": "toy"}
    for model in SMALL:
        folder = store.folder_of(run.experiment(model).config.frontend, AudioParams(), run.cache)
        write_array(folder / "features.npy", features.astype(np.float16))
        write_parquet(folder / "clips.parquet", clips)
        write_json(folder / "meta.json", meta)


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A run on the toy competition with its labels as given, or as `table` says."""

    def make(*words: str, home: str = "home", table: pd.DataFrame | None = None) -> Call:
        monkeypatch.setenv("TONESTACK_HOME", str(tmp_path / home))
        own, truth = toy_table()
        table = own if table is None else table
        test_ids = [f"t{i}.wav" for i in range(TEST)]
        test = pd.DataFrame({"clip_id": test_ids, "path": test_ids, "group": ""})
        competition = Competition(tmp_path, table.assign(path=table["clip_id"]), test, CLASSES, None)
        monkeypatch.setattr(Call, "competition", lambda self: competition)
        partition, preset = layers.load_preset(Words(preset="smoke"))
        small = preset.model_copy(update={"data": {}, "all": {}, "each": SMALL})
        monkeypatch.setattr(layers, "load_preset", lambda words: (partition, small))
        run = Call.from_arguments(["data=demo", *TOY, *words])
        if not run.cache.exists():
            folds.write(run.folds, table, {})
            write_features(run, truth, test_ids)
        return run

    return make


def shuffled(fold: int) -> pd.DataFrame:
    """The toy table with the labels of one fold changed at random."""
    table, _ = toy_table()
    rows = (table["fold"] == fold).to_numpy()
    new = table["label"].to_numpy().copy()
    new[rows] = np.random.default_rng(7).choice(CLASSES, rows.sum())
    assert (new[rows] != table["label"].to_numpy()[rows]).any()
    return table.assign(label=new)


def rows_of(run: Call, revision: str, holdout: int) -> str:
    rows = run.labels.revision(revision)
    return rows[rows["holdout"] == holdout].to_csv(index=False)


# --- fold safety ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["agree", "confident", "label_spreading", "self_verification"])
def test_labels_of_a_fold_do_not_move_what_its_holdout_trains_on(make_run: MakeRun, method: str) -> None:
    words = ["clean.settings.self_verification.threshold=0.6", "clean.settings.agree.relabel=0.6"]
    words += ["clean.rounds=2"] if method == "self_verification" else []
    last = method + ("2" if method == "self_verification" else "")
    run = make_run(*words)
    assert method_revision.make(run, method) == last
    other = make_run(*words, home="other", table=shuffled(3))
    method_revision.make(other, method)
    assert rows_of(run, last, 3) == rows_of(other, last, 3)
    assert any(rows_of(run, last, k) != rows_of(other, last, k) for k in (0, 1, 2, 4))  # the change is felt elsewhere


def test_labels_of_a_fold_do_not_move_its_holdouts_pseudo_labels(make_run: MakeRun) -> None:
    words = ["pseudo.train=replace", "pseudo.lower=[0.3,0.4]", "pseudo.upper=[1,1]", "pseudo.soft=true"]
    run = make_run(*words)
    assert pseudo_rounds.make_rounds(run, method_revision.make(run, "self_verification")) == ["pseudo1", "pseudo2"]
    other = make_run(*words, home="other", table=shuffled(2))
    pseudo_rounds.make_rounds(other, method_revision.make(other, "self_verification"))
    for revision in ("pseudo1", "pseudo2"):
        assert rows_of(run, revision, 2) == rows_of(other, revision, 2)
        assert any(rows_of(run, revision, k) != rows_of(other, revision, k) for k in (0, 1, 3, 4))
        used = run.labels.revision(revision)
        own = dict(zip(*[toy_table()[0][c] for c in ("clip_id", "fold")], strict=True))
        assert not any(own.get(row.clip_id) == row.holdout for row in used.itertuples())


def test_soft_cleaning_gives_every_clip_a_row_of_probabilities(make_run: MakeRun) -> None:
    run = make_run("clean.settings.agree.soft=true")
    rows = run.labels.revision(method_revision.make(run, "agree"))
    assert len(rows) == 4 * N
    assert rows[list(CLASSES)].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    verified = rows[rows["source"] == "verified"]
    assert (verified[list(CLASSES)].max(axis=1) == 1).all()
    assert (rows[list(CLASSES)].max(axis=1) < 0.999).any()


def test_rounds_on_test_clips_alone_leave_the_training_clips_as_they_are(make_run: MakeRun) -> None:
    run = make_run("pseudo.rounds=1")
    pseudo_rounds.make_rounds(run, "r0")
    rows = run.labels.revision("pseudo1")
    assert rows[rows["source"] != "pseudo_test"].reset_index(drop=True).equals(run.labels.revision("r0"))


def test_rounds_from_a_pseudo_revision_decide_on_test_clips_anew(make_run: MakeRun) -> None:
    words = "pseudo.rounds=1", "pseudo.cross_fit=false", "pseudo.lower=[0,0]", "pseudo.upper=[1,1]"
    (first,) = pseudo_rounds.make_rounds(make_run(*words), "r0")
    run = make_run(*words, "pseudo.name=more")
    (second,) = pseudo_rounds.make_rounds(run, first)
    rows = run.labels.revision(second)
    assert not rows.duplicated(["clip_id", "holdout"]).any()


def test_relabelled_clips_are_not_promoted_with_the_label_that_was_wrong(make_run: MakeRun) -> None:
    run = make_run()
    method_revision.make(run, "agree")
    rows = run.labels.revision("agree")
    promoted = method_revision.promoted_before(run, "agree")
    assert (rows["source"] == "relabelled").any()
    for holdout, clips in promoted.items():
        assert clips == set(rows[(rows["holdout"] == holdout) & (rows["source"] == "promoted")]["clip_id"])


def test_a_cleaned_parent_makes_a_revision_anew(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    method_revision.make(run, "agree")
    method_revision.make(run, "label_spreading")
    before = read_json(run.folds / "label_spreading.json")
    capsys.readouterr()
    method_revision.make(run, "label_spreading", "agree")
    assert "up to date" not in capsys.readouterr().out
    assert read_json(run.folds / "label_spreading.json")["parent"] == "agree" != before["parent"]


def test_rounds_hear_of_a_test_clip_from_models_that_it_has_not_taught(make_run: MakeRun) -> None:
    run = make_run("pseudo.lower=[0,0]", "pseudo.upper=[1,1]")  # every clip is sure enough
    made = pseudo_rounds.make_rounds(run, "r0")
    taught = []
    for revision in made:
        rows = run.labels.revision(revision).query("source == 'pseudo_test'")
        taught.append({int(k): set(part["clip_id"]) for k, part in rows.groupby("holdout")})
        for job in queue.build(run, pseudo_rounds.experiments(run, pseudo_rounds.settings(run), revision)):
            assert job.taught == taught[-1][job.fold] > set()
            read = load.load(job.folder, run.labels.folds, job.test, CLASSES, parts=("test",), taught=False).test
            assert read is not None
            assert {name for name, p in zip(job.test, read[job.fold], strict=True) if np.isnan(p).all()} == job.taught
    assert all(taught[0][k].isdisjoint(taught[1][k]) for k in taught[0])  # round two is taught by what round one left


def test_every_test_clip_is_predicted_by_some_model() -> None:
    names = [f"{i}.wav" for i in range(200)]
    for holdouts in (1, 2, 3, 5, 10):
        for number in (1, 2, 3):
            teach = np.array([pseudo_rules.teaching(names, i, holdouts, number) for i in range(holdouts)])
            assert not teach.all(axis=0).any()
            assert holdouts == 1 or teach.any(axis=0).all()


def test_without_cross_fitting_all_clips_teach_and_all_are_predicted(make_run: MakeRun) -> None:
    run = make_run("pseudo.cross_fit=false", "pseudo.rounds=1", "pseudo.lower=[0,0]", "pseudo.upper=[1,1]")
    (made,) = pseudo_rounds.make_rounds(run, "r0")
    for job in queue.build(run, pseudo_rounds.experiments(run, pseudo_rounds.settings(run), made)):
        assert len(set(job.labels.clip_ids) & set(job.test)) == TEST == len(job.test)


def test_a_model_is_made_again_where_what_it_was_taught_changes(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("pseudo.rounds=1", "pseudo.lower=[0,0]", "pseudo.upper=[1,1]")
    (made,) = pseudo_rounds.make_rounds(run, "r0")
    models = pseudo_rounds.experiments(run, pseudo_rounds.settings(run), made)
    assert all(job.finished() for job in queue.build(run, models))
    monkeypatch.setattr(revisions, "cross_fitted", lambda folder, revision: False)  # the same labels, not cross-fitted
    assert not any(job.finished() for job in queue.build(run, models))


def test_judges_never_saw_the_clip_or_the_holdout(make_run: MakeRun) -> None:
    run = make_run()
    table = folds.read(run.folds)
    fold = dict(zip(table["clip_id"], table["fold"], strict=True))
    for revision, count in (("r0", 10), (method_revision.make(run, "agree"), 20)):
        made = pair_models.build(run, method_revision.pair_experiments(run, revision)[0])
        assert len(made) == count
        for job in made:
            holdout = int(str(job.experiment.variant).rpartition("without")[2])
            learnt = {fold[name] for name in job.labels.clip_ids}
            assert not learnt & {job.fold, holdout}
            allowed = {job.fold, holdout} if revision == "r0" else {job.fold}
            assert {fold[name] for name in job.held_out} == allowed


def test_every_clip_outside_a_holdout_is_judged_for_it(make_run: MakeRun) -> None:
    run = make_run()
    p = pair_models.predictions(run, method_revision.pair_experiments(run, "r0"))
    partition = Partition.of(folds.read(run.folds))
    assert p.shape == (5, N, 3)
    for k in range(5):
        assert np.isnan(p[k, partition.fold == k]).all()
        assert p[k, partition.fold != k].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (
        pair_models.predictions(run, method_revision.pair_experiments(run, "r0")).tobytes() == p.tobytes()
    )  # up to date: read, not trained
    weights = list((run.oof / ".pairs").glob("*/fold*.safetensors"))
    assert weights
    assert not any(map(load_file, weights))  # what nothing reads fills no disk


def test_two_folds_and_a_fixed_split_are_cut_into_inner_parts(make_run: MakeRun) -> None:
    table, _ = toy_table()
    two = table.assign(fold=np.arange(N) % 2)
    partition = Partition.of(two)
    assert not partition.plain
    assert (pd.Series(partition.fold).groupby(partition.part).nunique() == 1).all()
    run = make_run(home="two", table=two)
    p = pair_models.predictions(run, method_revision.pair_experiments(run, "r0"))
    assert p.shape == (2, N, 3)
    assert (np.isnan(p[0]).any(axis=1) == (partition.fold == 0)).all()
    fixed = Partition.of(table.assign(fold=np.where(np.arange(N) < 60, -1, 0)))
    assert fixed.holdouts == [0]
    assert len(fixed.parts(0)) == pair_models.INNER


# --- the stages ----------------------------------------------------------------------------------------------------


def test_cleaning_leaves_decisions_and_is_up_to_date(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    truth = toy_table()[1]
    for method in ("agree", "confident"):
        method_revision.make(run, method)
    decided = revision_files.publish(run.folds, "agree")
    assert decided is not None
    assert list(decided.columns) == [*revisions.SHOWN, "agree", "confident"]
    assert decided["clip_id"].tolist() == toy_table()[0]["clip_id"].tolist()
    doubtful = decided["verified"] == 0
    right = decided["given_label"] == np.array(CLASSES)[truth]
    kept = decided["decision"] == KEEP
    assert kept[doubtful & right].mean() > 0.8
    assert kept[doubtful & ~right].mean() < 0.2
    assert kept[~doubtful].all()
    capsys.readouterr()
    method_revision.make(run, "agree")
    assert "agree up to date" in capsys.readouterr().out


def test_rounds_leave_a_table_and_a_plot(make_run: MakeRun) -> None:
    run = make_run(
        "pseudo.train=keep",
        "pseudo.lower=[0.3,0.6]",
    )
    made = pseudo_rounds.make_rounds(run, "r0")
    table = pd.read_csv(run.reports / "pseudo.csv")
    assert table["round"].tolist() == [0, 1, 2]
    assert table["revision"].tolist() == ["r0", *made]
    assert table["lower"].tolist()[1:] == [0.3, 0.6]
    assert (table["pseudo test"][1:] > 0).all()
    assert table["train"].between(0.5, 1).all()
    assert table["validation"].between(0.5, 1).all()
    assert (run.reports / "pseudo.png").stat().st_size > 1000
    rows = run.labels.revision("pseudo1")
    pseudo_rows = rows[rows["source"] == "pseudo"]
    given = dict(zip(*[toy_table()[0][c] for c in ("clip_id", "label")], strict=True))
    assert all(given[row.clip_id] == row.label for row in pseudo_rows.itertuples())  # keep: the given label only
    assert set(rows["source"]) == {"verified", "pseudo", "pseudo_test"}


def test_a_warm_round_starts_from_the_weights_of_the_round_before(make_run: MakeRun) -> None:
    words = ["pseudo.models=[vgg_small]", "pseudo.start=warm", "pseudo.epochs=2", "pseudo.cross_fit=false"]
    run = make_run(*words, "pseudo.lower=[0,0]", "pseudo.upper=[1,1]")
    assert pseudo_rounds.make_rounds(run, "r0") == ["pseudo1", "pseudo2"]
    first, second = (read_json(run.oof / f"vgg_small-rounds@{r}/fold2.json") for r in ("r0", "pseudo1"))
    assert second["inputs"]["initial"] == file_hash(run.oof / "vgg_small-rounds@r0/fold2.safetensors")
    assert "initial" not in first["inputs"]
    assert (first["epochs"], second["epochs"]) == (2, 2)
    rows = run.labels.revision("pseudo1")
    assert (rows["source"] == "pseudo_test").sum() == 5 * TEST
    with pytest.raises(UserError, match=r"pseudo\.cross_fit=false"):
        pseudo_rounds.make_rounds(make_run("pseudo.start=warm"), "r0")


def test_embeddings_of_every_kind(make_run: MakeRun) -> None:
    plain = embeddings.by_holdout(make_run(), "r0")
    assert plain.shape[:2] == (5, N)
    assert (plain[0] == plain[4]).all()
    latent = embeddings.by_holdout(make_run("clean.embedding=autoencoder"), "r0")
    assert latent.shape == (5, N, 8)
    deep = embeddings.by_holdout(make_run("clean.embedding=penultimate", "clean.embedder=vgg_small"), "r0")
    assert deep.shape == (5, N, 4)
    assert np.isfinite(deep).all()
    assert not np.allclose(deep[0], deep[1])  # another network a holdout
    with pytest.raises(UserError, match="not a network"):
        embeddings.by_holdout(make_run("clean.embedding=penultimate"), "r0")
    with pytest.raises(UserError, match="statistics"):
        embeddings.by_holdout(make_run("clean.embedding=statistic"), "r0")


def test_the_loop_takes_the_best_revision(make_run: MakeRun) -> None:
    run = make_run()
    assert choose.wanted(run)
    assert not choose.wanted(make_run("clean.method=none"))
    names = ["r0", method_revision.make(run, "agree")]
    chosen = choose.choose(run, names)
    table = pd.read_csv(run.reports / "label_loop.csv")
    assert chosen == table.loc[table["cv"].idxmax(), "revision"]
    assert (run.folds / "decisions.csv").is_file() == (chosen != "r0")


def test_nested_choice_scores_each_part_by_what_wins_on_the_others() -> None:
    from tonestack.tables.metrics import resolve

    targets, part = np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1])
    good, bad = [0.9, 0.1], [0.1, 0.9]
    first = choose.RevisionScore("first", np.array([good, good, bad, bad]), 0, 0)
    second = choose.RevisionScore("second", np.array([bad, bad, good, good]), 0, 0)
    scores = choose.nested([first, second], resolve("accuracy"), targets, part)
    assert scores.tolist() == [bad, bad, bad, bad]  # the other part always speaks for the wrong one


def test_mistakes_are_named(make_run: MakeRun) -> None:
    with pytest.raises(UserError, match="no such scheme"):
        method_revision.scheme(make_run("clean.groups=9"))
    with pytest.raises(UserError, match="agre"):
        method_revision.params_of(make_run("clean.settings.agre.keep=1"), "agree")
    with pytest.raises(UserError, match=r"agree.*kep"):
        method_revision.params_of(make_run("clean.settings.agree.kep=1"), "agree")
    with pytest.raises(UserError, match="round 1"):
        pseudo_rules.check(PseudoParams(lower=(0.9, 0.2), upper=(0.8, 0.8)))
    with pytest.raises(UserError, match="fine_then_few"):
        pseudo_rules.resolved(PseudoParams(regime="fine_then_fwe"))


# --- schedules and soft labels -------------------------------------------------------------------------------------


def test_bounds_move_linearly() -> None:
    assert [pseudo_rules.bound((0.35, 0.65), n, 4) for n in (1, 2, 3, 4)] == pytest.approx([0.35, 0.45, 0.55, 0.65])
    falling = pseudo_rules.resolved(PseudoParams(regime="falling"))
    assert [pseudo_rules.bound(falling.lower, n, 30) for n in (1, 2, 30)] == pytest.approx([0.65, 0.64, 0.36])
    assert pseudo_rules.bound((0.35, 0.65), 1, 1) == 0.35
    mine = pseudo_rules.resolved(PseudoParams(regime="coarse_then_many", epochs=3))
    assert (mine.rounds, mine.epochs, mine.start) == (30, 3, "warm")


def test_clips_are_chosen_between_the_bounds() -> None:
    p = np.array([[0.5, 0.5], [0.7, 0.3], [0.995, 0.005], [0.2, 0.8]])
    assert pseudo_rules.chosen(p, 0.6, 0.99).tolist() == [False, True, False, True]
    given = np.array([[True, False]] * 4)
    assert pseudo_rules.chosen(p, 0.6, 0.99, given).tolist() == [False, True, False, False]


def test_soft_labels_reach_the_loss() -> None:
    import torch

    hard = pd.DataFrame([["x", 0, "dog", 1.0, "verified"]], columns=revisions.COLUMNS)
    soft = pseudo_rules.rows_of(["y"], np.array([[0.25, 0.75, 0.0]]), 0, "pseudo", 0.5, CLASSES, "classify")
    rows = pseudo_rules.hardened([hard, soft], CLASSES, True, "classify")
    task = classify.TASK
    learnt = training_labels.for_holdout(rows, 0, CLASSES, task.targets, TrainingParams())
    assert learnt.targets.tolist() == [[0, 1, 0], [0.25, 0.75, 0]]
    assert learnt.weights.tolist() == [1, 0.5]
    logits = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    for name in ("cross_entropy", "generalised_cross_entropy", "masked", "bce"):
        module = parts.find("losses", name)
        loss = module.build(module.Params())(logits, torch.from_numpy(learnt.targets), torch.from_numpy(learnt.weights))
        assert loss.isfinite()
    by_hand = -(logits.log_softmax(1) * torch.from_numpy(learnt.targets)).sum(1)
    found = parts.find("losses", "cross_entropy").build(parts.find("losses", "cross_entropy").Params())
    value = found(logits, torch.from_numpy(learnt.targets), torch.from_numpy(learnt.weights))
    assert float(value) == pytest.approx(float((by_hand[0] + 0.5 * by_hand[1]) / 1.5))
    assert set(pseudo_rules.hardened([rows], CLASSES, False, "classify").columns) == set(revisions.COLUMNS)


def test_a_revision_survives_its_file(tmp_path: Path) -> None:
    rows = pseudo_rules.rows_of(["y"], np.array([[0.25, 0.75, 0.0]]), 0, "pseudo", 0.5, CLASSES, "classify")
    write_csv(tmp_path / "p.csv", rows)
    assert LabelTables(tmp_path).revision("p").equals(rows)
