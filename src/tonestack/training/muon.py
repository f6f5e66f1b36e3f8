"""Muon for devices that are slow at bfloat16, in which timm orthogonalises: there it took most of a step."""

from collections.abc import Sequence
from typing import Any
from unittest import mock

import timm.optim.muon as timm_muon
import torch
from torch import Tensor


def orthogonal(
    matrices: Tensor, steps: int, coefficients: Sequence[tuple[float, float, float]], eps: float = 1e-7, **_: object
) -> Tensor:
    """Matrices (..., M, N) with all singular values brought near 1, in float32: Newton-Schulz (Jordan 2024).

    coefficients: a, b and c of each step's X ← aX + bSX + cS²X, where S = XXᵀ; the last serves all further steps. As
    every step multiplies X from the left, steps are taken on S, whose sides are the shorter one of X, and X is
    multiplied once: a third to a half of the time.
    """
    x = matrices.float()
    if tall := x.size(-2) > x.size(-1):
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(eps)
    squares = x @ x.mT
    product = identity = torch.eye(x.size(-2), device=x.device)
    for step in range(steps):
        a, b, c = coefficients[min(step, len(coefficients) - 1)]
        factor = a * identity + b * squares + c * (squares @ squares)
        product = factor @ product
        if step < steps - 1:  # the last step's would be read by none
            squares = factor @ squares @ factor
    x = product @ x
    return x.mT if tall else x


class Float32Muon(timm_muon.Muon):
    """timm's Muon that orthogonalises in float32; timm has no setting for it."""

    def step(self, closure: Any = None) -> Any:
        """Take one step; the loss, where a closure computes it again."""
        with mock.patch.object(timm_muon, "zeropower_via_newtonschulz", orthogonal):
            return super().step(closure)
