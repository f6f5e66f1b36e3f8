"""Shift: sets that differ are told apart by what differs, equal ones are not; the same recording is found again."""

import json
from collections.abc import Callable
from pathlib import Path

import shift
from conftest import CLASSES, RATE, TINY_WORDS, sound
from tonestack.base import parts
from tonestack.base.parts import part_params
from tonestack.config.call import Call
from tonestack.features import clip_statistics
from tonestack.features.audio import Clip
from tonestack.features.decode import features
from tonestack.features.store import Store
from tonestack.settings.data_config import ShiftParams
from tonestack.studies.shift import adversarial, near_duplicates, pictures

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.metrics import roc_auc_score

FAST = ShiftParams(rounds=15)


def alone(n: int) -> np.ndarray:
    return np.arange(n).astype(str)


def test_sets_from_one_source_cannot_be_told_apart() -> None:
    x = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
    found = adversarial.compare(x, np.arange(400) % 2 == 0, alone(400), FAST)
    assert found is not None
    assert found.low < 0.5 < found.high
    assert 0.4 < found.auc < 0.6


def test_a_shift_is_found_with_its_cause() -> None:
    rng = np.random.default_rng(0)
    second = np.arange(400) % 3 == 0
    x = rng.normal(size=(400, 20)).astype(np.float32)
    x[second, 7] += 2
    found = adversarial.compare(x, second, alone(400), FAST)
    assert found is not None
    assert found.auc > 0.85
    assert found.low > 0.8
    assert found.gain.argmax() == 7
    assert found.gain.sum() == pytest.approx(1)
    assert found.scores[second].mean() > found.scores[~second].mean() + 0.2


