"""Distillation: a network learns a pretrained model's embeddings before it learns labels, of no clip that scores it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prepare
import tiny_models
import train
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.config.call import Call
from tonestack.features import store
from tonestack.networks import weights
from tonestack.networks.layers import Network, Normalise, Tagger
from tonestack.studies import planning
from tonestack.training import distil, fold_job, queue
from tonestack.training.job import FoldJob
from tonestack.training.step import depth_shares

import numpy as np
import pytest
import torch
from torch import Tensor, nn

MakeRun = Callable[..., Call]
RATE = 8000


@pytest.fixture
def taught(tiny_run: MakeRun, tmp_path: Path) -> MakeRun:
    """A call whose network first learns the embeddings of a tiny ONNX model."""
    model = tiny_models.spectrum(tmp_path / "teacher.onnx", rate=RATE)
    words = [f"embedding.model={model}", f"embedding.sample_rate={RATE}", "embedding.output=pooled"]
    return lambda *more: tiny_run(*words, "training.distil.epochs=3", "fold=0", *more)


def job_of(call: Call) -> FoldJob:
    experiments = call.experiments()
    prepare.run(call)
    return queue.build(call, experiments)[0]


def tensors(job: FoldJob) -> dict[str, Tensor]:
    return weights.read(job.folder / f"fold{job.fold}.safetensors")


def entries(job: FoldJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.history_path.read_text().splitlines()]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


# ------------------------------------------------------------------------------------------------------------ it learns


def test_the_network_comes_closer_to_the_embeddings_and_then_learns_labels(taught: MakeRun, tiny_run: MakeRun) -> None:
    call = taught("training.distil.epochs=12", "training.distil.lr=0.02", "variant=d")
    train.run(call)
    job = job_of(call)
    told = entries(job)
    assert [entry["epoch"] for entry in told] == list(range(1, 15))
    assert all("distance" in entry for entry in told[:12])
    assert all("loss" in entry for entry in told[12:])
    assert told[11]["distance"] < 0.7 * told[0]["distance"]
    receipt = read_json(job.folder / "fold0.json")
    assert receipt["epochs"] == job.epochs == 14
    plain = tiny_run("fold=0")
    train.run(plain)
    assert not same(tensors(job), tensors(job_of(plain)))
    assert tensors(job).keys() == tensors(job_of(plain)).keys()  # nothing of the teacher is left in the file
    assert [path.name for path in job.folder.glob("*state*")] == []


def test_embeddings_are_means_over_windows_standardised_and_of_length_one() -> None:
    made = [np.array([[1.0, 5.0], [3.0, 5.0]]), np.zeros((0, 2)), np.array([[4.0, 5.0]]), np.array([[0.0, 7.0]])]

    class Heard:
        width, frame_rate = 2, 1.0

    held = store.Store.in_memory([one.astype(np.float32) for one in made], Heard())  # type: ignore[arg-type]
    found = distil.vectors(held, ["0", "1", "2", "3"])
    means = np.array([[2.0, 5.0], [4.0, 5.0], [0.0, 7.0]])
    wanted = (means - means.mean(axis=0)) / means.std(axis=0)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found[[0, 2, 3]], wanted, rtol=1e-6)
    assert np.isnan(found[1]).all()


def test_the_loss_is_one_minus_the_cosine() -> None:
    given = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    wanted = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    value = distil.cosine_distance(given, wanted, torch.tensor([1.0, 1.0, 2.0]))
    assert float(value) == pytest.approx((0 + 1 - 0.5**0.5 + 2) / 4)


def test_rates_by_depth_count_the_networks_own_stages() -> None:
    network = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 3)), nn.Flatten(), nn.Linear(4, 3))
    student = Tagger(Normalise(torch.zeros(3), torch.ones(3)), distil.Projected(network, 7))
    shares = depth_shares(student, 0.5)
    assert shares[network.body[1].weight] == 0.5  # type: ignore[index, union-attr]
    assert shares[network.body[0].weight] == 0.25  # type: ignore[index, union-attr]
    assert shares[student.network.classifier.weight] == 1  # type: ignore[index]


# ----------------------------------------------------------------------------------------------------- what it may hear


def test_clips_of_the_held_out_fold_are_not_heard(taught: MakeRun) -> None:
    """Embeddings of held-out and test clips are overwritten with noise: the network is the same, bit for bit."""
    call = taught()
    train.run(call)
    job = job_of(call)
    before = tensors(job)
    folder = store.folder_of(job.experiment.config.training.distil.teacher, job.audio, job.cache)
    held = np.load(folder / "features.npy")
    offsets, frames = store.Store.open(job.cache, job.experiment.config.training.distil.teacher, job.audio).rows(
        [*job.held_out, *job.test]
    )
    for offset, count in zip(offsets, frames, strict=True):
        held[offset : offset + count] = np.random.default_rng(0).normal(size=(count, held.shape[1]))
    np.save(folder / "features.npy", held)
    fold_job.make(job)
    assert same(tensors(job), before)


def test_test_clips_are_heard_where_it_is_asked_for(taught: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    own = distil.vectors

    def spied(teacher: Any, ids: list[str]) -> np.ndarray:
        asked.append(ids)
        return own(teacher, ids)

    monkeypatch.setattr(distil, "vectors", spied)
    jobs = [job_of(taught()), job_of(taught("training.distil.test=true", "variant=t"))]
    for job in jobs:
        fold_job.make(job)
    assert set(asked[0]) == set(jobs[0].labels.clip_ids)
    silent = {"test023.wav"}
    assert set(asked[1]) == set(jobs[1].labels.clip_ids) | set(jobs[1].test) - silent
    assert not set(asked[1]) & set(jobs[1].held_out)


# -------------------------------------------------------------------------------------------- resumed, stale or refused


@pytest.mark.parametrize("written", [2, 4])
def test_a_killed_run_ends_as_if_it_had_not_been(
    taught: MakeRun, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Killed after its second epoch on embeddings, and after its first on labels."""
    job = job_of(taught())
    fold_job.make(job)
    whole, told = tensors(job), entries(job)[:-1]
    (job.folder / "fold0.json").unlink()  # else its network would serve the variant
    job = job_of(taught("variant=again"))
    writer = FoldJob.history_writer

    def killing(self: FoldJob) -> Callable[[dict[str, float]], None]:
        add, count = writer(self), iter(range(written))

        def report(entry: dict[str, float]) -> None:
            add(entry)
            if next(count, None) is None:
                raise KeyboardInterrupt

        return report

    with monkeypatch.context() as patch:
        patch.setattr("tonestack.training.checkpoint.SAVING", 1e9)  # every epoch is saved
        patch.setattr(FoldJob, "history_writer", killing)
        with pytest.raises(KeyboardInterrupt):
            fold_job.make(job)
    assert job.distil_path.is_file()
    assert job.state_path.is_file() == (written == 4)
    assert planning.why_not(job) == "resumes from its last epoch"
    fold_job.make(job)
    assert same(tensors(job), whole)
    keep = ("epoch", "distance", "loss")
    assert [[entry.get(key) for key in keep] for entry in entries(job)[:-1]] == [
        [entry.get(key) for key in keep] for entry in told
    ]


