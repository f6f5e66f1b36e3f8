"""Training and prediction: it learns, learns nothing from noise, and a killed run ends as if it had not been."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tonestack.base.errors import UserError
from tonestack.networks.layers import Network, Normalise, Outputs, Pool, Tagger
from tonestack.networks.losses import EmbeddingLoss, Loss, contrastive_center
from tonestack.networks.losses.cross_entropy import Params, build
from tonestack.networks.models import vgg
from tonestack.settings.model_config import InferenceParams, ModelConfig, TrainingParams
from tonestack.tasks import classify
from tonestack.training import checkpoint, crops, loop, step
from tonestack.training.augment import draw
from tonestack.training.checkpoint import Average, History, State
from tonestack.training.crops import Clips
from tonestack.training.cuda_graph import RecordedStep
from tonestack.training.device import compiles, records, seed_of
from tonestack.training.inference import predict
from tonestack.training.learners import network as network_learner
from tonestack.training.loop import (
    TrainingSet,
    check_losses,
    epoch_order,
    epoch_places,
    fit,
    learning_rate,
    make_step,
    run_epoch,
)
from tonestack.training.step import Step, loss_on, make_optimizer, outputs

import numpy as np
import pytest
import torch
from torch import Tensor, nn

BANDS, CLASSES, RATE = 8, 4, 100.0
LOSS: Loss = build(Params())
BUSY = {"mixup": 0.4, "stretch": 0.2, "shift_bands": 0.1, "time_masks": 1, "gain_db": 3, "noise": 0.1}


@pytest.fixture(autouse=True)
def _one_thread_and_every_epoch_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(checkpoint, "SAVING", math.inf)


def settings(augment: dict[str, Any] | None = None, **training: Any) -> ModelConfig:
    """16-frame crops and short runs; keywords are of the section `training`."""
    values = {"epochs": 4, "batch_size": 8, "lr": 0.01, "ema": 0.9, "weight_decay": 0.0} | training
    parts = {"frontend": {"name": "logmel"}, "network": {"name": "vgg"}, "crop": {"seconds": 0.16}}
    return ModelConfig.model_validate(parts | {"augment": augment or {}, "training": values})


def clips_of(label: np.ndarray, rng: np.random.Generator, contrast: float = 3.0) -> Clips:
    """One clip a label, 8 to 30 frames of noise; class c is louder in bands 2c and 2c + 1."""
    frames = torch.from_numpy(rng.integers(8, 31, len(label)))
    rows = [rng.normal(size=(int(n), BANDS)) for n in frames]
    for row, c in zip(rows, label, strict=True):
        row[:, 2 * c : 2 * c + 2] += contrast
    features = torch.from_numpy(np.concatenate(rows)).half()
    return Clips(features, frames.cumsum(0) - frames, frames, torch.zeros(BANDS))


def training_set(n: int = 24, seed: int = 0, contrast: float = 3.0) -> TrainingSet:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % CLASSES
    targets = torch.eye(CLASSES)[torch.from_numpy(label)]
    return TrainingSet(clips_of(label, rng, contrast), torch.arange(n), targets, torch.ones(n), RATE)


def network(channels_last: bool = True, dropout: float = 0.2) -> Tagger:
    torch.manual_seed(7)
    params = vgg.Params(channels=(4, 8), convs=1, dense=8, dropout=dropout)
    tagger = Tagger(Normalise(torch.zeros(BANDS), torch.ones(BANDS)), vgg.build(params, BANDS, CLASSES))
    return tagger.to(memory_format=torch.channels_last) if channels_last else tagger  # type: ignore[call-overload]


def accuracy(model: Tagger, data: TrainingSet, config: ModelConfig) -> float:
    logs = predict(model, data.clips, config, RATE, classify.TASK.log_probabilities)
    return float((logs.argmax(1) == data.targets.argmax(1).numpy()).mean())


# --------------------------------------------------------------------------------------------------------- learning


def test_loss_falls_on_a_separable_problem_and_new_clips_are_told_apart() -> None:
    model, config = network(), settings(epochs=15)
    history = fit(model, LOSS, training_set(48), config, seed=0)
    losses = [entry["loss"] for entry in history.epochs]
    assert len(losses) == 15
    assert losses[-1] < 0.3 * losses[0]
    assert accuracy(model, training_set(60, seed=1), config) > 0.9


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "sgd", "lr": 0.1},
        {"optimizer": "muon", "lr": 0.03},
        {"balanced": 1.0},
        {"schedule": "cosine", "precision": "bfloat16"},
        {"channels_last": False},
    ],
)
def test_it_learns_with_every_kind_of_setting(training: dict[str, Any]) -> None:
    config = settings(epochs=12, **training)
    history = fit(network(config.training.channels_last), LOSS, training_set(48), config, seed=0)
    assert history.epochs[-1]["loss"] < 0.5 * history.epochs[0]["loss"]


def test_a_clip_of_weight_0_teaches_nothing() -> None:
    data, config = training_set(16), settings(batch_size=16)
    wrong = data.targets.clone()
    wrong[:4] = wrong[:4].flip(1)
    weights = torch.ones(16)
    weights[:4] = 0
    made = [network(), network()]
    for model, targets in zip(made, (data.targets, wrong), strict=True):
        fit(model, LOSS, replace(data, targets=targets, weights=weights), config, seed=0)
    assert same(made[0], made[1])


def test_an_epoch_shows_every_clip_once() -> None:
    data, seen = training_set(24), []

    def spy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        seen.append(weights)
        return LOSS(logits, targets, weights)

    fit(network(), spy, replace(data, weights=1 + torch.arange(24.0)), settings(epochs=2), seed=0)
    assert sorted(torch.cat(seen[:3]).tolist()) == sorted(torch.cat(seen[3:]).tolist()) == [1.0 + i for i in range(24)]
    assert not torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))


def test_crops_of_a_batch_come_from_the_picked_clips() -> None:
    data, config = training_set(24, contrast=100.0), settings({"stretch": 0.5})
    picked = torch.tensor([[5, 2, 9]])
    rows = replace(data, rows=torch.arange(24).flip(0))  # clip 23 - i is row i of the targets
    draws = draw(config.augment, 1, 3, torch.Generator().manual_seed(0))
    at, starts, rate = (value[0] for value in epoch_places(rows, picked, draws, config))
    batch = rows.clips.crops(at, starts, 16, "tile", rate)
    assert len(rate.unique()) == 3
    loudest = batch.mean(3)[:, 0].view(3, CLASSES, 2).mean(2).argmax(1)
    assert loudest.tolist() == [(23 - i) % CLASSES for i in picked[0].tolist()]


def test_backgrounds_are_mixed_under_the_crops_of_an_epoch() -> None:
    data, config = training_set(24), settings({"background": 1.0, "background_db": (0.0, 0.0)})
    longest = data.frames.argsort()[-2:]
    data = replace(data, backgrounds=longest)
    seen: list[tuple[Tensor, ...]] = []

    def step(*inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return torch.zeros(())

    step.rate = lambda rate: None  # type: ignore[attr-defined]
    draws = draw(config.augment, 3, 8, torch.Generator().manual_seed(0))
    list(run_epoch(step, data, torch.arange(24).view(3, 8), draws, config, [0.1] * 3))  # type: ignore[arg-type]
    under = torch.cat([inputs[4] for inputs in seen])
    starts = [(row, first) for row in longest.tolist() for first in range(max(1, int(data.frames[row]) - 15))]
    at = [torch.tensor(column) for column in zip(*starts, strict=True)]
    known = data.clips.crops(at[0], at[1], 16, "tile", torch.ones(len(starts)))
    which = [int((known == crop).flatten(1).all(1).nonzero()[0]) for crop in under]  # each is a piece of one of the two
    assert {starts[index][0] for index in which} == set(longest.tolist())
    assert len(set(which)) > 3
    model, clean = network(), network()
    fit(model, LOSS, data, config, seed=0)
    fit(clean, LOSS, replace(data, backgrounds=torch.zeros(0, dtype=torch.int64)), config, seed=0)
    assert not same(model, clean)


def test_frames_have_a_loss_of_their_own() -> None:
    logits, frames = torch.randn(6, CLASSES), torch.randn(6, CLASSES, 5)
    targets, weights = torch.eye(CLASSES)[torch.arange(6) % CLASSES], torch.ones(6)
    alone = LOSS(logits, targets, weights)
    both = loss_on(LOSS, Outputs(logits, logits, frames), targets, weights, 0.5)
    assert torch.allclose(both, alone + 0.5 * LOSS(frames.amax(2), targets, weights))
    assert torch.equal(loss_on(LOSS, Outputs(logits, logits), targets, weights, 0.5), alone)
    assert torch.equal(loss_on(LOSS, Outputs(logits, logits, frames), targets, weights, 0.0), alone)


def test_a_network_of_frames_learns() -> None:
    params = vgg.Params(channels=(4, 8), convs=1, dense=8, pool="sed")
    torch.manual_seed(7)
    model = Tagger(Normalise(torch.zeros(BANDS), torch.ones(BANDS)), vgg.build(params, BANDS, CLASSES))
    config = settings(epochs=15)
    history = fit(model, LOSS, training_set(48), config, seed=0)
    assert history.epochs[-1]["loss"] < 0.4 * history.epochs[0]["loss"]
    assert accuracy(model, training_set(60, seed=1), config) > 0.9


def test_every_batch_gets_its_own_targets_weights_and_numbers() -> None:
    data, config = training_set(24, contrast=100.0), settings()
    data = replace(data, weights=1 + torch.arange(24.0))
    order, draws = torch.arange(24).flip(0).view(3, 8), torch.rand(3, 13, 8)
    seen: list[tuple[Tensor, ...]] = []

    class Spy(Step):
        def __call__(self, *inputs: Tensor) -> Tensor:
            seen.append(inputs)
            return torch.tensor(float(len(seen)))

    model = network()
    step = Spy(model, LOSS, [make_optimizer(model, config.training)], config)
    losses = list(run_epoch(step, data, order, draws, config, [0.1, 0.2, 0.3]))
    assert losses == [1.0, 2.0, 3.0]
    assert [group["lr"] for group in step.optimizers[0].param_groups] == [0.3, 0.3]
    for (batch, targets, weights, numbers), picked, drawn in zip(seen, order, draws, strict=True):
        assert torch.equal(batch.mean(3)[:, 0].view(8, CLASSES, 2).mean(2).argmax(1), targets.argmax(1))
        assert torch.equal(targets, data.targets[picked])
        assert torch.equal(weights, data.weights[picked])
        assert torch.equal(numbers, drawn)


# ------------------------------------------------------------------------------------------------------- recorded steps


class Replayed(RecordedStep):
    """A recorded step on the CPU: the recording is the step itself, replayed on the inputs that it was given."""

    def _aside(self) -> Tensor:
        return self.step(*self.inputs)

    def _record(self) -> None:
        inputs, self.loss = self.inputs, torch.zeros(())

        def replay() -> None:
            assert inputs is self.inputs
            self.loss.copy_(self.step(*inputs))
            counts.append(self.calls)

        self.graph = SimpleNamespace(replay=replay)


counts: list[int] = []


def test_recorded_steps_are_the_same_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config, plain, recorded = settings(BUSY), network(), network()
    history = fit(plain, LOSS, training_set(), config, 0)
    monkeypatch.setattr(loop, "make_step", lambda *a: Replayed(make_step(*a)))
    counts.clear()
    assert fit(recorded, LOSS, training_set(), config, 0) == history
    assert same(plain, recorded)
    assert counts == list(range(4, 13))  # four epochs of three steps, the first three of them to warm up


def test_steps_are_recorded_on_gpus_only() -> None:
    params = TrainingParams(compile="graph")
    assert records(torch.device("cuda:0"), params)
    assert not records(torch.device("cpu"), params)
    assert not records(torch.device("cuda:0"), TrainingParams())
    model, config = network(), settings(compile="graph")
    fit(model, LOSS, training_set(), config, 0)
    plain = network()
    fit(plain, LOSS, training_set(), settings(), 0)
    assert same(model, plain)


def test_a_loss_with_its_own_optimiser_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = network(), settings(compile="graph")
    optimizers = [make_optimizer(model, config.training)] * 2
    monkeypatch.setattr(loop, "records", lambda device, params: True)
    with pytest.raises(UserError, match=r"training\.compile=graph: a loss with an optimiser of its own"):
        make_step(model, LOSS, optimizers, config)
    assert isinstance(make_step(model, LOSS, optimizers[:1], config), RecordedStep)


def test_networks_are_compiled_on_gpus_only_and_recorded_then(monkeypatch: pytest.MonkeyPatch) -> None:
    params, gpu = TrainingParams(compile="inductor"), torch.device("cuda:0")
    assert compiles(gpu, params)
    assert records(gpu, params)
    assert not compiles(gpu, TrainingParams(compile="graph"))
    assert not compiles(torch.device("cpu"), params)
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda call: compiled.append(call) or call)
    model, plain = network(), network()
    fit(plain, LOSS, training_set(), settings(compile="inductor"), 0)
    assert not compiled
    monkeypatch.setattr(step, "compiles", lambda device, params: True)
    fit(model, LOSS, training_set(), settings(compile="inductor"), 0)
    assert compiled == [outputs]
    assert same(model, plain)


def test_muon_orthogonalises_what_has_two_sides_and_leaves_the_rest_to_adam() -> None:
    model = network()
    optimizer = make_optimizer(model, TrainingParams(optimizer="muon", weight_decay=0.0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    kinds = {name: optimizer.state[p]["use_muon"] for name, p in model.named_parameters()}
    assert set(kinds.values()) == {True, False}
    for name, p in model.named_parameters():
        if kinds[name]:
            values = torch.linalg.svdvals((p.detach() - before[name]).flatten(1))
            assert values.max() < 2.5 * values.min()  # five steps of Newton and Schulz: about one another
        else:
            assert p.dim() == 1 or p.shape[1] == 1 or min(p.shape[0], p[0].numel()) < 4


def test_a_streamed_store_trains_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [network(), network()]
    for model, memory in zip(made, (10**12, 0), strict=True):
        monkeypatch.setattr(crops, "_memory", lambda memory=memory: memory)
        data = training_set()
        assert data.clips.streamed == (memory == 0)
        fit(model, LOSS, data, settings(BUSY), 0)
    assert same(*made)


# ----------------------------------------------------------------------------------------------------------- killed


def same(a: Tagger, b: Tagger) -> bool:
    """Whether two models are equal bit for bit."""
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


def killed_at(epoch: int, step: int) -> Loss:
    """A loss during whose computation, in that epoch and step (from 0; three steps an epoch), the run is killed."""
    count = 0

    def loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if count == epoch * 3 + step + 1:
            raise KeyboardInterrupt
        return LOSS(logits, targets, weights)

    return loss


def center_loss(kill: tuple[int, int] | None = None) -> EmbeddingLoss:
    """A loss with parameters of its own, during whose computation the run may be killed."""
    torch.manual_seed(11)
    made = contrastive_center.build(contrastive_center.Params(optimizer="adam", lr=0.1), 8, CLASSES)
    if kill:
        forward, count = made.forward, iter(range(10_000))

        def dying(*given: Tensor) -> Tensor:
            if next(count) == kill[0] * 3 + kill[1]:
                raise KeyboardInterrupt
            return forward(*given)

        made.forward = dying  # type: ignore[method-assign]
    return made


def test_a_losss_own_parameters_are_trained_and_resumed(tmp_path: Path) -> None:
    config, whole, own = settings(ema=0.9), network(dropout=0.2), center_loss()
    before = own.centres.clone()
    fit(whole, own, training_set(), config, 0)
    assert not torch.allclose(before, own.centres)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), center_loss((2, 1)), training_set(), config, 0, tmp_path / "state")
    resumed, again = network(), center_loss()
    fit(resumed, again, training_set(), config, 0, tmp_path / "state")
    assert same(whole, resumed)
    assert torch.equal(own.centres, again.centres)


def run_killed(config: ModelConfig, state: Path, kill: tuple[int, int], inner: Any = None) -> tuple[Tagger, History]:
    """Train, be killed, and train again by a fresh process's objects."""
    channels_last = config.training.channels_last
    with pytest.raises(KeyboardInterrupt):
        fit(network(channels_last), killed_at(*kill), training_set(), config, 0, state, inner)
    torch.manual_seed(12345)
    model = network(channels_last)
    return model, fit(model, LOSS, training_set(), config, 0, state, inner)


