"""Mel-frequency cepstral coefficients: librosa.feature.mfcc(S=power_to_db(mel, top_db=None)), the loudness included."""

from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.features.frontends import _spectrogram as sg
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import numpy as np
import scipy.fft
from pydantic import Field


class Params(Section):
    """n_mfcc coefficients of n_mels bands between fmin and fmax in Hz (None: half the sample rate)."""

    n_mfcc: int = Field(20, ge=1, description="cepstral coefficients kept")
    n_mels: int = Field(40, ge=1, description="mel bands")
    fmin: float = Field(0.0, ge=0, description="lower edge of the lowest band, Hz")
    fmax: float | None = Field(
        None, gt=0, description="upper edge of the highest band, Hz; left out: half the sample rate"
    )


class Feature:
    """Frames -> (t, n_mfcc). No floor under the clip's loudest band: it would need the whole clip at once."""

    def __init__(self, params: Params, frames: SpeechFrameParams) -> None:
        if params.n_mfcc > params.n_mels:
            raise ValueError(f"n_mfcc {params.n_mfcc} is more than n_mels {params.n_mels}")
        own: dict[str, Any] = params.model_dump(exclude={"n_mfcc"})
        shared = {"sample_rate": frames.sample_rate, "n_fft": frames.n_fft, "hop_length": frames.hop_length}
        try:
            mel = sg.MelParams.parse(own | shared, "mfcc")
        except UserError as error:
            raise ValueError(str(error)) from None
        self.width = params.n_mfcc
        self._basis = np.ascontiguousarray(sg.mel_basis(mel).T)  # (bins, n_mels)

    def __call__(self, block: FrameBlock) -> np.ndarray:
        bands = sg.decibels(block.power @ self._basis)
        mfcc: np.ndarray = scipy.fft.dct(bands, axis=1, norm="ortho")[:, : self.width]
        return mfcc
