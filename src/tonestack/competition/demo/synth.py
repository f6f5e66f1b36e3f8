"""Twelve synthesised sound classes with real variety inside each: the clips of the demo competition.

Every sound is a function `(rng, n) -> (n,)` samples at `RATE`, of any level. `recording` turns a class name into
a clip like a field recording: with a second sound, background noise, a room, silence around it and a random
level. The classes' parameter ranges overlap on purpose, so that no single feature tells them apart.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import fft, signal

RATE = 32000  # Hz
SHORTEST, LONGEST = 0.3, 6.0  # seconds

Rng = np.random.Generator
Frequencies = Sequence[float] | np.ndarray  # Hz
SoundMaker = Callable[[Rng, int], np.ndarray]


# --- building blocks ---------------------------------------------------------------------------------------------


def seconds(n: int) -> np.ndarray:
    """Time of each of `n` samples, in seconds."""
    return np.arange(n) / RATE


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """One draw between `low` and `high`, uniform on a logarithmic scale (pitch, level, length)."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def noise(rng: Rng, n: int, slope: float = 0.0) -> np.ndarray:
    """Noise (n,) whose power falls with frequency to the power `slope`: 0 white, 1 pink, 2 brown; unit RMS."""
    size = fft.next_fast_len(n, real=True)  # a prime n costs ten times as much
    spectrum = fft.rfft(rng.standard_normal(size))
    spectrum *= np.maximum(fft.rfftfreq(size, 1 / RATE), 20.0) ** (-slope / 2)  # Hz
    return unit(fft.irfft(spectrum, size)[:n])


def unit(wave: np.ndarray) -> np.ndarray:
    """Scale to an RMS of 1; silence stays silence."""
    return wave / max(float(np.sqrt(np.mean(wave**2))), 1e-9)


def bandpass(wave: np.ndarray, low: float, high: float) -> np.ndarray:
    """Second-order Butterworth band, edges in Hz (kept inside what the rate allows)."""
    edges = np.clip([low, high], 20.0, 0.48 * RATE)
    return signal.sosfilt(signal.butter(2, edges, "bandpass", fs=RATE, output="sos"), wave)


def resonate(wave: np.ndarray, centres: Frequencies, widths: Frequencies) -> np.ndarray:
    """Sum of two-pole resonators (`centres` and `widths` in Hz): formants of a voice, modes of a body."""
    out = np.zeros_like(wave)
    for centre, width in zip(centres, widths, strict=True):
        radius = np.exp(-np.pi * width / RATE)
        angle = 2 * np.pi * min(centre, 0.45 * RATE) / RATE
        out += signal.lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wave)
    return out


def envelope(n: int, attack: float, release: float) -> np.ndarray:
    """Rise in `attack` and fall in `release` seconds, 1 in between: (n,)."""
    t = seconds(n)
    return np.clip(t / attack, 0, 1) * np.clip((n / RATE - t) / release, 0, 1)


def vibrato(rng: Rng, n: int, deepest: float) -> np.ndarray:
    """Relative pitch (n,) around 1: vibrato of up to `deepest` (0.01 = 1 %), 4 to 7 Hz, setting in after a while."""
    t = seconds(n)
    onset = np.clip(t / rng.uniform(0.05, 0.8), 0, 1)
    return 1 + rng.uniform(0, deepest) * onset * np.sin(2 * np.pi * (rng.uniform(4, 7) * t + rng.random()))


