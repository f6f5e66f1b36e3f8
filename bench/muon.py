"""Time of orthogonalising one step's gradients of a preset's network, one thread: timm's Muon and ours.

`muon.py [model=vgg_whole]`: the matrices of the fast preset's network that Muon orthogonalises. timm iterates in
bfloat16; ours, for devices that are slow at it, in float32 and on the products of rows. Leaves bench/results/muon.json.
"""

import sys

from _measure import in_turn, report
from tonestack.base import parts
from tonestack.config.call import Call
from tonestack.training.muon import orthogonal

import timm.optim.muon as timm_muon
import torch
from timm.optim import Muon
from torch import Tensor

BANDS, CLASSES, ROUNDS, STEPS = 64, 50, 5, 5


def gradients(words: list[str]) -> list[Tensor]:
    """Noise of the shapes that Muon orthogonalises in the first of the networks, flattened as it does."""
    experiment = Call.from_arguments(["preset=fast", "light=false", *(words or ["model=vgg_whole"])]).experiments()[0]
    kind = parts.find("models", experiment.config.network["name"])
    params = parts.part_params("models", experiment.config.network, experiment.model)
    network = kind.build(params, BANDS, CLASSES)
    optimizer = Muon(network.parameters())
    for p in network.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    return [p.grad.flatten(1) for p in network.parameters() if p.grad is not None and optimizer.state[p]["use_muon"]]


def main(words: list[str]) -> None:
    """Time the three ways in turn."""
    torch.set_num_threads(1)
    coefficients = timm_muon.resolve_ns_coefficients("quintic", timm_muon._COEFFICIENTS)
    given = gradients(words)

    def timm(kind: torch.dtype) -> None:
        for g in given:
            timm_muon.zeropower_via_newtonschulz(g, STEPS, coefficients, dtype=kind)

    def ours() -> None:
        for g in given:
            orthogonal(g, STEPS, coefficients)

    sides = {
        "timm, bfloat16": lambda: timm(torch.bfloat16),
        "timm, float32": lambda: timm(torch.float32),
        "ours, float32": ours,
    }
    seconds = in_turn(sides, ROUNDS)
    least = seconds["ours, float32"]
    rows = [{"by": by, "ms": 1000 * s, "times ours": s / least} for by, s in seconds.items()]
    about = f"{len(given)} matrices, up to {' x '.join(map(str, max(given, key=Tensor.numel).shape))}, one thread"
    report("muon", rows, {"about": about, "ratio": seconds["timm, bfloat16"] / least})


if __name__ == "__main__":
    main(sys.argv[1:])
