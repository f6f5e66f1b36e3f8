"""Results that would be wrong or lost without a word, in training and preparation: each fails without its fix."""

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import blend
import prepare as prepare_verb
import train
from test_store import LOGMEL, cache, competition
from tonestack.base.errors import UserError
from tonestack.base.files import read_json, write_json, write_parquet
from tonestack.config.call import Call
from tonestack.features import audio, contents, decode, mp3_frames
from tonestack.features import prepare as preparation
from tonestack.features.audio import BadAudio, PassingFault, decode_clip
from tonestack.features.prepare import PrepareReport, prepare
from tonestack.features.store import Store, audio_hashes, duplicates, shared_audio
from tonestack.labels import folds
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import Competition
from tonestack.training import fold_job, queue

import numpy as np
import pandas as pd
import pytest
import soundfile

__all__ = ["cache", "competition"]  # fixtures

TinyRun = Callable[..., Call]


def test_two_runs_at_once_with_other_settings_are_not_mixed(tiny_run: TinyRun) -> None:
    """Both have looked at the folder before either has finished a fold."""
    one, other = (queue.build(run, run.experiments()) for run in (tiny_run(), tiny_run("training.lr=0.5")))
    fold_job.run(one[0])
    for job in other:  # the fold itself, which it would have taken for its own, and the next one
        with pytest.raises(UserError, match=r"trained with other settings \(training\.lr: 0\.001 there, 0\.5 now\)"):
            fold_job.run(job)
    assert not (one[0].folder / "fold1.json").exists()


def test_a_fold_finished_meanwhile_with_other_settings_is_not_joined(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run finishes its fold while this one trains."""
    one, other = (queue.build(run, run.experiments()) for run in (tiny_run(), tiny_run("training.lr=0.5")))
    predict = fold_job._predict

    def meanwhile(*rest: object) -> object:
        monkeypatch.setattr(fold_job, "_predict", predict)
        fold_job.make(one[0])
        return predict(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fold_job, "_predict", meanwhile)
    with pytest.raises(UserError, match="trained with other settings"):
        fold_job.run(other[1])
    assert [path.name for path in sorted(one[0].folder.glob("fold*.json"))] == ["fold0.json"]


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("config", {"training": {"lr": 0.5}}, r"training\.lr \(0\.001 and 0\.5\)"),
        ("seed", 7, r"seed \(0 and 7\)"),
        ("inputs", {"features": "x"}, r"inputs\.features .*"),
    ],
)
def test_folds_of_two_runs_are_no_table(tiny_run: TinyRun, key: str, value: object, named: str) -> None:
    train.run(tiny_run())
    path = tiny_run().oof / "vgg_small@r0/fold1.json"
    said = read_json(path)
    old = said[key]
    write_json(path, said | {key: old | value if isinstance(old, dict) else value})  # type: ignore[operator]
    with pytest.raises(UserError, match=f"fold1 was made with another {named} than fold0"):
        blend.run(tiny_run())
    write_json(path, said)
    blend.run(tiny_run())


# ------------------------------------------------------------------------------------- faults that are not of the file


def prepared(competition: Competition, cache: Path, **given: object) -> PrepareReport:
    return prepare(competition, [LOGMEL], AudioParams(bad_files="skip", **given), cache, progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM])
@pytest.mark.parametrize("where", ["open", "decode", "hash", "resample"])
def test_a_fault_of_the_system_is_no_verdict_on_a_recording(
    competition: Competition, cache: Path, code: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the call with a line; when it has passed, the clip has its features."""
    module, name = {
        "open": (audio, "leads_out"),
        "decode": (audio, "_read"),
        "hash": (contents, "open_regular"),
        "resample": (decode, "resample"),
    }[where]

    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing)
        with pytest.raises(PassingFault, match=r"\.wav: .* while it was read; run again when that has passed"):
            prepared(competition, cache)
    assert prepared(competition, cache).bad.empty


