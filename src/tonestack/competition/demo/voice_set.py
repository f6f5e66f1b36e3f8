"""A data set of generated voices in the layout of few-shot voice matching: one file per utterance.

<root>/<voice>/prompt-N.flac   clips to learn a voice from
<root>/<voice>.flac            the clip to recognise
<root>/voices.json             the settings; `finished` once all clips are there
Existing clips are kept, so that a stopped run goes on.
"""

import os
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import read_json, write_json
from tonestack.base.section import Section
from tonestack.competition.demo.voices import SENTENCES, SyntheticVoice

import joblib
import numpy as np
import soundfile
from pydantic import Field

SETTINGS = "voices.json"
SECONDS = (5.0, 11.0)  # length of a prompt; the clip to recognise has the longest


class VoiceSet(Section):
    """Settings of a set: the numbers of voices and clips, and the generator."""

    n: int = Field(10, ge=2, le=1000, description="voices")
    prompts: int = Field(30, ge=1, le=10_000, description="clips to learn each voice from")
    voice: str = Field("auto", description="formant, espeak or bark; auto: espeak where installed, else formant")
    seed: int = Field(0, ge=0, description="another seed, other people")
    weights: str | None = Field(None, description="of Bark: a model of the hub or a folder")

    def settled(self) -> "VoiceSet":
        """The same settings with `auto` resolved; a generator that cannot run here is refused."""
        name = self.voice
        if name == "auto":
            name = "formant" if parts.find("voices", "espeak").missing() else "espeak"
        if self.weights and name != "bark":
            raise UserError(f"weights= is of voice=bark; the voices are {name}'s")
        lacking = parts.find("voices", name).missing()
        if lacking:
            raise UserError(f"voice={name}: {lacking}")
        return self.model_copy(update={"voice": name})

    def names(self) -> list[str]:
        """Folder names of the voices."""
        return [f"voice-{v + 1:0{len(str(self.n))}d}" for v in range(self.n)]

    def speaker(self, v: int) -> SyntheticVoice:
        """The v-th person."""
        own = {"weights": self.weights} if self.weights else {}
        found: SyntheticVoice = parts.find("voices", self.voice).voice(1000 * self.seed + v, **own)
        return found


def make(root: Path, wanted: VoiceSet, jobs: int = -1) -> VoiceSet:
    """Write the set into `root` with `jobs` processes, unless it is there; return it with its generator settled.

    The same settings give the same clips, whatever `jobs` is. A folder that holds anything else is refused.
    """
    wanted = wanted.settled()
    settings = wanted.model_dump()
    found = _settings(root)
    if found == {"finished": True, **settings}:
        return wanted
    _refuse_other(root, found, settings)
    write_json(root / SETTINGS, {"finished": False, **settings})
    todo = [
        (v, k) for v in range(wanted.n) for k in range(wanted.prompts + 1) if not _path(root, wanted, v, k).exists()
    ]
    one_process = wanted.voice == "bark"  # it fills the machine, or its GPU, by itself
    tasks = (joblib.delayed(_write)(root, wanted, v, k) for v, k in todo)
    with bar(len(todo), f"voices ({wanted.voice})", "clips") as progress:
        for _ in joblib.Parallel(n_jobs=1 if one_process else jobs, return_as="generator_unordered")(tasks):
            progress.update()
    write_json(root / SETTINGS, {"finished": True, **settings})
    return wanted


def _path(root: Path, wanted: VoiceSet, v: int, k: int) -> Path:
    """File of prompt k, or of the clip to recognise where k is the number of prompts."""
    name = wanted.names()[v]
    return root / name / f"prompt-{k}.flac" if k < wanted.prompts else root / f"{name}.flac"


def _write(root: Path, wanted: VoiceSet, v: int, k: int) -> None:
    """Synthesise one clip: two or three sentences, different for every voice."""
    rng = np.random.default_rng([wanted.seed, v, k])
    seconds = rng.uniform(*SECONDS) if k < wanted.prompts else SECONDS[1]
    text = " ".join(rng.choice(SENTENCES, 3, replace=False))
    samples, rate = wanted.speaker(v).say(text, float(seconds), rng)
    path = _path(root, wanted, v, k)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed, so that a clip is whole or absent; not flushed: the settings come last.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    soundfile.write(temporary, samples, rate, format="FLAC", subtype="PCM_16")
    os.replace(temporary, path)


def _settings(root: Path) -> dict[str, Any]:
    path = root / SETTINGS
    return dict(read_json(path)) if path.is_file() else {}


def _refuse_other(root: Path, found: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse a folder of other voices, or of anything else: nothing of a user's is ever removed."""
    if not root.exists():
        return
    if not root.is_dir() or (any(root.iterdir()) and not found):
        raise UserError(f"{root}: holds something other than generated voices; give another name= or root=")
    changed = [key for key, value in settings.items() if found and found.get(key) != value]
    if changed:
        key = changed[0]
        raise UserError(
            f"{root}: was made with {key}={found.get(key)}, not {settings[key]}; give another name=, or remove it"
        )
