"""Voices: the same seed is the same person, utterances differ, and a person can be told from new words."""

import librosa
import numpy as np
import pytest

from tonestack.voices import formant


def said(seed: int, take: int, seconds: float = 3.0, text: str = "") -> np.ndarray:
    return formant.voice(seed).say(text, seconds, np.random.default_rng([seed, take]))[0]


def test_samples_are_mono_float32_of_the_length_asked_for() -> None:
    for seconds in (0.01, 0.5, 2.345):
        samples, rate = formant.voice(0).say("", seconds, np.random.default_rng(0))
        assert samples.shape == (round(seconds * rate),)
        assert samples.dtype == np.float32
        assert np.abs(samples).max() <= 1  # also: finite


def test_the_same_seed_is_the_same_person_and_utterances_differ() -> None:
    assert np.array_equal(said(3, 0, 1.0), said(3, 0, 1.0))
    assert not np.array_equal(said(3, 0, 1.0), said(3, 1, 1.0))
    assert formant.voice(3) == formant.voice(3) != formant.voice(4)


@pytest.mark.parametrize("seed", range(4))
def test_the_pitch_heard_is_the_voices_own(seed: int) -> None:
    voice = formant.voice(seed)
    heard = librosa.yin(said(seed, 0, 4.0), fmin=60, fmax=500, sr=formant.RATE)
    assert 2**-0.6 < np.median(heard) / voice.pitch < 2**0.6


def test_text_is_spelt_into_sounds() -> None:
    assert formant.spell("She sang.") == ["sh", "e", "s", "a", "ng", "pause"]
    assert formant.spell("123") == ["uh"]
    rng = np.random.default_rng(0)
    assert all(name in formant.SOUNDS for _ in range(20) for name in formant.spell(formant.babble(rng)))


def test_ten_voices_are_told_apart_by_new_utterances_but_not_by_pitch_alone() -> None:
    clips = [[said(100 + v, take, 2.0) for take in range(8)] for v in range(10)]
    timbre = [[librosa.feature.mfcc(y=c, sr=formant.RATE, n_mfcc=20)[1:].mean(1) for c in row] for row in clips]
    pitch = [[[np.log(np.median(librosa.yin(c, fmin=60, fmax=500, sr=formant.RATE)))] for c in row] for row in clips]
    assert right_by_nearest_mean(np.array(timbre)) > 0.7
    assert 0.2 < right_by_nearest_mean(np.array(pitch)) < 0.8


def right_by_nearest_mean(features: np.ndarray) -> float:
    """Share of the second half of the takes (voices, takes, C) nearest to their own voice's mean over the first."""
    half = features.shape[1] // 2
    gaps = (features[:, half:, None] - features[:, :half].mean(1)) / features[:, :half].std((0, 1))
    nearest = np.linalg.norm(gaps, axis=-1).argmin(-1)
    return float((nearest == np.arange(len(features))[:, None]).mean())
