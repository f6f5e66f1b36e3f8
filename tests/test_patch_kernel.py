"""Patches learnt without labels, and the kernel regression on what a clip has of them."""

from dataclasses import replace
from pathlib import Path

import train
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.config.call import Call
from tonestack.features import patches
from tonestack.features.patches import Patches
from tonestack.features.store import Store
from tonestack.labels.training_labels import Labels
from tonestack.networks.models.patch_kernel import Params
from tonestack.tables import oof
from tonestack.training import queue
from tonestack.training.job import FoldJob
from tonestack.training.learners import kernel

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

SMALL = {"patches": 12, "bands": 4, "frames": 3, "samples": 400, "rounds": 3}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def store_of(clips: list[np.ndarray]) -> Store:
    frames = np.array([len(x) for x in clips])
    table = pd.DataFrame(
        {"offset": frames.cumsum() - frames, "frames": frames}, index=[str(i) for i in range(len(clips))]
    )
    width = clips[0].shape[1]
    return Store(np.concatenate(clips), table, np.zeros(width), np.ones(width), 62.5, "")


def labels_of(targets: np.ndarray) -> Labels:
    """Labels of clips that count alike."""
    return Labels([str(i) for i in range(len(targets))], targets, np.ones(len(targets)))


def response(x: np.ndarray, found: Patches, k: int, params: Params, at: tuple[int, int]) -> float:
    """Response of the patch of x (T, F) whose corner is at (frame, band), as its definition says."""
    piece = x[at[0] : at[0] + params.frames, at[1] : at[1] + params.bands].T.astype(float)
    piece = (piece - piece.mean()) / np.sqrt(piece.var() + patches.CONTRAST)
    return max(0.0, float((piece * found.filters[k].numpy()).sum() - found.bias[k].item()) - params.threshold)


def test_responses_are_pooled_over_time_at_every_height_by_hand() -> None:
    params = Params(**SMALL, band_step=2, frame_step=2, threshold=0.1)
    rng = np.random.default_rng(0)
    found = Patches(torch.randn(2, 4, 3), torch.randn(2))
    x = rng.normal(scale=9, size=(11, 8)).astype(np.float32)
    by_hand = np.array(
        [[[response(x, found, k, params, (t, f)) for t in range(0, 9, 2)] for f in range(0, 5, 2)] for k in range(2)]
    )
    pooled = [by_hand.mean(axis=2), by_hand.std(axis=2), by_hand.max(axis=2)]
    expected = np.sqrt(np.concatenate([p.ravel() for p in pooled]))
    np.testing.assert_allclose(found.responses(x, params), expected, rtol=1e-4, atol=1e-5)


def test_a_long_clip_is_heard_in_chunks_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    params = Params(**SMALL)
    found, x = Patches(torch.randn(5, 4, 3), torch.randn(5)), np.float32(np.random.default_rng(1).normal(size=(501, 9)))
    whole = found.responses(9 * x, params)
    for chunk in (1, 7, 100):
        monkeypatch.setattr(patches, "CHUNK", chunk)
        torch.testing.assert_close(found.responses(9 * x, params), whole, rtol=1e-4, atol=1e-4)


def test_spectra_have_a_floor_and_short_ones_are_repeated() -> None:
    clip = np.array([[0, -30], [-200, -10]], np.float32)
    params = Params(frames=3, frame_step=2, range_db=50)
    (x,) = patches.clips(store_of([clip, clip[:0]]), ["0", "1"], params)
    assert x.tolist() == [[0, -30], [-50, -10]]
    assert patches.long_enough(x, params).tolist() == [[0, -30], [-50, -10], [0, -30], [-50, -10], [0, -30]]


def test_playing_faster_shortens_a_clip_and_raises_its_bands() -> None:
    centres = 100 * 2.0 ** np.arange(5)  # an octave apart
    x = np.repeat(np.array([[0, 0, 9, 0, 0]], np.float32), 8, axis=0)
    np.testing.assert_allclose(patches.played(x, 2.0, centres), [[0, 0, 0, 9, 0]] * 4)
    np.testing.assert_allclose(patches.played(x, 0.5, centres), [[0, 9, 0, 0, 0]] * 16)
    np.testing.assert_allclose(patches.played(x, 2.0, None), x[:4])  # bands of unknown centres stay
    ramp = np.arange(5, dtype=np.float32)[:, None]
    np.testing.assert_allclose(patches.played(ramp, 5 / 9, None)[:, 0], np.arange(9) / 2)
    assert patches.played(x, 1.0, centres) is x


