"""Mel-frequency cepstral coefficients and their deltas."""

from tonestack.deploy.graphs import _spectrogram as sg
from tonestack.features.frontends.mfcc import DELTA_WIDTH, TOP_DB, Params

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from scipy.signal import savgol_coeffs
from torch import Tensor, nn


class Mfcc(nn.Module):
    """Waves (B, N) to frames (B, T, n_mfcc * (1 + deltas)): cosine transform of mel bands, Savitzky-Golay slopes."""

    cosines: Tensor
    slopes: Tensor

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.mel = sg.Mel(params)
        cosines = scipy.fft.dct(np.eye(params.n_mels, dtype=np.float32), axis=1, norm="ortho")[:, : params.n_mfcc]
        self.register_buffer("cosines", torch.from_numpy(cosines.copy()))
        orders = range(1, params.deltas + 1)
        slopes = [savgol_coeffs(DELTA_WIDTH, n, deriv=n)[::-1].astype(np.float32) for n in orders]
        self.register_buffer("slopes", torch.from_numpy(np.array(slopes).reshape(len(slopes), 1, DELTA_WIDTH)))

    def forward(self, wave: Tensor) -> Tensor:
        """Transform waves."""
        bands = self.mel(wave)  # (B, T, n_mels)
        mfcc = torch.maximum(bands, bands.amax(dim=(1, 2), keepdim=True) - float(TOP_DB)) @ self.cosines  # (B, T, C)
        if len(self.slopes) == 0:
            return sg.rounded(mfcc)
        lines = F.pad(mfcc.transpose(1, 2), (DELTA_WIDTH // 2, DELTA_WIDTH // 2), mode="replicate")
        deltas = [
            F.conv1d(lines.flatten(0, 1).unsqueeze(1), slope.unsqueeze(0)).squeeze(1).unflatten(0, lines.shape[:2])
            for slope in self.slopes
        ]  # (B, C, T) each
        return sg.rounded(torch.cat([mfcc, *(d.transpose(1, 2) for d in deltas)], dim=2))


def build(params: Params) -> nn.Module:
    """The graph of `frontends/mfcc.py`."""
    return Mfcc(params)
