"""Speech generators: one file each with `voice(seed) -> Voice`; the same seed is the same person.

`formant` needs nothing and is always there; see each file for what it needs.
"""

from typing import Protocol

import numpy as np


class Voice(Protocol):
    """One person who can say anything."""

    def say(self, text: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Say `text` again and again (words drawn from `rng` where it is empty) until `seconds` are full.

        Returns mono samples (seconds * rate,) float32 in -1..1 and their rate in Hz. The voice is the person's own;
        timing, stress and melody come from `rng`: the same arguments and the same state of `rng`, the same samples.
        """
        ...