@pytest.mark.parametrize("kill", [(1, 0), (2, 2)])
@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "adamw", "ema": 0.9, "weight_decay": 0.1},
        {"optimizer": "adamw", "ema": 0.0, "channels_last": False},
        {"optimizer": "adam", "betas": (0.9, 0.98), "eps": 1e-9, "schedule": "step", "step_epochs": 2, "warmup": 0.0},
        {"optimizer": "sgd", "ema": 0.9, "balanced": 0.5},
        {"optimizer": "muon", "ema": 0.9, "weight_decay": 0.1},
        {"optimizer": "sgd", "ema": 0.0, "momentum": 0.0, "precision": "bfloat16"},
    ],
)
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path, training: dict[str, Any], kill: tuple[int, int]
) -> None:
    config = settings(BUSY, **training)
    whole = network(config.training.channels_last)
    history = fit(whole, LOSS, training_set(), config, 0, tmp_path / "whole")
    resumed, again = run_killed(config, tmp_path / "state", kill)
    assert same(whole, resumed)
    assert again == history


def test_a_run_killed_in_its_first_epoch_starts_afresh(tmp_path: Path) -> None:
    whole = network()
    fit(whole, LOSS, training_set(), settings(), 0)
    assert same(whole, run_killed(settings(), tmp_path / "state", (0, 1))[0])


