"""Measure how training and test clips differ, and find clips that occur twice.

Takes  the competition's recordings (prepared first) and folds/<name>/r0.csv. No test label is read.
Leaves reports/<name>/shift/: shift.json and shift.png (how well classifiers tell train from test, and verified from
       unverified clips, and by what), features.csv (the telling statistics), clips.csv (similarity of each clip to test
       clips), near_duplicates.csv (clips that are the same recording, across train and test and across folds).
"""

import itertools
import time
from dataclasses import dataclass
from typing import Any

import make_folds
import prepare
from tonestack import cli
from tonestack.base import console, parts
from tonestack.base.errors import UserError
from tonestack.base.files import write_csv, write_json
from tonestack.config.call import Call
from tonestack.ensemble import clip_components
from tonestack.ensemble.clip_components import PreparedSpectrogram
from tonestack.features import clip_statistics, store
from tonestack.features.frontends import _spectrogram
from tonestack.features.store import Store
from tonestack.studies.shift import adversarial, near_duplicates, pictures
from tonestack.studies.shift.adversarial import Comparison

import numpy as np
import pandas as pd

PAIRS = (("train", "test"), ("verified", "test"), ("unverified", "test"), ("verified", "unverified"))
DEFAULT = {"name": "logmel"}  # spectrogram to measure if no model of the call has one


@dataclass(frozen=True)
class MeasuredClips:
    """All clips with audio: part, label, verified, fold and group, one row per clip, and their statistics (N, S)."""

    table: pd.DataFrame
    x: np.ndarray

    def side(self, name: str) -> np.ndarray:
        """Return the mask of the `train`, `test`, `verified` or `unverified` clips."""
        train = (self.table["part"] == "train").to_numpy()
        verified = self.table["verified"].to_numpy(dtype=bool)
        return {"train": train, "test": ~train, "verified": train & verified, "unverified": train & ~verified}[name]


