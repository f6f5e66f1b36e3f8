"""Hyper-parameter search: ranges, pruning, several workers, dead ones; no network is trained."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.config.call import Call
from tonestack.studies import tune_results, tune_trials, tuning
from tonestack.studies.tuning import Range, TuneConfig, Tuning

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState


@dataclass
class FakeJob:
    """A fold whose score is best where mixup is 0.5; calls are counted."""

    fold: int
    params: dict[str, Any]
    calls: list[int]
    scored: Any = field(default_factory=lambda: np.ones(10, dtype=bool))

    def finished(self) -> None:
        return None


def fake_train(job: FakeJob, watch: Any) -> dict[str, Any]:
    job.calls.append(job.fold)
    mixup = job.params["augment.mixup"]
    if mixup > 0.95:
        raise UserError("the loss became nan")
    return {"metrics": {"map@3": 0.9 - (mixup - 0.5) ** 2 + 0.001 * job.fold}}


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tuning:
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    run = Call.from_arguments(["data=demo", "preset=smoke", "model=vgg_small"])
    run.folds.mkdir(parents=True)
    folds = pd.DataFrame({"clip_id": ["a", "b"], "label": "x", "verified": True, "group": "", "fold": [0, 1]})
    folds.to_csv(run.folds / "r0.csv", index=False)
    calls: list[int] = []
    monkeypatch.setattr(Tuning, "jobs", lambda self, params: [FakeJob(k, params, calls) for k in range(4)])
    monkeypatch.setattr(tune_trials, "train", fake_train)
    monkeypatch.setattr(tune_trials, "ASKED", 0.0)
    settings = TuneConfig(ranges={"augment.mixup": Range(low=0.0, high=1.0)}, start=({"augment.mixup": 0.1},))
    return Tuning(run, "vgg_small", settings, {k: r.distribution(k) for k, r in settings.ranges.items()})


def test_ranges() -> None:
    assert Range(low=1, high=8, log=True).distribution("k") == optuna.distributions.IntDistribution(1, 8, log=True)
    assert Range(low=0.1, high=1).distribution("k") == optuna.distributions.FloatDistribution(0.1, 1.0)
    lists = Range(choices=([8, 16], [16, 32])).distribution("k")
    assert tuning.merged({}, {"network.channels": tuning.first_value(lists)}) == {"network": {"channels": [8, 16]}}
    for wrong in (Range(low=2, high=1), Range(low=0, high=1, log=True), Range(), Range(low=0, high=1, choices=(1,))):
        with pytest.raises(UserError, match="k: give"):
            wrong.distribution("k")


def test_the_shipped_ranges_fit_the_models(one: Tuning) -> None:
    for model in ("vgg_small", "clip_forest", "cnn1d"):
        Tuning.of(one.call, model)
    with pytest.raises(UserError, match=r"network.*unknown key 'chanels'"):
        one.experiment({"network.chanels": 3})


def test_a_study_finds_the_best_and_says_so(one: Tuning, capsys: pytest.CaptureFixture[str]) -> None:
    study = tune_trials.work(one, 25)
    assert len(tune_trials.finished(study)) == 25
    states = [t.state for t in study.trials]
    assert TrialState.PRUNED in states
    assert abs(study.best_params["augment.mixup"] - 0.5) < 0.2
    assert study.trials[0].params == {"augment.mixup": 0.1}
    said = capsys.readouterr().out
    assert "pruned after fold" in said
    assert "tune: 25 of 25 trials, best so far " in said
    assert "tune: 24 of 25 trials" in said
    assert "min left" in said
    csv, best = tune_results.report(study, one)
    table = pd.read_csv(csv)
    assert table["cv"].iloc[0] == pytest.approx(study.best_value)
    assert yaml.safe_load(best.read_text())["augment"]["mixup"] == study.best_params["augment.mixup"]
    assert "nested" in best.read_text()
    before = len(one.jobs({})[0].calls)  # type: ignore[attr-defined]
    tune_trials.work(one, 25)  # nothing is left to do
    assert len(one.jobs({})[0].calls) == before  # type: ignore[attr-defined]


def test_a_dead_workers_trial_is_started_again(one: Tuning) -> None:
    study = one.study()
    for value in (0.3, 0.6):
        study.enqueue_trial({"augment.mixup": value})
    dead, living = study.ask(one.space), study.ask(one.space)
    with tune_trials.locked(one.lock(living.params)) as mine:
        assert mine
        tune_trials.revive(study, one)
        assert tune_trials.running(study, one) == 1
        tune_trials.work(one, 3)
    trials = study.get_trials()
    assert trials[dead.number].state == TrialState.FAIL
    assert trials[living.number].state == TrialState.RUNNING
    assert dead.params in [t.params for t in trials if t.state == TrialState.COMPLETE]
    assert len(tune_trials.finished(study)) == 2  # and the living worker's makes three


def test_what_cannot_be_trained_counts_and_ends(one: Tuning) -> None:
    settings = TuneConfig(ranges={"augment.mixup": Range(low=0.96, high=1.0)})
    bad = replace(one, settings=settings, space={k: r.distribution(k) for k, r in settings.ranges.items()})
    study = tune_trials.work(bad, 3)
    assert len(tune_trials.finished(study)) == 3
    assert tune_results.report(study, bad)[0].is_file()
    assert len(tune_results.report(study, bad)) == 1


def test_a_study_is_of_its_folds_and_labels_alone(one: Tuning) -> None:
    def folder(**words: Any) -> Path:
        return replace(one, call=one.call.but(**words)).folder

    def write(label: str) -> None:
        pd.DataFrame({"clip_id": ["a"], "holdout": -1, "label": label, "weight": 1.0, "source": "given"}).to_csv(
            one.call.folds / "agree.csv", index=False
        )

    assert folder() == folder()
    assert len({folder(), folder(fold="0"), folder(fold="1")}) == 3
    write("x")
    before = folder(revision="agree")
    assert before == folder(revision="agree") != folder()
    write("another")
    assert folder(revision="agree") != before


@pytest.mark.parametrize("without", [{2}, {0, 1, 2, 3}])
def test_folds_without_a_score_are_left_out_and_the_study_ends(
    one: Tuning, monkeypatch: pytest.MonkeyPatch, without: set[int]
) -> None:
    def half(job: FakeJob, watch: Any) -> dict[str, Any]:
        watch(0, float("nan"))
        found = fake_train(replace(job, params={"augment.mixup": 0.3}), watch)
        return {"metrics": {"map@3": float("nan")}} if job.fold in without else found

    monkeypatch.setattr(tune_trials, "train", half)
    study = tune_trials.work(one, 7)
    assert len(tune_trials.finished(study)) == len(study.trials) == 7
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(complete) == (0 if len(without) == 4 else 7)
    assert all(len(tune_trials.fold_scores(t)) == 3 for t in complete)
    assert all(("error" in t.user_attrs) == (t.state == TrialState.FAIL) for t in study.trials)
    if complete:
        assert study.best_value == pytest.approx(0.86 + 0.001 * 4 / 3)
        assert not np.isnan(tune_results.nested_score(complete, 1.0))
    tune_results.report(study, one)


def test_epochs_are_pruned_too(one: Tuning) -> None:
    study = one.study()
    for value in (1.0, 1.1, 1.2, 1.3, 1.4):
        trial = study.ask(one.space)
        tune_trials.prune_at(study, trial, one, 3, -value)
    with pytest.raises(optuna.TrialPruned, match="in fold 0, epoch 3"):
        tune_trials.prune_at(study, study.ask(one.space), one, 3, -1.5)
    tune_trials.prune_at(study, study.ask(one.space), one, 3, -0.9)


def test_the_nested_score_is_not_the_best_ones() -> None:
    scores = [[0.9, 0.5], [0.6, 0.8]]  # each fold's better trial is the other fold's worse
    trials = []
    for rows in scores:
        attributes = {f"fold{k}": [s, 10] for k, s in enumerate(rows)}
        trials.append(optuna.trial.create_trial(value=float(np.mean(rows)), user_attrs=attributes))
    assert tune_results.nested_score(trials, 1.0) == pytest.approx(0.55)
    alone = optuna.trial.create_trial(value=0.99, user_attrs={"fold0": [0.99, 10]})  # says nothing of the other fold
    assert tune_results.nested_score([alone, *trials], 1.0) == pytest.approx(0.55)