def test_a_resume_reports_the_epochs_before_it_too(tmp_path: Path) -> None:
    state, entries = tmp_path / "state", []
    with pytest.raises(KeyboardInterrupt):
        fit(network(), killed_at(2, 0), training_set(), settings(), 0, state)
    fit(network(), LOSS, training_set(), settings(), 0, state, report=entries.append)
    assert [entry["epoch"] for entry in entries] == [1, 2, 3, 4]


def test_a_finished_state_is_not_trained_again(tmp_path: Path) -> None:
    first, second = network(), network()
    fit(first, LOSS, training_set(), settings(), 0, tmp_path / "state")
    fit(second, killed_at(0, 0), training_set(), settings(), 0, tmp_path / "state")
    assert same(first, second)


@pytest.mark.parametrize("spoil", ["other settings", "other seed", "other inputs", "damaged"])
def test_a_state_of_another_run_is_not_taken(tmp_path: Path, spoil: str) -> None:
    state = tmp_path / "state"
    other = settings(lr=0.5) if spoil == "other settings" else settings()
    learnt = {"labels": "others" if spoil == "other inputs" else "these"}
    fit(network(), LOSS, training_set(), other, int(spoil == "other seed"), state, inputs=learnt)
    if spoil == "damaged":
        state.write_bytes(state.read_bytes()[:100])
    resumed, whole = network(), network()
    fit(resumed, LOSS, training_set(), settings(), 0, state, inputs={"labels": "these"})
    fit(whole, LOSS, training_set(), settings(), 0)
    assert same(resumed, whole)


