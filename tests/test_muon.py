"""Muon on devices that are slow at bfloat16: the steps are timm's, the iteration is cheaper and in float32."""

from tonestack.networks.layers import Network
from tonestack.networks.models import vgg
from tonestack.settings.model_config import TrainingParams
from tonestack.training import muon, step
from tonestack.training.step import make_optimizer

import pytest
import timm.optim.muon as timm_muon
import torch


@pytest.mark.parametrize("shape", [(32, 288), (64, 16), (9, 24, 8), (8, 8)])
@pytest.mark.parametrize("name", ["original", "quintic", "polar_express"])
@pytest.mark.parametrize("steps", [3, 5, 9])
def test_the_iteration_is_timm_s(shape: tuple[int, ...], name: str, steps: int) -> None:
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, shape[-1])
    coefficients = timm_muon.resolve_ns_coefficients(name, timm_muon._COEFFICIENTS)
    ours = muon.orthogonal(given, steps, coefficients)
    theirs = timm_muon.zeropower_via_newtonschulz(given, steps, coefficients, dtype=torch.float32)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_a_gradient_of_zeros_stays_zeros() -> None:
    assert not muon.orthogonal(torch.zeros(4, 8), 5, [(3.4445, -4.7750, 2.0315)]).any()


def stepped(pays: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.optim.Optimizer, Network]:
    """A network after three steps of Muon with the gradients of the same noise."""
    monkeypatch.setattr(step, "bfloat16_pays", lambda device: pays)
    torch.manual_seed(0)
    network = vgg.build(vgg.Params(channels=(8, 16), dense=0), 8, 4)
    optimizer = make_optimizer(network, TrainingParams(optimizer="muon", lr=0.01))
    noise = torch.Generator().manual_seed(0)
    for _ in range(3):
        for p in network.parameters():
            p.grad = torch.randn(p.shape, generator=noise)
        optimizer.step()
    return optimizer, network


def test_steps_are_the_same_to_the_rounding_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    (slow, ours), (fast, theirs) = stepped(False, monkeypatch), stepped(True, monkeypatch)
    assert type(slow) is muon.Float32Muon
    assert type(fast) is timm_muon.Muon
    assert timm_muon.zeropower_via_newtonschulz is not muon.orthogonal  # put back after every step
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0, msg=name)
        if slow.state[one]["use_muon"]:
            assert not one.equal(other)  # it is not one iteration that both went through
