"""Forty-one synthesised sound classes with the sizes of FSDKaggle2018's: the clips of the full-size demo competition.

A class is one of the twelve sounds of `synth`, faster or slower, in a body of its own (two resonances). Neighbours
overlap: each clip's speed and body are off by some per cent. The numbers of clips are counts of the competition's
published tables; no recording and no name of one is here.
"""

from dataclasses import dataclass

from tonestack.competition.demo import synth

import numpy as np

RATE = 44_100  # Hz, as the competition's; sounds laid out for synth.RATE come out 1.4 times as high
SHORTEST = 0.3  # seconds
SHORTER = {"Bell": 0.5, "Drum": 0.33, "Footsteps": 0.5}  # the longest clip of a sound that ends, of that of others
PIECE = 3.0  # seconds that are synthesised; a longer clip repeats them at other levels: 18,873 clips take minutes


@dataclass(frozen=True)
class Kind:
    """A class: train clips, verified ones, Public and Private test clips, the sound that it is made of."""

    train: int
    verified: int
    public: int
    private: int
    sound: str


KINDS = {
    "Acoustic_guitar": Kind(300, 105, 9, 36, "Guitar"),
    "Applause": Kind(300, 61, 6, 26, "Rain"),
    "Bark": Kind(239, 67, 5, 23, "Bark"),
    "Bass_drum": Kind(300, 67, 5, 23, "Drum"),
    "Burping_or_eructation": Kind(210, 75, 6, 26, "Speech"),
    "Bus": Kind(109, 59, 5, 20, "Engine"),
    "Cello": Kind(300, 125, 10, 44, "Violin"),
    "Chime": Kind(115, 66, 5, 24, "Bell"),
    "Clarinet": Kind(300, 130, 11, 45, "Flute"),
    "Computer_keyboard": Kind(119, 60, 5, 21, "Footsteps"),
    "Cough": Kind(243, 69, 6, 24, "Bark"),
    "Cowbell": Kind(191, 96, 8, 34, "Bell"),
    "Double_bass": Kind(300, 92, 8, 32, "Guitar"),
    "Drawer_open_or_close": Kind(158, 67, 5, 24, "Footsteps"),
    "Electric_piano": Kind(150, 74, 6, 26, "Bell"),
    "Fart": Kind(300, 71, 6, 24, "Trumpet"),
    "Finger_snapping": Kind(117, 77, 6, 27, "Drum"),
    "Fireworks": Kind(300, 75, 6, 26, "Drum"),
    "Flute": Kind(300, 128, 11, 44, "Flute"),
    "Glockenspiel": Kind(94, 70, 5, 24, "Bell"),
    "Gong": Kind(292, 85, 7, 30, "Bell"),
    "Gunshot_or_gunfire": Kind(147, 145, 12, 51, "Drum"),
    "Harmonica": Kind(165, 88, 6, 27, "Trumpet"),
    "Hi-hat": Kind(300, 89, 7, 32, "Drum"),
    "Keys_jangling": Kind(139, 66, 5, 23, "Bell"),
    "Knock": Kind(279, 90, 7, 32, "Footsteps"),
    "Laughter": Kind(300, 88, 7, 31, "Speech"),
    "Meow": Kind(155, 69, 5, 24, "Speech"),
    "Microwave_oven": Kind(146, 67, 5, 24, "Alarm"),
    "Oboe": Kind(299, 99, 8, 34, "Flute"),
    "Saxophone": Kind(300, 256, 22, 88, "Trumpet"),
    "Scissors": Kind(95, 59, 5, 20, "Footsteps"),
    "Shatter": Kind(300, 67, 5, 24, "Rain"),
    "Snare_drum": Kind(300, 70, 6, 28, "Drum"),
    "Squeak": Kind(300, 69, 5, 24, "Violin"),
    "Tambourine": Kind(221, 92, 8, 32, "Rain"),
    "Tearing": Kind(300, 62, 5, 22, "Rain"),
    "Telephone": Kind(120, 112, 9, 39, "Alarm"),
    "Trumpet": Kind(300, 86, 7, 30, "Trumpet"),
    "Violin_or_fiddle": Kind(300, 250, 21, 87, "Violin"),
    "Writing": Kind(270, 67, 5, 24, "Rain"),
}
CLASSES = sorted(KINDS)
MUSICAL = {
    name
    for name, kind in KINDS.items()
    if kind.sound in synth.GROUPS["musical"]
    and name not in ("Fart", "Finger_snapping", "Fireworks", "Gunshot_or_gunfire", "Keys_jangling", "Squeak")
} | {"Tambourine"}


def recording(rng: np.random.Generator, label: str, longest: float) -> np.ndarray:
    """One clip of a class: float64 samples (n,) in -1..1 at `RATE`, 0.3 to `longest` seconds long."""
    most = max(SHORTEST, longest * SHORTER.get(KINDS[label].sound, 1.0))
    whole = int(RATE * synth.log_uniform(rng, SHORTEST, most))
    n = min(whole, int(RATE * PIECE))
    wave = _sound(rng, label, n)
    if rng.random() < 0.2:  # another class farther away
        wave = wave + 10 ** (-rng.uniform(6, 20) / 20) * _sound(rng, str(rng.choice(CLASSES)), n)
    wave = wave + 10 ** (-rng.uniform(3, 40) / 20) * synth.noise(rng, n, rng.uniform(0, 2))
    wave = np.concatenate([wave * level for level in [1.0, *rng.uniform(0.4, 1, whole // n)]])[:whole]
    return 10 ** (-rng.uniform(1, 30) / 20) * wave / max(float(np.abs(wave).max()), 1e-9)


def _sound(rng: np.random.Generator, label: str, n: int) -> np.ndarray:
    """A class's bare sound (n,) at an RMS of 1."""
    number, kind = CLASSES.index(label), KINDS[label]
    own = np.random.default_rng([41, number])  # the class's, the same in every clip
    siblings = [name for name in CLASSES if KINDS[name].sound == kind.sound]
    place = siblings.index(label) - (len(siblings) - 1) / 2
    speed = 2 ** (0.5 * place + rng.normal(0, 0.1))  # half an octave from one sibling to the next
    makers = {name: maker for group in synth.SOUNDS.values() for name, maker in group.items()}
    raw = makers[kind.sound](rng, int(n * speed) + 2)
    wave = np.interp(np.arange(n) * speed, np.arange(len(raw)), raw)
    centres = np.exp(own.uniform(np.log(200), np.log(8000), 2)) * np.exp(rng.normal(0, 0.05, 2))
    body = synth.unit(synth.resonate(wave, centres, 0.1 * centres))
    return synth.unit(synth.unit(wave) + own.uniform(0.3, 1.2) * body)