def test_the_seed_changes_the_run() -> None:
    made = [network(), network()]
    for seed, model in enumerate(made):
        fit(model, LOSS, training_set(), settings(), seed)
    assert not same(*made)


def test_saving_takes_at_most_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, model = [100.0], network()
    monkeypatch.setattr(checkpoint, "SAVING", 0.05)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "save_file", lambda *a: (a[1].write_bytes(b""), now.append(now.pop() + 2)))
    keeper = State(tmp_path / "state", model, make_optimizer(model, TrainingParams()), Average(model, 0.9), "x")
    saved = []
    for epoch in range(100):
        keeper.save(History([{"epoch": epoch + 1}]))
        saved += [epoch] if now[0] > 100 + epoch + 2 * len(saved) else []
        now[0] += 1
    assert saved == [0, 40, 80]  # two seconds each, every forty


# ---------------------------------------------------------------------------------------------------- early stopping


@dataclass
class Script:
    """An inner loss that follows a script and remembers the weights it was shown."""

    values: list[float]

    def __post_init__(self) -> None:
        self.shown: list[dict[str, Tensor]] = []

    def __call__(self, model: Tagger) -> float:
        self.shown.append({key: value.clone() for key, value in model.state_dict().items()})
        return self.values[len(self.shown) - 1]