def test_patches_are_whitened_clusters_of_what_is_there() -> None:
    rng = np.random.default_rng(2)
    shapes = np.float32(rng.normal(scale=10, size=(2, 3, 4)))  # two sounds of three frames, nothing else
    clips = [np.concatenate([shapes[i % 2]] * 2) + np.float32(rng.normal(scale=0.1, size=(6, 4))) for i in range(40)]
    params = Params(**(SMALL | {"patches": 6}), threshold=0.0)
    found = patches.learn(store_of(clips), [str(i) for i in range(40)], params, seed=3)
    said = np.array([found.responses(x, params)[-6:].numpy() for x in clips])  # most of each patch
    assert found.filters.shape == (6, 4, 3)
    ordered = np.sort(said, axis=1)
    assert (np.corrcoef(said)[::2, ::2] > 0.9).all()
    assert (np.corrcoef(said)[::2, 1::2] < 0.5).all()
    assert (ordered[:, -1] > 1).all()


@pytest.mark.parametrize("group", [np.arange(9), np.array([4, 1, 4, 0, 7, 1, 7, 4, 2])])
def test_what_is_left_out_is_what_a_fit_without_its_rows_says(group: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    places = torch.from_numpy(rng.normal(size=(9, 3, 4))).float()
    y, w = torch.from_numpy(rng.normal(size=(9, 2))), torch.rand(9).double()
    landmarks = places.flatten(0, 1)[::2]
    params = Params(width=0.5, penalties=(0.3,))
    ((weights, left_out),) = kernel.ridge(places, landmarks, y, w, group, params)
    near = kernel.gaussian(places, landmarks, 0.5).double()

    def fitted(chosen: np.ndarray) -> torch.Tensor:
        rows, pull = near[chosen].flatten(0, 1), w[chosen].repeat_interleave(3)[:, None]
        gram = rows.T @ (pull * rows) + 0.3 * kernel.gaussian(landmarks, landmarks, 0.5).double()
        return torch.linalg.solve(gram, rows.T @ (pull * y[chosen].repeat_interleave(3, 0)))

    torch.testing.assert_close(weights, fitted(np.arange(9)), rtol=1e-3, atol=1e-4)
    for clip in range(9):
        without = fitted(np.flatnonzero(group != group[clip]))
        torch.testing.assert_close(left_out[clip], (near[clip] @ without).mean(0), rtol=1e-3, atol=1e-4)


def test_a_group_that_is_left_out_is_left_out_whole_or_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BLOCK", 4)
    group = np.array([3, 0, 3, 3, 1, 3, 3, 5, 5, 9, 9])  # five of one, two of two, two alone
    together = kernel._leaving(group)
    assert sorted(np.concatenate([some.ravel() for some in together])) == list(range(11))
    assert all(some.size <= 4 and (group[some] == group[some[:, :1]]).all() for some in together)
    assert sorted(some.shape[1] for some in together) == [1, 2, 2, 3]
    (one,) = kernel._leaving(group, np.arange(11) == 4)
    assert one.tolist() == [[4]]


def test_with_every_clip_a_landmark_it_is_kernel_ridge_regression() -> None:
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.normal(size=(30, 3))).float()
    targets = np.eye(3)[rng.integers(0, 3, 30)]
    params = Params(width=0.5, penalties=(0.1,))
    found = kernel.regress(x[:, None], x, labels_of(targets), np.arange(30), params, several=False)
    gram = kernel.gaussian(x, x, 0.5).double()
    aims = torch.from_numpy(2 * targets - 1)
    own = torch.linalg.solve(gram + 0.1 * torch.eye(30), aims - aims.mean(0))
    torch.testing.assert_close(gram.float() @ found["weights"], (gram @ own).float(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["prior"], aims.mean(0).float())


def test_equal_landmarks_do_no_harm() -> None:
    x = torch.randn(1, 3).expand(20, 3)
    found = kernel.regress(
        x[:, None], x, labels_of(np.eye(2)[np.arange(20) % 2]), np.arange(20), Params(), several=False
    )
    assert all(torch.isfinite(value).all() for value in found.values())


def test_penalty_and_temperature_are_weaker_for_signal_than_for_noise() -> None:
    rng = np.random.default_rng(6)
    x = torch.from_numpy(rng.normal(size=(120, 2))).float()
    signal = np.eye(2)[(x[:, 0] > 0).numpy().astype(int)]
    noise = np.eye(2)[rng.integers(0, 2, 120)]
    sure, unsure = (
        kernel.regress(x[:, None], x, labels_of(t), np.arange(120), Params(width=0.5), several=False)
        for t in (signal, noise)
    )
    gram = kernel.gaussian(x, x, 0.5)
    values = [(gram @ found["weights"] * found["logit"][0]).abs().mean() for found in (sure, unsure)]
    assert values[0] > 5 * values[1]


def test_several_labels_are_learnt_from_their_known_cells() -> None:
    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.normal(size=(300, 3))).float()
    truth = (x > 0.8).numpy().astype(float)  # a fifth of the cells: the offset of the logit has to be found
    targets = np.where(rng.random(truth.shape) < 0.4, np.nan, truth)
    found = kernel.regress(
        x[:200, None], x[:200], labels_of(targets[:200]), np.arange(200), Params(width=0.5), several=True
    )
    values = (kernel.gaussian(x[200:], x[:200], 0.5) @ found["weights"] + found["prior"]).double().numpy()
    said = np.exp(kernel._log(values, found["logit"].numpy(), several=True))
    assert ((said > 0.5) == truth[200:]).mean() > 0.9
    assert abs(said.mean() - truth.mean()) < 0.05


