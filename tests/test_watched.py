"""Recordings are opened by an open file, hashed and decoded in bounded time, each decoder in a process of its own."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tonestack.features import audio, contents, decoder, watched
from tonestack.features.audio import BadAudio, PassingFault
from tonestack.features.sound_files import open_regular, opened
from tonestack.settings.data_config import AudioParams

import numpy as np
import pandas as pd
import pytest
import soundfile

PLAIN = AudioParams()


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    path = tmp_path / "tone é.wav"
    soundfile.write(path, np.sin(np.arange(40_000) / 7) * 0.3, 16_000)
    return path


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A decoder process whose libsndfile loops for ever on `hang.wav` and dies on `die.wav`."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, time, soundfile\n"
        "class Broken(soundfile.SoundFile):\n"
        "    def __init__(self, file, *rest, **more):\n"
        "        name = os.readlink(f'/proc/self/fd/{file}')\n"
        "        if name.endswith('die.wav'): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        if name.endswith('killed.wav'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "        if name.endswith('hang.wav'): time.sleep(60)\n"
        "        super().__init__(file, *rest, **more)\n"
        "soundfile.SoundFile = Broken\n"
    )
    watched.close()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path
    watched.close()


def test_the_other_process_gives_the_same_samples(tone: Path) -> None:
    here, there = audio.decode_clip(tone, PLAIN), watched.decode_clip(tone, PLAIN)
    np.testing.assert_array_equal(here.wave, there.wave)
    assert (here.rate, here.truncated) == (there.rate, there.truncated)
    assert watched.length(tone) == audio.length(tone) == 2.5
    for one, two in zip(audio.pieces(tone, PLAIN, 1, 1), watched.pieces(tone, PLAIN, 1, 1), strict=True):
        assert (one.start, one.seconds) == (two.start, two.seconds)
        np.testing.assert_array_equal(one.clip.wave, two.clip.wave)
    there.wave[:] = 0  # its own


def test_a_long_wave_is_kept_on_disk(tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "IN_MEMORY", 1000)
    clip = watched.decode_clip(tone, PLAIN, scratch=tmp_path)
    assert isinstance(clip.wave, np.memmap)
    assert len(clip.wave) == 40_000


def test_what_is_wrong_is_said_as_before(tmp_path: Path, tone: Path) -> None:
    (tmp_path / "text.wav").write_text("<html>")
    (tmp_path / "out").mkdir()
    os.symlink(tone, tmp_path / "out/link.wav")
    for path, root, reason in (
        (tmp_path / "gone.wav", None, "the file is missing"),
        (tmp_path / "text.wav", None, "cannot be decoded"),
        (tmp_path / "out/link.wav", tmp_path / "out", "a link that leads out"),
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.wav")), None, "the file is missing"),
    ):
        with pytest.raises(BadAudio, match=reason):
            watched.decode_clip(path, PLAIN, root)
    assert len(watched.decode_clip(tone, PLAIN).wave) == 40_000


def test_decoders_that_crash_or_hang_cost_one_file(hanging: Path, tone: Path) -> None:
    for name in ("die.wav", "killed.wav", "hang.wav"):
        (hanging / name).write_bytes(tone.read_bytes())
    with pytest.raises(BadAudio, match="the decoder crashed on it"):
        watched.decode_clip(hanging / "die.wav", PLAIN)
    with pytest.raises(BadAudio, match="the decoder was killed"):
        watched.decode_clip(hanging / "killed.wav", PLAIN)
    start = time.monotonic()
    with pytest.raises(BadAudio, match=r"does not end within 0\.03333 minutes"):
        list(watched.pieces(hanging / "hang.wav", AudioParams(decode_minutes=0.03333), 1, 1))
    with pytest.raises(BadAudio, match="does not end within"):
        watched.decode_clip(hanging / "hang.wav", PLAIN, seconds=1.5)
    assert time.monotonic() - start < 15
    assert len(watched.decode_clip(tone, PLAIN).wave) == 40_000


def test_a_half_read_answer_does_not_reach_the_next_file(tone: Path) -> None:
    for _ in watched.pieces(tone, PLAIN, 0.5, 0.5):
        break
    assert len(watched.decode_clip(tone, PLAIN).wave) == 40_000


def test_faults_of_the_system_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise PassingFault("x: No space left")

    monkeypatch.setattr(decoder, "decode_clip", full)
    request = {"path": "x", "audio": {}, "whole": None, "root": None, "scratch": None}
    assert [said for said, _ in decoder._answers(request)] == [{"passing": "x: No space left"}]


def test_files_are_opened_without_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("page.au", "page.snd", "page.vox", "page.gsm", "page.wav"):
        (tmp_path / name).write_text("<html><body>404 not found</body></html>" * 30)
        with pytest.raises(BadAudio, match="cannot be decoded"):
            audio.decode_clip(tmp_path / name, PLAIN)
    soundfile.write(tmp_path / "real.au", np.ones(100) * 0.1, 8_000)
    assert len(audio.decode_clip(tmp_path / "real.au", PLAIN).wave) == 100
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    os.mkfifo("._")
    with pytest.raises(OSError, match="in the current folder"), opened(tmp_path / "real.au"):
        pass
    with pytest.raises(PassingFault, match="remove it"):
        audio.decode_clip(tmp_path / "real.au", PLAIN)


def test_hashing_ends_in_time(tone: Path, tmp_path: Path) -> None:
    from tonestack.base.files import file_hash

    clips = pd.DataFrame({"path": [tone.name]})
    (slow,) = contents.contents(clips, tmp_path, tmp_path / "cache", 1, minutes=-1)
    assert slow.startswith(contents.SLOW)
    assert contents.contents(clips, tmp_path, tmp_path / "cache", 1) == [file_hash(tone)]
    assert contents.contents(clips, tmp_path, tmp_path / "cache", 1, minutes=-1) == [file_hash(tone)]
