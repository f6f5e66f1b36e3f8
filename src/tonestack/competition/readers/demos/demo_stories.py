"""The embedded demo of true and false stories: synthesised tellers of two invented languages, laid out as MLEnd's.

In a made-up story pauses are a little longer and the pitch moves a little more: on average, by less than tellers
differ. One language has somewhat more true stories than the other, as small real collections have, so that a model
that knows the language alone is better than chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tonestack.base.console import bar
from tonestack.base.files import file_hash, write_csv, write_json
from tonestack.base.section import Section
from tonestack.competition.demo.voices import formant
from tonestack.competition.readers import stories
from tonestack.competition.readers.demos import demo
from tonestack.tables.competition import Competition

import joblib
import numpy as np
import pandas as pd
from pydantic import Field

FOLDER = "stories"
LABELS = ("deceptive_story", "true_story")
TRUE_OF_FOUR = {"Sarani": (3, 2, 2), "Belu": (1, 2, 2)}  # true stories of one teller after the other


@dataclass(frozen=True)
class Language:
    """Sounds that syllables are made of; "" among the endings leaves them open."""

    onsets: tuple[str, ...]
    vowels: tuple[str, ...]
    endings: tuple[str, ...]


LANGUAGES = {
    "Sarani": Language(("s", "r", "n", "t", "k", "sh", "m", "d"), ("a", "e", "i", "aa"), ("", "n", "r", "s", "k")),
    "Belu": Language(("b", "l", "m", "g", "w", "y", "d"), ("u", "o", "ee", "oo", "uh"), ("",)),
}


class Params(Section):
    """Sizes of the demo: tellers with four stories each, seconds of a story (least, most), the seed.

    cue: strength of the difference of made-up stories; 0 is none, 1 the default.
    """

    n_tellers: int = Field(30, ge=2, description="tellers synthesised, with four stories each")
    seconds: tuple[float, float] = Field((8.0, 14.0), description="shortest and longest story, s")
    cue: float = Field(1.0, ge=0, le=4, description="difference between made-up and true stories; 0: none")
    seed: int = Field(0, ge=0, description="seed of the synthesis")


def read(params: Params, root: Path) -> Competition:
    """Read the demo below `root`; synthesise it first if it is absent or was made with other settings."""
    make(params, root)
    return stories.read(stories.Params(), root)


def make(params: Params, root: Path, jobs: int = -1) -> None:
    """Synthesise the stories into `root` unless they are there; the same settings give the same bytes."""
    code = [file_hash(Path(str(module.__file__))) for module in (formant, demo)] + [file_hash(Path(__file__))]
    settings = {**params.model_dump(mode="json"), "synthesiser": code}
    if demo.finished(root) == settings:
        return
    demo.clear(root, (FOLDER,))
    write_json(root / demo.SETTINGS, {"finished": False})
    table = pd.DataFrame(plan(params))
    tasks = (joblib.delayed(_write)(root / FOLDER, row, params) for row in table.to_dict("records"))
    with bar(len(table), "demo", "stories") as progress:
        for _ in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks):
            progress.update()
    write_csv(root / "stories.csv", table[["filename", "Language", "Story_type", "teller"]])
    write_json(root / demo.SETTINGS, {"finished": True, **settings})


def plan(params: Params) -> Iterator[dict[str, object]]:
    """Every story: `filename, Language, Story_type, teller, voice`, files in random order."""
    rng = np.random.default_rng([params.seed, 0])
    names = rng.permutation(4 * params.n_tellers) + 1
    told: dict[str, int] = dict.fromkeys(LANGUAGES, 0)
    for teller in range(params.n_tellers):
        language = tuple(LANGUAGES)[teller % 2]
        true = TRUE_OF_FOUR[language][told[language] % 3]
        told[language] += 1
        for story in range(4):
            yield {
                "filename": f"{names[4 * teller + story]:05d}.wav",
                "Language": language,
                "Story_type": LABELS[int(story < true)],
                "teller": f"teller{teller + 1:02d}",
                "voice": 1000 * params.seed + teller,
            }


def _write(folder: Path, row: dict[str, object], params: Params) -> None:
    rng = np.random.default_rng([params.seed, int(str(row["filename"])[:5])])
    made_up = params.cue * (row["Story_type"] == LABELS[0])
    voice = formant.voice(int(str(row["voice"])))
    lively = voice.liveliness * np.exp(rng.normal(0.25 * made_up, 0.2))
    pauses = np.exp(rng.normal(0.9 + 0.45 * made_up, 0.35))
    text = _text(rng, LANGUAGES[str(row["Language"])], pauses)
    samples, rate = replace(voice, liveliness=float(lively)).say(text, rng.uniform(*params.seconds), rng)
    demo.write_clip(folder / str(row["filename"]), samples, rate)


def _text(rng: np.random.Generator, language: Language, pauses: float) -> str:
    """A minute's phrases of three to seven words; behind each about `pauses` stops, which are a pause each."""
    phrases = [" ".join(_word(rng, language) for _ in range(rng.integers(3, 8))) for _ in range(40)]
    return " ".join(phrase + "," * int(1 + rng.poisson(pauses - 1 if pauses > 1 else 0)) for phrase in phrases)


def _word(rng: np.random.Generator, language: Language) -> str:
    parts = (language.onsets, language.vowels, language.endings)
    return "".join("".join(str(rng.choice(part)) for part in parts) for _ in range(rng.integers(1, 4)))
