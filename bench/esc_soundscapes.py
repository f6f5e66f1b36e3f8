"""Soundscapes with a known truth, made of ESC-50's real recordings: is the out-of-fold score that of fresh recordings?

`esc_soundscapes.py [esc50=DIR] [to=DIR] [key=value ...]`. Writes a competition in BirdCLEF 2026's layout: 40 classes,
one or two focal recordings of each (ESC-50's fold 1), 20 labelled and 40 unlabelled recordings of a minute (folds 2 and
3) and 40 for test (folds 4 and 5), over wind, rain, sea, insects, crickets and airplanes. Sounds come at any distance,
with an echo where they are far. Then it trains what the words say (`preset=fast`, `student.rounds=0` ...), joins the
tables, and prints for each: macro AUC of the labelled windows as the rows are, at one level, and as the mean over the
folds' own; and of the test windows. Leaves bench/results/esc_soundscapes.json.
"""

import shutil
import sys
from pathlib import Path

from tonestack.config.call import Call
from tonestack.ensemble.tables import Tables
from tonestack.tables import oof
from tonestack.tables.metrics import resolve

import numpy as np
import pandas as pd
import soundfile
from scipy.signal import fftconvolve

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import _measure
import all as pipeline
import blend
import stack
import submit
import train

RATE, WINDOW, WINDOWS = 16_000, 5, 12
NOISES = ["rain", "wind", "insects", "sea_waves", "crickets", "airplane"]
LEFT_OUT = [*NOISES, "vacuum_cleaner", "washing_machine", "engine", "helicopter"]
LABELLED, TRAIN, TEST = 20, 60, 40
LEVEL = 0.02  # of a background; sounds lie 12 dB above it to 8 dB below
ESC50 = Path(__file__).parents[2] / "shared" / "data" / "esc50"