def test_verified_clips_choose_penalty_and_temperature(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.normal(size=(120, 2))).float()
    targets = np.eye(2)[(x[:, 0] > 0).numpy().astype(int)]
    right = np.arange(120) < 60
    targets[~right] = np.eye(2)[rng.integers(0, 2, 60)]  # drawn: the others' labels are often wrong

    def temperature(counted: np.ndarray | None) -> float:
        given = x[:, None], x, labels_of(targets), np.arange(120), Params(width=0.5), False
        return float(kernel.regress(*given, counted)["logit"][0])

    assert temperature(right) > 1.5 * temperature(None) > 1.5 * temperature(~right)
    call = call_of(tiny_root, "fold=0")
    train.run(call)
    job, _ = job_of(call)
    verified = job.columns["verified"]
    assert kernel._counted(job, job.labels.clip_ids) is None  # too few
    monkeypatch.setattr(kernel, "LEAST", 2)
    assert kernel._counted(job, job.labels.clip_ids).tolist() == [verified[name] for name in job.labels.clip_ids]
    assert kernel._counted(replace(job, columns={}), job.labels.clip_ids) is None


def call_of(root: Path, *words: str) -> Call:
    small = ["training.epochs=1", "network.patches=32", "network.samples=2000", "folds.n=2", "device=cpu", "jobs=1"]
    return Call.from_arguments(["data=fsdkaggle2018", f"root={root}", "model=patches", *small, *words])


def job_of(call: Call) -> tuple[FoldJob, Store]:
    """The call's only fold, and the features that it reads."""
    (job,) = queue.build(call, call.experiments())
    return job, job_store(job)


def job_store(job: FoldJob) -> Store:
    """The features that a job reads."""
    return Store.open(job.cache, job.experiment.config.frontend, job.audio)


def test_it_learns_the_tiny_competition_and_is_read_back(tiny_root: Path) -> None:
    call = call_of(tiny_root, "fold=0")
    train.run(call)
    folder = call.oof / "patches@r0"
    receipt = read_json(oof.receipts(folder)[0])
    assert receipt["metrics"]["map@3"] > 0.9
    table = pd.read_parquet(folder / "fold0.parquet")
    job, store = job_of(call)
    restored = kernel.restore(
        job.experiment.config, load_file(folder / "fold0.safetensors"), len(job.classes), job.task, torch.device("cpu")
    )
    ids = table["clip_id"].tolist()
    said = restored.log_probabilities(store, ids)
    silent = [i for i, name in enumerate(ids) if name == "test023.wav"]
    assert np.isnan(said[silent]).all()
    assert np.isnan(restored.log_probabilities(store, ["test023.wav"])).all()
    heard = np.delete(np.arange(len(ids)), silent)
    np.testing.assert_allclose(np.exp(said[heard]), table[list(job.classes)].to_numpy()[heard], atol=1e-5)