def run(call: Call) -> dict[str, Any]:
    """Compare the sets, find duplicates, write and print both."""
    started, folder = time.monotonic(), call.reports / "shift"
    source = spectrogram(call)
    clips = gather(call, source)
    found = compare(call, clips)
    telling = pd.DataFrame([row for name in found for row in features(name, found[name], clips, source, call)])
    twice = duplicates(call, source, clips)
    shown = [line(name, comparison, telling) for name, (comparison, _) in found.items()]
    print(console.aligned(pd.DataFrame(shown)) if shown else "shift: too few clips per set to compare")
    print(summary(twice))
    write_csv(folder / "features.csv", telling)
    write_csv(folder / "near_duplicates.csv", twice)
    write_csv(folder / "clips.csv", looks(clips, found))
    profiles = {
        name: profile(clips, name, source) for name in ("verified", "unverified", "test") if clips.side(name).any()
    }
    pictures.draw(found, profiles, folder / "shift.png")
    result = {
        "comparisons": [described(name, found[name], telling) for name in found],
        "duplicates": {"exact": 0, "near": 0} | twice["kind"].value_counts().to_dict(),
        "across": {name: int(twice["across"].eq(name).sum()) for name in ("train-test", "folds", "within")},
        "clips": len(clips.table),
        "frontend": source.frontend,
        "settings": call.data.shift.model_dump(),
        "pictures": ["shift.png"],
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(folder / "shift.json", result)
    print(f"{folder}: shift.json, shift.png, features.csv, clips.csv, near_duplicates.csv ({result['seconds']:.0f} s)")
    return result


def spectrogram(call: Call) -> PreparedSpectrogram:
    """Return the first log-mel spectrogram of the call's models, prepared."""
    specs = [e.config.frontend for e in call.experiments() if e.config.frontend["name"] == "logmel"]
    spec = specs[0] if specs else DEFAULT
    prepare.run(call, [spec])
    return PreparedSpectrogram(spec, Store.open(call.cache, spec, call.data.audio))


def gather(call: Call, source: PreparedSpectrogram) -> MeasuredClips:
    """Collect the clips with audio and their statistics."""
    competition, folds = call.competition(), make_folds.run(call, quiet=True)
    train = competition.train[["clip_id"]].merge(folds[["clip_id", "label", "verified", "fold", "group"]], on="clip_id")
    test = competition.test[["clip_id", "group"]].assign(label="", verified=False, fold=-1)
    table = pd.concat([train.assign(part="train"), test.assign(part="test")], ignore_index=True)
    x = clip_components.measured(call.cache, source.store, table["clip_id"].tolist())
    usable = np.isfinite(x).all(axis=1)
    if not usable.any():
        raise UserError(f"{call.root}: no clip can be decoded")
    return MeasuredClips(table[usable].reset_index(drop=True), x[usable])


def compare(call: Call, clips: MeasuredClips) -> dict[str, tuple[Comparison, np.ndarray]]:
    """Compare every pair of non-empty sets; return the comparison and the mask of the second set's clips."""
    found = {}
    alone = clips.table["group"].where(clips.table["group"] != "", clips.table["clip_id"])
    for first, second in PAIRS:
        if first != "train" and not clips.side("unverified").any():
            continue  # all clips are verified: the same question again
        both = clips.side(first) | clips.side(second)
        one = clips.side(second)[both]
        comparison = adversarial.compare(clips.x[both], one, alone[both].to_numpy(), call.data.shift, call.seed)
        if comparison is not None:
            found[f"{first} / {second}"] = (comparison, one)
    return found


def features(
    name: str, found: tuple[Comparison, np.ndarray], clips: MeasuredClips, source: PreparedSpectrogram, call: Call
) -> list[dict[str, Any]]:
    """Return the most telling statistics of one comparison, with both medians and the AUC of each statistic alone."""
    first, second = (clips.x[clips.side(side)] for side in name.split(" / "))
    names, hertz = clip_statistics.names(source.store.width), centres(source)
    rows = []
    for s in np.argsort(-found[0].gain, kind="stable")[: call.data.shift.features]:
        values, which = np.concatenate([first[:, s], second[:, s]]), np.repeat([False, True], [len(first), len(second)])
        statistic, band = names[s]
        of_band = statistic in {n for n, b in names if b == source.store.width - 1}
        rows.append(
            {
                "comparison": name,
                "statistic": statistic,
                "band": band,
                "hertz": round(float(hertz[band]), 1) if of_band else None,
                "gain": round(float(found[0].gain[s]), 4),
                "auc_alone": round(adversarial.auc(values, which)[0], 4),
                "median_first": round(float(np.median(first[:, s])), 3),
                "median_second": round(float(np.median(second[:, s])), 3),
            }
        )
    return rows


def centres(source: PreparedSpectrogram) -> np.ndarray:
    """Return the centre frequencies of the bands in Hz."""
    params = parts.find("frontends", "logmel").Params(**{k: v for k, v in source.frontend.items() if k != "name"})
    return _spectrogram.mel_centres(params)


def profile(clips: MeasuredClips, side: str, source: PreparedSpectrogram) -> np.ndarray:
    """Return the centres of the bands and the mean level of a set's clips (2, F)."""
    return np.stack([centres(source), clips.x[clips.side(side), : source.store.width].mean(axis=0)])


def duplicates(call: Call, source: PreparedSpectrogram, clips: MeasuredClips) -> pd.DataFrame:
    """Return pairs of clips that are the same recording: exactly (decoded samples), or nearly."""
    params, table = call.data.shift, clips.table
    ids = table["clip_id"].tolist()
    position = {name: i for i, name in enumerate(ids)}
    exact = []
    for _, same in store.duplicates(source.store.clips).groupby("audio_hash"):
        rows = sorted(position[name] for name in same["clip_id"] if name in position)
        exact += [(*pair, 1.0, 0.0, "exact") for pair in itertools.combinations(rows, 2)]
    known = {row[:2] for row in exact}
    near = near_duplicates.find(source.store, ids, clips.x, params.neighbours, params.similar)
    pairs = [*exact, *((*pair, "near") for pair in near if pair[:2] not in known)]
    return pd.DataFrame([described_pair(table, *row) for row in pairs], columns=PAIR_COLUMNS)


PAIR_COLUMNS = [
    *("clip_a", "clip_b", "kind", "similarity", "later_by", "across"),
    *("part_a", "part_b", "fold_a", "fold_b", "label_a", "label_b"),
]


def described_pair(table: pd.DataFrame, a: int, b: int, similarity: float, seconds: float, kind: str) -> list[Any]:
    """Return one row of near_duplicates.csv."""
    one, two = table.iloc[a], table.iloc[b]
    across = "train-test" if one["part"] != two["part"] else "folds" if one["fold"] != two["fold"] else "within"
    both = [value for column in ("part", "fold", "label") for value in (one[column], two[column])]
    return [one["clip_id"], two["clip_id"], kind, round(similarity, 4), round(seconds, 3), across, *both]


def summary(twice: pd.DataFrame) -> str:
    """Return the counts of duplicates in one line."""
    if not len(twice):
        return "duplicates: none"
    counts = twice.groupby(["kind", "across"]).size().reset_index(name="count")
    columns = zip(counts["count"], counts["kind"], counts["across"], strict=True)
    return "duplicates: " + ", ".join(f"{count} {kind} ({across})" for count, kind, across in columns)


def looks(clips: MeasuredClips, found: dict[str, tuple[Comparison, np.ndarray]]) -> pd.DataFrame:
    """Return how similar each clip is to test clips, by a model not trained on the clip."""
    table = clips.table[["clip_id", "part", "label", "verified", "fold"]].copy()
    if "train / test" in found:
        table["looks_like_test"] = found["train / test"][0].scores.round(4)
    return table


def line(name: str, comparison: Comparison, telling: pd.DataFrame) -> dict[str, str]:
    """Return a comparison's row of the printed table."""
    best = telling[telling["comparison"] == name].head(2)
    columns = zip(best["statistic"], best["hertz"], best["band"], strict=True)
    by = [f"{what} {hertz:.0f} Hz" if pd.notna(hertz) else f"{what} {band}" for what, hertz, band in columns]
    area = f"{comparison.auc:.3f} [{comparison.low:.3f}, {comparison.high:.3f}]"
    return {"sets": name, "AUC [95 %]": area, "": verdict(comparison), "by": ", ".join(by)}


def verdict(comparison: Comparison) -> str:
    """Return an area under the curve in words."""
    if comparison.low <= 0.5:
        return "alike"
    return "different" if comparison.auc >= 0.7 else "slightly different"


def described(name: str, found: tuple[Comparison, np.ndarray], telling: pd.DataFrame) -> dict[str, Any]:
    """Return a comparison as json."""
    comparison, second = found
    own = telling[telling["comparison"] == name].drop(columns="comparison")
    return {
        "sets": name.split(" / "),
        "clips": [int((~second).sum()), int(second.sum())],
        "auc": round(comparison.auc, 4),
        "low": round(comparison.low, 4),
        "high": round(comparison.high, 4),
        "verdict": verdict(comparison),
        "features": own.astype(object).where(own.notna(), None).to_dict("records"),
    }


if __name__ == "__main__":
    cli.main(run, __doc__)