def floats(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if value.is_floating_point()}


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_early_stopping_keeps_the_best_epochs_weights(ema: float) -> None:
    script, model = Script([3, 1, 2, 1.5, 1, 4, 4, 4]), network()
    history = fit(model, LOSS, training_set(), settings(epochs=8, patience=3, ema=ema), 0, inner_loss=script)
    assert len(history.epochs) == 5  # epoch 2 was the best, three have passed without a better one
    assert (history.best_epoch, history.best_inner) == (2, 1.0)
    best, kept = floats(script.shown[1]), floats(model.state_dict())
    assert all(torch.equal(best[key], kept[key]) for key in kept)


def test_judging_the_average_does_not_disturb_training() -> None:
    plain = fit(network(), LOSS, training_set(), settings(), 0)
    judged = fit(network(), LOSS, training_set(), settings(), 0, inner_loss=Script([4, 3, 2, 1]))
    assert [entry["loss"] for entry in judged.epochs] == [entry["loss"] for entry in plain.epochs]


def test_a_loss_that_is_never_finite_stops_nothing_early() -> None:
    history = fit(network(), LOSS, training_set(), settings(patience=1), 0, inner_loss=Script([math.nan] * 4))
    assert len(history.epochs) == 4


def test_early_stopping_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    config, values = settings(BUSY, epochs=6, patience=2), [3.0, 1.0, 2.0, 5.0, 5.0, 5.0]
    whole = network()
    history = fit(whole, LOSS, training_set(), config, 0, tmp_path / "whole", Script(values))
    assert len(history.epochs) == 4
    script = Script(values)  # killed in the fourth epoch, after three calls
    resumed, again = run_killed(config, tmp_path / "state", (3, 1), script)
    assert same(whole, resumed)
    assert again == history


