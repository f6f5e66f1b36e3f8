"""Shared by the spectral frontends: frames, power spectra and the mel filter bank, equal to librosa's.

The filter bank is computed here because importing librosa's costs 1.1 s (numba) in every process;
the tests compare it with `librosa.filters.mel`.
"""

from collections.abc import Iterator

from tonestack.base.section import Section

import numpy as np
import scipy.fft
from pydantic import Field, model_validator

CHUNK = 1 << 18  # samples transformed at once: larger temporaries leave the cache, and are fresh pages every time
AMIN = np.float32(1e-10)  # power floor: -100 dB

Chunks = Iterator[tuple[slice, np.ndarray]]


class FrameParams(Section):
    """Settings of a short-time Fourier transform (Hann window, centred frames, zero padding).

    sample_rate in Hz; n_fft, hop_length and win_length in samples (win_length None: n_fft).
    """

    sample_rate: int = Field(32_000, ge=1_000, le=768_000, description="sample rate, Hz")
    n_fft: int = Field(1024, ge=16, le=1 << 18, description="length of the Fourier transform, samples")
    hop_length: int = Field(320, ge=1, description="step between frames, samples")
    win_length: int | None = Field(None, ge=2, description="length of the window, samples; left out: n_fft")

    @model_validator(mode="after")
    def _check_window(self) -> "FrameParams":
        if (self.win_length or 0) > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is longer than n_fft {self.n_fft}")
        if self.hop_length > self.n_fft:
            raise ValueError(
                f"hop_length {self.hop_length} is longer than n_fft {self.n_fft}: samples would be skipped"
            )
        return self


class MelParams(FrameParams):
    """Settings of a mel spectrogram; fmin and fmax in Hz (fmax None: half the sample rate)."""

    n_mels: int = Field(64, ge=1, description="mel bands")
    fmin: float = Field(50.0, ge=0, description="lower edge of the lowest band, Hz")
    fmax: float | None = Field(
        None, gt=0, description="upper edge of the highest band, Hz; left out: half the sample rate"
    )

    @model_validator(mode="after")
    def _check_bands(self) -> "MelParams":
        top = self.fmax or self.sample_rate / 2
        if top > self.sample_rate / 2:
            raise ValueError(f"fmax {top:g} Hz lies over half the sample rate ({self.sample_rate / 2:g} Hz)")
        if self.fmin >= top:
            raise ValueError(f"fmin {self.fmin:g} Hz is not below fmax {top:g} Hz")
        empty = int((mel_basis(self).max(axis=1) == 0).sum())
        if empty:
            raise ValueError(f"n_mels {self.n_mels} is more than n_fft {self.n_fft} resolves ({empty} bands are empty)")
        return self


def frame_count(n: int, n_fft: int, hop: int) -> int:
    """Return T for n samples, as librosa's centred frames have it."""
    return 1 + max(0, n + 2 * (n_fft // 2) - n_fft) // hop


def window(params: FrameParams) -> np.ndarray:
    """Return the periodic Hann window, zero-padded on both sides: float32 (n_fft,)."""
    length = params.win_length or params.n_fft
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    left = (params.n_fft - length) // 2
    return np.pad(hann, (left, params.n_fft - length - left)).astype(np.float32)


def power_chunks(wave: np.ndarray, n_fft: int, hop: int, taper: np.ndarray) -> Chunks:
    """Yield (which frames, their power spectra) of float32 (n,): power float32 (t, 1 + n_fft // 2)."""
    for where, frames in frame_chunks(wave, n_fft, hop):
        spectrum = scipy.fft.rfft(frames * taper, overwrite_x=True)  # (t, 1 + n_fft // 2) complex64
        power = spectrum.real**2
        power += spectrum.imag**2
        yield where, power


def frame_chunks(wave: np.ndarray, n_fft: int, hop: int) -> Chunks:
    """Yield (which frames, their samples) of float32 (n,): a view (t, n_fft) of overlapping stretches."""
    frames, step = frame_count(len(wave), n_fft, hop), max(1, CHUNK // n_fft)
    for start in range(0, frames, step):
        stop = min(start + step, frames)
        segment = _padded(wave, start * hop - n_fft // 2, (stop - 1) * hop - n_fft // 2 + n_fft)
        strides = hop * segment.itemsize, segment.itemsize
        yield slice(start, stop), np.ndarray((stop - start, n_fft), segment.dtype, segment, strides=strides)


def _padded(wave: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return wave[start:stop] where samples outside the wave are zero."""
    inner = wave[max(start, 0) : max(min(stop, len(wave)), 0)]
    if len(inner) == stop - start:
        return inner
    padded, before = np.zeros(stop - start, wave.dtype), max(-start, 0)
    padded[before : before + len(inner)] = inner
    return padded


def decibels(power: np.ndarray) -> np.ndarray:
    """Return 10 log10(max(power, 1e-10)) in place, as librosa.power_to_db without top_db."""
    np.maximum(power, AMIN, out=power)
    np.log10(power, out=power)
    power *= np.float32(10)
    return power


def to_float16(values: np.ndarray) -> np.ndarray:
    """Round to float16; values outside its range are clipped."""
    limit = np.finfo(np.float16).max
    return np.clip(values, -limit, limit).astype(np.float16)


def mel_basis(params: MelParams) -> np.ndarray:
    """Return Slaney's mel filter bank with unit-area triangles: float32 (n_mels, 1 + n_fft // 2)."""
    bins = np.fft.rfftfreq(params.n_fft, 1 / params.sample_rate)
    edges = mel_edges(params)
    widths = np.diff(edges)
    ramps = edges[:, None] - bins  # (n_mels + 2, bins)
    triangles = np.minimum(-ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None])
    area = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(0, triangles) * area[:, None]).astype(np.float32)


def mel_centres(params: MelParams) -> np.ndarray:
    """Return each band's centre in Hz (n_mels,)."""
    return mel_edges(params)[1:-1]


def mel_edges(params: MelParams) -> np.ndarray:
    """Return begin, peak and end of the triangles in Hz: (n_mels + 2,); band k peaks at entry k + 1."""
    ends = _to_mel(np.array([params.fmin, params.fmax or params.sample_rate / 2]))
    return _to_hertz(np.linspace(ends[0], ends[1], params.n_mels + 2))


# Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz (3 mels every 200 Hz), logarithmic above
_STEP = np.log(6.4) / 27


def _to_mel(hertz: np.ndarray) -> np.ndarray:
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + np.log(np.maximum(hertz, 1000) / 1000) / _STEP)


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(_STEP * (np.maximum(mel, 15) - 15)))
