"""Voices of espeak-ng, where it is installed: a variant, an accent, a pitch and a pace make a person.

https://github.com/espeak-ng/espeak-ng
"""

import io
import os
import shutil
import subprocess
from dataclasses import dataclass

from tonestack.base.errors import UserError
from tonestack.competition.demo.voices import repeated

import numpy as np
import soundfile

PROGRAMS = ("espeak-ng", "espeak")
VARIANTS = ("m1", "f1", "m2", "f2", "m3", "f3", "m4", "f4", "m5", "f5", "m6", "m7")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland")


@dataclass(frozen=True)
class EspeakVoice:
    """A person: pitch 0..99 and words a minute as espeak-ng counts them."""

    program: str
    variant: str
    accent: str
    pitch: int
    pace: int

    def say(self, text: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """See `SyntheticVoice.say`."""
        return repeated(lambda words: self._spoken(words, rng), text, seconds, rng)

    def _spoken(self, text: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """One reading of a text, its pace and pitch a little different every time."""
        pitch, pace = self.pitch + rng.integers(-6, 7), self.pace + rng.integers(-15, 16)
        call = [self.program, "-v", f"{self.accent}+{self.variant}", "-p", str(max(pitch, 0)), "-s", str(pace)]
        done = subprocess.run([*call, "--stdin", "--stdout"], input=text.encode(), capture_output=True, check=False)
        if done.returncode or not done.stdout:
            raise UserError(f"{self.program} failed: {done.stderr.decode(errors='replace').strip()[:200]}")
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32", always_2d=True)
        return samples[:, 0], int(rate)


def missing() -> str | None:
    """The missing program, None if installed."""
    return None if _program() else "espeak-ng is not installed (install the package espeak-ng, or give voice=formant)"


def voice(seed: int) -> EspeakVoice:
    """Twelve variants in turn, each time with another accent, pitch and pace."""
    program = _program()
    if program is None:
        raise UserError(f"voice=espeak: {missing()}")
    rng = np.random.default_rng([seed, 25])
    accent = str(rng.choice(ACCENTS))
    return EspeakVoice(
        program, VARIANTS[seed % len(VARIANTS)], accent, int(rng.integers(25, 75)), int(rng.integers(145, 186))
    )


def _program() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name, path=os.environ.get("PATH")))), None)
