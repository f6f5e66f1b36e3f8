"""The wave itself, as int16 would hold it."""

from tonestack.features.frontends.waveform import FULL_SCALE, Params
from tonestack.training.crops import FULL_SCALE as DIVISOR

from torch import Tensor, nn


class Wave(nn.Module):
    """Waves (B, N) to frames (B, N, 1); a clip whose peak is over 1.0 is scaled down to it."""

    def forward(self, wave: Tensor) -> Tensor:
        """Round waves."""
        peak = wave.abs().amax(dim=1, keepdim=True).clamp_min(1.0)
        return ((wave * (FULL_SCALE / peak)).round() / DIVISOR).unsqueeze(2)


def build(params: Params) -> nn.Module:
    """The graph of `frontends/waveform.py`."""
    return Wave()
