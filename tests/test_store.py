"""The feature store: one pass, resumed when broken off, recomputed when anything changed, never corrupt."""

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.features import contents, decode
from tonestack.features import prepare as preparation
from tonestack.features.audio import resample
from tonestack.features.frontends.logmel import Frontend, Params
from tonestack.features.prepare import PrepareReport, prepare
from tonestack.features.store import Store, duplicates
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import Competition

import numpy as np
import pandas as pd
import pytest
import soundfile

LOGMEL: dict[str, Any] = {"name": "logmel", "sample_rate": 8000, "n_fft": 256, "hop_length": 80, "n_mels": 16}
WAVE: dict[str, Any] = {"name": "waveform", "sample_rate": 8000}
SKIP = AudioParams(bad_files="skip")


def noise(seed: int, seconds: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    """Six train clips and two test clips of different lengths at 16 kHz."""
    root = tmp_path / "input"
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    for i in range(6):
        soundfile.write(root / f"train/{i}.wav", noise(i, 0.1 + 0.05 * i), 16_000)
    for i in range(2):
        soundfile.write(root / f"test/t{i}.wav", noise(10 + i), 16_000)
    train = pd.DataFrame({"clip_id": [f"{i}.wav" for i in range(6)], "path": [f"train/{i}.wav" for i in range(6)]})
    test = pd.DataFrame({"clip_id": ["t0.wav", "t1.wav"], "path": ["test/t0.wav", "test/t1.wav"]})
    return Competition(root, train, test, ("a",), None)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files decoded so far, with chunks of two clips."""
    names: list[str] = []
    original = decode.decode_clip

    def counting(path: Path, *rest: Any) -> Any:
        names.append(path.name)
        return original(path, *rest)

    monkeypatch.setattr(decode, "decode_clip", counting)
    monkeypatch.setattr(preparation, "CHUNK_CLIPS", 2)
    return names


def run(competition: Competition, cache: Path, *specs: dict[str, Any], audio: AudioParams = SKIP) -> PrepareReport:
    return prepare(competition, specs or [LOGMEL], audio, cache, progress=False)


def bytes_of(cache: Path) -> dict[str, bytes]:
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in sorted(cache.glob("*/*")) if ".parts" not in p.parts}


def test_features_lie_end_to_end(competition: Competition, cache: Path) -> None:
    report = run(competition, cache)
    made = Store.open(cache, LOGMEL, SKIP)
    assert isinstance(made.features, np.memmap)
    assert (made.features.dtype, made.width, made.frame_rate) == (np.float16, 16, 100.0)
    offsets, frames = made.rows(["t1.wav", "3.wav"])
    wave = resample(soundfile.read(competition.root / "train/3.wav", dtype="float32")[0], 16_000, 8000)
    values = {k: v for k, v in LOGMEL.items() if k != "name"}
    expected = Frontend(Params.parse(values, ""))(wave)
    np.testing.assert_array_equal(made.features[offsets[1] : offsets[1] + frames[1]], expected)
    assert offsets[0] + frames[0] == len(made.features) == made.clips.frames.sum()
    assert list(report.clips.part) == ["train"] * 6 + ["test"] * 2
    assert len(report.bad) == len(report.truncated) == 0


def test_mean_and_std_are_of_train_alone(competition: Competition, cache: Path) -> None:
    run(competition, cache)
    made = Store.open(cache, LOGMEL, SKIP)
    train = np.asarray(made.features[: made.clips.loc["t0.wav", "offset"]], np.float64)
    np.testing.assert_allclose(made.mean, train.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(made.std, train.std(axis=0), rtol=1e-5)


def test_several_frontends_from_one_decoding(competition: Competition, cache: Path, decoded: list[str]) -> None:
    run(competition, cache, LOGMEL, WAVE, {**WAVE, "sample_rate": 4000})
    assert len(decoded) == 8
    assert Store.open(cache, WAVE, SKIP).features.dtype == np.int16
    run(competition, cache, LOGMEL, {**WAVE, "sample_rate": 2000})  # a new one: decoded again for it alone
    assert len(decoded) == 16


def test_second_call_reads_no_file(competition: Competition, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(competition, cache)
    monkeypatch.setattr(contents, "_hash", lambda path, seconds: pytest.fail("a file was read again"))
    second = run(competition, cache)
    assert (len(first.made), first.up_to_date) == (1, [])
    assert (second.made, second.up_to_date) == ([], first.made)
    pd.testing.assert_frame_equal(first.clips, second.clips)


def test_changed_settings_or_audio_are_recomputed(competition: Competition, cache: Path, decoded: list[str]) -> None:
    run(competition, cache)
    before = Store.open(cache, LOGMEL, SKIP)
    assert run(competition, cache, {**LOGMEL, "n_mels": 8}).made
    assert run(competition, cache, audio=AudioParams(trim_db=20)).made
    assert not run(competition, cache, audio=AudioParams(bad_files="error")).made
    soundfile.write(competition.root / "train/0.wav", noise(99), 16_000)
    assert run(competition, cache).made
    after = Store.open(cache, LOGMEL, SKIP)
    assert before.fingerprint != after.fingerprint
    assert before.features[0, 0] != after.features[0, 0]  # the old map stays readable


def test_resumes_where_it_was_interrupted(
    competition: Competition, cache: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = decode.decode_clip

    def failing(path: Path, *rest: Any) -> Any:
        if path.name == "5.wav":
            raise KeyboardInterrupt
        return counting(path, *rest)

    monkeypatch.setattr(decode, "decode_clip", failing)
    with pytest.raises(KeyboardInterrupt):
        run(competition, cache)
    with pytest.raises(UserError, match="not prepared"):
        Store.open(cache, LOGMEL, SKIP)
    monkeypatch.setattr(decode, "decode_clip", counting)
    decoded.clear()
    run(competition, cache)
    assert decoded == ["4.wav", "5.wav", "t0.wav", "t1.wav"]  # the first two chunks were kept
    run(competition, tmp_path / "other")
    assert _features(cache) == _features(tmp_path / "other")
    assert not list(cache.glob(".parts/*"))


def _features(cache: Path) -> dict[str, bytes]:
    return {name: content for name, content in bytes_of(cache).items() if "logmel" in name}


def _interrupt(*rest: Any) -> None:
    raise KeyboardInterrupt


def test_damaged_part_is_made_again(
    competition: Competition, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_join", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(competition, cache)
    part = sorted(cache.glob(".parts/*/*.bin"))[0]
    os.truncate(part, 10)
    decoded.clear()
    run(competition, cache)
    assert len(decoded) == 2  # one chunk's clips
    assert Store.open(cache, LOGMEL, SKIP).clips.frames.gt(0).all()


def test_parallel_equals_serial(competition: Competition, cache: Path, tmp_path: Path, decoded: list[str]) -> None:
    run(competition, cache)
    prepare(competition, [LOGMEL], SKIP, tmp_path / "parallel", n_jobs=2, progress=False)
    assert _features(cache) == _features(tmp_path / "parallel")


def test_bad_files(competition: Competition, cache: Path) -> None:
    (competition.root / "train/1.wav").write_bytes(b"")
    (competition.root / "train/2.wav").unlink()
    (competition.root / "test/t0.wav").write_text("<html>")
    whole = (competition.root / "train/4.wav").read_bytes()
    (competition.root / "train/4.wav").write_bytes(whole[:1000])
    with pytest.raises(
        UserError, match=r"2 training clip.*1\.wav: an empty file.*2\.wav: the file is missing"
    ) as error:
        run(competition, cache, audio=AudioParams())
    assert "t0.wav" not in str(error.value)
    report = run(competition, cache)
    assert not report.made
    assert list(report.bad.clip_id) == ["1.wav", "2.wav", "t0.wav"]
    assert list(report.truncated.clip_id) == ["4.wav"]
    assert Store.open(cache, LOGMEL, SKIP).rows(["1.wav", "t0.wav"])[1].tolist() == [0, 0]


def test_only_bad_clips_and_no_test_set(competition: Competition, cache: Path) -> None:
    for path in competition.train.path:
        (competition.root / path).write_bytes(b"")
    alone = Competition(competition.root, competition.train, competition.test.iloc[:0], ("a",), None)
    assert len(run(alone, cache).bad) == 6
    assert Store.open(cache, LOGMEL, SKIP).features.shape == (0, 16)


def test_duplicates_are_found_by_their_samples(competition: Competition, cache: Path) -> None:
    wave, rate = soundfile.read(competition.root / "train/3.wav", dtype="int16")
    soundfile.write(competition.root / "test/t1.wav", wave, rate, format="FLAC")  # other bytes, same samples
    (competition.root / "train/0.wav").write_bytes(b"")
    (competition.root / "train/1.wav").write_bytes(b"")  # two bad clips are no duplicates
    report = run(competition, cache)
    assert list(duplicates(report.clips).clip_id) == ["3.wav", "t1.wav"]
    assert list(duplicates(Store.open(cache, LOGMEL, SKIP).clips).part) == ["train", "test"]


def test_unknown_clip_is_named(competition: Competition, cache: Path) -> None:
    run(competition, cache)
    with pytest.raises(UserError, match=r"nine\.wav"):
        Store.open(cache, LOGMEL, SKIP).rows(["0.wav", "nine.wav"])


def test_one_name_for_two_files_is_refused(competition: Competition, cache: Path) -> None:
    test = competition.test.assign(clip_id=["0.wav", "t1.wav"])
    with pytest.raises(UserError, match=r"0\.wav"):
        run(Competition(competition.root, competition.train, test, ("a",), None), cache)


def test_second_process_waits_for_the_first(
    competition: Competition, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir()
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(target=run, args=(competition, cache))
        other.start()
        other.join(0.5)
        assert other.is_alive()
    other.join(20)
    assert "waiting" in capfd.readouterr().err
    assert Store.open(cache, LOGMEL, SKIP).rows(["0.wav"])[1] > 0


PARENT = int(os.environ.setdefault("TEST_STORE_PARENT", str(os.getpid())))  # inherited by workers


class ExplodingRoot(type(Path())):  # type: ignore[misc]
    """A folder whose 3.wav kills the process that decodes it, as a broken decoder would."""

    def __truediv__(self, name: Any) -> Path:
        if str(name) == "train/3.wav" and os.getpid() != PARENT:
            os._exit(1)
        return Path(str(self)) / name


def test_crashing_decoder_costs_one_clip(
    competition: Competition, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        preparation, "DecodeContext", lambda root, *rest: decode.DecodeContext(ExplodingRoot(root), *rest)
    )

    def crashes(path: Path, *rest: Any, **more: Any) -> Any:
        raise preparation.watched.DecoderEnded("the decoder crashed on it")

    monkeypatch.setattr(preparation.watched, "decode_clip", crashes)
    report = prepare(competition, [LOGMEL], SKIP, cache, n_jobs=2, progress=False)
    assert list(report.bad.clip_id) == ["3.wav"]
    assert "crashed" in report.bad.reason.iloc[0]