class Maker:
    """Draws recordings from the clips of some of ESC-50's folds; the same seed gives the same recordings."""

    def __init__(self, esc50: Path, seed: int = 7) -> None:
        self.audio = esc50 / "audio"
        self.clips = pd.read_csv(esc50 / "meta" / "esc50.csv")
        self.rng = np.random.default_rng(seed)
        self.classes = sorted(set(self.clips["category"]) - set(LEFT_OUT))
        self.codes = [f"{name[:5].replace('_', '')}{number}" for number, name in enumerate(self.classes)]

    def wave(self, name: str) -> np.ndarray:
        """A clip's samples."""
        found: np.ndarray = soundfile.read(self.audio / name, dtype="float32")[0]
        return found

    def background(self, site: int, count: int, folds: list[int]) -> np.ndarray:
        """Three noises of a site over each other, repeated, of power 1."""
        drawn = self.clips[self.clips["category"].isin(NOISES) & self.clips["fold"].isin(folds)]
        total = np.zeros(count, np.float32)
        for name, share in zip(drawn.sample(3, random_state=site)["filename"], (1, 0.5, 0.3), strict=True):
            wave = even(self.wave(name))
            first = self.rng.integers(0, len(wave))
            total += share * np.roll(np.tile(wave, -(-count // len(wave))), first)[:count]
        return total / np.sqrt((total**2).mean())

    def event(self, name: str, most: float = 4) -> np.ndarray:
        """A piece of a clip's sound, half a second to `most` seconds long, of power 1."""
        wave = trimmed(self.wave(name))
        count = min(len(wave), int(self.rng.uniform(0.5, most) * RATE))
        first = self.rng.integers(0, len(wave) - count + 1)
        piece, fade = wave[first : first + count].copy(), min(400, count // 4)
        piece[:fade] *= np.linspace(0, 1, fade)
        piece[-fade:] *= np.linspace(1, 0, fade)
        return even(piece)

    def from_afar(self, wave: np.ndarray, distance: float) -> np.ndarray:
        """The sound with an echo, if it is far away (distance in 0 to 1)."""
        if distance <= 0.3:
            return wave
        at = np.arange(int(0.3 * RATE)) / RATE
        echo = self.rng.normal(size=len(at)) * np.exp(-at * self.rng.uniform(12, 30)) * 0.1 * distance
        echo[0] = 1
        far: np.ndarray = fftconvolve(wave, echo)[: len(wave)]
        return far

    def soundscape(self, folds: list[int], site: int, noise: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """A minute with two to five classes, and what is heard in it: (12 windows, C) bool."""
        count = WINDOWS * WINDOW * RATE
        total, heard = self.background(site, count, noise) * LEVEL, np.zeros((WINDOWS, len(self.classes)))
        for label in self.rng.choice(len(self.classes), self.rng.integers(2, 6), replace=False):
            own = self.clips[(self.clips["category"] == self.classes[label]) & self.clips["fold"].isin(folds)]
            name = str(own.sample(1, random_state=int(self.rng.integers(1e9)))["filename"].iloc[0])
            distance = self.rng.uniform(0, 1)
            for _ in range(self.rng.integers(1, 6)):
                wave = self.from_afar(self.event(name), distance)
                wave = wave * LEVEL * 10 ** ((self.rng.normal(0, 2) + 12 - 20 * distance) / 20)
                first = self.rng.integers(0, count - len(wave))
                total[first : first + len(wave)] += wave
                heard[:, label] += seconds_heard(wave, first)
        return total / max(1, np.abs(total).max() / 0.98), heard > 0.2


def even(wave: np.ndarray) -> np.ndarray:
    """The wave at power 1."""
    return wave / np.sqrt((wave**2).mean() + 1e-9)


def trimmed(wave: np.ndarray) -> np.ndarray:
    """The wave without what lies 30 dB below its loudest moment, before and after its sounds."""
    power = np.convolve(wave**2, np.ones(400) / 400, "same")
    loud = np.flatnonzero(power > power.max() * 1e-3)
    return wave[loud[0] : loud[-1] + 1] if len(loud) else wave


def seconds_heard(wave: np.ndarray, first: int) -> np.ndarray:
    """Seconds (12,) of a sound in each window; a twentieth of its power must lie there."""
    heard = np.zeros(WINDOWS)
    for window in range(WINDOWS):
        low, high = max(first, window * WINDOW * RATE), min(first + len(wave), (window + 1) * WINDOW * RATE)
        if high > low and (wave[low - first : high - first] ** 2).sum() > 0.05 * (wave**2).sum():
            heard[window] = (high - low) / RATE
    return heard


def write(path: Path, wave: np.ndarray) -> None:
    """Write a recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE)


def make(maker: Maker, to: Path, truth_csv: Path) -> None:
    """Write the competition and, outside its folder, the labels of the test windows."""
    taxonomy = [
        {"primary_label": code, "inat_taxon_id": 1000 + number, "scientific_name": name, "class_name": "Sound"}
        for number, (code, name) in enumerate(zip(maker.codes, maker.classes, strict=True))
    ]
    to.mkdir(parents=True)
    pd.DataFrame(taxonomy).to_csv(to / "taxonomy.csv", index=False)
    pd.DataFrame(focal(maker, to)).to_csv(to / "train.csv", index=False)
    rows: list[dict[str, str]] = []
    for number in range(TRAIN):
        wave, heard = maker.soundscape([2, 3], number % 5, [1, 2, 3])
        name = f"ES_Train_{1000 + number}_S{number % 5:02d}_2025010{1 + number % 9}_{number % 24:02d}0000.ogg"
        write(to / "train_soundscapes" / name, wave)
        rows += [labelled(maker, name, window, heard) for window in range(WINDOWS if number < LABELLED else 0)]
    pd.DataFrame(rows).to_csv(to / "train_soundscapes_labels.csv", index=False)
    tests: list[dict[str, object]] = []
    for number in range(TEST):
        wave, heard = maker.soundscape([4, 5], 100 + number % 6, [4, 5])
        stem = f"ES_Test_{number:04d}_S{20 + number % 6}_20250201_{number % 24:02d}0000_000"
        write(to / "test_soundscapes" / f"{stem}.ogg", wave)
        for window in range(WINDOWS):
            truth = dict(zip(maker.codes, heard[window].astype(float), strict=True))
            tests.append({"row_id": f"{stem}_{WINDOW * (window + 1)}", **truth})
    truth_table = pd.DataFrame(tests)
    truth_table.to_csv(truth_csv, index=False)
    sample = truth_table.head(3).copy()
    sample[maker.codes] = 1 / len(maker.codes)
    sample.to_csv(to / "sample_submission.csv", index=False)


def truth_file(to: Path) -> Path:
    """Where the labels of the test windows lie: outside the competition's folder."""
    return to.with_name(f"{to.name}-truth.csv")


def focal(maker: Maker, to: Path) -> list[dict[str, object]]:
    """Write the focal recordings; return their rows of train.csv."""
    rows: list[dict[str, object]] = []
    for number, (name, code) in enumerate(zip(maker.classes, maker.codes, strict=True)):
        own = maker.clips[(maker.clips["category"] == name) & (maker.clips["fold"] == 1)]
        for k, clip in enumerate(own.sample(1 + number % 2, random_state=number)["filename"]):
            wave = maker.wave(clip)
            wave = wave / max(np.abs(wave).max(), 1e-3) * 0.5 + maker.background(900 + number, len(wave), [1]) * 0.01
            file = f"{code}/XC{number}{k}.ogg"
            write(to / "train_audio" / file, wave)
            rows.append({"primary_label": code, "secondary_labels": "[]", "author": number, "filename": file})
    return rows


def labelled(maker: Maker, name: str, window: int, heard: np.ndarray) -> dict[str, str]:
    """One row of train_soundscapes_labels.csv."""
    start, end = (f"00:{second // 60:02d}:{second % 60:02d}" for second in (WINDOW * window, WINDOW * (window + 1)))
    there = ";".join(maker.codes[label] for label in np.flatnonzero(heard[window]))
    return {"filename": name, "start": start, "end": end, "primary_label": there}


def measure(words: list[str], truth: pd.DataFrame) -> list[dict[str, object]]:
    """Every table's macro AUC, out of fold in three ways and on the test windows."""
    call = Call.from_arguments(words)
    names = oof.experiments(call.oof, made=True)
    plain, level = Tables.of(Call.from_arguments([*words, "fold_levels=kept"]), names), Tables.of(call, names)
    trained = oof.experiments(call.oof)  # made tables are made of rows at one level
    auc, kept, truth_rows = resolve("auc"), level.scored, truth.loc[list(level.test_ids), list(level.classes)]
    fold, targets, rows = level.fold[kept], level.targets[kept], []
    for name in names:
        one = level.oof(name)[kept]
        within = [float(auc(one[fold == k], targets[fold == k])) for k in np.unique(fold)]
        rows.append(
            {
                "table": name,
                "as they are": float(auc(plain.oof(name)[kept], targets)) if name in trained else None,
                "at one level": float(auc(one, targets)),
                "mean of folds": float(np.mean(within)),
                "test": float(auc(level.test(name), truth_rows.to_numpy().astype(np.int8))),
            }
        )
    return rows


def main(*words: str) -> None:
    """Make the competition if it is not there, train, join, and report."""
    own = {"esc50": str(ESC50), "to": "input/esc_soundscapes"}
    given = dict(word.split("=", 1) for word in words if "=" in word)
    asked = own | {key: value for key, value in given.items() if key in own}
    to = Path(asked["to"])
    if not Path(asked["esc50"]).is_dir():
        print(f"esc_soundscapes: there is no {asked['esc50']}; give esc50=DIR")
        return
    if not to.is_dir():
        part = to.with_name(f".{to.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        make(Maker(Path(asked["esc50"])), part, truth_file(to))
        part.rename(to)
    rest = [word for word in words if word.split("=", 1)[0] not in own]
    rest = ["data=birdclef", f"root={to}", "name=esc_soundscapes", *rest]
    call = Call.from_arguments(rest)
    call = call.but(revision=pipeline.loop(call))
    for stage in (train, blend, stack, submit):
        stage.run(call)
    rows = measure(rest, pd.read_csv(truth_file(to)).set_index("row_id"))
    _measure.report("esc_soundscapes", rows, {"about": "macro AUC of windows"})


if __name__ == "__main__":
    main(*sys.argv[1:])
