"""True and false stories: readers, baselines, trees, repeats with intervals, and chance where there is nothing."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_folds
import models
import prepare
import repeat
import train
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.competition.readers import stories
from tonestack.competition.readers.demos import demo_stories
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.features import clip_statistics
from tonestack.features.audio import resample
from tonestack.features.frontends import length
from tonestack.features.store import Store
from tonestack.labels import folds, revisions
from tonestack.studies import repeats
from tonestack.tables import oof
from tonestack.tables.competition import Competition
from tonestack.tables.metrics import resolve
from tonestack.training import job as training_job
from tonestack.training import queue
from tonestack.training.job import FoldJob
from tonestack.training.learners import boosting, network, prior

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

RATE = 16_000


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def reads(root: Path, **params: Any) -> Any:
    return stories.read(stories.Params.parse(params, "reader"), root)


# ------------------------------------------------------------------------------------------------------------- readers


def test_mlends_layout_has_no_tellers_and_says_so(tmp_path: Path) -> None:
    rows = '00001.wav,Hindi,deceptive_story\n00023.wav,"Chinese, Mandarin",true_story\n'
    write(tmp_path / "MLEndDD_story_attributes_small.csv", "filename,Language,Story_type\n" + rows)
    write(tmp_path / "other.csv", "a\n1\n")
    write(tmp_path / "MLEndDD_stories_small/00001.wav", "")
    found = reads(tmp_path)
    assert found.classes == ("deceptive_story", "true_story")
    assert found.train["path"].tolist() == ["MLEndDD_stories_small/00001.wav", "MLEndDD_stories_small/00023.wav"]
    assert found.train["group"].tolist() == ["", ""]
    assert found.extras["clips"]["language"].tolist() == ["Hindi", "Chinese, Mandarin"]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("no teller is known: folds are grouped by clip alone")


def test_a_course_csv_with_other_spellings_and_tellers(tmp_path: Path) -> None:
    rows = "1,English,True Story,ann\n2,,Deceptive Story,\n3,English,True Story,ann\n"
    write(tmp_path / "sheet.csv", "File,language ,story type,Story Teller\n" + rows)
    write(tmp_path / "CBU0521DD_stories/1.wav", "")
    found = reads(tmp_path, suffix=".wav")
    assert found.train["group"].tolist() == ["ann", "", "ann"]
    assert found.train["path"].iloc[0] == "CBU0521DD_stories/1.wav"
    assert found.notes == ("the teller of 1 of 3 clips is not known: each of these is a group by itself",)


def test_columns_and_files_can_be_named(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "filename,label\nx.wav,1\n")
    write(tmp_path / "b.csv", "wav,truth,who\nx.wav,1,p\ny.wav,0,q\n")
    found = reads(tmp_path, csv="b.csv", clip="wav", label="truth", teller="who", audio="deep")
    assert found.train["path"].tolist() == ["deep/x.wav", "deep/y.wav"]
    assert found.notes == ("no language is known: a language-only baseline knows no more than the classes' shares",)


@pytest.mark.parametrize(
    ("files", "params", "message"),
    [
        ({}, {}, "which csv lists the stories? There is: none"),
        ({"a.csv": "x\n", "b.csv": "x\n"}, {}, r"There is: a.csv, b.csv; name it with reader.csv=FILE"),
        ({"a.csv": "filename,kind\nx,1\n"}, {}, "no column 'Story_type or label'"),
        ({"a.csv": "filename,label\nx,1\ny,1\n"}, {}, "every story is '1'"),
        ({"a.csv": "filename,label\n../x,1\ny,0\n"}, {}, "leaves its folder"),
        ({"a.csv": "filename,label\nx,1\nx,0\n"}, {}, "there twice"),
        ({"a.csv": "filename,label\nx,1\ny,0\n"}, {"csv": "../a.csv"}, "leaves its folder"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(
    tmp_path: Path, files: dict[str, str], params: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as caught:
        reads(tmp_path, **params)
    assert "\n" not in str(caught.value)


def made(params: demo_stories.Params, root: Path) -> Competition:
    """The demo, synthesised in this process."""
    demo_stories.make(params, root, jobs=1)
    return demo_stories.read(params, root)


def test_the_demo_is_the_same_bytes_again_and_tells_four_stories_a_teller(tmp_path: Path) -> None:
    params = demo_stories.Params(n_tellers=2, seconds=(0.3, 0.5))
    found = [made(params, tmp_path / name) for name in "ab"]
    bytes_of = [[p.read_bytes() for p in sorted((tmp_path / name / "stories").iterdir())] for name in "ab"]
    assert bytes_of[0] == bytes_of[1]
    assert len(set(bytes_of[0])) == 8
    assert found[0].train["group"].value_counts().tolist() == [4, 4]
    assert found[0].notes == ()
    plan = pd.DataFrame(demo_stories.plan(demo_stories.Params()))
    assert plan["Story_type"].value_counts().tolist() == [60, 60]
    true = plan[plan["Story_type"] == "true_story"]["Language"].value_counts()
    assert true.to_dict() == {"Sarani": 35, "Belu": 25}


def test_made_up_stories_pause_longer_and_move_the_pitch_more(tmp_path: Path) -> None:
    competition = made(demo_stories.Params(n_tellers=4, seconds=(2.0, 2.2), cue=4), tmp_path)
    params = parts.find("frontends", "story").Params.parse({"features": ["f0"]}, "here")
    frontend = parts.find("frontends", "story").Frontend(params)
    rows = []
    for row in competition.train.itertuples():
        wave, rate = soundfile.read(tmp_path / row.path, dtype="float32")
        track = frontend.exact(resample(wave, rate, RATE))
        rows.append((row.label, track[:, 0].std(), track[:, 1].mean()))
    mean = pd.DataFrame(rows, columns=["label", "spread", "voiced"]).groupby("label").mean()
    assert mean["voiced"]["deceptive_story"] < 0.9 * mean["voiced"]["true_story"]
    assert mean["spread"]["deceptive_story"] > 1.1 * mean["spread"]["true_story"]


# --------------------------------------------------------------------------------------------------- a tiny collection


def collection(root: Path) -> Path:
    """Twelve tellers, four clips of half a second each; the label is heard in stories.csv, not in shuffled.csv."""
    rng, rows = np.random.default_rng(0), []
    (root / "wav").mkdir(parents=True)
    for teller in range(12):
        for story in range(4):
            hertz = 110 * 2 ** (rng.normal(0, 0.1) + story % 2)  # an octave higher where made up
            t = np.arange(RATE // 2) / RATE
            wave = sum(np.sin(2 * np.pi * n * hertz * t) / n for n in range(1, 8)) + 0.05 * rng.standard_normal(len(t))
            name = f"{teller:02d}{story}.wav"
            soundfile.write(root / "wav" / name, 0.2 * wave, RATE)
            rows.append({"filename": name, "Language": "AB"[teller % 2], "label": story % 2, "teller": f"t{teller}"})
    table = pd.DataFrame(rows)
    table.to_csv(root / "stories.csv", index=False)
    drawn = np.random.default_rng(5).permuted(np.tile([0, 0, 1, 1], (12, 1)), axis=1)
    table.assign(label=drawn.flatten()).to_csv(root / "shuffled.csv", index=False)
    return root


WORDS = [
    *("data=stories", "preset=smoke", "device=cpu", "jobs=1", "folds.n=3", "folds.repeats=2", "blend.bootstrap=50"),
    *("stack.rounds=5", "blend.searches=[single,geometric]"),
]


def call(root: Path, *words: str) -> Call:
    return Call.from_arguments([*WORDS, f"root={root}", *words])


@pytest.fixture(scope="module")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny collection, and a home with its features."""
    folder = tmp_path_factory.mktemp("tiny_stories")
    collection(folder / "in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(folder / "home"))
        patch.setattr(training_job, "cores", lambda: 1)
        prepare.run(call(folder / "in", "model=story_gru,language_only"))
    return folder


@pytest.fixture
def cued(_prepared: Path, tmp_path: Path) -> Path:
    """The tiny collection; this test's home has its features."""
    shutil.copytree(_prepared / "home", tmp_path / "home")
    return _prepared / "in"


@pytest.fixture
def jobs_of(cued: Path) -> Callable[..., list[FoldJob]]:
    """The fold jobs of a model on the tiny collection, folds made."""

    def build(model: str, *words: str) -> list[FoldJob]:
        run = call(cued, f"model={model}", *words)
        make_folds.run(run)
        return queue.build(run, run.experiments())

    return build


def store_of(job: FoldJob) -> Store:
    return Store.open(job.cache, job.experiment.config.frontend, job.audio)


# ------------------------------------------------------------------------------------------------ baselines and trees


def test_the_baseline_counts_by_hand_and_hears_nothing(jobs_of: Any) -> None:
    job = jobs_of("language_only")[0]
    job = replace(job, columns={"language": {"a": "x", "b": "x", "c": "y", "new": "z"}})
    learnt = replace(job.labels, clip_ids=["a", "b", "c"], targets=np.eye(2)[[0, 0, 1]], weights=np.ones(3))
    made = prior.fit(replace(job, labels=learnt), None)  # type: ignore[arg-type]
    whole = np.array([3, 2]) / 5  # one clip of each class more
    expected = np.stack([(np.array([2, 0]) + 2 * whole) / 4, (np.array([0, 1]) + 2 * whole) / 3, whole])
    np.testing.assert_allclose(np.exp(made.log_probabilities(["a", "c", "new"])), expected)
    restored = prior.restore(job.experiment.config, made.tensors(), 2, "classify", torch.device("cpu"))
    np.testing.assert_allclose(np.exp(restored.log_probabilities(None, ["unheard"])), [whole])  # type: ignore[arg-type]
    assert made.params == 6


def test_of_several_labels_the_baseline_says_each_ones_share_of_the_clips(jobs_of: Any) -> None:
    job = replace(jobs_of("language_only")[0], task="multilabel", columns={"verified": {"b": True}})
    targets = np.array([[1, 1], [1, 0], [1, np.nan]])
    learnt = replace(job.labels, clip_ids=["a", "b", "c"], targets=targets, weights=np.ones(3))
    made = prior.fit(replace(job, labels=learnt), None)  # type: ignore[arg-type]
    whole = np.array([4 / 5, 2 / 4])
    np.testing.assert_allclose(made.whole, whole)
    found = np.exp(made.log_probabilities(["a"]))
    np.testing.assert_allclose(found, [(np.array([2, 1]) + 2 * whole) / (np.array([2, 1]) + 2)])  # a's and c's


def test_boosted_trees_refuse_several_labels(jobs_of: Any) -> None:
    job = replace(jobs_of("story_boosting")[0], task="multilabel")
    with pytest.raises(UserError, match="boosted trees are for one label per clip; take clip_forest"):
        boosting.fit(job, store_of(job))


def test_a_column_that_the_reader_does_not_know_is_refused(jobs_of: Any) -> None:
    with pytest.raises(UserError, match=r"this reader knows no 'age' of a clip \(verified, language\)"):
        jobs_of("language_only", "network.columns=[age]")


def test_the_length_frontend_says_seconds() -> None:
    made = length.Frontend(length.Params())
    assert made(np.zeros(64_000, np.float32)).tolist() == [[2.0]]


def test_trees_are_saved_as_text_and_read_again(jobs_of: Any, tmp_path: Path) -> None:
    job = jobs_of("story_boosting")[0]
    fitted = boosting.fit(job, store_of(job))
    path = tmp_path / "fold0.safetensors"
    save_file(fitted.tensors(), path)
    assert b"tree" in path.read_bytes()  # its own text, nothing that could run
    again = boosting.restore(job.experiment.config, load_file(path), 2, "classify", torch.device("cpu"))
    expected = fitted.log_probabilities(job.held_out)
    np.testing.assert_allclose(again.log_probabilities(fitted.store, job.held_out), expected, rtol=1e-6)
    assert fitted.tensors()["model"].dtype == torch.uint8
    assert fitted.params >= fitted.epochs


def test_track_statistics_by_hand() -> None:
    x = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    found = clip_statistics.track_statistics(x)
    mean, std, low, middle, high, step, memory = found[:-1].reshape(7, 2)
    assert mean.tolist() == [2, 5]
    np.testing.assert_allclose(std, [np.sqrt(8 / 3), 0], atol=1e-6)
    np.testing.assert_allclose([low, middle, high], [[0.4, 5], [2, 5], [3.6, 5]], rtol=1e-6)
    assert step.tolist() == [2, 0]
    np.testing.assert_allclose(memory, [0, 0], atol=1e-6)
    assert found[-1] == 3
    assert np.isfinite(clip_statistics.track_statistics(np.ones((1, 2)))).all()


# -------------------------------------------------------------------------------------------------------- the protocol


def test_standardisation_knows_the_training_part_alone(jobs_of: Any) -> None:
    job = jobs_of("story_gru")[0]
    store = store_of(job)
    offsets, frames = store.rows(job.labels.clip_ids)
    rows = np.concatenate([store.features[o : o + n] for o, n in zip(offsets, frames, strict=True)]).astype(float)
    fitted = network.fit(job, store)
    assert job.experiment.config.crop.normalise == "training"
    np.testing.assert_allclose(fitted.model.normalise.mean.flatten(), rows.mean(axis=0), rtol=1e-3, atol=1e-3)
    std = np.where(rows.std(axis=0) > 1e-3, rows.std(axis=0), 1.0)  # every frame is voiced
    np.testing.assert_allclose(fitted.model.normalise.std.flatten(), std, rtol=1e-3)
    assert not np.allclose(store.mean, rows.mean(axis=0), rtol=1e-3)


def test_folds_keep_tellers_together_and_repeats_differ(cued: Path) -> None:
    calls = repeats.calls(call(cued))
    assert [c.name for c in calls] == ["stories", "stories-r1"]
    assert {c.cache for c in calls} == {calls[0].cache}
    assert len({c.stages for c in calls}) == len({c.folds for c in calls}) == 2
    tables = [make_folds.run(c) for c in calls]
    assert all(table.groupby("group")["fold"].nunique().eq(1).all() for table in tables)
    assert tables[0]["fold"].tolist() != tables[1]["fold"].tolist()
    repeats.check_folds(calls)
    folds.write(calls[1].folds, tables[0], {})
    with pytest.raises(UserError, match="the same folds"):
        repeats.check_folds(calls)


def test_more_repeats_do_not_change_what_the_folds_mean(cued: Path) -> None:
    train.run(call(cued, "model=class_prior"))
    before = folds.read(call(cued).folds)
    more = call(cued).but(overrides={"folds": {"n": 3, "repeats": 4}})
    pd.testing.assert_frame_equal(make_folds.run(more), before)


def test_intervals_are_drawn_over_whole_groups() -> None:
    targets = np.zeros(40, dtype=int)
    right = np.repeat(np.arange(10) < 7, 4)  # seven groups of four right, three wrong
    scores = np.stack([np.where(right, 0.9, 0.1), np.where(right, 0.1, 0.9)], axis=1)
    one = repeats.Scores("m", np.stack([scores, scores]), resolve("accuracy"), targets)
    groups = np.repeat(np.arange(10), 4)
    assert one.value() == pytest.approx(0.7)
    drawn = one.drawn(groups)
    assert drawn.mean() == pytest.approx(0.7, abs=0.01)
    assert drawn.std() == pytest.approx(np.sqrt(0.7 * 0.3 / 10), rel=0.05)  # of ten groups, not of forty clips
    assert one.drawn(np.arange(40)).std() == pytest.approx(np.sqrt(0.7 * 0.3 / 40), rel=0.05)
    loss = replace(one, metric=resolve("log_loss"))
    auc = replace(one, metric=resolve("auc"), targets=np.arange(40) % 2)
    assert loss.drawn(groups).mean() == pytest.approx(loss.value(), rel=0.05)
    assert auc.drawn(groups).mean() == pytest.approx(0.5, abs=0.05)


def test_intervals_weigh_clips_as_the_metric_does() -> None:
    targets = np.zeros((30, 2), dtype=np.int8)
    targets[:10], targets[10:20, 0] = 1, 1  # two labels each, then one, then none
    scores = np.random.default_rng(0).random((1, 30, 2))
    one = repeats.Scores("m", scores, resolve("lwlrap"), targets)
    groups = np.arange(30) // 2
    assert one.drawn(groups).mean() == pytest.approx(one.value(), abs=0.02)
    values, share = one.metric.per_clip(scores[0], targets), one.metric.weights(targets)
    times = np.random.default_rng(0).multinomial(15, np.full(15, 1 / 15), size=repeats.RESAMPLES)[:, groups]
    np.testing.assert_allclose(one.drawn(groups), (times * values * share).sum(axis=1) / (times * share).sum(axis=1))
    low, high = repeats._interval(one.drawn(groups))
    assert low < one.value() < high
    nothing = replace(one, targets=np.where(np.arange(30)[:, None] < 2, targets, 0))  # one group alone counts
    assert np.isnan(nothing.drawn(groups)).any()
    np.testing.assert_allclose(repeats._interval(nothing.drawn(groups)), nothing.value())


def test_a_repeat_of_another_revision_leaves_the_calls_own_blend_and_folds_alone(cued: Path) -> None:
    run = call(cued, "model=story_boosting")
    before = make_folds.run(run)
    (run.folds / "agree.csv").write_text("clip_id,holdout,label,weight,source\n")
    revisions.choose(run.folds, "agree")
    run.submissions.mkdir(parents=True)
    (run.submissions / "blend.csv").write_text("of agree")
    for revision in (None, "agree"):
        first = repeats.calls(run.but(revision=revision))[0]
        assert (first.name, first.cache, first.words.revision) == ("stories-r0", run.cache, "r0")
    assert [c.name for c in repeats.calls(run.but(revision="r0"))] == ["stories", "stories-r1"]
    repeat.run(run)
    assert (run.submissions / "blend.csv").read_text() == "of agree"
    assert not oof.experiments(run.oof, made=True)
    pd.testing.assert_frame_equal(folds.read(first.folds), before)
    assert (first.folds / "r0.json").read_bytes() == (run.folds / "r0.json").read_bytes()
    (run.folds / "r0.json").unlink()  # folds that a user gives
    repeats.copy_folds(run.folds, first.folds)
    assert not (first.folds / "r0.json").exists()


def test_repeats_are_averaged_and_compared_with_the_baseline_clip_by_clip() -> None:
    targets = np.zeros(6, dtype=int)
    good, bad = np.tile([0.9, 0.1], (6, 1)), np.tile([0.1, 0.9], (6, 1))
    half = repeats.Scores("half", np.stack([good, bad]), resolve("accuracy"), targets)
    none = repeats.Scores("none", np.stack([bad, bad]), resolve("accuracy"), targets)
    row = repeats._row(half, none, np.arange(6))
    assert row == ["half", 0.5, 0.5, 0.5, pytest.approx(np.sqrt(0.5)), 0.5, 0.5, 0.5]
    lower = repeats._row(replace(none, metric=resolve("log_loss")), replace(half, metric=resolve("log_loss")), targets)
    assert lower[5] < 0  # a larger loss is no gain


def test_a_cue_is_found_in_every_repeat_and_the_baselines_stay_out_of_the_blend(
    cued: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = call(cued, "model=story_boosting,language_only")
    rows = repeat.run(run).set_index("experiment")
    printed = capsys.readouterr().out
    assert rows.loc["story_boosting@r0", "value"] > 0.9
    assert rows.loc["story_boosting@r0", "gain_low"] > 0
    assert rows.loc["language_only@r0", ["low", "high"]].between(0.3, 0.7).all()
    assert {"blend@r0", "stack-lightgbm@r0"} <= set(rows.index)
    assert set(pd.read_csv(run.reports / "repeats.csv")["experiment"]) == set(rows.index)
    assert "accuracy, 2 x 3 folds, 48 clips, 12 groups; 95 % intervals over groups" in printed
    assert "over language_only@r0 [95 %]" in printed
    assert oof.experiments(run.oof) == ["story_boosting@r0"]
    again = run.but(name="stories-r1")
    assert oof.kind_of(again.oof / "language_only@r0") == "baseline"
    repeat.run(run)
    assert "0 to train" in capsys.readouterr().out.split("repeat 2 of 2")[1]


def test_shuffled_labels_give_chance(cued: Path) -> None:
    run = call(cued, "model=story_boosting,language_only", "reader.csv=shuffled.csv", "name=shuffled", "cache=stories")
    rows = repeat.run(run).set_index("experiment")
    assert rows.loc["story_boosting@r0", "low"] < 0.5 < rows.loc["story_boosting@r0", "high"]
    assert rows.loc["story_boosting@r0", "value"] < 0.65
    assert rows.loc["blend@r0", "value"] < 0.65


# ------------------------------------------------------------------------------------------------------------- configs

FAITHFUL = [name for name in layers.available("model") if name.startswith("story_resnet18_")]


def test_the_documents_five_feature_sets_are_configs() -> None:
    names = {}
    for name in FAITHFUL:
        features = Call.from_arguments(["data=stories", f"model={name}"]).experiments()[0].config.frontend["features"]
        names[name] = [feature["name"] for feature in features]
    assert sorted(map(tuple, names.values())) == sorted(
        [
            ("mfcc", "spectrogram"),
            ("lsf", "lpc"),
            ("spectrogram", "f0", "contrast", "centroid"),
            ("f0", "contrast", "centroid"),
            ("mfcc",),
        ]
    )


@pytest.mark.parametrize("name", FAITHFUL)
def test_the_documents_network_has_its_size_and_its_training(name: str) -> None:
    run = Call.from_arguments(["data=stories", f"model={name}"])
    settings = run.experiments()[0].config
    row = models.describe(run, name)
    assert (row["input"], row["classes"], row["parameters"], row["document"]) == (
        *("1 x 224 x 224", "2"),
        *("11,174,274", "11,174,274"),
    )
    t = settings.training
    assert (t.optimizer, t.lr, t.momentum, t.weight_decay, t.epochs, t.batch_size) == ("sgd", 0.05, 0, 0, 10, 15)
    assert (t.schedule, t.warmup, t.grad_clip, t.ema, settings.crop.normalise) == ("constant", 0, 0, 0, "none")
    made = parts.find("frontends", "picture").Frontend(parts.part_params("frontends", settings.frontend, "frontend"))
    assert (made.width, round(settings.crop.seconds * made.frame_rate)) == (224, 224)
