"""Magnitude spectrogram in dB under the clip's loudest bin."""

from tonestack.deploy.graphs import _spectrogram as sg
from tonestack.features.frontends._spectrogram import FrameParams

from torch import Tensor, nn

TOP_DB = 80.0


class Magnitude(nn.Module):
    """Waves (B, N) to frames (B, T, 1 + n_fft // 2), -80..0 dB."""

    def __init__(self, params: FrameParams) -> None:
        super().__init__()
        self.transform = sg.Transform(params)

    def forward(self, wave: Tensor) -> Tensor:
        """Transform waves."""
        level = sg.decibels(sg.power(*self.transform(wave)))
        return sg.rounded((level - level.amax(dim=(1, 2), keepdim=True)).clamp_min(-TOP_DB))


def build(params: FrameParams) -> nn.Module:
    """The graph of `frontends/stft.py`."""
    return Magnitude(params)