def harmonics(pitch: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Sum of harmonics of a pitch track (n,) in Hz; `levels` is (harmonics,) or (harmonics, n)."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    count = int(np.clip(0.45 * RATE / pitch.max(), 1, len(levels)))
    # sin((k + 1) x) = 2 cos(x) sin(k x) - sin((k - 1) x): a third of the time of one sine a harmonic.
    twice_cos, before, now = 2 * np.cos(phase), np.zeros(len(pitch)), np.sin(phase)
    total = levels[0] * now
    for level in levels[1:count]:
        before, now = now, twice_cos * now - before
        total += level * now
    return total


def tilt(rng: Rng, count: int, steepness: float) -> np.ndarray:
    """Levels (count,) of harmonics falling as k to the power -`steepness`, each off by some random dB."""
    return np.arange(1, count + 1) ** -steepness * 10 ** (rng.normal(0, 4, count) / 20)


def repeat(rng: Rng, n: int, gap: float, sound: Callable[[int], np.ndarray]) -> np.ndarray:
    """Place `sound(samples left)` every `gap` seconds or so, each at its own level, until `n` samples are full."""
    out = np.zeros(n)
    at = 0
    while at < n:
        hit = sound(n - at)[: n - at]
        out[at : at + len(hit)] += rng.uniform(0.5, 1) * hit
        at += int(RATE * gap * rng.uniform(0.8, 1.25)) + 1
    return out


# --- musical -----------------------------------------------------------------------------------------------------


def guitar(rng: Rng, n: int) -> np.ndarray:
    """Plucked string (Karplus-Strong): a burst of noise going round a delay line with a low-pass; one to four notes."""
    gap = log_uniform(rng, 0.25, 3)
    pitch = log_uniform(rng, 80, 700)
    dull, keep = rng.uniform(0.1, 0.5), rng.uniform(0.988, 0.999)

    def pluck(left: int) -> np.ndarray:
        delay = max(int(RATE / (pitch * 2 ** (rng.integers(0, 12) / 12))), 8)
        burst = np.zeros(min(left, int(RATE * 2.5)))
        burst[:delay] = rng.uniform(-1, 1, delay)[: len(burst)]
        loop = np.zeros(delay + 2)
        loop[0], loop[delay], loop[delay + 1] = 1, -keep * (1 - dull), -keep * dull
        return signal.lfilter([1.0], loop, burst)

    return repeat(rng, n, gap, pluck)


def violin(rng: Rng, n: int) -> np.ndarray:
    """Bowed string: a bright harmonic source with vibrato, body modes, bow noise, a slow attack."""
    pitch = log_uniform(rng, 150, 1400) * vibrato(rng, n, 0.015)
    tone = harmonics(pitch, tilt(rng, 24, rng.uniform(0.7, 1.5)))
    modes = rng.uniform([250, 450, 900, 2000], [320, 600, 1500, 3500])
    body = unit(tone) + rng.uniform(0.3, 1.5) * unit(resonate(tone, modes, modes * 0.1))
    bow = rng.uniform(0.02, 0.2) * bandpass(noise(rng, n, 0.5), 800, 6000)
    return (body + bow) * envelope(n, rng.uniform(0.03, 0.35), rng.uniform(0.05, 0.3))


def flute(rng: Rng, n: int) -> np.ndarray:
    """Few harmonics, breath noise around the pitch, a tremolo."""
    pitch = log_uniform(rng, 240, 2000)
    tone = unit(harmonics(pitch * vibrato(rng, n, 0.01), tilt(rng, 8, rng.uniform(1.4, 3))))
    breath = rng.uniform(0.05, 0.5) * unit(bandpass(noise(rng, n), 0.7 * pitch, 4 * pitch))
    tremolo = 1 + rng.uniform(0, 0.4) * np.sin(2 * np.pi * rng.uniform(4, 7) * seconds(n))
    return (tone + breath) * tremolo * envelope(n, rng.uniform(0.03, 0.2), rng.uniform(0.05, 0.25))


def trumpet(rng: Rng, n: int) -> np.ndarray:
    """Brass: brighter when louder, so that high harmonics start late and end early."""
    pitch = log_uniform(rng, 120, 900) * vibrato(rng, n, 0.01)
    loud = envelope(n, rng.uniform(0.02, 0.15), rng.uniform(0.05, 0.4)) * rng.uniform(0.6, 1)
    order = np.arange(1, 21)[:, None]
    levels = tilt(rng, 20, 0.3)[:, None] * np.exp(-order * rng.uniform(0.1, 0.4) / np.maximum(loud, 0.05))
    return unit(harmonics(pitch, levels)) * loud + rng.uniform(0, 0.05) * bandpass(noise(rng, n), 1000, 5000)


def bell(rng: Rng, n: int) -> np.ndarray:
    """Partials that are no harmonics, each dying away at its own pace; struck once or again and again."""
    ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.67, 3.01, 4.1, 5.4]) * rng.normal(1, 0.015, 9)
    pitch, ring = log_uniform(rng, 180, 2200), log_uniform(rng, 0.12, 2.0)
    levels = tilt(rng, 9, rng.uniform(0.3, 1.2))

    def strike(left: int) -> np.ndarray:
        t = seconds(min(left, int(RATE * 5 * ring)))
        partials = zip(ratios[ratios * pitch < 0.45 * RATE], levels, strict=False)
        return sum((a * np.sin(2 * np.pi * pitch * r * t) * np.exp(-t * np.sqrt(r) / ring) for r, a in partials), 0 * t)

    return repeat(rng, n, log_uniform(rng, 0.3, 4), strike)