# ------------------------------------------------------------------------------------------------- losses gone wrong


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_epoch_and_step(value: float) -> None:
    count = 0

    def loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return LOSS(logits, targets, weights) * (value if count == 5 else 1.0)

    with pytest.raises(UserError, match=rf"the loss became {value} in epoch 2, step 2; lower training\.lr"):
        fit(network(), loss, training_set(), settings(), 0)


def test_the_mean_loss_of_an_epoch() -> None:
    assert check_losses(torch.tensor([1.0, 2.0, 6.0]), 0) == 3.0


# ------------------------------------------------------------------------------------------------ sampling and rates


def test_balanced_sampling_evens_the_classes() -> None:
    targets = torch.eye(3)[torch.tensor([0] * 2700 + [1] * 270 + [2] * 30)]
    share = targets[epoch_order(targets, 1.0, torch.Generator().manual_seed(0))].mean(0)
    assert torch.allclose(share, torch.full((3,), 1 / 3), atol=4 * (2 / 9 / 3000) ** 0.5)
    half = targets[epoch_order(targets, 0.5, torch.Generator().manual_seed(0))].mean(0)
    roots = torch.tensor([2700.0, 270.0, 30.0]).sqrt()
    assert torch.allclose(half, roots / roots.sum(), atol=0.04)


def test_clips_without_a_label_are_drawn_as_a_class_of_their_own() -> None:
    targets = torch.eye(2)[torch.tensor([0] * 1600 + [1] * 800)]
    targets = torch.cat([targets, torch.zeros(400, 2), torch.tensor([[math.nan, 0.0]]).expand(200, 2)])
    order = epoch_order(targets, 1.0, torch.Generator().manual_seed(0))
    drawn = torch.bincount(torch.bucketize(order, torch.tensor([1599, 2399, 2999])), minlength=3) / 3000
    assert torch.allclose(drawn[:3], torch.full((3,), 1 / 3), atol=4 * (2 / 9 / 3000) ** 0.5)


