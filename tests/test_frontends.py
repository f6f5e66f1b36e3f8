"""Frontends against librosa (before the rounding), and on the shortest, quietest and loudest clips."""

import pickle
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features.frontends import _spectrogram as sg

import librosa
import numpy as np
import pytest

RATE = 16_000
pytestmark = pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")  # librosa on the shortest clips
NAMES = ("logmel", "lnmel", "stft", "mfcc", "cqt", "waveform")
DB = 0.01


def recording(seconds: float = 1.1, rate: int = RATE) -> np.ndarray:
    """A decaying chord over a noise floor at -60 dB, float32 (n,)."""
    rng, t = np.random.default_rng(0), np.arange(int(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * f * t + f) * np.exp(-3 * t) for f in (110, 440, 1760, 5000))
    return (0.2 * chord + 1e-3 * rng.standard_normal(len(t))).astype(np.float32)


def frontend(name: str, **params: Any) -> Any:
    module = parts.find("frontends", name)
    return module.Frontend(module.Params.parse({"sample_rate": RATE, **params}, name))


@pytest.mark.parametrize("n", [1, 500, 17_777])
@pytest.mark.parametrize("window", [{"n_fft": 512, "hop_length": 160}, {"n_fft": 1000, "hop_length": 300}])
@pytest.mark.parametrize("win_length", [None, 400])
def test_logmel_is_librosas(n: int, window: dict[str, Any], win_length: int | None) -> None:
    wave = recording()[:n] if n > 1 else np.array([0.3], np.float32)
    ours = frontend("logmel", n_mels=40, fmin=20.0, win_length=win_length, **window).exact(wave)
    mel = librosa.feature.melspectrogram(y=wave, sr=RATE, n_mels=40, fmin=20, win_length=win_length, **window)
    np.testing.assert_allclose(ours, librosa.power_to_db(mel, top_db=None).T, atol=DB)


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "fmin", "fmax"), [(32_000, 1024, 64, 50, None), (8_000, 512, 20, 0, 900)]
)
def test_mel_basis_is_librosas(rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> None:
    params = sg.MelParams(sample_rate=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    np.testing.assert_allclose(sg.mel_basis(params), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("n", [1, 700, 17_777])
def test_stft_is_librosas(n: int) -> None:
    wave = recording()[-n:]
    ours = frontend("stft", n_fft=512, hop_length=128).exact(wave)
    magnitude = np.abs(librosa.stft(wave, n_fft=512, hop_length=128))
    np.testing.assert_allclose(ours, librosa.amplitude_to_db(magnitude, ref=np.max, top_db=80).T, atol=DB)
    assert ours.max() == 0
    assert ours.min() >= -80


@pytest.mark.parametrize("deltas", [0, 1, 2])
@pytest.mark.parametrize("n", [1, 1500, 17_777])
def test_mfcc_is_librosas(deltas: int, n: int) -> None:
    wave = recording()[-n:]
    window: dict[str, Any] = {"n_fft": 512, "hop_length": 256}
    ours = frontend("mfcc", n_mfcc=13, n_mels=40, fmin=20.0, deltas=deltas, **window).exact(wave)
    mfcc = librosa.feature.mfcc(y=wave, sr=RATE, n_mfcc=13, n_mels=40, fmin=20, **window)
    orders = [librosa.feature.delta(mfcc, order=o, mode="nearest") for o in range(1, deltas + 1)]
    np.testing.assert_allclose(ours, np.concatenate([mfcc, *orders]).T, atol=DB)


def test_lnmel_is_librosas_mel_in_natural_logarithms() -> None:
    wave = recording()
    ours = frontend("lnmel").exact(wave)
    mel = librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=512, hop_length=160, n_mels=40)
    np.testing.assert_allclose(ours, np.log(mel + 1e-9).T, atol=2e-3)
    root = librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=512, hop_length=160, n_mels=40, power=1)
    np.testing.assert_allclose(frontend("lnmel", spectrum="magnitude").exact(wave), np.log(root + 1e-9).T, atol=2e-3)


def test_lnmel_has_the_documents_defects_as_settings() -> None:
    """Filters for 22.05 kHz on the complex spectrum of a 16 kHz wave; the real part of the complex logarithm."""
    wave = recording()
    spectrum = librosa.stft(wave, n_fft=512, hop_length=160)
    mel = librosa.filters.mel(sr=22_050, n_fft=512, n_mels=40) @ spectrum
    ours = frontend("lnmel", spectrum="complex", filter_rate=22_050).exact(wave)
    heard = np.abs(mel.T) > 1e-6  # below it, the phase tells
    np.testing.assert_allclose(ours[heard], np.log(mel + 1e-9).real.T[heard], atol=0.01)
    assert heard.mean() > 0.85
    assert np.abs(ours - frontend("lnmel").exact(wave)).mean() > 1


def test_cqt_is_librosas() -> None:
    wave = recording()
    settings: dict[str, Any] = {"hop_length": 256, "fmin": 65.4, "n_bins": 48}
    ours = frontend("cqt", **settings).exact(wave)
    magnitude = np.abs(librosa.cqt(wave, sr=RATE, **settings))
    np.testing.assert_allclose(ours, librosa.amplitude_to_db(magnitude, top_db=None).T, atol=DB)


def test_chunks_join_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = frontend("logmel").exact(recording())
    monkeypatch.setattr(sg, "CHUNK", 7)
    np.testing.assert_allclose(frontend("logmel").exact(recording()), whole, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wave", [np.ones(1), np.zeros(1), np.zeros(5000), np.full(3000, 1e12)], ids=str)
def test_extreme_clips_stay_finite(name: str, wave: np.ndarray) -> None:
    made = frontend(name)
    features = made(wave.astype(np.float32))
    assert len(features) >= 1
    assert features.shape[1] == made.width
    assert features.dtype == made.dtype
    assert np.isfinite(features).all()


@pytest.mark.parametrize("name", NAMES)
def test_rounding_frame_rate_and_pickling(name: str) -> None:
    made, wave = frontend(name), recording()
    rounded, exact = made(wave), made.exact(wave)
    np.testing.assert_allclose(rounded, exact, rtol=1e-3, atol=0.51)
    assert abs(len(exact) - 1.1 * made.frame_rate) <= 2
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))(wave), rounded)


def test_waveform_scales_what_would_clip() -> None:
    loud = frontend("waveform")(np.array([0.5, -2.0, 1.0], np.float32))
    np.testing.assert_array_equal(loud[:, 0], [8192, -32767, 16384])
    np.testing.assert_array_equal(frontend("waveform")(np.array([0.5], np.float32)), [[16384]])


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("logmel", {"fmax": 9000}, "half the sample rate"),
        ("logmel", {"fmin": 500, "fmax": 400}, "fmin"),
        ("logmel", {"n_mels": 500}, "empty"),
        ("logmel", {"hop_length": 0}, "hop_length"),
        ("logmel", {"win_length": 2000}, "win_length"),
        ("logmel", {"n_mel": 64}, "did you mean 'n_mels'"),
        ("mfcc", {"n_mfcc": 200}, "n_mfcc"),
        ("cqt", {"n_bins": 200}, "half the sample rate"),
        ("stft", {"hop_length": 5000}, "skipped"),
    ],
)
def test_impossible_settings_are_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        frontend(name, **params)
