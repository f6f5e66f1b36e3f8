"""Ten synthesised animal voices with variety inside each: what is heard in the demo soundscapes.

Every voice is a function `(rng, n) -> (n,)` samples at `synth.RATE`, of any level: one bout of calls of one animal.
Pitch, pace and loudness of the notes differ from animal to animal, and the classes' ranges overlap on purpose: the
cuckoo and the owl, the frog and the nightjar, the chiffchaff, the trill and the cricket share their bands.
"""

from tonestack.competition.demo.synth import (
    RATE,
    Rng,
    SoundMaker,
    bandpass,
    envelope,
    harmonics,
    log_uniform,
    noise,
    repeat,
    resonate,
    seconds,
    tilt,
    unit,
    vibrato,
)  # fmt: skip

import numpy as np


def _samples(length: float, left: int) -> int:
    """Samples of a note of `length` seconds, at most those that are left."""
    return max(min(left, int(RATE * length)), 2)


def _note(rng: Rng, left: int, length: float, start: float, end: float, steepness: float = 2.5) -> np.ndarray:
    """One whistled note that glides from `start` to `end` Hz, with a few weak harmonics."""
    n = _samples(length, left)
    tone = harmonics(np.geomspace(start, end, n), tilt(rng, 4, steepness))
    return tone * np.hanning(n) ** rng.uniform(0.3, 0.8)


def cuckoo(rng: Rng, n: int) -> np.ndarray:
    """Two low notes, the second a third to a fourth lower, again and again."""
    pitch, step, length = log_uniform(rng, 450, 800), rng.uniform(1.15, 1.35), rng.uniform(0.12, 0.2)

    def pair(left: int) -> np.ndarray:
        high = _note(rng, left, length, pitch, 0.97 * pitch)
        low = _note(rng, left, 1.3 * length, pitch / step, 0.96 * pitch / step)
        rest = np.zeros(int(RATE * rng.uniform(0.06, 0.15)))
        return np.concatenate([high, rest, low])[:left]

    return repeat(rng, n, rng.uniform(0.9, 1.5), pair)


def chiffchaff(rng: Rng, n: int) -> np.ndarray:
    """Short notes of two or three pitches in an irregular order, each falling."""
    pitches = log_uniform(rng, 3000, 5200) * np.cumprod([1, rng.uniform(0.8, 0.92), rng.uniform(0.85, 0.95)])
    fall, length = rng.uniform(1.1, 1.6), rng.uniform(0.05, 0.12)

    def chip(left: int) -> np.ndarray:
        pitch = float(rng.choice(pitches))
        return _note(rng, left, length, fall * pitch, pitch)

    return repeat(rng, n, rng.uniform(0.18, 0.35), chip)


def trill(rng: Rng, n: int) -> np.ndarray:
    """A fast row of equal notes, whose pace rises or falls, and a pause before the next row."""
    pitch, pace, glide = log_uniform(rng, 2600, 6000), rng.uniform(9, 22), rng.uniform(0.75, 1.35)
    change, row = rng.uniform(-0.3, 0.5), rng.uniform(0.7, 1.8)

    def one(left: int) -> np.ndarray:
        m = _samples(row, left)
        phase = np.cumsum(pace * (1 + change * np.linspace(0, 1, m))) / RATE % 1
        tone = harmonics(pitch * glide**phase, tilt(rng, 3, 2.5))
        return tone * np.sin(np.pi * phase) ** 2 * envelope(m, 0.2 * row, 0.1 * row)

    return repeat(rng, n, row + rng.uniform(0.4, 1.5), one)


def warble(rng: Rng, n: int) -> np.ndarray:
    """A phrase of gliding tones: the pitch wanders, the notes are cut out of it at an uneven pace."""
    middle = log_uniform(rng, 2000, 3800)

    def phrase(left: int) -> np.ndarray:
        m = _samples(rng.uniform(1.0, 2.5), left)
        knots = max(int(m / RATE * rng.uniform(5, 9)), 3)
        at = np.linspace(0, knots - 1, m)
        pitch = middle * np.exp(np.interp(at, np.arange(knots), rng.normal(0, 0.3, knots)))
        gate = np.interp(at, np.arange(knots), rng.random(knots) > 0.25)
        return harmonics(pitch, tilt(rng, 4, 2.2)) * gate * envelope(m, 0.03, 0.08)

    return repeat(rng, n, rng.uniform(2.5, 4.5), phrase)


def owl(rng: Rng, n: int) -> np.ndarray:
    """A long low hoot, then a wavering one, with a few harmonics."""
    pitch, shake = log_uniform(rng, 330, 620), rng.uniform(6, 12)

    def hoots(left: int) -> np.ndarray:
        m = _samples(rng.uniform(0.5, 0.9), left)
        first = harmonics(pitch * vibrato(rng, m, 0.02), tilt(rng, 5, 2.0)) * envelope(m, 0.1, 0.2)
        waver = 0.5 - 0.5 * np.cos(2 * np.pi * shake * seconds(m))
        second = harmonics(np.full(m, 0.95 * pitch), tilt(rng, 5, 2.0)) * waver * envelope(m, 0.05, 0.2)
        return np.concatenate([first, np.zeros(int(RATE * rng.uniform(0.2, 0.6))), second])[:left]

    return repeat(rng, n, rng.uniform(2.5, 4), hoots)