def test_without_balancing_an_epoch_is_a_permutation() -> None:
    order = epoch_order(torch.eye(3).repeat(5, 1), 0.0, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(15))
    assert order.tolist() != list(range(15))


def rates(schedule: str, steps: int = 100, warmup: float = 0.2) -> list[float]:
    params = TrainingParams.model_validate({"lr": 1.0, "schedule": schedule, "warmup": warmup})
    return [learning_rate(step, steps, params) for step in range(steps)]


def test_the_learning_rate_by_hand() -> None:
    one, cosine, level = rates("onecycle"), rates("cosine"), rates("constant")
    assert one[0] == pytest.approx(0.04 + 0.96 / 20)
    assert cosine[0] == level[0] == pytest.approx(1 / 20)
    assert one[19] == one[20] == cosine[19] == 1.0  # the top, after 20 steps
    assert one[60] == pytest.approx(0.5)  # half of the way down
    assert one[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 79 / 80)))
    assert level[19:] == [1.0] * 81


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.15, 0.9])
def test_the_rate_rises_then_falls_and_stays_in_range(schedule: str, steps: int, warmup: float) -> None:
    made = rates(schedule, steps, warmup)
    top = made.index(max(made))
    assert made[: top + 1] == sorted(made[: top + 1])
    assert made[top:] == sorted(made[top:], reverse=True)
    assert all(0 < rate <= 1 for rate in made)


def test_the_step_schedule_falls_every_few_epochs() -> None:
    params = TrainingParams.model_validate({"lr": 1e-4, "schedule": "step", "warmup": 0})
    made = [learning_rate(epoch, 20, params, epoch) for epoch in range(20)]
    assert made == pytest.approx([1e-4] * 7 + [1e-5] * 7 + [1e-6] * 6)


