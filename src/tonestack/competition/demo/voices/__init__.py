"""Speech generators: one file each with `voice(seed) -> SyntheticVoice`; the same seed is the same person.

`missing()` returns the message on what a generator lacks here. `formant` needs nothing and always works.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

SENTENCES = (
    "The kettle has been singing for a while, and nobody gets up.",
    "We took the slow train along the river because it stops at every village.",
    "Yesterday evening the lamp in the hall went out for the third time.",
    "She keeps her pencils in a jar that once held plum jam.",
    "If the wind turns before noon, the boats will come back early.",
    "He counted the steps aloud, lost count, and began again.",
    "There is a small garden behind the library where one may read.",
    "The baker opens at six, but the queue begins long before that.",
    "Nobody had told the children that the bridge was closed.",
    "I would rather walk than wait another hour for the bus.",
    "Put the blue folder on the shelf and leave the red one here.",
    "Their dog is afraid of thunder and of the vacuum cleaner.",
    "A thin layer of snow had covered the tracks by morning.",
    "You can hear the church bells from here when it is quiet.",
    "My grandfather repaired clocks and never arrived on time.",
    "The market sells cheese, olives, brushes, and second hand books.",
    "In the end they agreed to meet half way, under the old oak.",
    "Please close the window before the papers fly away again.",
    "The film was longer than the book, which is a rare thing.",
    "Some of the letters were never opened, and some were never sent.",
    "After the rain the whole street smelled of warm stone.",
    "Could you read me the last two lines once more?",
    "The lift is broken, so bring only what you can carry.",
    "They painted the door green, then yellow, then green again.",
    "On Thursdays the museum stays open until nine in the evening.",
    "It takes a quarter of an hour to walk around the lake.",
    "The cat sleeps on the radio because it is warm there.",
    "What a pity that the good chairs are all in the attic.",
    "Our neighbour plays the same three songs every Sunday.",
    "The map shows a path, but the path has been gone for years.",
)


class SyntheticVoice(Protocol):
    """One person who can say anything."""

    def say(self, text: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Say `text` again and again (words drawn from `rng` where it is empty) until `seconds` are full.

        Returns mono samples (seconds * rate,) float32 in -1..1 and their rate in Hz. The voice is the person's own;
        timing, stress and melody come from `rng`: the same arguments and the same state of `rng`, the same samples.
        """
        ...


def repeated(
    spoken: Callable[[str], tuple[np.ndarray, int]], text: str, seconds: float, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Readings of `text` (sentences drawn from `rng` where it is empty), end to end, cut to `seconds`."""
    pieces: list[np.ndarray] = []
    rate = 0
    while rate == 0 or sum(map(len, pieces)) < round(seconds * rate):
        samples, rate = spoken(text or str(rng.choice(SENTENCES)))
        pieces.append(samples if len(samples) else np.zeros(rate, np.float32))  # a silent reading still takes time
    whole = np.concatenate(pieces)[: round(seconds * rate)]
    return np.clip(whole, -1, 1).astype(np.float32), rate