def test_what_only_gives_a_group_away_does_not_count() -> None:
    """Every group has its own offset: a split through groups would recognise them and call the sets different."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 10)
    second = np.isin(group, rng.permutation(40)[:20])
    x = (rng.normal(size=(40, 8))[group] + 0.05 * rng.normal(size=(400, 8))).astype(np.float32)
    grouped = adversarial.compare(x, second, group.astype(str), FAST)
    apart = adversarial.compare(x, second, alone(400), FAST)
    assert grouped is not None
    assert apart is not None
    assert apart.auc > 0.9
    assert grouped.auc < 0.75


def test_too_few_clips_say_nothing() -> None:
    assert adversarial.compare(np.zeros((60, 3)), np.arange(60) < 5, alone(60), FAST) is None


def test_the_area_is_scikit_learns_and_its_interval_covers() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        second = np.arange(80) < 30
        scores = np.round(rng.normal(size=80) + second, 1)  # with ties
        area, low, high = adversarial.auc(scores, second)
        assert area == pytest.approx(roc_auc_score(second, scores))
        inside += low <= 0.7602 <= high  # Phi(1 / sqrt(2))
    assert inside > 180


def test_statistics_have_their_names() -> None:
    for bands in (16, 40):
        x = np.random.default_rng(0).normal(size=(50, bands)).astype(np.float32)
        names = clip_statistics.names(bands)
        values = clip_statistics.clip_statistics(x)
        assert len(names) == len(values)
        assert values[names.index(("mean", 3))] == pytest.approx(x[:, 3].mean(), abs=1e-5)
        assert values[names.index(("deviation", 5))] == pytest.approx(x[:, 5].std(), abs=1e-5)
        assert values[names.index(("length", 0))] == 50
        assert values[names.index(("loudest frame", 0))] == pytest.approx(x.mean(axis=1).max(), abs=1e-5)


# ------------------------------------------------------------------------------------------------------ near-duplicates


SPEC = {"name": "logmel", "sample_rate": 16_000, "n_fft": 512, "hop_length": 256, "n_mels": 32, "fmax": 7500}


def melody(rng: np.random.Generator) -> np.ndarray:
    """A recording with a course of its own: noises and tones of random pitch, length and loudness."""
    parts_ = []
    for _ in range(8):
        n = int(rng.uniform(0.1, 0.3) * RATE)
        tone = np.sin(2 * np.pi * rng.uniform(100, 5000) * np.arange(n) / RATE) + 0.3 * rng.normal(size=n)
        parts_.append(tone * np.exp(-np.arange(n) / RATE * rng.uniform(0, 15)) * rng.uniform(0.1, 0.5))
    return np.concatenate(parts_).astype(np.float32)


def store_of(waves: list[np.ndarray]) -> Store:
    frontend = parts.find("frontends", "logmel").Frontend(part_params("frontends", SPEC, "here"))
    return Store.in_memory([next(features(Clip(w, RATE, False), [frontend])) for w in waves], frontend)


def coded(wave: np.ndarray, path: Path) -> np.ndarray:
    """Through Ogg Vorbis at another rate and back."""
    import soxr

    soundfile.write(path, soxr.resample(wave, RATE, 22_050), 22_050, format="OGG", subtype="VORBIS")
    return np.float32(soxr.resample(soundfile.read(path, dtype="float32")[0], 22_050, RATE))


def test_a_recording_is_found_again_however_it_was_changed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    waves = [melody(rng) for _ in range(30)]
    changed = {
        30: waves[0] * 0.2,
        31: waves[1][RATE // 3 :],
        32: coded(waves[2], tmp_path / "a.ogg"),
        33: waves[3] + 0.003 * rng.normal(size=len(waves[3])).astype(np.float32),
        34: np.concatenate([np.zeros(RATE // 2, np.float32), waves[4] * 0.5]),
    }
    store = store_of([*waves, *changed.values()])
    ids = store.clips.index.tolist()
    found = near_duplicates.find(store, ids, clip_statistics.table(store, ids), 5, 0.85)
    assert {pair[:2] for pair in found} == {(i, 30 + i) for i in range(5)}
    lag = {pair[1]: pair[3] for pair in found}
    assert lag[31] == pytest.approx(1 / 3, abs=0.03)
    assert lag[34] == pytest.approx(-0.5, abs=0.03)


def test_the_best_match_is_the_correlation_of_the_overlap() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(40, 6))
    value, lag, overlap = near_duplicates.best_match(a, a[12:30], 4)
    assert (round(value, 6), lag, overlap) == (1.0, 12, 18)
    b = rng.normal(size=(30, 6))
    value, lag, overlap = near_duplicates.best_match(a, b, 20)
    first, last = max(lag, 0), min(40, 30 + lag)
    x, y = a[first:last], b[first - lag : last - lag]
    assert last - first == overlap >= 20
    assert value == pytest.approx((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))
    assert near_duplicates.best_match(np.zeros((9, 3)), np.ones((9, 3)), 2).value == -1  # silence
    assert near_duplicates.best_match(a[:3], a, 4).value == -1  # too short


def test_stationary_noises_are_no_duplicates() -> None:
    rng = np.random.default_rng(0)
    store = store_of([rng.normal(size=RATE).astype(np.float32) for _ in range(12)])
    ids = store.clips.index.tolist()
    assert near_duplicates.find(store, ids, clip_statistics.table(store, ids), 5, 0.85) == []


# ------------------------------------------------------------------------------------------------------------- the verb


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """60 training and 40 test clips without the low bands; one test clip is a training clip, another nearly."""
    from scipy.signal import butter, sosfilt

    folder, rng = tmp_path / "shifted", np.random.default_rng(1)
    high = butter(4, 1500, "highpass", fs=RATE, output="sos")
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    waves = {}
    for part, count in (("train", 60), ("test", 40)):
        (folder / f"audio_{part}").mkdir(parents=True)
        for i in range(count):
            name, label = f"{part}{i:03d}.wav", CLASSES[i % 4]
            wave = sound(label, rng.uniform(0.3, 0.8), rng) * rng.uniform(0.5, 1)
            waves[name] = np.float32(wave if part == "train" else sosfilt(high, wave))
            rows[part].append({"fname": name, "label": label, "manually_verified": int(i // 4 % 2)})
    waves["train000.wav"], waves["train001.wav"] = melody(rng), melody(rng)
    waves["test000.wav"], waves["test001.wav"] = waves["train000.wav"], waves["train001.wav"][800:] * np.float32(0.5)
    waves["train002.wav"] = waves["train000.wav"]
    for name, wave in waves.items():
        soundfile.write(folder / f"audio_{name[:-7]}" / name, wave, RATE, subtype="FLOAT")
    pd.DataFrame(rows["train"]).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(rows["test"])[["fname", "label"]].to_csv(folder / "sample_submission.csv", index=False)
    return folder


def test_the_verb_says_and_writes_all_of_it(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frontend = [w for w in TINY_WORDS if not w.startswith(("frontend", "network", "crop", "training", "inference"))]
    spec = [f"frontend.{k}={v}" for k, v in SPEC.items() if k != "name"]
    run = Call.from_arguments([*frontend, *spec, f"root={root}", "shift.rounds=15", "shift.features=3"])
    result = shift.run(run)
    said, folder = capsys.readouterr().out, tmp_path / "home/reports/fsdkaggle2018/shift"
    assert {p.name for p in folder.iterdir()} == {
        *("shift.json", "shift.png", "features.csv", "clips.csv", "near_duplicates.csv"),
    }
    assert json.loads((folder / "shift.json").read_text()) == json.loads(json.dumps(result))
    by_sets = {tuple(c["sets"]): c for c in result["comparisons"]}
    assert set(by_sets) == set(shift.PAIRS)
    assert by_sets["train", "test"]["auc"] > 0.9
    assert by_sets["train", "test"]["verdict"] == "different"
    assert by_sets["verified", "unverified"]["low"] < 0.6
    assert by_sets["train", "test"]["clips"] == [60, 40]
    assert len(by_sets["train", "test"]["features"]) == 3
    assert "train / test" in said
    twice = pd.read_csv(folder / "near_duplicates.csv")
    pairs = {(r.clip_a, r.clip_b): (r.kind, r.across) for r in twice.itertuples()}
    assert pairs["train000.wav", "train002.wav"] == ("exact", "within")  # one group, hence one fold
    assert pairs["train000.wav", "test000.wav"] == ("exact", "train-test")
    assert pairs["train001.wav", "test001.wav"] == ("near", "train-test")
    assert result["across"]["train-test"] == 3  # both copies of the first one, and the near one
    looks = pd.read_csv(folder / "clips.csv").groupby("part")["looks_like_test"].mean()
    assert looks["test"] > looks["train"] + 0.3
    told = pd.read_csv(folder / "features.csv")
    assert told["hertz"].dropna().between(50, 7500).all()


def test_without_unverified_clips_one_question_is_asked(tiny_run: Callable[..., Call]) -> None:
    table = pd.DataFrame({"part": ["train"] * 30 + ["test"] * 30, "verified": [True] * 30 + [False] * 30})
    table["group"], table["clip_id"] = "", alone(60)
    clips = shift.MeasuredClips(table, np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    assert list(shift.compare(tiny_run("shift.rounds=3"), clips)) == ["train / test"]


def test_roc_curves_run_from_corner_to_corner() -> None:
    x, y = pictures.roc(np.array([0.9, 0.1, 0.8, 0.3]), np.array([True, False, False, True]))
    assert (x.tolist(), y.tolist()) == ([0, 0, 0.5, 0.5, 1], [0, 0.5, 0.5, 1, 1])