def test_only_kernels_are_decayed() -> None:
    model = network()
    decayed, free = make_optimizer(model, TrainingParams(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert all(p.dim() > 1 for p in decayed["params"])
    assert sum(p.numel() for group in (decayed, free) for p in group["params"]) == sum(
        p.numel() for p in model.parameters()
    )


def test_the_moving_average_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = Average(model, decay=0.25)
    nn.init.constant_(model.weight, 11.0)
    average.update()  # warm-up: decay (1 + 1) / (10 + 1)
    assert average.values["weight"].item() == pytest.approx(9.0)
    nn.init.constant_(model.weight, 1.0)
    average.update()  # decay min(1/4, 3/12)
    assert average.values["weight"].item() == pytest.approx(0.25 * 9 + 0.75 * 1)


def test_seeds_depend_on_every_part_and_fit_63_bits() -> None:
    seeds = {seed_of(*parts) for parts in [(0, 0, "data"), (0, 1, "data"), (1, 0, "data"), (0, 0, "weights")]}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


# -------------------------------------------------------------------------------------------------------- prediction


class Mean(nn.Module):
    """Logits of a crop: the means of its first two bands."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3)[:, 0, :2]


def predicted(clips: Clips, centres: Tensor | None = None, **inference: Any) -> np.ndarray:
    config = settings(precision="float32").model_copy(
        update={"inference": settings().inference.model_validate({"overlap": 0.0} | inference)}
    )
    to_log: Callable[[Tensor], Tensor] = classify.TASK.log_probabilities
    network = Network(Mean(), nn.Identity(), nn.Identity())
    model = Tagger(Normalise(torch.zeros(BANDS), torch.ones(BANDS)), network, centres)
    return predict(model, clips, config, RATE, to_log)


def ramp(*frames: int) -> Clips:
    """Clips whose first band is 0, 1, 2 ... along time and whose others are 0."""
    lengths = torch.tensor(frames)
    features = torch.zeros(int(lengths.sum()), BANDS)
    features[:, 0] = torch.cat([torch.arange(n) for n in frames]) / 16
    return Clips(features.half(), lengths.cumsum(0) - lengths, lengths, torch.zeros(BANDS))


def log_sigmoid(*values: float) -> np.ndarray:
    x = np.array(values)
    return np.stack([-np.log1p(np.exp(-x)), -np.log1p(np.exp(x))], axis=1)


def test_a_clip_is_the_mean_over_its_crops_by_hand() -> None:
    first, second = log_sigmoid(7.5 / 16, 23.5 / 16)  # frames 0..15 and 16..31 of a clip of 32
    assert np.allclose(predicted(ramp(32), crops=2), [(first + second) / 2], atol=1e-5)
    arithmetic = np.log((np.exp(first) + np.exp(second)) / 2)
    assert np.allclose(predicted(ramp(32), crops=2, mean="arithmetic"), [arithmetic], atol=1e-5)
    assert np.allclose(predicted(ramp(32), crops=1), [first], atol=1e-5)


def test_several_lengths_are_averaged() -> None:
    whole, half = predicted(ramp(32), crops=4), predicted(ramp(32), crops=4, lengths=[0.5])
    assert np.allclose(predicted(ramp(32), crops=4, lengths=[1.0, 0.5]), (whole + half) / 2, atol=1e-6)


def test_several_speeds_are_averaged() -> None:
    faster = log_sigmoid(11 / 16)  # of a clip of 23 frames: 0, 1, 3, 4, 6 ... 22 in a crop of 16
    assert np.allclose(predicted(ramp(23), crops=1, speeds=[1.5]), faster, atol=1e-5)
    each = [predicted(ramp(32), crops=3, speeds=[speed]) for speed in (0.8, 1.0, 1.25)]
    assert np.allclose(predicted(ramp(32), crops=3, speeds=[0.8, 1.0, 1.25]), np.mean(each, axis=0), atol=1e-6)


def test_bands_move_with_the_speed_of_test_time_where_training_moves_them() -> None:
    """A tone in band 2 lies in band 1, at half of its frequency, when the clip is played at half the speed."""
    features = torch.zeros(16, BANDS)
    features[:, 2] = 1.0
    clips = Clips(features.half(), torch.tensor([0]), torch.tensor([16]), torch.zeros(BANDS))
    assert predicted(clips, speeds=[0.5])[0].argmax() == 0  # logits 0 and 0
    moved = predicted(clips, centres=100.0 * 2 ** torch.arange(BANDS), speeds=[0.5])
    assert np.allclose(moved, log_sigmoid(-1.0), atol=1e-3)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, (6, 3, (0.9, 1.0))), (6, (6, 3, (0.9, 1.0))), (2, (2, 2, (1.0,))), (4, (4, 3, (1.0,)))],
)
def test_fewer_crops_are_fewer_rolls_at_one_speed(
    most: int | None, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(network_learner, "_predicted", lambda *words: asked.append(words[4].inference))
    monkeypatch.setattr(Clips, "load", lambda *words: ramp(16))
    inference = InferenceParams(crops=6, rolls=3, speeds=(0.9, 1.0))
    config = settings().model_copy(update={"inference": inference})
    model = Tagger(Normalise(torch.zeros(1), torch.ones(1)), Network(Mean(), nn.Identity(), nn.Identity()))
    restored = network_learner.RestoredNetwork(config, model, "classify", torch.device("cpu"))
    restored.log_probabilities(SimpleNamespace(width=1), ["a"], most)  # type: ignore[arg-type]
    assert (asked[0].crops, asked[0].rolls, asked[0].speeds) == expected


def test_rows_keep_their_order_whatever_the_batch_and_empty_clips_are_nan() -> None:
    clips = ramp(40, 0, 8, 100, 0)
    rows = predicted(clips, batch_size=64)
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False, False, True]
    assert np.allclose(rows, predicted(clips, batch_size=1), equal_nan=True)
    for i, frames in ((0, 40), (2, 8), (3, 100)):
        assert np.allclose(rows[i], predicted(ramp(frames))[0], atol=1e-6)


def test_pooled_networks_are_put_into_evaluation_mode() -> None:
    model = Tagger(
        Normalise(torch.zeros(BANDS), torch.ones(BANDS)),
        Network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)), Pool("avg", 4), nn.Linear(4, 2)),
    ).train()
    rows = [predict(model, ramp(40, 30), settings(), RATE, classify.TASK.log_probabilities) for _ in range(2)]
    assert np.array_equal(rows[0], rows[1])
