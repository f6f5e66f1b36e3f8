"""Recordings that libsndfile does not read: by ffmpeg where it is installed, named with the mend where it is not."""

import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

from tonestack.features import audio, ffmpeg, recording_files
from tonestack.features.audio import BadAudio, PassingFault
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
    sys.exit("[in#0 @ 0x55] moov atom not found\\n[in#0 @ 0x55] Error opening input\\nError opening input files")
if mode == "killed":
    os.kill(os.getpid(), 9)
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
    with pytest.raises(BadAudio, match=r"\(ffmpeg: moov atom not found\)$"):
        audio.decode_clip(path, PLAIN)
    install(tmp_path, monkeypatch, "endless")
    with pytest.raises(BadAudio, match="longer than 2 seconds"):
        audio.decode_clip(path, AudioParams(max_seconds=2))
    install(tmp_path, monkeypatch, "killed")
    with pytest.raises(PassingFault, match="ffmpeg was killed, for a lack of memory perhaps while it was read"):
        audio.decode_clip(path, PLAIN)
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


# ---------------------------------------------------------------------------------- the program itself, if installed

MADE = {  # by ffmpeg: its words after the source, and seconds that a codec may add or lose
    "a.m4a": "-c:a aac", "fragments.m4a": "-c:a aac -movflags frag_keyframe+empty_moov", "alac.m4a": "-c:a alac",
    "opus.mp4": "-c:a libopus", "flac.mp4": "-c:a flac", "aac.3gp": "-c:a aac -f 3gp",
    "amr.3gp": "-c:a libopencore_amrnb -ar 8000 -ac 1", "a.amr": "-c:a libopencore_amrnb -ar 8000 -ac 1",
    "ima4.caf": "-c:a adpcm_ima_qt", "alac.caf": "-c:a alac", "mp3.wav": "-c:a libmp3lame", "ac3.wav": "-c:a ac3",
    "wma.wav": "-c:a wmav2", "g723.wav": "-c:a g723_1 -ar 8000 -ac 1", "a.wma": "-c:a wmav2", "1.wma": "-c:a wmav1",
    "opus.webm": "-c:a libopus", "vorbis.webm": "-c:a libvorbis", "flac.mka": "-c:a flac", "a.aac": "-c:a aac",
    "a.wv": "-c:a wavpack", "flac.oga": "-c:a flac", "ima4.mov": "-c:a adpcm_ima_qt",
    "video.mp4": "VIDEO -c:v mpeg4 -c:a aac", "video.mov": "VIDEO -c:v mpeg4 -c:a pcm_s16be",
    "video.3gp": "VIDEO -c:v mpeg4 -c:a libopencore_amrnb -ar 8000 -ac 1",
    "video.avi": "VIDEO -c:v mpeg4 -c:a libmp3lame",
    "video.mkv": "VIDEO -c:v mpeg4 -c:a flac", "video.webm": "VIDEO -c:v libvpx -c:a libopus",
    "video.wmv": "VIDEO -c:v wmv2 -c:a wmav2", "video.ogv": "VIDEO -c:v libtheora -c:a libvorbis",
}  # fmt: skip
PICTURES = "-f lavfi -i testsrc=duration=2:size=64x48:rate=10"


