"""What the spectral graphs share: see `frontends/_spectrogram.py`, whose numbers these are."""

from tonestack.features.frontends import _spectrogram as sg

import torch
from torch import Tensor, nn

FLOOR = float(sg.AMIN)


class Transform(nn.Module):
    """Waves (B, N) to spectra of centred frames, real and imaginary parts (B, T, 1 + n_fft // 2)."""

    window: Tensor

    def __init__(self, params: sg.FrameParams) -> None:
        super().__init__()
        self.n_fft, self.hop = params.n_fft, params.hop_length
        self.register_buffer("window", torch.from_numpy(sg.window(params)))

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Transform waves."""
        spectrum = torch.stft(
            wave, self.n_fft, self.hop, window=self.window, center=True, pad_mode="constant", return_complex=True
        ).transpose(1, 2)
        return spectrum.real, spectrum.imag


class Mel(nn.Module):
    """Waves (B, N) to mel bands in dB (B, T, n_mels)."""

    basis: Tensor

    def __init__(self, params: sg.MelParams) -> None:
        super().__init__()
        self.transform = Transform(params)
        self.register_buffer("basis", torch.from_numpy(sg.mel_basis(params).T.copy()))

    def forward(self, wave: Tensor) -> Tensor:
        """Transform waves."""
        return decibels(power(*self.transform(wave)) @ self.basis)


def power(real: Tensor, imaginary: Tensor) -> Tensor:
    """Squared magnitudes."""
    return real.square() + imaginary.square()


def decibels(powers: Tensor) -> Tensor:
    """10 log10 of powers, -100 at the least."""
    return 10 * powers.clamp_min(FLOOR).log10()


def rounded(frames: Tensor) -> Tensor:
    """Through float16, as the feature store keeps frames."""
    return frames.half().float()
