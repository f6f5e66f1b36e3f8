"""Recordings that libsndfile does not read: by ffmpeg where it is installed, named with the mend where it is not."""

import os
import stat
import sys
from pathlib import Path

from tonestack.features import audio, ffmpeg, recording_files
from tonestack.features.audio import BadAudio
from tonestack.settings.data_config import AudioParams
from wavs import pcm, wav_bytes

import numpy as np
import pytest

PLAIN = AudioParams()
STARTS = {
    "a.m4a": b"\0\0\0\x20ftypM4A ", "a.3gp": b"\0\0\0\x20ftyp3gp4", "a.amr": b"#!AMR\n", "a.caf": b"caff\0\1",
    "a.wma": b"\x30\x26\xb2\x75\x8e\x66", "a.wav": b"RIFF\x40\0\0\0WAVEfmt \x1e\0\0\0\x55\0\1\0\x40\x1f\0\0",
    "a.webm": b"\x1a\x45\xdf\xa3", "a.aac": b"\xff\xf1\x50\x80",
}  # fmt: skip
PROGRAM = """#!{python}
import json, os, struct, sys, time
json.dump(sys.argv[1:], open({log!r}, "w"))
source = sys.argv[sys.argv.index("-i") + 1].removeprefix("file:")
data = open(source, "rb").read()
mode = {mode!r}
if mode == "refuses":
    sys.exit("a.m4a: Invalid data found when processing input")
out = sys.stdout.buffer
form = struct.pack("<HHIIHH", 3, 2, 8000, 64000, 8, 32)
out.write(b"RIFF" + b"\\xff" * 4 + b"WAVE" + b"fmt " + struct.pack("<I", 16) + form + b"LIST" + struct.pack("<I", 3))
out.write(b"abc\\0" + b"data" + b"\\xff" * 4)
samples = struct.pack("<2f", 0.25, 0.75)
count = 0
while count < (10**9 if mode == "endless" else 12000):
    out.write(samples * 1000)
    count += 1000
out.flush()
if mode == "stops":
    sys.exit("error while decoding")
"""


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "") -> Path:
    """Put a program called ffmpeg on the path: it gives 12,000 frames of two channels."""
    folder, log = tmp_path / "bin", tmp_path / "log.json"
    folder.mkdir(exist_ok=True)
    program = folder / "ffmpeg"
    program.write_text(PROGRAM.format(python=sys.executable, log=str(log), mode=mode))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return log


@pytest.mark.parametrize("name", STARTS)
def test_without_ffmpeg_the_file_is_named_with_its_mend(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (tmp_path / name).write_bytes(STARTS[name] + bytes(100))
    with pytest.raises(BadAudio, match=r"needs ffmpeg; install it, or convert the file: ffmpeg -i FILE FILE\.wav"):
        audio.decode_clip(tmp_path / name, PLAIN)
    (tmp_path / "b.amr").touch()
    assert "are read where ffmpeg is installed" in recording_files.left_out(tmp_path)


@pytest.mark.parametrize("name", STARTS)
def test_with_ffmpeg_it_is_decoded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = install(tmp_path, monkeypatch)
    (tmp_path / name).write_bytes(STARTS[name] + bytes(100))
    clip = audio.decode_clip(tmp_path / name, PLAIN)
    assert (clip.rate, clip.truncated) == (8000, False)
    np.testing.assert_array_equal(clip.wave, np.full(12_000, 0.5, np.float32))
    assert audio.length(tmp_path / name) == 1.5
    assert sum(len(piece.clip.wave) for piece in audio.pieces(tmp_path / name, PLAIN, 1, 1)) == 12_000
    said = log.read_text()
    for word in ("-nostdin", "-protocol_whitelist", "-format_whitelist", "file:/dev/fd/", "-timelimit", "-max_alloc"):
        assert word in said
    assert name not in said
    assert [path.name for _, files in recording_files.walk(tmp_path) for path in files] == [name]


def test_nothing_else_is_given_to_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = install(tmp_path, monkeypatch)
    for name, text in (
        ("a.m3u8", b"#EXTM3U\nfile:///etc/passwd"),
        ("a.m4a", b"<html>404</html>"),
        ("b.wav", b"ffconcat"),
    ):
        (tmp_path / name).write_bytes(text + bytes(50))
        with pytest.raises(BadAudio, match="cannot be decoded"):
            audio.decode_clip(tmp_path / name, PLAIN)
    assert not log.exists()


def test_faults_and_bounds_of_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(STARTS["a.m4a"] + bytes(100))
    install(tmp_path, monkeypatch, "refuses")
    with pytest.raises(BadAudio, match=r"ffmpeg: a\.m4a: Invalid data found"):
        audio.decode_clip(path, PLAIN)
    install(tmp_path, monkeypatch, "endless")
    with pytest.raises(BadAudio, match="longer than 2 seconds"):
        audio.decode_clip(path, AudioParams(max_seconds=2))
    install(tmp_path, monkeypatch, "stops")
    assert audio.decode_clip(path, PLAIN).truncated
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_ours(pid, tmp_path)]


def _is_ours(pid: str, folder: Path) -> bool:
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and int(pid) != os.getpid()
    except OSError:
        return False


def test_a_damaged_wav_without_codec_needs_no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    for name, data, reason in (
        ("rate0", wav_bytes(pcm(), rate=0), "SF_INFO struct incomplete"),
        ("joined", wav_bytes(pcm()) * 2, "No 'RIFF' chunk marker"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadAudio, match=rf"^cannot be decoded \([^(]*{reason}"):
            audio.decode_clip(tmp_path / name, PLAIN)


def test_what_needs_it_is_found_by_content() -> None:
    assert ffmpeg.DEMUXERS.split(",")[0] == "mov"
    assert not {"hls", "concat", "lavfi", "dash", "image2", "sdp"} & set(ffmpeg.DEMUXERS.split(","))