def test_a_decoder_that_does_not_say_why_it_cannot_read_is_asked_again(
    competition: Competition, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libsndfile says "System error." when there is no file handle left."""

    def failing(*_: object) -> None:
        raise soundfile.LibsndfileError(2)

    def no_handle(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(audio, "_read", failing)
        patch.setattr(audio, "open", no_handle, raising=False)
        with pytest.raises(PassingFault, match="Too many open files"):
            decode_clip(competition.root / "train/0.wav", AudioParams())
        patch.undo()
    (competition.root / "train/0.wav").write_text("<html>")
    with pytest.raises(BadAudio, match="cannot be decoded"):  # the file's own fault
        decode_clip(competition.root / "train/0.wav", AudioParams())


def test_no_memory_is_no_verdict_on_a_recording(
    competition: Competition, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(audio, "_mono", failing)
        with pytest.raises(PassingFault, match="no memory is left"):
            prepared(competition, cache)
    assert prepared(competition, cache).bad.empty


def test_a_killed_process_is_no_verdict_on_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    context = decode.DecodeContext(Path(), AudioParams(), Path())
    for blamed, fault in ((False, ""), (True, "the decoder crashed on it")):

        def ended(*_: object, blame: bool = blamed, **__: object) -> None:
            raise preparation.watched.DecoderEnded("the decoder crashed on it", blame)

        monkeypatch.setattr(preparation.watched, "decode_clip", ended)
        assert preparation._fault("x.wav", context) == fault


def test_a_refused_link_is_not_remembered_by_what_it_leads_to(competition: Competition, cache: Path) -> None:
    path, outside = competition.root / "train/1.wav", competition.root.parent / "outside.wav"
    path.rename(outside)
    path.symlink_to(outside)
    assert prepared(competition, cache).bad.reason.tolist() == ["a link that leads out of the competition's folder"]
    path.unlink()
    outside.rename(path)  # the same bytes, of the same times, now a file of the competition
    assert prepared(competition, cache).bad.empty


def test_an_unreadable_file_is_not_remembered(
    competition: Competition, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    clips = contents.clip_list(competition)
    with monkeypatch.context() as patch:
        patch.setattr(contents, "open_regular", refused)
        assert set(contents.contents(clips, competition.root, cache, 1)) == {contents.UNREADABLE}
    assert contents.UNREADABLE not in contents.contents(clips, competition.root, cache, 1)


def test_a_decoder_with_more_time_tries_again(competition: Competition, cache: Path) -> None:
    prepared(competition, cache)
    path = next(cache.glob("logmel-*/clips.parquet"))
    clips = pd.read_parquet(path)
    clips.loc[0, ["status", "reason"]] = ["bad", "the decoder does not end within 0.5 minutes (audio.decode_minutes)"]
    write_parquet(path, clips)
    assert len(prepared(competition, cache, decode_minutes=0.5).bad) == 1
    assert prepared(competition, cache, decode_minutes=5).bad.empty


def test_a_recording_replaced_by_one_of_the_same_size_and_time_is_read(competition: Competition, cache: Path) -> None:
    prepared(competition, cache)
    before = Store.open(cache, LOGMEL, AudioParams()).fingerprint
    path = competition.root / "train/0.wav"
    status, wave = path.stat(), soundfile.read(path)[0]
    soundfile.write(path.with_name("new.wav"), -wave[::-1], 16_000)
    os.utime(path.with_name("new.wav"), ns=(status.st_atime_ns, status.st_mtime_ns))
    path.with_name("new.wav").replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert prepared(competition, cache).made
    assert Store.open(cache, LOGMEL, AudioParams()).fingerprint != before


# ------------------------------------------------------------------------------------------- recordings and test sets


def test_channels_that_cancel_are_not_silence(tmp_path: Path) -> None:
    wave = 0.3 * np.sin(np.arange(16_000) / 7)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], axis=1), 16_000)
    soundfile.write(tmp_path / "b.wav", np.stack([wave, wave], axis=1), 16_000)
    one, other = (decode_clip(tmp_path / name, AudioParams()).wave for name in ("a.wav", "b.wav"))
    np.testing.assert_allclose(one, other, atol=1e-4)
    found = [piece.clip.wave for piece in audio.pieces(tmp_path / "a.wav", AudioParams(), 0.5, 0.25)]
    np.testing.assert_allclose(np.concatenate(found), one, atol=1e-6)
    soundfile.write(tmp_path / "c.wav", np.zeros((1000, 2)), 16_000)
    assert decode_clip(tmp_path / "c.wav", AudioParams()).wave.max() == 0


def test_silent_clips_are_not_one_recording(competition: Competition, cache: Path) -> None:
    for i in range(4):
        soundfile.write(competition.root / f"train/{i}.wav", np.zeros(4000), 16_000)
    found = prepared(competition, cache).clips
    assert found["audio_hash"].tolist()[:4] == [""] * 4
    assert duplicates(found).empty
    assert not shared_audio(found)
    hashes = audio_hashes(cache, competition.train["clip_id"])
    assert hashes is not None
    assert folds.join_duplicates(pd.Series([""] * 6), hashes.reset_index(drop=True)).eq("").all()


@pytest.mark.parametrize(
    ("windows", "said"), [(False, "the file is missing; looked for"), (True, "seem to be windows")]
)
def test_no_usable_test_clip_is_said_before_training(
    tiny_run: TinyRun, tiny_root: Path, tmp_path: Path, windows: bool, said: str
) -> None:
    root = shutil.copytree(tiny_root, tmp_path / "root")
    shutil.rmtree(root / "audio_test")
    if windows:
        rows = [f"scape_{i // 8}_{5 * (i % 8)},Drum Bell Hiss" for i in range(24)]
        (root / "sample_submission.csv").write_text("\n".join(["fname,label", *rows]) + "\n")
    with pytest.warns(UserWarning, match=f"none of the 24 test clips can be used.*{said}"):
        prepare_verb.run(tiny_run(f"root={root}"))


@pytest.fixture(scope="module")
def mp3() -> bytes:
    """Six seconds of variable bit rate: silence, then noise."""
    wave = np.concatenate([np.zeros(66_150), np.random.default_rng(0).normal(0, 0.2, 66_150)])
    buffer = io.BytesIO()
    rest = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.5}
    soundfile.write(buffer, wave, 22_050, format="MP3", **rest)
    return buffer.getvalue()


def test_the_whole_of_an_mp3_is_decoded(tmp_path: Path, mp3: bytes) -> None:
    places = mp3_frames.frames(mp3)
    bare = mp3[places[1] :]  # without its Xing header
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    for name, data, seconds in (
        ("whole", mp3, 6),
        ("bare", bare, 6),
        ("joined", mp3 + tag + mp3, 12),
        ("both", bare * 2, 12),
    ):
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(tag + data)
        clip = decode_clip(path, AudioParams())
        assert len(clip.wave) / clip.rate == pytest.approx(seconds, abs=0.2), name
        assert np.abs(clip.wave[-22_050:]).mean() > 0.05, name
        found = sum(len(piece.clip.wave) for piece in audio.pieces(path, AudioParams(), 1.0, 1.0))
        assert found == len(clip.wave), name


@pytest.mark.parametrize("kind", ["OGG VORBIS", "OGG OPUS", "FLAC PCM_16"])
def test_the_whole_of_joined_files_is_decoded(tmp_path: Path, kind: str) -> None:
    rate, path = 16_000, tmp_path / "joined"
    name, subtype = kind.split()

    def encoded(rate: int, pitch: float) -> bytes:
        buffer = io.BytesIO()
        wave = 0.5 * np.sin(2 * np.pi * pitch * np.arange(2 * rate) / rate)
        soundfile.write(buffer, wave, rate, format=name, subtype=subtype)
        return buffer.getvalue()

    one, two = encoded(rate, 440), encoded(rate, 880)
    apart = []
    for data in (one, two):
        path.write_bytes(data)
        apart.append(decode_clip(path, AudioParams()))
    path.write_bytes(one + two)
    clip = decode_clip(path, AudioParams())
    assert (clip.rate, clip.truncated) == (apart[0].rate, False)
    np.testing.assert_array_equal(clip.wave, np.concatenate([part.wave for part in apart]))
    assert audio.length(path) == len(clip.wave) / clip.rate
    found = [piece.clip.wave for piece in audio.pieces(path, AudioParams(), 1.0, 0.7)]
    np.testing.assert_array_equal(np.concatenate(found), clip.wave)
    for rest in (encoded(8_000, 440), two[:60]):  # of another rate, where the format keeps it; broken off
        path.write_bytes(one + rest)
        clip = decode_clip(path, AudioParams())
        assert clip.truncated or (kind == "OGG OPUS" and len(rest) > 60)
        np.testing.assert_array_equal(clip.wave[: len(apart[0].wave)], apart[0].wave)
