"""Models of whole clips laid out for recordings that are shorter than their crops."""

from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.config import clip_length
from tonestack.config.call import Call
from tonestack.features import headers

import numpy as np
import pytest
import soundfile

RATE = 8000


def written(path: Path, seconds: float, rate: int = RATE, **format: Any) -> Path:
    """A file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(0).normal(size=round(seconds * rate))
    soundfile.write(path, noise, rate, **format)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A competition of two classes whose clips last 0.3 to 2.5 s."""
    for label in "ab":
        for number, seconds in enumerate((0.3, 1.0, 2.5)):
            written(tmp_path / label / f"{number}.wav", seconds)
    return tmp_path


def whole(root: Path, *words: str) -> tuple[int, float, int]:
    """Hop in samples, crop in seconds and in frames of vgg_whole."""
    config = Call.from_arguments(["data=folder", f"root={root}", "model=vgg_whole", *words]).experiments()[0].config
    hop = config.frontend["hop_length"]
    return hop, config.crop.seconds, config.crop_frames(config.frontend["sample_rate"] / hop)


def test_crop_and_hop_shrink_to_the_longest_recording(root: Path) -> None:
    hop, seconds, frames = whole(root)
    assert hop / RATE == pytest.approx(0.04 * 2.5 / 5.04, rel=0.02)
    assert seconds == pytest.approx(2.5, rel=0.02)
    assert frames == 126


def test_the_hop_ends_at_ten_milliseconds(root: Path) -> None:
    for path in (*root.glob("*/1.wav"), *root.glob("*/2.wav")):
        path.unlink()
    assert whole(root) == (80, pytest.approx(1.26), 126)
    frontend = Call.from_arguments(["data=folder", f"root={root}", "model=vgg_whole"]).experiments()[0].config.frontend
    assert frontend["n_fft"] == 256  # 32 ms; 64 ms where the hop is 20 ms or more


def test_longer_recordings_and_what_was_typed_change_nothing(root: Path) -> None:
    assert whole(root, "clip_seconds=any") == (320, 5.04, 126)
    assert whole(root, "crop.seconds=2") == (320, 2.0, 50)
    assert whole(root, "frontend.hop_length=640")[1] == 5.04
    assert whole(root, "frontend.n_fft=4096") == (320, 5.04, 126)
    assert whole(root, "crop.fit=false") == (320, 5.04, 126)
    assert whole(root, "clip_seconds=2.52") == (160, 2.52, 126)
    written(root / "a" / "3.wav", 5)
    assert whole(root) == (320, 5.04, 126)


def test_a_frontend_without_bands_to_count_fits_too(root: Path) -> None:
    words = ["data=folder", f"root={root}", "model=autoencoder", "crop.fit=true", "clip_seconds=2.55"]
    config = Call.from_arguments(words).experiments()[0].config
    assert (config.frontend["hop_length"], config.crop.seconds) == (220, pytest.approx(5.1 * 220 / 256))


def test_a_length_is_positive(root: Path) -> None:
    with pytest.raises(UserError, match="clip_seconds"):
        whole(root, "clip_seconds=0")


def test_models_of_short_crops_stay(root: Path) -> None:
    words = ["data=folder", f"root={root}", "model=vgg_small"]
    short = Call.from_arguments(words).experiments()[0].config
    assert short == Call.from_arguments([*words, "clip_seconds=any"]).experiments()[0].config


def test_the_line_says_what_was_laid_out_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip_length._say.cache_clear()
    for _ in range(2):
        whole(root)
    line = "the recordings last up to 2.5 s: models of whole clips see 2.5 s, a frame per 19.9 ms"
    assert capsys.readouterr().out.count(line) == 1


def test_recordings_that_do_not_say_their_length_keep_the_configured_crop(root: Path) -> None:
    competition = Call.from_arguments(["data=folder", f"root={root}"]).competition()
    (root / "a" / "0.wav").write_bytes(b"RIFF")
    assert clip_length.longest(competition) == 2.5
    (root / "a" / "1.wav").write_bytes(b"RIFF")
    assert clip_length.longest(competition) is None
    assert whole(root) == (320, 5.04, 126)


def test_an_odd_long_recording_does_not_count(root: Path) -> None:
    for number in range(10, 40):
        written(root / "a" / f"{number}.wav", 1.0)
    written(root / "b" / "9.wav", 20)
    competition = Call.from_arguments(["data=folder", f"root={root}"]).competition()
    assert clip_length.longest(competition) == 2.5


def test_pieces_of_recordings_count_by_their_times(root: Path) -> None:
    competition = Call.from_arguments(["data=folder", f"root={root}"]).competition()
    pieces = competition.train.assign(start=1.0, end=[1.5, 1.5, 1.5, 1.5, 1.5, 3.25])
    object.__setattr__(competition, "train", pieces)
    assert clip_length.longest(competition) == 2.25


@pytest.mark.parametrize(
    ("suffix", "format", "rate", "within"),
    [
        ("wav", "WAV", 8000, 0),
        ("wav", "WAVEX", 44_100, 0),
        ("flac", "FLAC", 44_100, 0),
        ("ogg", "OGG", 16_000, 0.001),
        ("mp3", "MP3", 44_100, 0.15),  # an encoder adds some frames
        ("mp3", "MP3", 16_000, 0.15),
    ],
)
def test_headers_give_the_length_that_the_decoder_gives(
    tmp_path: Path, suffix: str, format: str, rate: int, within: float
) -> None:
    path = written(tmp_path / f"a.{suffix}", 7 / 3, rate, format=format)
    assert headers.seconds(path) == pytest.approx(soundfile.info(path).duration, abs=within + 1e-6)


def test_the_length_of_a_long_mp3_is_told_by_its_beginning(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp3", 40, 44_100, format="MP3", bitrate_mode="CONSTANT")
    assert path.stat().st_size > 2 * headers.READ
    assert headers.seconds(path) == pytest.approx(40, rel=0.01)
    tag = b"ID3\4\0\0" + bytes([0, 8, 0, 0])  # a picture of 128 KiB
    path.write_bytes(tag + bytes(1 << 17) + path.read_bytes())
    assert headers.sample_rate(path) == 44_100
    assert headers.seconds(path) == pytest.approx(40, rel=0.01)
    path.write_bytes(tag)
    assert headers.seconds(path) is None


@pytest.mark.parametrize("content", [b"", b"RIFF\0\0\0\0WAVEfmt ", b"fLaC", b"OggS", b"\xff\xfb\x90\x00"])
def test_a_header_that_says_no_length_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert headers.seconds(tmp_path / "a.wav") is None
