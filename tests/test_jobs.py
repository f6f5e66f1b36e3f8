"""Folds as jobs: what is up to date, stale or refused; and no label of a fold reaches its own model."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import make_folds
import train
from tonestack.base.errors import UserError
from tonestack.base.files import read_json, write_json
from tonestack.config import layers
from tonestack.config.call import Call, Experiment
from tonestack.features.store import Store
from tonestack.labels import folds
from tonestack.settings.model_config import AugmentParams
from tonestack.settings.words import parse
from tonestack.studies import planning
from tonestack.tables import oof
from tonestack.training import fold_job, queue
from tonestack.training.finished_networks import made_network
from tonestack.training.job import FoldJob, changed_settings, read_receipt
from tonestack.training.learners import network
from tonestack.training.progress import progress_of

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

TinyRun = Callable[..., Call]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folds trained so far."""
    names: list[str] = []
    original = fold_job.run

    def counting(job: FoldJob) -> dict[str, object]:
        names.append(job.name)
        return original(job)

    monkeypatch.setattr(fold_job, "run", counting)
    return names


def relabel(run: Call, fold: int, labels: list[str] | None = None) -> None:
    """Write other labels for the clips of a fold into r0.csv (each class becomes the next, if none are given)."""
    table = folds.read(run.folds)
    rows = table["fold"] == fold
    classes = sorted(table["label"].unique())
    following = dict(zip(classes, classes[1:] + classes[:1], strict=True))
    table.loc[rows, "label"] = labels or table.loc[rows, "label"].map(following)
    receipt = folds.receipt(run.folds)
    folds.write(run.folds, table, receipt)


def work(run: Call) -> list[FoldJob]:
    """Train what is not up to date, on the folds as they are; return the jobs."""
    made = queue.build(run, run.experiments())
    queue.run_all(run, queue.pending(run, run.experiments()))
    return made


# ---------------------------------------------------------------------------------------------------- up to date, stale


def test_a_finished_fold_is_not_run_again(tiny_run: TinyRun, trained: list[str]) -> None:
    train.run(tiny_run("fold=1"))
    assert trained == ["vgg_small@r0 fold 1"]
    train.run(tiny_run())
    assert trained == ["vgg_small@r0 fold 1", "vgg_small@r0 fold 0"]
    train.run(tiny_run())
    assert len(trained) == 2