def test_the_same_call_gives_the_same_bytes(tiny_root: Path) -> None:
    call = call_of(tiny_root, "fold=1")
    made = []
    for _ in range(2):
        train.run(call)
        folder = call.oof / "patches@r0"
        made.append([(folder / f"fold1.{kind}").read_bytes() for kind in ("parquet", "safetensors")])
        (folder / "fold1.json").unlink()
    assert made[0] == made[1]


def test_clips_of_weight_0_are_not_heard(tiny_root: Path) -> None:
    call = call_of(tiny_root, "fold=0")
    train.run(call)
    job, store = job_of(call)
    heard = np.arange(len(job.labels.clip_ids)) < 12
    muted = Labels(job.labels.clip_ids, job.labels.targets, np.where(heard, 1.0, 0.0))
    one, other = (kernel.fit(replace(job, labels=found), store).tensors() for found in (muted.take(heard), muted))
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, other[key], rtol=0, atol=0)


def test_folds_share_one_space_and_it_knows_nothing_of_labels(tiny_root: Path) -> None:
    call = call_of(tiny_root)
    train.run(call)
    (kept,) = call.stages.glob("patches-*.npy")
    places = kept.read_bytes()
    first, second = (load_file(call.oof / "patches@r0" / f"fold{fold}.safetensors") for fold in (0, 1))
    for key in ("filters", "bias", "mean", "scale", "turn"):
        torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    kept.unlink()
    kept.with_suffix(".safetensors").unlink()
    job = queue.build(call, call.experiments())[1]
    other = Labels(job.labels.clip_ids, job.labels.targets[::-1].copy(), job.labels.weights)
    kernel.fit(replace(job, labels=other), job_store(job))
    assert kept.read_bytes() == places


def test_restored_folds_hear_a_recording_once(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = call_of(tiny_root)
    train.run(call)
    jobs = queue.build(call, call.experiments())
    folder, task, cpu = call.oof / "patches@r0", jobs[0].task, torch.device("cpu")
    files = [load_file(folder / f"fold{job.fold}.safetensors") for job in jobs]
    models = [kernel.restore(job.experiment.config, f, 1, task, cpu) for job, f in zip(jobs, files, strict=True)]
    heard: list[int] = []
    responses = Patches.responses
    monkeypatch.setattr(Patches, "responses", lambda self, x, p: heard.append(len(x)) or responses(self, x, p))
    store, ids = job_store(jobs[0]), jobs[0].held_out[:4]
    said = [model.log_probabilities(store, ids) for model in models]
    assert len(heard) == 4 * len(models[0].space.settings.speeds)
    assert not np.allclose(said[0], said[1])
    assert not np.allclose(said[0], models[0].log_probabilities(store, jobs[0].held_out[4:8]))
    network = jobs[0].experiment.config.network | {"width": 0.5}
    wide = kernel.restore(jobs[0].experiment.config.model_copy(update={"network": network}), files[0], 1, task, cpu)
    assert wide.space is models[0].space  # which does not depend on the width; what it says does
    assert not np.allclose(said[0], wide.log_probabilities(store, ids))


def test_a_seed_has_a_space_of_its_own(tiny_root: Path) -> None:
    train.run(call_of(tiny_root, "fold=0"))
    call = call_of(tiny_root, "fold=0", "seed=1")
    train.run(call)
    assert len(list(call.stages.glob("patches-*.npy"))) == 2


def test_a_waveform_is_refused(tiny_root: Path) -> None:
    with pytest.raises(
        UserError, match="patches@r0: patches need a spectrogram frontend such as logmel, not a waveform"
    ):
        train.run(call_of(tiny_root, "fold=0", "frontend.name=waveform"))
