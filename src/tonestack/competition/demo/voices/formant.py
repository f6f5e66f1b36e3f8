"""Built-in voices: a source-filter speech synthesiser (Fant 1960; Klatt 1980), all in array arithmetic.

Glottal pulses and noise pass a vocal tract of moving resonances, frame by frame in the frequency domain. A person is
the size of the tract, a pitch, a way of phonating and an accent; an utterance is a sequence of sounds with its own
timing, stress and melody. Text is spelt out roughly (one or two letters per sound): speech-like, not intelligible.
"""

from dataclasses import dataclass, field, replace

import numpy as np

RATE = 24000  # Hz
HOP = 120  # samples: a frame every 5 ms
WINDOW, FFT = 480, 1024  # samples: a tract rings for less than the 544 samples of zeros behind the window
FRAMES = RATE / HOP  # per second
LEVEL = 0.08  # RMS of the samples given back

# A vowel's first three resonances in Hz, between a man's and a woman's (Peterson & Barney 1952).
VOWELS = {
    "ee": (290, 2500, 3100), "i": (410, 2200, 2700), "e": (570, 2050, 2650), "a": (760, 1550, 2500),
    "aa": (780, 1150, 2500), "o": (580, 880, 2500), "u": (460, 1050, 2350), "oo": (330, 910, 2300),
    "er": (490, 1400, 1750), "uh": (660, 1250, 2500),
}  # fmt: skip


@dataclass(frozen=True)
class Phone:
    """One sound: resonances in Hz, levels of voice, breath and hiss (0..1), where it hisses, length in seconds.

    `closed` is the share of the sound for which the mouth is shut, before a burst (stops).
    """

    formants: tuple[float, float, float]
    voiced: float = 1.0
    breath: float = 0.0
    hiss: float = 0.0
    centre: float = 3000.0  # Hz
    width: float = 0.5  # octaves
    seconds: float = 0.08
    closed: float = 0.0


PHONES = {name: Phone(formants, seconds=0.11) for name, formants in VOWELS.items()} | {
    "m": Phone((250, 1100, 2200), 0.35), "n": Phone((250, 1500, 2500), 0.35), "ng": Phone((250, 1900, 2500), 0.3),
    "l": Phone((360, 1200, 2700), 0.6), "r": Phone((330, 1150, 1600), 0.6, seconds=0.06),
    "w": Phone((300, 680, 2200), 0.5, seconds=0.06), "y": Phone((270, 2300, 3000), 0.5, seconds=0.05),
    "s": Phone((320, 1500, 2600), 0, 0, 0.7, 6500, 0.45, 0.11), "z": Phone((300, 1500, 2600), 0.3, 0, 0.4, 6300, 0.45),
    "sh": Phone((320, 1900, 2600), 0, 0, 0.7, 3400, 0.5, 0.11),
    "f": Phone((330, 1150, 2300), 0, 0, 0.22, 5500, 1.3, 0.09),
    "v": Phone((280, 1150, 2300), 0.35, 0, 0.12, 5500, 1.3, 0.06),
    "th": Phone((310, 1350, 2600), 0, 0, 0.2, 6000, 1.1), "h": Phone((550, 1500, 2500), 0, 0.6, seconds=0.06),
    "p": Phone((320, 850, 2100), 0, 0.3, 0.35, 900, 1.2, 0.09, 0.7),
    "t": Phone((320, 1750, 2600), 0, 0.3, 0.6, 4200, 0.8, 0.09, 0.7),
    "k": Phone((320, 1900, 2300), 0, 0.3, 0.55, 2100, 0.5, 0.1, 0.7),
    "b": Phone((260, 900, 2100), 0.45, 0, 0.15, 800, 1.2, 0.07, 0.65),
    "d": Phone((260, 1700, 2600), 0.45, 0, 0.25, 3800, 0.8, 0.07, 0.65),
    "g": Phone((260, 1900, 2300), 0.45, 0, 0.25, 1900, 0.5, 0.08, 0.65),
    "ch": Phone((320, 1850, 2600), 0, 0, 0.7, 3600, 0.5, 0.12, 0.45),
    "j": Phone((280, 1850, 2600), 0.4, 0, 0.45, 3500, 0.5, 0.09, 0.45),
    "pause": Phone((500, 1500, 2500), 0, seconds=0.22),
}  # fmt: skip
SPELLING = {
    "a": "a",
    "c": "k",
    "ck": "k",
    "ea": "ee",
    "q": "k",
    "x": "s",
    "ar": "aa",
    "ou": "oo",
    "ur": "er",
    "ph": "f",
}
ONSETS = (
    "",
    "b",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "y",
    "z",
    "sh",
    "ch",
    "th",
)
CODAS = ("", "", "", "", "n", "m", "l", "r", "s", "t", "k", "ng", "d")