def drum(rng: Rng, n: int) -> np.ndarray:
    """A skin whose pitch drops after the stroke, with a burst of stick or snare noise; a slow to fast beat."""
    pitch, drop, ring = log_uniform(rng, 45, 280), rng.uniform(0.2, 2), log_uniform(rng, 0.04, 0.4)
    snare, snare_ring = rng.uniform(0.05, 1), log_uniform(rng, 0.01, 0.2)

    def stroke(left: int) -> np.ndarray:
        t = seconds(min(left, int(RATE * 5 * ring)))
        skin = np.sin(2 * np.pi * pitch * (t + drop * 0.03 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / ring)
        return skin + snare * bandpass(rng.standard_normal(len(t)), 300, 7000) * np.exp(-t / snare_ring)

    return repeat(rng, n, log_uniform(rng, 0.15, 1.5), stroke)


# --- non-musical -------------------------------------------------------------------------------------------------


def engine(rng: Rng, n: int) -> np.ndarray:
    """Cylinders firing at 20 to 110 Hz, never quite evenly, through an exhaust's resonances, with a rumble."""
    speed = log_uniform(rng, 20, 110) * np.exp(np.cumsum(rng.normal(0, 0.0004, n)))
    speed *= 1 + rng.uniform(-0.3, 0.5) * seconds(n) / max(n / RATE, 1)
    phase = np.cumsum(np.maximum(speed, 10)) / RATE
    firing = np.exp(-(phase % 1) * rng.uniform(4, 15)) * rng.uniform(0.6, 1, int(phase[-1]) + 2)[phase.astype(int)]
    pipes = rng.uniform([70, 200, 500], [200, 500, 2500])
    rumble = rng.uniform(0.1, 0.9) * noise(rng, n, rng.uniform(1, 2))
    return unit(resonate(firing - firing.mean(), pipes, pipes * 0.4)) + rumble


def rain(rng: Rng, n: int) -> np.ndarray:
    """Coloured noise whose level wanders, with drops falling now and then or all the time."""
    hiss = bandpass(noise(rng, n, rng.uniform(0, 1.2)), rng.uniform(50, 800), rng.uniform(3000, 14000))
    drops = np.zeros(n)
    at = rng.integers(0, n, int(log_uniform(rng, 5, 400) * n / RATE) + 1)
    np.add.at(drops, at, rng.exponential(1, len(at)))
    centre = log_uniform(rng, 600, 5000)
    patter = resonate(drops, [centre, 1.7 * centre], [0.2 * centre, 0.3 * centre])
    wander = 1 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(0.1, 1) * seconds(n))
    return unit(hiss) * wander + rng.uniform(0.1, 1) * unit(patter)