@pytest.fixture
def real() -> str:
    """The program ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("ffmpeg is not installed: what it decodes is not tried")
    return program


def make(real: str, path: Path, words: str) -> Path:
    """Two seconds of a tone at 440 Hz, or skip where this ffmpeg has no such encoder."""
    call = [real, "-hide_banner", "-loglevel", "error", "-y", "-nostdin"]
    call += [*(PICTURES.split() if words.startswith("VIDEO") else []), "-f", "lavfi"]
    call += ["-i", "sine=frequency=440:duration=2:sample_rate=44100", *words.removeprefix("VIDEO").split(), str(path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    if "Unknown encoder" in done.stderr or "not currently supported" in done.stderr:
        pytest.skip(f"this ffmpeg cannot make {path.name}: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("name", MADE)
def test_real_recordings_are_decoded(real: str, name: str, tmp_path: Path) -> None:
    path = make(real, tmp_path / name, MADE[name])
    clip = audio.decode_clip(path, PLAIN)
    assert abs(len(clip.wave) / clip.rate - 2) < 0.06
    spectrum = np.abs(np.fft.rfft(clip.wave))
    assert abs(int(spectrum.argmax()) * clip.rate / len(clip.wave) - 440) < 2
    assert 0.05 < np.abs(clip.wave).max() < 0.2
    assert not clip.truncated
    assert abs(audio.length(path) - 2) < 0.06
    assert sum(len(piece.clip.wave) for piece in audio.pieces(path, PLAIN, 0.5, 0.5)) == len(clip.wave)
    assert recording_files.is_recording(path)


@pytest.mark.parametrize("name", ["a.amr", "a.aac", "a.wma", "opus.webm", "flac.mka", "fragments.m4a", "ima4.caf"])
def test_real_recordings_that_are_cut_are_said_to_be(real: str, name: str, tmp_path: Path) -> None:
    path = make(real, tmp_path / name, MADE[name])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    clip = audio.decode_clip(path, PLAIN)
    assert clip.truncated
    assert 0.5 < len(clip.wave) / clip.rate < 1.5


def test_real_faults_are_one_clear_line(real: str, tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    subprocess.run([real, "-loglevel", "error", *PICTURES.split(), "-c:v", "mpeg4", str(silent)], check=True)
    cut = make(real, tmp_path / "cut.m4a", "-c:a aac")
    cut.write_bytes(cut.read_bytes()[:5000])
    for path, reason in ((silent, r"\(it holds no sound\)$"), (cut, r"\(ffmpeg: moov atom not found\)$")):
        with pytest.raises(BadAudio, match=reason):
            audio.decode_clip(path, PLAIN)


def test_real_lists_of_other_files_are_refused(real: str, tmp_path: Path) -> None:
    secret = make(real, tmp_path / "secret.wav", "-c:a pcm_s16le")
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    lists = (hls, f"ffconcat version 1.0\nfile {secret}\n".encode(), b"<?xml version='1.0'?><MPD></MPD>")
    starts = (b"", b"\0\0\0\x20ftypM4A ".ljust(32, b"\0"), b"#!AMR\n", b"\x1a\x45\xdf\xa3", b"caff\0\1\0\0")
    for text in lists:
        for start in starts:
            for suffix in ("m4a", "webm", "wav", "m3u8"):
                path = tmp_path / f"list.{suffix}"
                path.write_bytes(start + text)
                try:
                    clip = audio.decode_clip(path, PLAIN)
                except BadAudio:
                    continue
                assert start == b"#!AMR\n"  # whose frames may be anything: a few of noise
                assert len(clip.wave) < clip.rate


def box(name: bytes, *parts: bytes) -> bytes:
    """A box of an MP4 file."""
    return struct.pack(">I4s", 8 + sum(map(len, parts)), name) + b"".join(parts)


def test_real_tables_that_promise_millions_take_bounded_memory(real: str, tmp_path: Path) -> None:
    def track(number: int, count: int) -> bytes:
        form = bytes(6) + struct.pack(">H8xHHHHI", 1, 2, 16, 0, 0, 44100 << 16) + box(b"alac", bytes(28))
        table = box(b"stsd", struct.pack(">II", 0, 1), box(b"alac", form))
        table += box(b"stts", struct.pack(">IIII", 0, 1, count, 4096)) + box(b"stsz", struct.pack(">III", 0, 1, count))
        table += box(b"stsc", struct.pack(">IIIII", 0, 1, 1, count, 1)) + box(b"stco", struct.pack(">III", 0, 1, 64))
        data = box(b"dinf", box(b"dref", struct.pack(">II", 0, 1), box(b"url ", struct.pack(">I", 1))))
        media = box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 44100, count, 0x55C4, 0))
        media += box(b"hdlr", struct.pack(">II4s13x", 0, 0, b"soun")) + box(b"minf", data, box(b"stbl", table))
        return box(b"trak", box(b"tkhd", struct.pack(">IIIII64x", 7, 0, 0, number, 0)), box(b"mdia", media))

    head = box(b"mvhd", struct.pack(">IIIII80x", 0, 0, 0, 1000, 1000))
    tracks = b"".join(track(number + 1, 8_000_000) for number in range(40))  # 200 MB each
    path = tmp_path / "tables.m4a"
    path.write_bytes(box(b"ftyp", b"M4A \0\0\0\0M4A isom") + box(b"moov", head + tracks) + box(b"mdat", bytes(1000)))
    started = time.monotonic()
    with pytest.raises(BadAudio, match="cannot be decoded"):
        audio.decode_clip(path, PLAIN)
    assert time.monotonic() - started < 60
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < (ffmpeg.ADDRESSES >> 10) * 1.1


def test_a_real_program_that_is_killed_is_not_the_files_fault(
    real: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(real, tmp_path / "a.m4a", "-c:a aac")

    def kill(self: ffmpeg.Piped, count: int) -> bytes:
        self._process.send_signal(ending)
        self._process.wait()
        return b""

    monkeypatch.setattr(ffmpeg.Piped, "_bytes", kill)
    for ending in (signal.SIGKILL, signal.SIGTERM):  # noqa: B007  (`kill` uses it)
        with pytest.raises(PassingFault, match="ffmpeg was killed"):
            audio.decode_clip(path, PLAIN)