def test_a_fold_leaves_its_files_and_no_state(tiny_run: TinyRun, tiny_home: Path) -> None:
    (job, _) = work(tiny_run("fold=0..1"))
    folder = tiny_home / "oof/fsdkaggle2018/vgg_small@r0"
    suffixes = ("json", "jsonl", "parquet", "safetensors")
    assert {p.name for p in folder.iterdir()} == {oof.OWN, *(f"fold{k}.{s}" for k in (0, 1) for s in suffixes)}
    receipt = json.loads((folder / "fold0.json").read_text())
    assert receipt["experiment"] == "vgg_small@r0"
    assert receipt["inputs"] == job.inputs
    assert receipt["params"] == 36 + 8 + 288 + 16 + 72 + 36  # two convolutions with their norms, two dense layers
    assert receipt["config"]["training"]["epochs"] == receipt["epochs"] == 2
    assert {"map@3", "log_loss"} <= set(receipt["metrics"])
    history = [json.loads(line) for line in (folder / "fold0.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2]
    tracked = pd.read_json(folder / "fold0.jsonl", lines=True)
    assert tracked[["experiment", "fold"]].drop_duplicates().to_numpy().tolist() == [["vgg_small@r0", 0]]
    assert tracked["loss"].notna().all()
    assert tracked.iloc[-1][list(receipt["metrics"])].to_dict() == pytest.approx(receipt["metrics"])
    assert tracked.iloc[-1][["params", "seconds"]].tolist() == pytest.approx([receipt["params"], receipt["seconds"]])
    assert tracked.iloc[0][list(receipt["metrics"])].isna().all()
    table = pd.read_parquet(folder / "fold0.parquet")
    assert table["clip_id"].tolist() == job.held_out + job.test
    assert table["part"].tolist() == ["oof"] * len(job.held_out) + ["test"] * 24
    assert np.allclose(table.iloc[:, 2:].sum(axis=1), 1, atol=1e-5)


def test_a_learner_without_epochs_tracks_its_metrics_too(tiny_run: TinyRun) -> None:
    (job,) = queue.build(tiny_run("fold=1"), tiny_run().experiments())
    receipt = {"epochs": 1, "metrics": {"map@3": 0.5}, "train_metrics": {"map@3": 0.9}, "seconds": 2.5, "params": 7}
    for _ in range(2):  # a fold that is made again says the same
        fold_job.track(job, receipt)
        (line,) = pd.read_json(job.history_path, lines=True).to_dict("records")
        assert line == {"experiment": "vgg_small@r0", "fold": 1, "epoch": 1, "map@3": 0.5, "train_map@3": 0.9} | {
            "seconds": 2.5,
            "params": 7,
        }


def test_an_empty_test_clip_gets_the_prior_of_the_training_labels(tiny_run: TinyRun) -> None:
    (job,) = work(tiny_run("fold=0"))
    table = pd.read_parquet(job.folder / "fold0.parquet").set_index("clip_id")
    prior = (job.labels.targets * job.labels.weights[:, None]).sum(0) / job.labels.weights.sum()
    assert np.allclose(table.loc["test023.wav", list(job.classes)].to_numpy(float), prior, atol=1e-6)


@pytest.mark.parametrize("suffix", ["json", "parquet", "safetensors"])
def test_a_fold_without_one_of_its_files_is_run_again(tiny_run: TinyRun, trained: list[str], suffix: str) -> None:
    (job,) = work(tiny_run("fold=0"))
    (job.folder / f"fold0.{suffix}").unlink()
    work(tiny_run("fold=0"))
    assert len(trained) == 2
    assert (job.folder / f"fold0.{suffix}").is_file()


def test_the_json_comes_last(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    (job,) = queue.build(tiny_run("fold=0"), tiny_run().experiments())
    with monkeypatch.context() as patch:
        patch.setattr(oof, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            fold_job.run(job)
    assert {"fold0.parquet", "fold0.safetensors"} <= {path.name for path in job.folder.iterdir()}
    assert job.finished() is None
    fold_job.run(job)
    assert job.finished() is not None


def test_a_fold_made_again_has_no_json_of_the_old_one_beside_its_new_table(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = work(tiny_run("fold=0"))
    relabel(tiny_run(), fold=1)
    (again,) = queue.build(tiny_run("fold=0"), tiny_run().experiments())
    assert again.finished() is None
    with monkeypatch.context() as patch:
        patch.setattr(oof, "write_json", lambda path, value: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fold_job.run(again)
    assert read_receipt(job.folder, 0) is None


def test_changed_labels_make_the_folds_that_learn_from_them_stale(tiny_run: TinyRun, trained: list[str]) -> None:
    work(tiny_run())
    relabel(tiny_run(), fold=0)
    work(tiny_run())
    assert trained[2:] == ["vgg_small@r0 fold 1"]  # fold 0's own model has never seen them


def test_other_features_make_all_folds_stale(tiny_run: TinyRun, trained: list[str], tiny_home: Path) -> None:
    work(tiny_run())
    meta = next((tiny_home / "cache").glob("*/logmel-*/meta.json"))
    meta.write_text(meta.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    assert len(queue.pending(tiny_run(), tiny_run().experiments())) == 2


def test_a_damaged_json_is_an_error_that_names_it(tiny_run: TinyRun) -> None:
    (job,) = work(tiny_run("fold=0"))
    (job.folder / "fold0.json").write_text("{")
    with pytest.raises(UserError, match=r"fold0\.json: not valid json .*; delete it and run again"):
        queue.pending(tiny_run(), tiny_run().experiments())


# -------------------------------------------------------------------------------------------------- changed meaning


def test_settings_that_a_model_fitted_in_one_go_never_read_are_no_change() -> None:
    words = parse(["data=fsdkaggle2018", "preset=smoke"])
    experiment = Experiment("patches", layers.load_model("patches", layers.load_data(words)[1], words))
    saved = experiment.config.model_dump(mode="json")
    before = {"config_fingerprint": "another", "config": saved}
    saved["training"] |= {"epochs": 20, "min_steps": 240}
    del saved["network"]["columns"]  # the regression then chose on all clips
    assert changed_settings(before, experiment) == []
    saved["network"]["width"] = 0.5
    assert changed_settings(before, experiment) == ["network.width: 0.5 there, 0.1 now"]


def test_changed_settings_are_refused_until_they_have_a_name(tiny_run: TinyRun, trained: list[str]) -> None:
    train.run(tiny_run())
    with pytest.raises(UserError) as error:
        train.run(tiny_run("training.lr=0.5", "network.channels=[4,4]"))
    message = str(error.value)
    assert "vgg_small@r0 was trained with other settings (" in message
    assert "network.channels: [4, 8] there, [4, 4] now" in message
    assert "training.lr: 0.001 there, 0.5 now" in message
    assert "give variant=WORD or name=WORD to keep both" in message
    assert len(trained) == 2
    train.run(tiny_run("training.lr=0.5", "network.channels=[4,4]", "variant=narrow", "fold=0"))
    assert trained[2:] == ["vgg_small-narrow@r0 fold 0"]


def test_a_variant_with_other_inference_is_predicted_by_the_finished_networks(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted: list[str] = []
    original = network.fit
    monkeypatch.setattr(network, "fit", lambda job, store: fitted.append(job.name) or original(job, store))
    words = ("inference.mean=arithmetic", "variant=mean", "fold=0")
    (first,) = work(tiny_run("fold=0"))
    (job,) = queue.build(tiny_run(*words), tiny_run(*words).experiments())
    assert planning.why_not(job) == "predicted by the networks of vgg_small@r0"
    capsys.readouterr()
    (served,) = work(tiny_run(*words))
    assert "0 of 1 folds up to date, 0 to train, 1 to predict with finished networks" in capsys.readouterr().out
    assert fitted == ["vgg_small@r0 fold 0"]
    receipt = read_json(served.folder / "fold0.json")
    assert (receipt["network_of"], receipt["epochs"]) == ("vgg_small@r0", 2)
    assert receipt["config"]["inference"]["mean"] == "arithmetic"
    table = (served.folder / "fold0.parquet").read_bytes()
    assert table != (first.folder / "fold0.parquet").read_bytes()
    for path in [*first.folder.glob("fold0.*"), *served.folder.glob("fold0.*")]:
        path.unlink()
    work(tiny_run(*words))
    assert fitted == ["vgg_small@r0 fold 0", "vgg_small-mean@r0 fold 0"]
    assert (served.folder / "fold0.parquet").read_bytes() == table  # as if it had been trained


def test_a_network_that_was_trained_otherwise_does_not_serve(tiny_run: TinyRun) -> None:
    def server(*words: str) -> Path | None:
        call = tiny_run("fold=0", "variant=other", "inference.crops=2", *words)
        (job,) = queue.build(call, call.experiments())
        return made_network(job)

    (first,) = work(tiny_run("fold=0"))
    assert server() == first.folder / "fold0.safetensors"
    assert server("training.lr=0.5") is None
    assert server("seed=1") is None
    relabel(tiny_run(), fold=1)
    assert server() is None


def test_another_seed_is_another_experiment(tiny_run: TinyRun) -> None:
    (first,), (second,) = work(tiny_run("fold=0")), work(tiny_run("fold=0", "seed=1"))
    assert second.folder.name == "vgg_small-s1@r0"
    one, two = (load_file(job.folder / "fold0.safetensors") for job in (first, second))
    assert any(not np.array_equal(one[key], two[key]) for key in one)


def test_changed_folds_under_trained_experiments_are_refused(tiny_run: TinyRun) -> None:
    train.run(tiny_run("fold=0"))
    with pytest.raises(UserError, match=r"r0\.csv was made with other settings \(folds\.n: 2 there, 3 now\)"):
        make_folds.run(tiny_run("folds.n=3"))


def test_differences_are_named_by_key_with_both_values() -> None:
    then, now = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3, "e": None}, "d": [2], "f": 0}
    assert layers.differences(then, now) == ["a.c: 2 there, 3 now", "d: [1] there, [2] now", "f: None there, 0 now"]
    assert layers.differences(then, then) == []


def test_a_fold_that_is_not_there_is_refused(tiny_run: TinyRun) -> None:
    with pytest.raises(UserError, match=r"'fold=2': no fold \[2\]; there are folds 0\.\.1"):
        queue.build(tiny_run("fold=2"), tiny_run().experiments())


# --------------------------------------------------------------------------------------------------------- no leak


def test_labels_of_the_held_out_fold_do_not_change_its_models_weights(tiny_run: TinyRun) -> None:
    words = ["fold=0", "training.balanced=0.5", "augment.mixup=0.4", "training.stop=early"]
    (before,) = work(tiny_run(*words, "variant=before"))
    relabel(tiny_run(), fold=0)
    (after,) = work(tiny_run(*words, "variant=after"))
    assert not np.array_equal(before.truth, after.truth)
    assert (before.folder / "fold0.safetensors").read_bytes() == (after.folder / "fold0.safetensors").read_bytes()
    one, two = (pd.read_parquet(job.folder / "fold0.parquet") for job in (before, after))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_labels_of_another_fold_do_change_them(tiny_run: TinyRun) -> None:
    (before,) = work(tiny_run("fold=0", "variant=before"))
    relabel(tiny_run(), fold=1)
    (after,) = work(tiny_run("fold=0", "variant=after"))
    assert (before.folder / "fold0.safetensors").read_bytes() != (after.folder / "fold0.safetensors").read_bytes()


def test_shuffled_labels_give_chance_though_the_models_learn_them_by_heart(tiny_run: TinyRun) -> None:
    rng = np.random.default_rng(5)
    for fold in (0, 1):
        relabel(tiny_run(), fold, rng.choice(["Bell", "Drum", "Hiss", "Whistle"], 20).tolist())
    heart = ["network.channels=[32,64]", "network.dense=128", "network.dropout=0", "crop.seconds=1.5", "crop.short=pad"]
    heart += ["training.epochs=50", "training.lr=0.01", "training.batch_size=10", "training.ema=0"]
    numbers = [name for name, one in AugmentParams.model_fields.items() if not isinstance(one.default, str | tuple)]
    heart += [f"augment.{name}=0" for name in numbers]
    made = work(tiny_run(*heart))
    values, by_heart = [], []
    for job in made:
        table = pd.read_parquet(job.folder / f"fold{job.fold}.parquet").set_index("clip_id")
        values += (table.loc[job.held_out, list(job.classes)].to_numpy().argmax(1) == job.truth.argmax(1)).tolist()
        by_heart.append(json.loads((job.folder / f"fold{job.fold}.jsonl").read_text().splitlines()[-1])["loss"])
    assert max(by_heart) < 0.7  # half of chance, 1.39: learnt well enough that a leak would be seen
    assert abs(np.mean(values) - 0.25) < 3.5 * (0.25 * 0.75 / 40) ** 0.5


def test_only_verified_clips_count_in_a_folds_score(tiny_run: TinyRun) -> None:
    (job,) = queue.build(tiny_run("fold=0"), tiny_run().experiments())
    table = folds.read(tiny_run().folds).set_index("clip_id")
    assert job.scored.tolist() == table.loc[job.held_out, "verified"].tolist()
    assert 0 < job.scored.sum() < len(job.scored)
    receipt = fold_job.run(job)
    wrong = np.where(job.scored[:, None], job.truth, np.roll(job.truth, 1, axis=1))
    again = fold_job.run(replace(job, truth=wrong, folder=job.folder.with_name("again")))
    assert again["metrics"] == receipt["metrics"]


def test_source_weight_0_and_verified_only_leave_the_same_clips_out(tiny_run: TinyRun) -> None:
    verified = set(folds.read(tiny_run().folds).query("verified")["clip_id"])
    for word in ("training.source_weights={given: 0}", "training.verified_only=true"):
        for job in queue.build(tiny_run(word), tiny_run(word).experiments()):
            assert set(job.labels.clip_ids) == verified - set(job.held_out)


def test_source_weights_reach_the_loss(tiny_run: TinyRun) -> None:
    made = [work(tiny_run("fold=0", f"variant=v{w}", f"training.source_weights={{given: 0.{w}}}"))[0] for w in (1, 9)]
    assert made[0].labels.clip_ids == made[1].labels.clip_ids
    one, two = ((job.folder / "fold0.safetensors").read_bytes() for job in made)
    assert one != two


def test_clips_without_a_label_and_those_of_the_job_are_its_backgrounds(
    tiny_run: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    from tonestack.training.learners.network import training_set

    import torch

    run = tiny_run("fold=0", "augment.background=0.5")
    (job,) = queue.build(run, run.experiments())
    store = Store.open(job.cache, job.experiment.config.frontend, job.audio)
    targets = job.labels.targets.copy()
    targets[3], targets[5], targets[6] = 0, np.nan, 0
    targets[6, 1] = np.nan
    audible = [name for name in job.test if store.rows([name])[1][0] > 0][:2]
    silent = [name for name in job.test if store.rows([name])[1][0] == 0][:1]
    assert silent
    changed = replace(job, labels=replace(job.labels, targets=targets), backgrounds=(*silent, *audible))
    data = training_set(changed, store, torch.device("cpu"))
    assert capsys.readouterr().out == ""
    assert len(training_set(job, store, torch.device("cpu")).backgrounds) == 0
    assert "no training clip is without a label, so augment.background does nothing" in capsys.readouterr().out
    ids = [*job.labels.clip_ids, *changed.backgrounds]
    assert [ids[row] for row in data.backgrounds.tolist()] == [job.labels.clip_ids[3], *audible]
    assert len(data.rows) == len(data.targets) == len(data.weights) <= len(job.labels.clip_ids)


def test_an_inner_split_keeps_groups_whole_and_leaves_the_held_out_fold_alone(tiny_run: TinyRun) -> None:
    from tonestack.training.learners.network import split_inner
    from tonestack.training.loop import TrainingSet

    words = ["fold=0", "training.stop=early", "training.inner_share=0.3"]
    (job,) = queue.build(tiny_run(*words), tiny_run(*words).experiments())
    ids = job.labels.clip_ids
    job = replace(job, groups={name: f"g{i // 3}" for i, name in enumerate(ids)})
    import torch

    rows = torch.arange(len(ids))
    data = TrainingSet(None, rows, torch.from_numpy(job.labels.targets), torch.ones(len(ids)), 1.0)  # type: ignore[arg-type]
    learnt, inner = split_inner(data, job)
    assert sorted(learnt.rows.tolist() + inner.rows.tolist()) == rows.tolist()
    assert {i // 3 for i in learnt.rows.tolist()} & {i // 3 for i in inner.rows.tolist()} == set()
    assert 0 < len(inner.rows) <= 0.3 * len(ids)
    assert torch.equal(inner.targets, data.targets[inner.rows])
    assert not set(ids) & set(job.held_out)


# ------------------------------------------------------------------------------------------------------ side by side


def test_jobs_side_by_side_make_the_same_tables(tiny_run: TinyRun, capfd: pytest.CaptureFixture[str]) -> None:
    alone = work(tiny_run("variant=alone", "jobs=1"))
    together = work(tiny_run("variant=together", "jobs=2"))
    for one, two in zip(alone, together, strict=True):
        for suffix in ("parquet", "safetensors"):
            name = f"fold{one.fold}.{suffix}"
            assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
    assert "2 of 2" in capfd.readouterr().out


REUSE = """
import resource, sys
import numpy as np
from tonestack.base.workers import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    blocks = [np.ones(6 << 20) for _ in range(4)]  # 48 MiB each
for _ in range(2):
    step()
before = faults()
step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_a_training_process_has_freed_memory_again_without_fresh_pages() -> None:
    source = Path(fold_job.__file__).parents[2]
    faults = {
        word: int(subprocess.check_output([sys.executable, "-c", REUSE, word], cwd=source, text=True))
        for word in ("keep", "give back")
    }
    assert faults["keep"] < 500 < faults["give back"]


def test_a_fold_from_before_a_setting_existed_keeps_its_meaning(tiny_run: TinyRun, trained: list[str]) -> None:
    train.run(tiny_run("fold=0"))
    path = tiny_run().oof / "vgg_small@r0/fold0.json"
    receipt = read_json(path)
    del (
        receipt["config"]["inference"]["rolls"],
        receipt["config"]["network"]["first_convs"],
    )  # as an older version wrote
    write_json(path, receipt | {"config_fingerprint": "of then"})
    train.run(tiny_run("fold=0"))
    assert len(trained) == 1
    with pytest.raises(UserError, match=r"other settings \(inference.rolls: 1 there, 5 now\)"):
        train.run(tiny_run("fold=0", "inference.rolls=5"))


def test_the_line_of_a_fold_says_which_metrics_decide_at_one_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = SimpleNamespace(
        history_path=tmp_path / "fold0.jsonl", epochs=1, name="m@r0 fold 0", task="multilabel", classes=("a", "b", "c")
    )
    values = {"row_f1": 0.25, "auc": 0.75}
    receipt = {"experiment": "m@r0", "fold": 0, "metrics": values, "metrics_apart": {"focal row_f1": 0.5}, "seconds": 1}
    with progress_of([job]) as done:  # type: ignore[list-item]
        done(receipt)
    said = capsys.readouterr().out
    assert "row_f1 0.2500 (at 0.5)  auc 0.7500  focal row_f1 0.5000 (at 0.5)" in said
    job.task = "classify"
    with progress_of([job]) as done:  # type: ignore[list-item]
        done(receipt | {"metrics": {"macro_f1": 0.25}, "metrics_apart": {}})
    assert "macro_f1 0.2500  " in capsys.readouterr().out  # the best of three classes: no threshold comes in