def alarm(rng: Rng, n: int) -> np.ndarray:
    """A beep that goes on and off, two tones in turn, or a siren's sweep; thin to buzzing."""
    t = seconds(n)
    rate, pitch = log_uniform(rng, 1.2, 10), log_uniform(rng, 500, 3200)
    turn = (rate * t + rng.random()) % 1
    kind = rng.integers(3)
    depth = rng.uniform(0.05, 0.6)
    shape = [np.zeros(n), (turn < 0.5).astype(float), 0.5 + 0.5 * np.sin(2 * np.pi * turn)][kind]
    levels = np.arange(1, 13) ** -rng.uniform(0.8, 3.0) * np.where(np.arange(12) % 2, rng.random(), 1)
    gate = np.clip(signal.lfilter([0.01], [1, -0.99], (turn < rng.uniform(0.3, 0.8)).astype(float)), 0, 1)
    return harmonics(pitch * (1 + depth * shape), levels) * (gate if kind == 0 else envelope(n, 0.01, 0.01))


def bark(rng: Rng, n: int) -> np.ndarray:
    """Short rough calls: a pitch that rises and falls, noise in the voice, two or three formants."""
    top, length = log_uniform(rng, 200, 1100), log_uniform(rng, 0.08, 0.4)
    formants = rng.uniform([450, 1000, 2200], [1100, 2200, 4200])
    rough = rng.uniform(0.2, 1.5)

    def call(left: int) -> np.ndarray:
        t = seconds(min(left, int(RATE * length * rng.uniform(0.8, 1.2)) + 1)) / length
        arch = np.sin(np.pi * np.clip(t / 1.2, 0, 1))
        voice = unit(harmonics(top * (0.55 + 0.45 * arch), tilt(rng, 16, 0.8))) + rough * noise(rng, len(t), 0.5)
        return resonate(voice, formants, formants * 0.15) * arch

    return repeat(rng, n, length + log_uniform(rng, 0.1, 1.2), call)


def footsteps(rng: Rng, n: int) -> np.ndarray:
    """Thumps at a walking to running pace: heel, then toe, on a soft or a hard floor."""
    floor, ring = log_uniform(rng, 80, 2500), log_uniform(rng, 0.012, 0.08)
    toe_delay, toe = int(RATE * rng.uniform(0.03, 0.12)), rng.uniform(0, 0.8)

    def step(left: int) -> np.ndarray:
        t = seconds(int(RATE * 0.35))
        hit = bandpass(rng.standard_normal(len(t)), 0.5 * floor, 2.5 * floor) * np.exp(-t / ring)
        hit += 0.5 * np.sin(2 * np.pi * 0.4 * floor * t) * np.exp(-t / ring)
        hit[toe_delay:] += toe * hit[:-toe_delay]
        return hit

    return repeat(rng, n, log_uniform(rng, 0.22, 0.8), step)


def speech(rng: Rng, n: int) -> np.ndarray:
    """Vowel after vowel by moving formants over a voice of 75 to 320 Hz, some syllables whispered or hissed."""
    voice_pitch, size = log_uniform(rng, 75, 320), rng.uniform(0.85, 1.25)
    pace = rng.uniform(0.12, 0.35)

    def syllable(left: int) -> np.ndarray:
        length = min(left, int(RATE * pace * rng.uniform(0.7, 1.3)) + 1)
        vowel = rng.uniform([280, 800, 2200, 3200], [850, 2300, 3000, 4000]) * size
        glide = np.linspace(1, rng.uniform(0.85, 1.15), length)
        voiced = unit(harmonics(voice_pitch * rng.uniform(0.85, 1.2) * glide, tilt(rng, 30, 1.0)))
        source = voiced + rng.uniform(0.02, 0.4) * noise(rng, length)
        return resonate(source, vowel, [80, 110, 160, 220]) * envelope(length, 0.02, 0.06)

    return repeat(rng, n, pace, syllable)