def nightjar(rng: Rng, n: int) -> np.ndarray:
    """A long churr: some thirty pulses a second at one of two pitches, which change every second or so."""
    pitch, pace = log_uniform(rng, 900, 1900), rng.uniform(24, 45)
    level = (np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * seconds(n) + rng.uniform(0, 6)) > 0).astype(float)
    phase = np.cumsum(pace * (1 - 0.15 * level)) / RATE % 1
    tone = harmonics(pitch * (1 - 0.12 * level), tilt(rng, 5, 1.2)) + rng.uniform(0.1, 0.5) * noise(rng, n)
    return bandpass(tone * np.exp(-6 * phase), 0.6 * pitch, 3.5 * pitch) * envelope(n, 0.3, 0.3)


def woodpecker(rng: Rng, n: int) -> np.ndarray:
    """A drum roll of half a second on a resonant branch, then a pause."""
    modes = log_uniform(rng, 500, 1600) * np.array([1, rng.uniform(1.7, 2.3), rng.uniform(3, 4)])
    pace, row = rng.uniform(14, 26), rng.uniform(0.4, 0.9)

    def roll(left: int) -> np.ndarray:
        m = _samples(row, left)
        hits = np.zeros(m)
        at = np.arange(0, m, max(int(RATE / pace), 1))
        hits[at] = rng.uniform(0.7, 1, len(at)) * np.linspace(1, rng.uniform(0.2, 0.8), len(at))
        return unit(resonate(hits, modes, 0.08 * modes)) + 0.05 * unit(hits)

    return repeat(rng, n, row + rng.uniform(0.8, 2.5), roll)


def gull(rng: Rng, n: int) -> np.ndarray:
    """Rough falling cries, rich in harmonics, in a row that slows down."""
    pitch, length = log_uniform(rng, 550, 1300), rng.uniform(0.18, 0.45)
    formants = rng.uniform([1200, 2600], [2000, 4000])

    def cry(left: int) -> np.ndarray:
        m = _samples(length * rng.uniform(0.7, 1.3), left)
        voice = harmonics(np.geomspace(pitch, pitch * rng.uniform(0.6, 0.85), m), tilt(rng, 14, 0.7))
        rough = unit(voice) + rng.uniform(0.1, 0.7) * noise(rng, m, 0.5)
        return resonate(rough, formants, 0.2 * formants) * np.hanning(m) ** 0.4

    return repeat(rng, n, length * rng.uniform(1.3, 2.2), cry)


def frog(rng: Rng, n: int) -> np.ndarray:
    """Croaks: rows of pulses in a low band, ten to thirty a second."""
    centre, pace, length = log_uniform(rng, 700, 2000), rng.uniform(14, 34), rng.uniform(0.2, 0.7)

    def croak(left: int) -> np.ndarray:
        m = _samples(length, left)
        pulses = (np.cumsum(np.full(m, pace)) / RATE % 1 < 0.05).astype(float)
        bands = np.array([centre, rng.uniform(1.6, 2.1) * centre])
        return unit(resonate(pulses - pulses.mean(), bands, 0.12 * bands)) * envelope(m, 0.3 * length, 0.1)

    return repeat(rng, n, length + log_uniform(rng, 0.15, 1.2), croak)


def cricket(rng: Rng, n: int) -> np.ndarray:
    """High chirps of a few pulses, two to four a second, for as long as the bout lasts."""
    pitch, pulses, pace = log_uniform(rng, 3800, 7500), int(rng.integers(2, 6)), rng.uniform(22, 50)

    def chirp(left: int) -> np.ndarray:
        m = _samples(pulses / pace, left)
        gate = np.sin(np.pi * (pace * seconds(m) % 1)) ** 2
        return harmonics(np.full(m, pitch), np.array([1, rng.uniform(0.02, 0.1)])) * gate

    return repeat(rng, n, rng.uniform(0.25, 0.55), chirp)


CALLS: dict[str, SoundMaker] = {
    "cuckoo1": cuckoo, "chiffch1": chiffchaff, "trill02": trill, "warble4": warble, "tawowl1": owl, "eurnig1": nightjar,
    "grswoo1": woodpecker, "hergul": gull, "22967": frog, "47158son01": cricket,
}  # fmt: skip
CLASSES: list[str] = sorted(CALLS)
NAMES = {
    "cuckoo1": "Cuckoo", "chiffch1": "Chiffchaff", "trill02": "Trilling warbler", "warble4": "Warbling finch",
    "tawowl1": "Tawny owl", "eurnig1": "Nightjar", "grswoo1": "Woodpecker", "hergul": "Gull", "22967": "Frog",
    "47158son01": "Cricket",
}  # fmt: skip
NIGHT = ("tawowl1", "eurnig1", "22967", "47158son01")  # heard at night, the others by day; a few at both
