"""The plan: what would run and why, and estimates that grow as the work does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_folds
import plan
import train
from tonestack.base import parts
from tonestack.base.files import read_json, write_json
from tonestack.config.call import Call
from tonestack.features.prepare import why_stale
from tonestack.settings.model_config import DistilParams
from tonestack.studies import planning, timing
from tonestack.studies.planning import DONE, PlanRow
from tonestack.studies.timing import Counts
from tonestack.training import queue

import numpy as np
import pandas as pd
import pytest

MakeRun = Callable[..., Call]


def by_stage(found: list[PlanRow]) -> dict[str, PlanRow]:
    return {item.stage: item for item in found}


# ----------------------------------------------------------------------------------------------------- what would run


def test_before_anything_is_made_everything_would_run(
    tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Call.from_arguments(tiny_words)
    found = by_stage(plan.run(run))
    assert list(found) == ["prepare", "make_folds", "train", "blend", "stack", "submit", "score", "report"]
    assert found["prepare"].why == found["make_folds"].why == "not made yet"
    assert (found["train"].why, found["train"].jobs) == ("not trained yet", 2)
    assert found["prepare"].jobs == 64
    for stage in ("prepare", "train", "blend", "stack"):
        assert (found[stage].seconds or 0) > 0, stage
    assert not run.cache.exists()  # nothing of it has been done
    assert not run.oof.exists()
    printed = capsys.readouterr().out
    assert "vgg_small@r0" in printed
    assert "\nabout 0:" in printed


def test_what_is_up_to_date_and_why_the_rest_is_not(tiny_run: MakeRun) -> None:
    run = tiny_run()
    found = by_stage(planning.items(run, plan.records(run)))
    assert found["prepare"].why == found["make_folds"].why == DONE
    assert found["train"].jobs == 2
    train.run(run)
    done = by_stage(planning.items(run, {"make_folds": "", "blend": "", "stack": ""}))
    assert (done["train"].why, done["train"].jobs, done["train"].seconds) == (DONE, 0, 0.0)
    assert done["blend"].why == DONE
    receipt = run.oof / "vgg_small@r0" / "fold1.json"
    receipt.unlink()
    again = by_stage(planning.items(run, {"make_folds": "", "blend": "", "stack": ""}))
    assert (again["train"].why, again["train"].jobs) == ("not trained yet", 1)
    assert again["blend"].why == "tables change"
    job = queue.build(run, run.experiments())[0]
    assert planning.why_not(job) == ""
    assert planning.why_not(replace(job, inputs=job.inputs | {"labels": "other"})) == "labels changed"
    other = tiny_run("training.lr=0.5")
    assert "training.lr: 0.001 there, 0.5 now" in planning.why_not(queue.build(other, other.experiments())[0])


def test_features_are_stale_when_a_recording_changes(tiny_run: MakeRun, tiny_root: Path, tmp_path: Path) -> None:
    run = tiny_run()
    spec = [run.experiments()[0].config.frontend]
    competition = run.competition()
    assert why_stale(competition, spec, run.data.audio, run.cache) == [""]
    assert why_stale(competition, [spec[0] | {"n_mels": 8}], run.data.audio, run.cache) == ["not made yet"]
    copied = replace(competition, root=tmp_path / "elsewhere")
    for path in [*competition.train["path"], *competition.test["path"]]:
        (copied.root / path).parent.mkdir(parents=True, exist_ok=True)
        (copied.root / path).write_bytes((tiny_root / path).read_bytes())
    assert why_stale(copied, spec, run.data.audio, run.cache) == ["64 recordings are new or changed"]
    fewer = replace(competition, train=competition.train.iloc[1:])
    assert why_stale(fewer, spec, run.data.audio, run.cache) == ["other clips than before"]


def test_folds_are_stale_when_labels_or_settings_change(tiny_run: MakeRun) -> None:
    assert make_folds.why(tiny_run()) == ""
    assert make_folds.why(tiny_run("folds.seed=3")) == "settings changed"
    run = tiny_run()
    known = run.folds / "r0.json"
    write_json(known, read_json(known) | {"clips": "others"})
    assert make_folds.why(run) == "clips changed"


def test_the_label_loop_is_counted(tiny_run: MakeRun) -> None:
    words = ["clean.method=agree", "folds.n=4", "pseudo.rounds=2", "pseudo.train=keep", "clean.judge=[clip_forest]"]
    counted = {(stage, e.model): n for e, n, stage in planning.label_jobs(tiny_run(*words, "clean.scouts=[vgg_small]"))}
    assert counted == {
        ("clean_labels", "clip_forest"): 6,  # pairs of four folds
        ("clean_labels", "vgg_small"): 8,  # on r0 and on one method's revision
        ("pseudo_label", "vgg_small"): 4 + 2 * (4 + 12),
    }
    assert planning.label_jobs(tiny_run("clean.method=none")) == []


def test_times_are_written_as_clocks_and_unknown_ones_as_a_question() -> None:
    table = planning.shown(
        [
            PlanRow("prepare", "logmel"),
            PlanRow("train", "a@r0", "not trained yet", 5, 3725.0),
            PlanRow("submit", "", "x", 1, None),
        ]
    )
    assert "1:02:05" in table
    assert table.splitlines()[-1] == "about 1:02:05, and what submit take"


# ---------------------------------------------------------------------------------------------------------- estimates


class Clock:
    """Time that passes only where work is done."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Learner:
    """A learner that takes 1 s a call, 0.5 s an epoch and 0.01 s a clip and epoch; 0.02 s to predict a clip."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def fit(self, job: Any, opened: Any) -> "Learner":
        epochs, steps = job.experiment.config.training.plan(len(job.labels.clip_ids))
        batch = job.experiment.config.training.batch_size
        self.clock.now += 1 + epochs * (0.5 + 0.01 * steps * batch)
        return self

    def log_probabilities(self, ids: list[str]) -> np.ndarray:
        self.clock.now += 0.02 * len(ids)
        return np.zeros((len(ids), 4))


@pytest.mark.parametrize("distilled", [0, 3])
def test_a_fold_job_is_extrapolated_exactly_from_what_its_parts_take(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch, distilled: int
) -> None:
    run, clock = tiny_run("training.epochs=7"), Clock()
    job = timing._stand_in(run, run.experiments()[0], run.data.audio, run.cache)
    config = job.experiment.config
    training = config.training.model_copy(update={"distil": DistilParams(epochs=distilled)})
    job = replace(job, experiment=replace(job.experiment, config=config.model_copy(update={"training": training})))
    find = parts.find
    monkeypatch.setattr(parts, "find", lambda kind, name: Learner(clock) if kind == "learners" else find(kind, name))
    monkeypatch.setattr(timing.time, "perf_counter", clock)
    expected = 1 + (distilled + 7) * (0.5 + 0.01 * 96) + 0.02 * 30  # 100 clips in 12 steps of 8
    assert timing._seconds(job, Counts(train=100, predicted=30)) == pytest.approx(expected)


def test_an_epoch_of_episodes_is_cut_to_a_few_batches(tiny_run: MakeRun) -> None:
    run, settings = tiny_run(), Call.from_arguments(["data=demo_voices"]).experiment("judge_conv2d_lstm").config
    job = timing._stand_in(run, run.experiments()[0], run.data.audio, run.cache)
    job = replace(job, experiment=replace(job.experiment, config=settings))
    short = timing._shrunk(job, 3 * settings.training.batch_size, 2).experiment.config
    assert (short.training.epochs, timing._episodes(short).steps) == (2, 3)
    assert timing._episodes(settings).steps == 50
    assert timing._episodes(short).speeds == timing._episodes(settings).speeds


def test_a_real_fold_job_costs_something(tiny_run: MakeRun, capfd: pytest.CaptureFixture[str]) -> None:
    run = tiny_run("augment.background=0.5")
    experiment = run.experiments()[0]
    found = timing.fold_jobs(run, {experiment.name: (experiment, Counts(400, 100))}, run.cache)
    assert found[experiment.name] > 0
    assert not run.oof.exists()
    assert "background" not in capfd.readouterr().out  # a made job says nothing of the real one's recordings


def test_the_sample_is_spread_over_the_files_sizes(tiny_run: MakeRun) -> None:
    competition = tiny_run().competition()
    few, times = timing.sample(competition)
    paths = pd.concat([competition.train["path"], competition.test["path"]])
    sizes = np.array([(competition.root / path).stat().st_size for path in paths])
    taken = np.array([(competition.root / path).stat().st_size for path in few.train["path"]])
    assert len(few.train) == timing.SAMPLE
    assert times == pytest.approx(sizes.sum() / taken.sum())
    assert taken.mean() == pytest.approx(sizes.mean(), rel=0.2)


@pytest.mark.parametrize("words", [(), ("task=multilabel", "metric=lwlrap", "loss.name=bce")])
def test_an_ensemble_of_more_tables_takes_longer(tiny_run: MakeRun, words: tuple[str, ...]) -> None:
    run = tiny_run(*words, "blend.searches=[single,log_loss]", "stack.rounds=4")
    assert timing.blend(run, 2, 60, 2) > 0
    tables, targets = timing.made_tables(3, 50, 4, several=bool(words))
    assert tables.shape == (3, 50, 4)
    assert targets.ndim == (2 if words else 1)
    assert timing.stack(run, 2, 60, 2) > 0
