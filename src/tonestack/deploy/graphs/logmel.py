"""Log-mel spectrogram in dB."""

from tonestack.deploy.graphs import _spectrogram as sg
from tonestack.features.frontends._spectrogram import MelParams

from torch import Tensor, nn


class LogMel(nn.Module):
    """Waves (B, N) to log-mel frames (B, T, n_mels)."""

    def __init__(self, params: MelParams) -> None:
        super().__init__()
        self.mel = sg.Mel(params)

    def forward(self, wave: Tensor) -> Tensor:
        """Transform waves."""
        return sg.rounded(self.mel(wave))


def build(params: MelParams) -> nn.Module:
    """The graph of `frontends/logmel.py`."""
    return LogMel(params)
