"""Features of speech against references: libraries, closed forms, and slow direct computations written out here."""

import itertools
import pickle
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features.audio import resample
from tonestack.features.frontends import picture, story
from tonestack.features.speech import _lpc, dwt, f0, plp
from tonestack.features.speech._frame_block import FrameBlock, SpeechFrameParams

import librosa
import numpy as np
import pytest
import pywt
import scipy.fft
import soundfile
from scipy import signal
from scipy.interpolate import CubicSpline

RATE, SIZE, HOP = 16_000, 512, 160
SHARED = Path(__file__).parents[2] / "shared" / "data"
NAMES = parts.names("features")
LIGHT = {"cqcc": {"octaves": 5, "bins_per_octave": 24}}  # the paper's settings take seconds


def speech(seconds: float = 1.3) -> np.ndarray:
    """Pulses of a gliding pitch through three resonances, a pause in the middle, over noise: float32 (n,)."""
    rng, t = np.random.default_rng(0), np.arange(int(seconds * RATE)) / RATE
    phase = np.cumsum(120 + 60 * t) / RATE
    wave = np.diff(np.floor(phase), prepend=0.0) + 0.01 * rng.standard_normal(len(t))
    for hertz, width in ((600, 80), (1700, 120), (2600, 160)):
        radius = np.exp(-np.pi * width / RATE)
        wave = signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hertz / RATE), radius**2], wave)
    wave[int(0.4 * len(t)) : int(0.6 * len(t))] *= 0.001
    return np.float32(0.3 * wave / np.abs(wave).max())


def tracks(wave: np.ndarray, *features: Any, **params: Any) -> np.ndarray:
    """Features of every frame (pool 1), before the rounding."""
    section = {"features": list(features), "pool": 1} | params
    return story.Frontend(story.Params.parse(section, "here")).exact(wave)


def emphasised(wave: np.ndarray) -> np.ndarray:
    return np.asarray(signal.lfilter([1, -0.97], [1], wave), np.float32)


