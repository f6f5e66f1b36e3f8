"""Frontends laid out for the band that the recordings have."""

import os
from pathlib import Path
from typing import Any

import prepare
from tonestack.base import parts
from tonestack.config import band, layers
from tonestack.config.call import Call
from tonestack.features import headers

import numpy as np
import pytest
import soundfile

MEL: dict[str, Any] = {"name": "logmel", "sample_rate": 32000, "n_fft": 2048, "hop_length": 1280, "n_mels": 64}
MEL |= {"fmin": 40.0, "fmax": 15500.0, "win_length": None}


def test_window_and_hop_keep_their_seconds_and_the_bands_end_at_half_the_rate() -> None:
    made = band.fitted(MEL, 16_000)
    assert made == MEL | {"sample_rate": 16_000, "n_fft": 1024, "hop_length": 640, "fmax": 8000.0}
    assert band.fitted(MEL, 32_000) == MEL
    assert band.fitted(MEL, 44_100) == MEL


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 16_000, 22_050])
def test_what_is_laid_out_is_valid_and_has_no_more_bands(rate: int) -> None:
    for name in layers.available("model"):
        frontend = layers.read_yaml(layers.CONFIGS / "model" / f"{name}.yaml")["frontend"]
        filled = {"name": frontend["name"]} | parts.part_params("frontends", frontend, name).model_dump(mode="json")
        made = band.fitted(filled, rate)
        parts.part_params("frontends", made, name)
        if "n_mels" in filled and made != filled:
            assert made["sample_rate"] == rate
            assert made["n_mels"] <= filled["n_mels"]
            assert made["hop_length"] / rate == pytest.approx(filled["hop_length"] / filled["sample_rate"], rel=0.02)


def test_waveforms_stay_as_configured() -> None:
    assert band.fitted({"name": "waveform", "sample_rate": 32000}, 8000) == {"name": "waveform", "sample_rate": 32000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A competition of two classes at 8 kHz, one folder per class."""
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(3):
            soundfile.write(tmp_path / label / f"{number}.wav", np.zeros(800), 8000)
    return tmp_path


def test_a_call_lays_its_models_out_for_its_recordings(root: Path) -> None:
    words = ["data=folder", f"root={root}", "preset=smoke", "model=vgg_small"]
    assert Call.from_arguments(words).experiments()[0].config.frontend["sample_rate"] == 8000
    for kept in (["sample_rate=any"], ["frontend.sample_rate=16000", "frontend.fmax=8000"]):
        given = Call.from_arguments([*words, *kept]).experiments()[0].config.frontend
        assert given["sample_rate"] == 16000
    assert Call.from_arguments([*words, "sample_rate=4000"]).experiments()[0].config.frontend["fmax"] == 2000


def test_unreadable_files_say_nothing(root: Path) -> None:
    competition = Call.from_arguments(["data=folder", f"root={root}"]).competition()
    assert band.native_rate(competition) == 8000
    for path in root.rglob("*.wav"):
        path.write_bytes(b"")
    assert band.native_rate(competition) is None


@pytest.mark.parametrize(
    ("suffix", "format", "subtype"),
    [
        ("wav", "WAV", "PCM_16"),
        ("wav", "WAVEX", "FLOAT"),
        ("flac", "FLAC", None),
        ("ogg", "OGG", "VORBIS"),
        ("mp3", "MP3", None),
    ],
)
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_headers_give_the_rate_that_the_decoder_gives(
    tmp_path: Path, suffix: str, format: str, subtype: str | None, rate: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=rate), rate, format=format, subtype=subtype)
    assert headers.sample_rate(path) == soundfile.info(path).samplerate == rate


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"fLaC", b"OggS", b"<html>", b"\xff\xff\xff\xff", b"ID3"]
)
def test_a_header_that_says_nothing_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert headers.sample_rate(tmp_path / "a.wav") is None
    os.mkfifo(tmp_path / "fifo")
    assert headers.sample_rate(tmp_path / "fifo") is None  # nothing waits for a writer


def test_one_line_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.say_band.cache_clear()
    call = Call.from_arguments(["data=folder", f"root={root}", "preset=smoke", "model=vgg_small"])
    for _ in range(2):
        prepare.run(call, [call.experiments()[0].config.frontend])
    printed = capsys.readouterr().out
    assert printed.count("the recordings are at 8,000 Hz; spectral frontends reach up to 4,000 Hz") == 1
