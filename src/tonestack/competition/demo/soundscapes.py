"""Focal recordings and soundscapes of the demo voices: what is heard when is planned first, then synthesised.

A focal recording has one animal close by, sometimes others farther away. A soundscape has the noise of its site, a few
animals at any distance, whose bouts overlap, and sounds that nobody labels. An animal is heard in a window if as much
of its voice lies there as `HEARD` seconds at its usual level.
"""

from dataclasses import dataclass

from tonestack.competition.demo import calls, synth
from tonestack.competition.demo.synth import RATE, Rng

import numpy as np
from scipy import signal

WINDOW = 5  # seconds
HEARD = 0.1  # seconds
STRAY = ("Alarm", "Bark", "Engine", "Footsteps", "Speech")  # of `synth`: heard in soundscapes, never labelled


@dataclass(frozen=True)
class Bout:
    """One bout of calls: which class, when it begins and how long it lasts (s), how far away the animal is (0 to 1)."""

    label: str
    start: float
    seconds: float
    distance: float


@dataclass(frozen=True)
class Scene:
    """All that a recording is made of. site: the place, whose noise is the same in all of its recordings."""

    seconds: float
    site: int
    bouts: tuple[Bout, ...]
    stray: bool = False


def focal(rng: Rng, label: str, others: tuple[str, ...]) -> Scene:
    """A recordist's clip of 3 to 10 s: the animal is heard again and again, others once or twice from farther away."""
    seconds = round(synth.log_uniform(rng, 3, 10), 2)
    bouts, at = list[Bout](), rng.uniform(0, 0.8)
    while at < seconds - 0.5:
        length = min(rng.uniform(1.5, 5), seconds - at)
        bouts.append(Bout(label, at, length, rng.uniform(0, 0.35)))
        at += length + rng.uniform(0.3, 2.5)
    for other in others:
        length = rng.uniform(1, min(3, seconds))
        bouts.append(Bout(other, rng.uniform(0, seconds - length), length, rng.uniform(0.3, 0.7)))
    return Scene(seconds, int(rng.integers(100, 200)), tuple(bouts))


def soundscape(rng: Rng, labels: tuple[str, ...], site: int, seconds: float) -> Scene:
    """A recorder left alone: every animal comes and goes at its own distance, some of them over the whole recording."""
    bouts = list[Bout]()
    for label in labels:
        distance, busy = rng.uniform(0.2, 1), synth.log_uniform(rng, 0.2, 1.5)  # busy: bouts in ten seconds, roughly
        for _ in range(1 + rng.poisson(busy * seconds / 10)):
            length = min(synth.log_uniform(rng, 1.0, 6), seconds)
            at = rng.uniform(0, seconds - length)
            bouts.append(Bout(label, at, length, float(np.clip(distance + rng.normal(0, 0.1), 0, 1))))
    return Scene(seconds, site, tuple(bouts), stray=bool(rng.random() < 0.5))


def sound(scene: Scene, rng: Rng, seed: int) -> tuple[np.ndarray, list[list[str]]]:
    """The recording, samples (n,) in -1..1 at `RATE`, and the classes heard in each of its windows, sorted.

    seed: of the sites' noises.
    """
    n = int(scene.seconds * RATE)
    wave, heard = _ambience(np.random.default_rng([seed, scene.site, 7, 7]), rng, n), dict[str, np.ndarray]()
    for bout in scene.bouts:
        first = int(bout.start * RATE)
        voice = synth.unit(calls.CALLS[bout.label](rng, int(bout.seconds * RATE)))[: n - first]
        wave[first : first + len(voice)] += _from_afar(rng, voice, bout.distance)
        power = heard.setdefault(bout.label, np.zeros(n))
        power[first : first + len(voice)] += voice**2
    if scene.stray:
        first, name = int(rng.uniform(0, 0.7) * n), str(rng.choice(STRAY))
        stray = synth.unit(synth.SOUNDS[_group(name)][name](rng, min(n - first, 4 * RATE)))
        wave[first : first + len(stray)] += _from_afar(rng, stray, rng.uniform(0.3, 0.9))
    windows = [_heard(heard, slice(at, at + WINDOW * RATE)) for at in range(0, n, WINDOW * RATE)]
    return 10 ** (-rng.uniform(1, 12) / 20) * wave / max(float(np.abs(wave).max()), 1e-9), windows


def _heard(powers: dict[str, np.ndarray], window: slice) -> list[str]:
    return sorted(name for name, power in powers.items() if power[window].sum() / RATE >= HEARD)


def _group(name: str) -> str:
    return next(group for group, names in synth.GROUPS.items() if name in names)


def _ambience(place: Rng, rng: Rng, n: int) -> np.ndarray:
    """Noise at an RMS around 0.1: its colour, its hum and its water are the place's, its gusts the recording's."""
    slope, hum, stream = place.uniform(0.8, 2), place.uniform(80, 400), place.uniform(0, 0.6)
    wind = synth.noise(rng, n, slope)
    gusts = 1 + rng.uniform(0, 0.7) * np.sin(2 * np.pi * rng.uniform(0.05, 0.3) * synth.seconds(n) + rng.uniform(0, 6))
    water = stream * synth.unit(synth.bandpass(synth.noise(rng, n), 1500, place.uniform(4000, 9000)))
    tone = place.uniform(0, 0.2) * np.sin(2 * np.pi * hum * synth.seconds(n))
    return 0.1 * synth.log_uniform(rng, 0.5, 1.6) * (wind * gusts + water + tone)


def _from_afar(rng: Rng, voice: np.ndarray, distance: float) -> np.ndarray:
    """A voice (n,) of unit RMS as it arrives: fainter by up to 28 dB, duller and with more echo the farther away."""
    echo_seconds = int(RATE * (0.1 + 0.6 * distance * rng.random()))
    response = synth.noise(rng, echo_seconds, 1.0) * np.exp(-6.9 * np.arange(echo_seconds) / echo_seconds)
    echo = synth.unit(signal.fftconvolve(voice, response)[: len(voice)])
    cutoff = min(14000 * (1 - 0.6 * distance), 0.45 * RATE)
    dull = signal.sosfilt(signal.butter(2, cutoff, "low", fs=RATE, output="sos"), voice + distance * echo)
    return 10 ** (-28 * distance / 20) * synth.unit(dull)