def test_another_model_is_another_experiment(taught: MakeRun, tmp_path: Path) -> None:
    call = taught()
    train.run(call)
    assert all(job.finished() for job in queue.build(call, call.experiments()))
    assert "teacher" in read_json(job_of(call).folder / "fold0.json")["inputs"]
    tiny_models.spectrum(tmp_path / "teacher.onnx", rate=RATE, bands=9)
    with pytest.raises(
        UserError, match=r"trained with other settings \(training\.distil\.teacher\.content: .*variant="
    ):
        train.run(taught())


def test_without_distillation_the_section_changes_nothing(tiny_run: MakeRun, tmp_path: Path) -> None:
    plain = tiny_run().experiments()[0].config
    with_section = tiny_run(f"embedding.model={tiny_models.spectrum(tmp_path / 't.onnx')}").experiments()[0].config
    assert plain == with_section
    assert plain.frontends == [plain.frontend]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], r"vgg_small: training\.distil needs a pretrained model: give embedding\.model=FILE$"),
        (["embedding.model=none.onnx"], r"vgg_small: .*embedding\.model=none\.onnx: no such file.*\./run\.sh weights$"),
    ],
)
def test_what_it_needs_is_said_in_one_line(tiny_run: MakeRun, words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        tiny_run("training.distil.epochs=3", *words).experiments()


def test_forests_have_nothing_to_be_distilled_into(tiny_root: Path) -> None:
    words = ["data=fsdkaggle2018", f"root={tiny_root}", "model=clip_forest", "training.distil.epochs=2"]
    with pytest.raises(UserError, match=r"clip_forest: training\.distil is for networks"):
        Call.from_arguments(words).experiments()


# ------------------------------------------------------------------------------------------------------------- the plan


def test_the_plan_prepares_the_embeddings_and_counts_the_epochs(taught: MakeRun) -> None:
    call = taught("variant=d")
    found = planning.items(call, {"make_folds": "", "blend": "", "stack": ""})
    assert [(item.stage, item.what) for item in found][1] == ("prepare", "embedding for vgg_small")
    job = job_of(call)
    assert job.epochs == 3 + job.experiment.config.training.plan(len(job.labels.clip_ids))[0]