def framed(wave: np.ndarray) -> np.ndarray:
    """librosa's centred frames (t, n), without a window."""
    return librosa.util.frame(np.pad(wave, SIZE // 2), frame_length=SIZE, hop_length=HOP).T


def magnitudes(wave: np.ndarray) -> np.ndarray:
    """(bins, t) of the pre-emphasised wave."""
    return np.abs(librosa.stft(emphasised(wave), n_fft=SIZE, hop_length=HOP))


# --------------------------------------------------------------------------------------------------- spectral features


def test_stft_is_librosas() -> None:
    np.testing.assert_allclose(tracks(speech(), "stft"), magnitudes(speech()).T, atol=1e-4)


@pytest.mark.parametrize("bands", [0, 257, 10])
def test_spectrogram_is_librosas_in_bands(bands: int) -> None:
    power = magnitudes(speech()) ** 2
    if bands == 10:
        edges = np.round(np.linspace(0, 257, 11)).astype(int)
        power = np.stack([power[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
    expected = librosa.power_to_db(power, top_db=None).T
    np.testing.assert_allclose(tracks(speech(), {"name": "spectrogram", "bands": bands}), expected, atol=0.05)


def test_mfcc_is_librosas() -> None:
    mel = librosa.feature.melspectrogram(S=magnitudes(speech()) ** 2, sr=RATE, n_mels=40)
    expected = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=13).T
    np.testing.assert_allclose(tracks(speech(), {"name": "mfcc", "n_mfcc": 13}), expected, atol=0.01)


def test_centroid_and_contrast_are_librosas_of_the_emphasised_wave() -> None:
    ours = tracks(speech(), "centroid", "contrast")
    centroid = librosa.feature.spectral_centroid(y=emphasised(speech()), sr=RATE, n_fft=SIZE, hop_length=HOP)
    contrast = librosa.feature.spectral_contrast(y=emphasised(speech()), sr=RATE, n_fft=SIZE, hop_length=HOP, n_bands=5)
    np.testing.assert_allclose(ours, np.concatenate([centroid, contrast]).T, rtol=1e-3, atol=0.02)


def test_the_centroid_of_a_tone_is_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 1234 * np.arange(RATE) / RATE).astype(np.float32)
    np.testing.assert_allclose(tracks(tone, "centroid")[5:-5], 1234, atol=5)


def test_wavelet_sub_bands_rebuild_the_frame_and_share_its_energy() -> None:
    feature = dwt.Feature(dwt.Params(), SpeechFrameParams())
    frames = framed(speech())
    np.testing.assert_allclose(pywt.waverec(feature.coefficients(frames), "db4", "periodization"), frames, atol=1e-6)
    tapered = framed(emphasised(speech())) * signal.windows.hann(SIZE, sym=False)
    energies = 10 ** (tracks(speech(), "dwt") / 10)
    np.testing.assert_allclose(energies.sum(axis=1), (tapered**2).sum(axis=1), rtol=1e-3, atol=1e-8)


def test_a_high_tone_lies_in_the_finest_wavelet_band_and_a_low_one_in_the_coarsest() -> None:
    t = np.arange(RATE) / RATE
    for hertz, column in ((6500, -1), (120, 0)):
        bands = tracks(np.sin(2 * np.pi * hertz * t).astype(np.float32), "dwt", pre_emphasis=0)[50]
        assert bands.argmax() == column % len(bands)


# --------------------------------------------------------------------------------------------------- linear prediction


def test_lpc_is_librosas_frame_by_frame_and_finds_a_known_filter() -> None:
    ours = tracks(speech(), {"name": "lpc", "order": 10})
    for k in (20, 60, 110):
        expected = librosa.lpc(framed(emphasised(speech()))[k].astype(np.float64), order=10)
        np.testing.assert_allclose(ours[k], expected[1:], atol=1e-4)
    noise = np.random.default_rng(0).standard_normal(RATE)
    known = signal.lfilter([1], [1, -1.6, 0.9], noise).astype(np.float32)
    found = tracks(known, {"name": "lpc", "order": 2}, pre_emphasis=0)[10:-10]
    np.testing.assert_allclose(found.mean(axis=0), [-1.6, 0.9], atol=0.02)


def test_lpcc_is_the_cepstrum_of_the_all_pole_model() -> None:
    a = np.concatenate([np.ones((131, 1)), tracks(speech(), {"name": "lpc", "order": 8})], axis=1)[[20, 60, 110]]
    response = 1 / np.fft.rfft(a, 1 << 15)
    expected = 2 * np.fft.irfft(np.log(np.abs(response)))[:, 1:21]  # minimum phase: twice the real cepstrum
    ours = tracks(speech(), {"name": "lpcc", "order": 8, "count": 20})[[20, 60, 110]]
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_line_spectral_frequencies_in_closed_form() -> None:
    even = np.eye(1, 13)  # A(z) = 1: silence and white noise
    expected = np.arange(1, 13) * np.pi / 13
    np.testing.assert_allclose(_lpc.line_spectral_frequencies(even)[0], expected, atol=1e-10)
    a1, a2 = -1.2, 0.6
    first, second = np.arccos((1 - a1 - a2) / 2), np.arccos((a2 - a1 - 1) / 2)
    np.testing.assert_allclose(_lpc.line_spectral_frequencies(np.array([[1, a1, a2]]))[0], [first, second])
    np.testing.assert_allclose(tracks(np.zeros(4000, np.float32), "lsf"), np.tile(expected, (26, 1)), atol=1e-6)


def test_line_spectral_frequencies_are_the_roots_of_p_and_q_interlace_and_rebuild_the_polynomial() -> None:
    a = _lpc.burg(framed(emphasised(speech())), 12)
    ours = _lpc.line_spectral_frequencies(a)
    assert (np.diff(np.concatenate([np.zeros((len(a), 1)), ours, np.full((len(a), 1), np.pi)], axis=1)) > 0).all()
    for row, lsf in zip(a[::13], ours[::13], strict=True):
        p, q = (np.r_[row, 0] + sign * np.r_[0, row[::-1]] for sign in (1, -1))
        angles = [np.sort(np.angle(np.roots(x))) for x in (p, q)]
        np.testing.assert_allclose(lsf[0::2], angles[0][(angles[0] > 1e-6) & (angles[0] < np.pi - 1e-6)], atol=1e-6)
        np.testing.assert_allclose(lsf[1::2], angles[1][(angles[1] > 1e-6) & (angles[1] < np.pi - 1e-6)], atol=1e-6)
        rebuilt = 0.5 * (polynomial(lsf[0::2], -1) + polynomial(lsf[1::2], 1))[:-1]
        np.testing.assert_allclose(rebuilt, row, atol=1e-6)


def polynomial(angles: np.ndarray, root: int) -> np.ndarray:
    """Coefficients of the polynomial with these angles on the unit circle and one real root."""
    product = np.array([1.0, -root])
    for angle in angles:
        product = np.convolve(product, [1, -2 * np.cos(angle), 1])
    return product


def test_the_documents_lsf_are_angles_of_the_roots_of_one_and_minus_lpc() -> None:
    ours = tracks(speech(), {"name": "lsf", "order": 10, "form": "faithful"})
    for k in (20, 110):
        lpc = librosa.lpc(framed(emphasised(speech()))[k].astype(np.float64), order=10)
        np.testing.assert_allclose(ours[k], np.sort(np.angle(np.roots(np.append(1, -lpc)))), atol=1e-4)
    assert not np.allclose(np.abs(ours[20, 1:]), tracks(speech(), {"name": "lsf", "order": 10})[20], atol=0.1)


# ------------------------------------------------------------------------------------- perceptual, constant-Q and pitch


def slow_plp(frame: np.ndarray, order: int, count: int) -> np.ndarray:
    """Hermansky's steps one after the other, with loops and a general solver instead of Durbin's recursion."""
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(SIZE) / (SIZE - 1))
    spectrum = [sum(frame * hamming * np.exp(-2j * np.pi * k * np.arange(SIZE) / SIZE)) for k in range(SIZE // 2 + 1)]
    power = np.abs(spectrum) ** 2
    w = 2 * np.pi * np.arange(SIZE // 2 + 1) * RATE / SIZE
    x = w / (1200 * np.pi)
    z = 6 * np.log(x + np.sqrt(x**2 + 1))
    bands = int(np.ceil(z[-1])) + 1
    loudness = []
    for i in range(bands):
        centre = i * z[-1] / (bands - 1)
        theta = 0.0
        for p, here in zip(power, z, strict=True):
            d = centre - here
            theta += p * (
                0 if d < -1.3 else 10 ** (2.5 * (d + 0.5)) if d <= -0.5 else 1 if d < 0.5
                else 10 ** (-(d - 0.5)) if d <= 2.5 else 0
            )  # fmt: skip
        v = 1200 * np.pi * np.sinh(centre / 6)
        e = (v**2 + 56.8e6) * v**4 / ((v**2 + 6.3e6) ** 2 * (v**2 + 0.38e9)) * 9.58e26 / (v**6 + 9.58e26)
        loudness.append(max(theta * e, 1e-10) ** 0.33)
    loudness[0], loudness[-1] = loudness[1], loudness[-2]
    mirrored = np.r_[loudness, loudness[-2:0:-1]]
    r = [float(np.mean(mirrored * np.cos(2 * np.pi * n * np.arange(len(mirrored)) / len(mirrored)))) for n in range(20)]
    matrix = [[r[abs(i - j)] for j in range(order)] for i in range(order)]
    a = np.r_[1, np.linalg.solve(matrix, -np.array(r[1 : order + 1]))]
    gain = float(np.dot(a, r[: order + 1]))
    cepstrum = np.fft.irfft(np.log(gain / np.abs(np.fft.rfft(a, 1 << 14)) ** 2))
    return np.r_[cepstrum[0], cepstrum[1:count]]


def test_plp_is_the_slow_direct_computation() -> None:
    ours = tracks(speech(), "plp")
    for k in (20, 65, 110):
        np.testing.assert_allclose(ours[k], slow_plp(framed(speech())[k], 12, 13), atol=2e-3)


def test_plp_bands_are_the_papers_at_its_own_rate() -> None:
    bands = plp.critical_bands(10_000, 256)
    assert bands.shape == (18, 129)  # 18 samples 0.994 Bark apart up to 5 kHz, 16.9 Bark
    assert plp.bark(np.array(2 * np.pi * 5000)) == pytest.approx(16.9, abs=0.05)


def test_cqcc_is_the_dct_of_the_splined_constant_q_spectrum() -> None:
    params = {"octaves": 5, "bins_per_octave": 24, "steps": 8, "count": 12}
    wave = speech()
    lowest = RATE / 2 / 2**5
    transform = librosa.cqt(
        np.pad(emphasised(wave), 8000), sr=RATE, hop_length=HOP, fmin=lowest, n_bins=120, bins_per_octave=24
    )[:, 50:-50]
    hertz = lowest * 2 ** (np.arange(120) / 24)
    log_power = np.log(np.maximum(np.abs(transform) ** 2, 1e-10))
    uniform = CubicSpline(hertz, log_power)(np.arange(hertz[0], hertz[-1], lowest / 8))
    expected = scipy.fft.dct(uniform, axis=0)[:12].T / (2 * len(uniform))
    ours = tracks(wave, {"name": "cqcc", **params})
    np.testing.assert_allclose(ours[5:-5], expected[5 : len(ours) - 5], atol=0.05)


@pytest.mark.parametrize("hertz", [90.0, 220.0, 410.0])
def test_the_pitch_of_a_tone_is_found_and_silence_has_none(hertz: float) -> None:
    t = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * n * hertz * t) / n for n in range(1, 6))
    wave = np.r_[np.zeros(RATE), 0.3 * tone, np.zeros(RATE)].astype(np.float32)
    made = tracks(wave, "f0")
    found = 100 * 2 ** (made[105:195, 0] / 12)
    np.testing.assert_allclose(found, hertz, rtol=0.0065)  # half of the candidates' step
    assert made[105:195, 1].all()
    assert not made[:95, 1].any()
    assert not made[205:, 1].any()


@pytest.mark.parametrize(("method", "atol"), [("pyin", 0.15), ("praat", 0.1)])
def test_a_rising_pitch_is_followed_in_time(method: str, atol: float) -> None:
    if method == "praat":
        pytest.importorskip("parselmouth")
    t = np.arange(2 * RATE) / RATE
    pitch = 120 * 2 ** (t / 2)
    wave = np.float32(0.2 * sum(np.sin(2 * np.pi * n * np.cumsum(pitch) / RATE) for n in range(1, 6)))
    found = tracks(wave, {"name": "f0", "method": method})[20:-20, 0]
    expected = 12 * np.log2(120 / 100) + 6 * (np.arange(201)[20:-20] * HOP / RATE)
    np.testing.assert_allclose(found, expected, atol=atol)


def voices() -> list[np.ndarray]:
    """Clips of a person's voice at the features' rate, a second and more each."""
    found = sorted((SHARED / "fsdd_voxceleb1/wav").glob("*/*/*.wav"))[::150]
    if not found:
        pytest.skip(f"{SHARED / 'fsdd_voxceleb1'} is not there")
    return [np.r_[np.zeros(RATE // 4, np.float32), resample(*soundfile.read(p, dtype="float32"), RATE)] for p in found]


def test_the_two_pitches_of_real_voices_agree() -> None:
    pytest.importorskip("parselmouth")
    ours, praats = (
        np.concatenate([tracks(wave, {"name": "f0", "method": method}) for wave in voices()])
        for method in ("pyin", "praat")
    )
    both = (ours[:, 1] > 0) & (praats[:, 1] > 0)
    assert np.mean(ours[:, 1] == praats[:, 1]) > 0.8
    assert np.mean(abs(ours - praats)[both, 0] < 0.5) > 0.8


def test_settings_saved_without_a_method_mean_praat() -> None:
    saved = {"floor": 60.0, "ceiling": 500.0, "voicing": True}
    assert f0.Params.parse(saved, "a receipt").method == "praat"
    assert f0.Params.parse({"voicing": False}, "a config").method == "pyin"
    assert f0.Params.parse(saved | {"method": "pyin"}, "a receipt").method == "pyin"


def test_praat_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f0, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"install praat-parselmouth; or say method: pyin"):
        story.Params.parse({"features": [{"name": "f0", "method": "praat"}]}, "here")


def test_a_quiet_piece_is_judged_by_the_clips_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    hum = 1e-3 * np.sin(2 * np.pi * 150 * np.arange(3 * RATE) / RATE)
    wave = np.r_[hum, speech()].astype(np.float32)
    monkeypatch.setattr(story, "PIECE", 1.0)
    assert not tracks(wave, "f0")[:250, 1].any()


# --------------------------------------------------------------------------------------------------------- the frontend


def test_features_stand_side_by_side_in_the_order_given() -> None:
    both = tracks(speech(), "centroid", {"name": "mfcc", "n_mfcc": 5})
    np.testing.assert_array_equal(both[:, :1], tracks(speech(), "centroid"))
    np.testing.assert_array_equal(both[:, 1:], tracks(speech(), {"name": "mfcc", "n_mfcc": 5}))


def test_pooling_averages_frames_and_skips_those_without_a_value() -> None:
    each, pooled = tracks(speech(), "centroid"), tracks(speech(), "centroid", pool=10)
    assert pooled.shape == (14, 1)
    np.testing.assert_allclose(pooled[:13], each[:130].reshape(13, 10).mean(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(pooled[13], each[130:].mean(axis=0), rtol=1e-5)
    values = np.array([[np.nan], [4.0], [np.nan], [np.nan], [1.0], [2.0]])
    means = story._means(values, 2)
    np.testing.assert_array_equal(means, np.array([[4.0], [np.nan], [1.5]], np.float32))
    np.testing.assert_array_equal(story._without_gaps(means)[:, 0], [4.0, 2.75, 1.5])
    np.testing.assert_array_equal(story._without_gaps(np.full((3, 1), np.nan)), np.zeros((3, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_in_pieces_is_the_whole_clip(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    feature = {"name": name} | LIGHT.get(name, {})
    whole = tracks(speech(3.0), feature, pool=5)
    monkeypatch.setattr(story, "PIECE", 0.7)
    pieces = tracks(speech(3.0), feature, pool=5)
    assert pieces.shape == whole.shape
    scale = whole.std(axis=0).max()
    np.testing.assert_allclose(pieces, whole, atol={"cqcc": 0.05, "f0": 0.05}.get(name, 1e-3) * scale)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wave", [np.ones(1), np.zeros(1), np.zeros(5000), np.full(3000, 1e12)], ids=str)
def test_extreme_clips_stay_finite(name: str, wave: np.ndarray) -> None:
    made = story.Frontend(story.Params.parse({"features": [{"name": name} | LIGHT.get(name, {})]}, "here"))
    features = made(wave.astype(np.float32))
    assert features.shape == (max(1, -(-(1 + len(wave) // HOP) // 10)), made.width)
    assert features.dtype == np.float16
    assert np.isfinite(features).all()


def test_it_travels_to_workers_and_says_its_rate() -> None:
    made = story.Frontend(story.Params.parse({"features": NAMES[:2]}, "here"))
    assert made.frame_rate == 10
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))(speech()), made(speech()))


def test_settings_are_filled_in_so_that_a_saved_config_says_all() -> None:
    params = story.Params.parse({"features": ["lpc", {"name": "f0", "floor": 80}]}, "here")
    pitch = {"name": "f0", "floor": 80.0, "ceiling": 500.0, "voicing": True, "method": "pyin"}
    expected = ({"name": "lpc", "order": 12}, pitch)
    assert params.features == expected
    assert story.Params.parse(params.model_dump(mode="json"), "again") == params


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "features"),
        ({"features": []}, "features"),
        ({"features": ["mfc"]}, "no feature is called 'mfc'; did you mean 'mfcc'"),
        ({"features": [{"nam": "mfcc"}]}, "names no feature"),
        ({"features": [{"name": "lpc", "ordr": 3}]}, "did you mean 'order'"),
        ({"features": [{"name": "lsf", "order": 11}]}, "odd"),
        ({"features": [{"name": "mfcc", "n_mfcc": 50}]}, "n_mfcc 50 is more"),
        ({"features": [{"name": "mfcc", "fmax": 9000}]}, "half the sample rate"),
        ({"features": ["plp"], "sample_rate": 2000}, "critical bands"),
        ({"features": ["contrast"], "sample_rate": 4000}, "half the sample rate"),
        ({"features": [{"name": "dwt", "wavelet": "bior2.2"}]}, "orthogonal"),
        ({"features": [{"name": "dwt", "level": 10}]}, "halved"),
        ({"features": [{"name": "spectrogram", "bands": 300}]}, "257 bins"),
        ({"features": [{"name": "f0", "floor": 300, "ceiling": 200}]}, "not above"),
        ({"features": [{"name": "f0", "floor": 600, "ceiling": 900}], "sample_rate": 1000}, "half the sample rate"),
        ({"features": ["stft"], "n_fft": 511}, "multiple of 2"),
    ],
)
def test_impossible_settings_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        story.Params.parse(params, "frontend story")


def test_pre_emphasis_is_the_usual_filter_also_at_the_clips_ends() -> None:
    wave = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    block = FrameBlock(wave, 0, 13, SpeechFrameParams(), 1.0)
    np.testing.assert_allclose(block.frames(), framed(emphasised(wave)), atol=1e-6)
    np.testing.assert_array_equal(block.frames(emphasised=False), framed(wave))


# ------------------------------------------------------------------------------------------------------------- pictures


def test_a_picture_is_square_grey_and_has_one_panel_a_feature() -> None:
    made = picture.Frontend(picture.Params.parse({"features": ["centroid", "lsf"], "size": 64, "pool": 1}, "here"))
    drawn = made(speech())
    assert drawn.shape == (64, 64)
    assert made.frame_rate == 64
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (drawn[:, :32] == drawn[:, :1]).all()  # one value high, stretched over its panel
    centroid = tracks(speech(), "centroid")[:, 0]
    means = picture.spread(centroid[:, None], 64)[:, 0]
    expected = (means - centroid.min()) / (centroid.max() - centroid.min())
    np.testing.assert_allclose(drawn[:, 0], expected, atol=1e-3)


def test_spreading_means_over_equal_spans() -> None:
    values = np.array([[0.0], [3.0], [6.0]])
    np.testing.assert_allclose(picture.spread(values, 2)[:, 0], [1.0, 5.0])  # (0 + 3 / 2) / 1.5, (3 / 2 + 6) / 1.5
    np.testing.assert_allclose(picture.spread(values, 6)[:, 0], [0, 0, 3, 3, 6, 6])
    np.testing.assert_allclose(picture.spread(np.ones((1, 2)), 5), np.ones((5, 2)))
