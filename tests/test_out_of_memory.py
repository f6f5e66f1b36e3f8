"""A batch that does not fit goes through in parts: the same gradients, remembered over a resume, refused at last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from test_training import BANDS, CLASSES, LOSS, RATE, network, ramp, same, settings, training_set
from tonestack.base.errors import UserError
from tonestack.networks.layers import Network, Normalise, Tagger
from tonestack.networks.losses import AnyLoss, contrastive_center
from tonestack.networks.losses.generalised_cross_entropy import Params, build
from tonestack.tasks import classify
from tonestack.training import checkpoint
from tonestack.training.inference import predict
from tonestack.training.loop import fit
from tonestack.training.step import BatchSplit, Step

import numpy as np
import pytest
import torch
from torch import Tensor, nn

WEIGHTS = torch.tensor([1.0, 0.5, 0.0, 1.0, 0.2, 1.0, 1.0, 0.7, 1.0, 0.1])  # ten crops: parts of unequal size


@pytest.fixture(autouse=True)
def _one_thread_and_every_epoch_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(checkpoint, "SAVING", float("inf"))


@contextmanager
def memory_for(crops: int) -> Iterator[list[int]]:
    """A device whose memory holds so many crops; yields the sizes of the batches that were tried."""
    tried: list[int] = []
    original = Network.embed

    def embed(self: Network, x: Tensor) -> Tensor:
        tried.append(len(x))
        if len(x) > crops:
            raise torch.OutOfMemoryError("out of memory (made by a test)")
        return original(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "embed", embed)
        yield tried


class Wide(nn.Module):
    """Crops (B, 1, F, T) to embeddings (B, 6); each crop by itself, without batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.map(x)
        return made


def plain() -> Tagger:
    """A network without batch normalisation or dropout."""
    torch.manual_seed(3)
    return Tagger(
        Normalise(torch.zeros(BANDS), torch.ones(BANDS)), Network(Wide(), nn.Identity(), nn.Linear(6, CLASSES))
    )


def gradients(model: Tagger, loss_of: AnyLoss, parts: int) -> tuple[float, dict[str, Tensor]]:
    """A batch's loss and gradients (of the network, and of the loss where it has parameters)."""
    config = settings(precision="float32")
    step = Step(model, loss_of, [torch.optim.SGD(model.parameters(), lr=0.1)], config)
    step.pieces.count = parts
    rng = torch.Generator().manual_seed(5)
    x = torch.randn(len(WEIGHTS), 1, BANDS, 16, generator=rng)
    targets = torch.rand(len(WEIGHTS), CLASSES, generator=rng).softmax(1)
    loss = float(step._learn(x, targets, WEIGHTS))
    modules: list[nn.Module] = [model, *([loss_of] if isinstance(loss_of, nn.Module) else [])]
    found = {f"{i}.{n}": p.grad for i, m in enumerate(modules) for n, p in m.named_parameters() if p.grad is not None}
    return loss, found


def contrastive() -> AnyLoss:
    torch.manual_seed(11)
    return contrastive_center.build(contrastive_center.Params(), 6, CLASSES)


@pytest.mark.parametrize("parts", [2, 4, 5])
@pytest.mark.parametrize("loss_of", [lambda: LOSS, lambda: build(Params()), contrastive], ids=["ce", "gce", "centres"])
def test_gradients_in_parts_are_those_of_the_whole_batch(loss_of: Callable[[], AnyLoss], parts: int) -> None:
    whole_loss, whole = gradients(plain(), loss_of(), 1)
    loss, split = gradients(plain(), loss_of(), parts)
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert whole.keys() == split.keys()
    assert any(g.abs().max() > 1e-3 for g in whole.values())
    for name, gradient in whole.items():
        assert torch.allclose(gradient, split[name], rtol=1e-4, atol=1e-7), name