@dataclass(frozen=True)
class FormantVoice:
    """A person. `voice(seed)` draws one; any field may be replaced (`dataclasses.replace`)."""

    pitch: float  # Hz, the middle of the range
    liveliness: float  # octaves by which the melody moves
    tract: float  # factor on all resonances: above 1 a shorter vocal tract
    pace: float  # factor on the speed of speech
    jitter: float  # relative, from one glottal pulse to the next
    shimmer: float  # likewise of their strength
    breathiness: float  # noise beside the pulses, as a factor
    tilt: float  # dB by which the source falls an octave
    sharpness: float  # factor on the bandwidths' inverse
    upper: tuple[float, ...] = field(repr=False)  # Hz, the resonances above the third
    accent: dict[str, tuple[float, ...]] = field(repr=False)  # factors on a sound's three resonances
    hiss: float = 1.0  # factor on the pitch of hissing sounds

    def say(self, text: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """See `SyntheticVoice.say`."""
        size = max(round(seconds * RATE), 1)
        samples = self._today(rng)._speak(text, -(-size // HOP) + 1, rng)[:size]
        return _levelled(samples, rng), RATE

    def _today(self, rng: np.random.Generator) -> "FormantVoice":
        """The same person in the effort, the mood and the health of one utterance."""
        return replace(
            self,
            pitch=self.pitch * 2 ** rng.normal(0, 0.1),
            tract=self.tract * rng.normal(1, 0.015),
            tilt=self.tilt + rng.normal(0, 1.5),
            breathiness=self.breathiness * np.exp(rng.normal(0, 0.4)),
            sharpness=self.sharpness * np.exp(rng.normal(0, 0.1)),
        )

    def _speak(self, text: str, frames: int, rng: np.random.Generator) -> np.ndarray:
        """Samples (at least frames * HOP,) at any level."""
        tracks = self._tracks(text, frames, rng)
        pitch = self._melody(tracks)
        voiced = _upsample(tracks["voiced"]) * self._pulses(_upsample(pitch), rng)
        breath = _upsample(tracks["breath"] + 0.3 * self.breathiness * tracks["voiced"])
        through_tract = voiced + 0.25 * breath * rng.standard_normal(len(breath))
        hissed = 0.25 * _upsample(tracks["hiss"]) * rng.standard_normal(len(breath))
        vocal = _filter(through_tract, self._tract(tracks["formants"]) * self._source())
        return vocal + _filter(hissed, _band(self.hiss * tracks["centre"], tracks["width"]))

    def _tracks(self, text: str, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Control tracks of the vocal tract over `count` frames: one array per control, smooth in time."""
        names, lengths = self._row(text, count, rng)
        frame = np.repeat(np.arange(len(names)), lengths)[:count]  # the sound of each frame
        begins = np.cumsum(lengths) - lengths
        within = (np.arange(count) - begins[frame]) / lengths[frame]  # 0..1 inside the sound
        sounds = [PHONES[name] for name in names]
        of = {key: np.array([getattr(s, key) for s in sounds], float)[frame] for key in _CONTROLS}
        shut = within < of["closed"]
        of["voiced"] *= np.where(shut, 0.35, 1.0)  # a voice bar behind the closed mouth
        of["hiss"] *= ~shut
        of["breath"] *= ~shut
        formants = np.array([np.multiply(s.formants, self.accent[n]) for n, s in zip(names, sounds, strict=True)])
        tracks = {key: _smooth(of[key], 3) for key in ("voiced", "breath", "hiss")}
        tracks["formants"] = self.tract * _smooth(formants[frame], 11)  # (count, 3): neighbours colour each other
        tracks["centre"], tracks["width"] = of["centre"], of["width"]
        tracks["stress"] = _smooth(rng.uniform(-1, 1, len(names))[frame], 25)
        tracks["phrase"] = _since_pause(np.array([n == "pause" for n in names])[frame])
        return tracks

    def _row(self, text: str, count: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
        """Return names of the sounds of at least `count` frames, and each one's frames."""
        names: list[str] = []
        lengths = np.zeros(0, int)
        while lengths.sum() < count:
            phrase = [*spell(text or babble(rng)), "pause"]
            seconds = np.array([PHONES[name].seconds for name in phrase])
            stretch = np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.2, len(phrase))) / self.pace
            names += phrase
            lengths = np.concatenate([lengths, np.maximum(np.round(seconds * stretch * FRAMES), 2).astype(int)])
        return names, lengths

    def _melody(self, tracks: dict[str, np.ndarray]) -> np.ndarray:
        """Pitch of each frame in Hz: falling through a phrase, moved by stress."""
        falling = 0.3 - 0.25 * tracks["phrase"]
        octaves = self.liveliness * (falling + 0.9 * tracks["stress"])
        return self.pitch * 2 ** np.clip(octaves, -0.9, 1.2)

    def _pulses(self, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One impulse per glottal cycle, between samples where it falls so: (n,) at unit power."""
        phase = np.cumsum(pitch) / RATE
        cycle = np.arange(1, int(phase[-1]) + 1)
        at = np.interp(cycle, phase, np.arange(len(phase)))  # samples
        at = np.clip(at + rng.normal(0, self.jitter, len(at)) * RATE / pitch[at.astype(int)], 0, len(pitch) - 2)
        strength = (1 + rng.normal(0, self.shimmer, len(at))) * np.sqrt(RATE / pitch[at.astype(int)])
        whole, part = at.astype(int), at % 1
        out = np.zeros(len(pitch))
        np.add.at(out, whole, strength * (1 - part))
        np.add.at(out, whole + 1, strength * part)
        return out

    def _tract(self, formants: np.ndarray) -> np.ndarray:
        """Frequency response (frames, bins) of all resonances in a row (Klatt's cascade)."""
        response = np.prod([_resonance(f, self._bandwidth(f)) for f in self.upper], axis=0)
        for track in formants.T:
            response = response * _resonance(track[:, None], self._bandwidth(track[:, None]))
        return response

    def _bandwidth(self, frequency: np.ndarray | float) -> np.ndarray | float:
        """Hz: about 60 at the first resonance, wider above."""
        return (50 + 0.035 * frequency) / self.sharpness

    def _source(self) -> np.ndarray:
        """Fall of the source above 150 Hz, lip radiation included: (bins,)."""
        return (1 + _frequencies() / 150) ** (-self.tilt / 6.02)


_CONTROLS = ("voiced", "breath", "hiss", "centre", "width", "closed")


def voice(seed: int) -> FormantVoice:
    """Draw a person: half of them with the lower pitch and the longer vocal tract, the two halves overlapping."""
    rng = np.random.default_rng([seed, 24])
    low = rng.random() < 0.5
    pitch = 2 ** rng.normal(np.log2(118 if low else 196), 0.2)
    tract = rng.normal(0.93 if low else 1.07, 0.045)
    upper = (2 * np.arange(4, 13) - 1) * 500 * tract * rng.normal(1, 0.03, 9)  # a tube's: odd multiples
    return FormantVoice(
        pitch=float(pitch),
        liveliness=float(rng.uniform(0.15, 0.5)),
        tract=float(tract),
        pace=float(np.exp(rng.normal(0, 0.15))),
        jitter=float(rng.uniform(0.002, 0.02)),
        shimmer=float(rng.uniform(0.02, 0.2)),
        breathiness=float(np.exp(rng.normal(-1, 0.8))),
        tilt=float(rng.uniform(4, 10)),
        sharpness=float(np.exp(rng.normal(0, 0.2))),
        upper=tuple(map(float, np.sort(upper))),
        accent={name: tuple(map(float, rng.normal(1, 0.05, 3))) for name in PHONES},
        hiss=float(np.exp(rng.normal(0, 0.12))),
    )


def missing() -> str | None:
    """Nothing is lacking."""
    return None


def babble(rng: np.random.Generator) -> str:
    """Words of no language: three to eight of one to three syllables."""
    vowels = list(VOWELS)
    words = [
        "".join(f"{rng.choice(ONSETS)}{rng.choice(vowels)}{rng.choice(CODAS)}" for _ in range(rng.integers(1, 4)))
        for _ in range(rng.integers(3, 9))
    ]
    return " ".join(words)


def spell(text: str) -> list[str]:
    """Sounds of a text: two letters where they are one sound, one otherwise; stops of punctuation become pauses."""
    names: list[str] = []
    left = text.lower()
    while left:
        size = 2 if _sound(left[:2]) and len(left) > 1 else 1
        name = "pause" if left[0] in ".,;:!?\n" else _sound(left[:size])
        names += [name] if name else []
        left = left[size:]
    return names or ["uh"]


def _sound(letters: str) -> str | None:
    name = SPELLING.get(letters, letters)
    return name if name in PHONES else None


def _smooth(track: np.ndarray, frames: int) -> np.ndarray:
    """Mean of each frame and its neighbours under a raised cosine, along axis 0."""
    weights = np.hanning(2 * frames + 1)
    padded = np.pad(track, [(frames, frames)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * frames + 1, axis=0)
    return views @ (weights / weights.sum())


def _since_pause(pause: np.ndarray) -> np.ndarray:
    """Seconds since the last pause, per frame."""
    frames = np.arange(len(pause))
    return (frames - np.maximum.accumulate(np.where(pause, frames, 0))) / FRAMES


def _upsample(track: np.ndarray) -> np.ndarray:
    """From frames to samples, linearly."""
    return np.interp(np.arange(len(track) * HOP), np.arange(len(track)) * HOP, track)


def _frequencies() -> np.ndarray:
    return np.fft.rfftfreq(FFT, 1 / RATE)


def _resonance(frequency: np.ndarray | float, bandwidth: np.ndarray | float) -> np.ndarray:
    """Response of a damped resonator that lets low frequencies pass: complex (..., bins)."""
    f = _frequencies()
    return frequency**2 / (frequency**2 - f**2 + 1j * f * bandwidth)


def _band(centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Bell around `centre` (frames,) in Hz, `width` octaves wide: (frames, bins)."""
    octaves = np.log2(np.maximum(_frequencies(), 1.0) / centre[:, None])
    return np.exp(-0.5 * (octaves / width[:, None]) ** 2)


def _filter(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Filter by a response (frames, bins) that changes from frame to frame: overlap-add of windowed spectra."""
    frames = len(response)
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:frames]
    window = np.hanning(WINDOW + 1)[:-1] * (2 * HOP / WINDOW)  # adds up to 1
    pieces = np.fft.irfft(np.fft.rfft(views * window, FFT) * response, FFT)
    steps = -(-FFT // HOP)
    pieces = np.pad(pieces, ((0, 0), (0, steps * HOP - FFT))).reshape(frames, steps, HOP)
    out = np.zeros((frames + steps, HOP))
    for step in range(steps):
        out[step : step + frames] += pieces[:, step]
    return out.reshape(-1)[WINDOW // 2 :]


def _levelled(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale to the usual level, add a quiet room's hiss, round off peaks."""
    samples = samples * (LEVEL / max(float(np.sqrt(np.mean(samples**2))), 1e-9))
    room = LEVEL * 10 ** (rng.uniform(-60, -45) / 20) * rng.standard_normal(len(samples))
    return np.tanh(samples + room).astype(np.float32)