SOUNDS: dict[str, dict[str, SoundMaker]] = {
    "musical": {"Bell": bell, "Drum": drum, "Flute": flute, "Guitar": guitar, "Trumpet": trumpet, "Violin": violin},
    "non-musical": {
        "Alarm": alarm, "Bark": bark, "Engine": engine, "Footsteps": footsteps, "Rain": rain, "Speech": speech,
    },
}  # fmt: skip
GROUPS: dict[str, list[str]] = {group: sorted(sounds) for group, sounds in SOUNDS.items()}
CLASSES: list[str] = sorted(name for names in GROUPS.values() for name in names)


# --- a recording of a sound --------------------------------------------------------------------------------------


def recording(rng: Rng, label: str) -> np.ndarray:
    """One clip of a class: float64 samples (n,) in -1..1 at `RATE`, 0.3 to 6 seconds long."""
    n = int(RATE * log_uniform(rng, SHORTEST, LONGEST))
    wave = _sound(rng, label, n)
    if rng.random() < 0.3:  # another class farther away
        wave = wave + 10 ** (-rng.uniform(6, 20) / 20) * _sound(rng, str(rng.choice(CLASSES)), n)
    if rng.random() < 0.5:
        wave = _room(rng, wave)
    if rng.random() < 0.3:
        wave = _pad(rng, wave)
    wave = unit(wave) + 10 ** (-rng.uniform(3, 40) / 20) * noise(rng, len(wave), rng.uniform(0, 2))
    return 10 ** (-rng.uniform(1, 30) / 20) * wave / max(float(np.abs(wave).max()), 1e-9)


def mixture(rng: Rng, labels: Sequence[str], noisy: bool = False) -> np.ndarray:
    """One clip with the sounds of all `labels`, at levels up to 8 dB apart, overlapping or one after the other.

    Samples (n,) in -1..1 at `RATE`, 0.8 to 5 seconds long. noisy: from farther away, in more noise.
    """
    n = int(RATE * log_uniform(rng, 0.8, 5.0))
    wave = np.zeros(n)
    for label in labels:
        length = n if len(labels) == 1 else int(n * rng.uniform(0.5, 1))
        first = int(rng.integers(0, n - length + 1))
        wave[first : first + length] += 10 ** (-rng.uniform(0, 8) / 20) * _sound(rng, label, length)
    if rng.random() < (0.8 if noisy else 0.4):
        wave = _room(rng, wave)
    ratio = rng.uniform(0, 25) if noisy else rng.uniform(6, 40)  # dB of sound over noise
    wave = unit(wave) + 10 ** (-ratio / 20) * noise(rng, n, rng.uniform(0, 2))
    return 10 ** (-rng.uniform(1, 30) / 20) * wave / max(float(np.abs(wave).max()), 1e-9)


def _sound(rng: Rng, label: str, n: int) -> np.ndarray:
    """A class's bare sound at an RMS of 1."""
    sounds = {name: sound for group in SOUNDS.values() for name, sound in group.items()}
    return unit(sounds[label](rng, n))


def _room(rng: Rng, wave: np.ndarray) -> np.ndarray:
    """Add an echo: noise dying away within 0.1 to 0.8 s, some of it darker than the sound."""
    decay = log_uniform(rng, 0.1, 0.8)
    t = seconds(int(RATE * decay))
    response = noise(rng, len(t), rng.uniform(0, 1)) * np.exp(-6.9 * t / decay)
    echo = signal.fftconvolve(wave, response)[: len(wave)]
    return wave + rng.uniform(0.2, 1.2) * unit(echo)


def _pad(rng: Rng, wave: np.ndarray) -> np.ndarray:
    """Put silence before and behind, up to half the clip, its length kept."""
    lead, trail = (int(share * len(wave)) for share in rng.uniform(0, 0.3, 2))
    inner = wave[: len(wave) - lead - trail]
    return np.concatenate([np.zeros(lead), inner, np.zeros(trail)])