def test_a_failed_attempt_leaves_no_gradient_behind(capsys: pytest.CaptureFixture[str]) -> None:
    """Memory runs out in the second half of the batch, when the first has left its gradients."""
    _, whole = gradients(plain(), LOSS, 1)
    tried, original = [], Network.embed

    def embed(self: Network, x: Tensor) -> Tensor:
        tried.append(len(x))
        if len(tried) in (1, 3):  # the whole batch; then the second half
            raise torch.OutOfMemoryError
        return original(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "embed", embed)
        _, split = gradients(plain(), LOSS, 1)
    assert tried == [10, 5, 5, 3, 3, 2, 2]  # tries: whole, halves, quarters
    for name, gradient in whole.items():
        assert torch.allclose(gradient, split[name], rtol=1e-4, atol=1e-7), name
    assert capsys.readouterr().err.splitlines() == [
        "out of memory: batches of 10 now go through in 2 parts",
        "out of memory: batches of 10 now go through in 4 parts",
    ]


def test_a_starved_training_ends_as_one_that_began_in_parts() -> None:
    """The batch that memory ran out on is not lost: its step is made in parts."""
    with memory_for(4) as tried:
        starved = network(dropout=0.0)
        history = fit(starved, LOSS, training_set(), settings(), 0)
    assert history.pieces == 2
    assert tried[:3] == [8, 4, 4]
    assert set(tried[1:]) == {4}
    assert len(history.epochs) == 4


def test_the_count_of_parts_survives_a_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed after two epochs, the run goes on in parts at once, and ends as if it had not been killed."""
    whole, state = network(), tmp_path / "state"
    with memory_for(4):
        fit(whole, LOSS, training_set(), settings(), 0, tmp_path / "whole")

    def killed(entry: dict[str, float]) -> None:
        if entry["epoch"] == 2:
            raise KeyboardInterrupt

    with memory_for(4), pytest.raises(KeyboardInterrupt):
        fit(network(), LOSS, training_set(), settings(), 0, state, report=killed)
    capsys.readouterr()
    again = network()
    with memory_for(4) as tried:
        history = fit(again, LOSS, training_set(), settings(), 0, state)
    assert set(tried) == {4}
    assert history.pieces == 2
    assert "out of memory" not in capsys.readouterr().err
    assert same(whole, again)


def test_a_state_from_before_parts_were_counted_is_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = checkpoint.State._meta
    without = lambda self, history: {k: v for k, v in meta(self, history).items() if k != "pieces"}  # noqa: E731
    monkeypatch.setattr(checkpoint.State, "_meta", without)
    fit(network(), LOSS, training_set(), settings(), 0, tmp_path / "state")
    assert fit(network(), LOSS, training_set(), settings(), 0, tmp_path / "state").pieces == 1


def test_where_no_part_fits_the_size_is_named() -> None:
    with memory_for(1) as tried, pytest.raises(UserError, match=r"does not hold 2 crops; give .*crop\.seconds"):
        fit(network(), LOSS, training_set(), settings(), 0)
    assert tried == [8, 4, 2]


@pytest.mark.parametrize(
    ("batch", "counts"), [(1, []), (3, []), (4, [2]), (8, [2, 4]), (9, [2, 4]), (29, [2, 4, 8, 14]), (10, [2, 4, 5])]
)
def test_parts_are_halved_down_to_two_crops(batch: int, counts: list[int]) -> None:
    pieces = BatchSplit()
    for count in counts:
        pieces.halve(batch)
        assert pieces.count == count
    with pytest.raises(UserError, match="does not hold"):
        pieces.halve(batch)
    assert all(2 <= len(part) <= 3 for part in pieces.of(torch.zeros(batch))) or batch == 1


def predicted(**inference: Any) -> np.ndarray:
    changed = settings().inference.model_validate({"overlap": 0.0, "crops": 1} | inference)
    config = settings(precision="float32").model_copy(update={"inference": changed})
    return predict(plain(), ramp(*range(16, 36)), config, RATE, classify.TASK.log_probabilities)


@pytest.mark.parametrize("crops", [1, 2, 5])
def test_predictions_in_parts_are_the_same(crops: int) -> None:
    """20 crops in batches of 16: the last batch has fewer crops than the first went through in parts."""
    whole = predicted(batch_size=16)
    with memory_for(crops) as tried:
        starved = predicted(batch_size=16)
    assert np.allclose(whole, starved, atol=1e-6)
    assert min(tried) > 0, "an empty part went through the network"


def test_predictions_where_no_crop_fits_are_refused() -> None:
    with memory_for(0), pytest.raises(UserError, match="does not hold 1 crops"):
        predicted(batch_size=16)
