"""Mel spectrogram in natural logarithms."""

from tonestack.deploy.graphs import _spectrogram as sg
from tonestack.features.frontends import _spectrogram as frontend
from tonestack.features.frontends.lnmel import Params

import torch
from torch import Tensor, nn


class LnMel(nn.Module):
    """Waves (B, N) to frames (B, T, n_mels)."""

    basis: Tensor

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.transform, self.offset, self.spectrum = sg.Transform(params), params.offset, params.spectrum
        layout = params.model_copy(update={"sample_rate": params.filter_rate or params.sample_rate})
        self.register_buffer("basis", torch.from_numpy(frontend.mel_basis(layout).T.copy()))

    def forward(self, wave: Tensor) -> Tensor:
        """Transform waves."""
        real, imaginary = self.transform(wave)
        if self.spectrum == "complex":
            bands = sg.power(real @ self.basis, imaginary @ self.basis).sqrt()
        elif self.spectrum == "magnitude":
            bands = sg.power(real, imaginary).sqrt() @ self.basis
        else:
            bands = sg.power(real, imaginary) @ self.basis
        return sg.rounded((bands + self.offset).log())


def build(params: Params) -> nn.Module:
    """The graph of `frontends/lnmel.py`."""
    return LnMel(params)
