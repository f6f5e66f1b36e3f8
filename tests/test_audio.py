"""Decoding: good files of every kind, and files made wrong byte by byte."""

import os
from pathlib import Path

from tonestack.features import audio
from tonestack.features.audio import BadAudio, decode, decode_clip, pieces, resample
from tonestack.settings.data_config import AudioParams
from wavs import wav_bytes

import numpy as np
import pytest
import soundfile

PLAIN = AudioParams()


def tone(seconds: float = 0.2, rate: int = 16_000) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def written(folder: Path, content: bytes, name: str = "a.wav") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


PCM = (tone() * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_mixes_down_every_sample_format(tmp_path: Path, subtype: str, rate: int) -> None:
    stereo = np.stack([tone(), np.zeros_like(tone())], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, rate, subtype)
    wave, native = decode(tmp_path / "a.wav", PLAIN)
    assert (native, wave.dtype, wave.shape) == (rate, np.float32, (3200,))
    np.testing.assert_allclose(wave, tone() / 2, atol=0.01)


@pytest.mark.parametrize("kind", ["a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_reads_what_libsndfile_reads(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / kind, tone(), 16_000)
    clip = decode_clip(tmp_path / kind, PLAIN)
    assert not clip.truncated
    assert abs(np.abs(clip.wave).max() - 0.5) < 0.05


def test_file_ending_early_is_decoded_to_what_is_there(tmp_path: Path) -> None:
    clip = decode_clip(written(tmp_path, wav_bytes(PCM[:2000], claimed=len(PCM))), PLAIN)
    assert clip.truncated
    assert len(clip.wave) == 1000


def test_broken_flac_keeps_what_came_before(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole.flac", np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)
    path = written(tmp_path, (tmp_path / "whole.flac").read_bytes()[:50_000], "half.flac")
    first, second = decode_clip(path, PLAIN), decode_clip(path, PLAIN)
    assert first.truncated
    assert 0 < len(first.wave) < 48_000
    np.testing.assert_array_equal(first.wave, second.wave)


def test_size_field_of_all_ones_costs_nothing(tmp_path: Path) -> None:
    clip = decode_clip(written(tmp_path, wav_bytes(PCM, claimed=0xFFFFFFFF)), PLAIN)
    assert len(clip.wave) == len(PCM) // 2


def test_odd_length_24_bit(tmp_path: Path) -> None:
    wave, _ = decode(written(tmp_path, wav_bytes(bytes(range(100)), bits=24)), PLAIN)
    assert len(wave) == 33


def test_one_sample(tmp_path: Path) -> None:
    wave, _ = decode(written(tmp_path, wav_bytes(PCM[2:4])), PLAIN)
    assert wave.shape == (1,)
    assert resample(wave, 96_000, 8_000).shape == (1,)


NAN = np.array([0, np.nan], "<f4").tobytes()
INF = np.array([0, np.inf], "<f4").tobytes()
LIST_OF_ZEROS = wav_bytes(b"")[:36] + b"LIST" + bytes(40)
BAD = {
    "0 bytes": (b"", "0 bytes"),
    "no frames": (wav_bytes(b""), "0 frames"),
    "no data chunk": (wav_bytes(b"")[:36], "cannot be decoded|no samples"),
    "zeroed LIST": (LIST_OF_ZEROS, "cannot be decoded|no samples"),
    "NaN": (wav_bytes(NAN, bits=32, code=3), "NaN"),
    "infinite": (wav_bytes(INF, bits=32, code=3), "NaN"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "cannot be decoded"),
    "unknown codec": (wav_bytes(PCM, code=0x7777), "cannot be decoded"),
    "1000 channels": (wav_bytes(bytes(2000 * 4), channels=1000), "1000 channels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_says_why(tmp_path: Path, case: str) -> None:
    content, reason = BAD[case]
    with pytest.raises(BadAudio, match=reason):
        decode(written(tmp_path, content), PLAIN)


def test_damaged_headers_never_do_worse_than_bad_audio(tmp_path: Path) -> None:
    rng, whole = np.random.default_rng(1), bytearray(wav_bytes(PCM))
    for _ in range(200):
        damaged = whole.copy()
        damaged[rng.integers(0, 44)] = rng.integers(0, 256)
        try:
            wave, _ = decode(written(tmp_path, bytes(damaged)), PLAIN)
        except BadAudio:
            continue
        assert np.isfinite(wave).all()


def test_folder_pipe_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    for name, reason in [
        ("folder.wav", "regular"),
        ("pipe.wav", "regular"),
        ("none.wav", "missing"),
        ("a\0", "opened"),
    ]:
        with pytest.raises(BadAudio, match=reason):
            decode(tmp_path / name, PLAIN)


def test_link_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    soundfile.write(tmp_path / "outside.wav", tone(), 16_000)
    soundfile.write(root / "inside.wav", tone(), 16_000)
    (root / "out.wav").symlink_to(tmp_path / "outside.wav")
    (root / "in.wav").symlink_to(root / "inside.wav")
    assert len(decode_clip(root / "in.wav", PLAIN, root).wave) == 3200
    with pytest.raises(BadAudio, match="link"):
        decode_clip(root / "out.wav", PLAIN, root)


def test_too_long(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="max_seconds"):
        decode(written(tmp_path, wav_bytes(PCM)), AudioParams(max_seconds=0.1))


def test_samples_are_bounded_whatever_the_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(100_000, np.int16), 192_000)
    with pytest.raises(BadAudio, match="more than 48,000 samples"):
        decode(tmp_path / "a.flac", AudioParams(max_seconds=1))
    with pytest.raises(BadAudio, match="more than 48,000 samples"):
        list(pieces(tmp_path / "a.flac", AudioParams(max_seconds=1), 1, 1))


def test_trim_and_normalise(tmp_path: Path) -> None:
    wave = np.concatenate([np.full(100, 0.001), [0.5, 0.0, -0.25], np.full(50, -0.001)]).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, "FLOAT")
    trimmed, _ = decode(tmp_path / "a.wav", AudioParams(trim_db=40, peak_normalise=True))
    np.testing.assert_allclose(trimmed, [1.0, 0.0, -0.5])
    soundfile.write(tmp_path / "silent.wav", np.zeros(9), 16_000)
    silent, _ = decode(tmp_path / "silent.wav", AudioParams(trim_db=40, peak_normalise=True))
    np.testing.assert_array_equal(silent, np.zeros(9))


def test_block_by_block_equals_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(2).uniform(-0.9, 0.9, (50_000, 2)).astype(np.float32)
    noise[:300] = noise[-700:] = 0
    soundfile.write(tmp_path / "a.wav", noise, 44_100, "FLOAT")
    params = AudioParams(trim_db=30, peak_normalise=True)
    once, rate = decode(tmp_path / "a.wav", params)
    low = resample(once, rate, 16_000)
    monkeypatch.setattr(audio, "BLOCK", 4096)
    monkeypatch.setattr(audio, "IN_MEMORY", 20_000)
    streamed, _ = decode(tmp_path / "a.wav", params)
    assert isinstance(streamed, np.memmap)
    np.testing.assert_allclose(streamed, once, atol=1e-6)
    np.testing.assert_allclose(resample(streamed, rate, 16_000), low, atol=1e-5)


def test_resample_length_is_librosas() -> None:
    for n in (1, 2, 999, 44_100):
        assert len(resample(np.ones(n, np.float32), 44_100, 32_000)) == int(np.ceil(n * 32_000 / 44_100))
