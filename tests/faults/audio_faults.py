"""Rows 1 to 12: damaged and unusual recordings."""

import os
import threading
import time
from pathlib import Path

from wavs import long_wav, pcm, wav_bytes

import numpy as np
import soundfile
from cases import case
from place import TESTS, Place

TONE = pcm()


def unusable(place: Place, content: bytes, reason: str) -> str:
    """Give a training and a test clip this content: refused, or left out by choice; the test clip is only listed."""
    place.put("audio_train/train000.wav", content)
    place.put("audio_test/test001.wav", content)
    line = place.refused("prepare", naming=("train000.wav", reason, "audio.bad_files=skip"))
    assert "test001.wav" not in line
    printed = place.works("prepare", "audio.bad_files=skip").out
    assert "unusable train clip train000.wav: " in printed
    assert "unusable test clip test001.wav: " in printed
    return f"refused: “{line}”. With `audio.bad_files=skip` it is left out and listed"


@case(1)
def empty_files(place: Place) -> str:
    """Two training clips and a test clip of 0 bytes; then a model is trained without them."""
    for name in ("audio_train/train000.wav", "audio_train/train001.wav", "audio_test/test001.wav"):
        place.put(name, b"")
    line = place.refused("train", naming=("2 training clip(s)", "train000.wav", "train001.wav", "0 bytes"))
    assert "test001.wav" not in line
    assert "unusable test clip test001.wav" in place.works("train", "fold=0", "audio.bad_files=skip").out
    rows = place.probabilities()
    assert rows.loc["test001.wav"].to_numpy().std() < 0.2  # the prior, no guess
    assert len(rows) == 12 + 8
    return f"refused: “{line}”. Left out by choice; the test clip gets the classes' prior"


@case(2)
def no_frames(place: Place) -> str:
    """A WAV header whose data chunk holds 0 bytes."""
    return unusable(place, wav_bytes(b""), "0 frames")


@case(3)
def cut_short(place: Place) -> str:
    """A WAV of 1,000 samples whose header speaks of 4,800, prepared twice."""
    place.put("audio_train/train000.wav", wav_bytes(TONE[:2000], claimed=9600))
    assert "1 end early" in place.works("prepare").out
    clip = place.clips().loc["train000.wav"]
    assert (clip["status"], clip["seconds"]) == ("truncated", 1000 / 16_000)
    first = features_of(place, "train000.wav")
    place.works("prepare", "name=again")
    assert np.array_equal(first, features_of(place, "train000.wav", "again"))
    return "decoded to its 1,000 samples, “1 end early” in the report, the same features both times"


def features_of(place: Place, clip: str, name: str = "fsdkaggle2018") -> np.ndarray:
    """A clip's frames (T, F) in the newest store."""
    import pandas as pd

    path = max((place.home / "cache" / name).glob("*/features.npy"), key=lambda p: p.stat().st_mtime_ns)
    row = pd.read_parquet(path.with_name("clips.parquet")).set_index("clip_id").loc[clip]
    return np.load(path)[row["offset"] : row["offset"] + row["frames"]]


@case(4)
def size_of_all_ones(place: Place) -> str:
    """A WAV of 4,800 samples whose data chunk claims 4 GiB; the workers' memory is watched."""
    place.put("audio_train/train000.wav", wav_bytes(TONE, claimed=0xFFFFFFFF))
    with Memory() as memory:
        place.works("prepare")
    clip = place.clips().loc["train000.wav"]
    assert clip["seconds"] == len(TONE) / 2 / 16_000
    assert memory.grown < 200
    return "decoded to its 4,800 samples, in no more memory than other clips"


@case(5)
def no_data_chunk(place: Place) -> str:
    """A WAV that ends after its format chunk; then one with a LIST chunk of zeros in place of the data."""
    head = wav_bytes(b"")[:36]
    unusable(place, head + b"LIST" + bytes(40), "train000.wav: ")
    return unusable(place, head, "train000.wav: ")


@case(6)
def odd_24_bit(place: Place) -> str:
    """100 bytes of 24-bit samples: 33 and a third."""
    place.put("audio_train/train000.wav", wav_bytes(bytes(range(100)), bits=24))
    place.works("prepare")
    clip = place.clips().loc["train000.wav"]
    assert clip["status"] != "bad"
    assert clip["seconds"] == 33 / 16_000
    return "decoded to 33 samples"


@case(7)
def not_a_number(place: Place) -> str:
    """Float samples of which one is infinite; then one NaN."""
    infinite = np.array([0.1, np.inf] * 400, "<f4").tobytes()
    unusable(place, wav_bytes(infinite, bits=32, code=3), "NaN, infinite")
    nan = np.array([0.1, np.nan] * 400, "<f4").tobytes()
    return unusable(place, wav_bytes(nan, bits=32, code=3), "NaN, infinite")


@case(8)
def silence(place: Place) -> str:
    """A training and a test clip of 8,000 zeros; a model is trained."""
    for name in ("audio_train/train000.wav", "audio_test/test000.wav"):
        place.put(name, wav_bytes(bytes(16_000)))
    place.works("train", "fold=0")
    assert np.isfinite(features_of(place, "test000.wav")).all()
    place.probabilities().loc["test000.wav"]
    return "finite features, a valid row"


@case(9)
def one_sample(place: Place) -> str:
    """A training and a test clip of one sample; a model is trained, once with short clips tiled, once padded."""
    for name in ("audio_train/train000.wav", "audio_test/test000.wav"):
        place.put(name, wav_bytes(TONE[2:4]))
    place.works("train", "fold=0")
    tiled = place.probabilities().loc["test000.wav"]
    place.works("train", "fold=0", "crop.short=pad", "variant=padded")
    assert len(tiled) == 4
    return "repeated or padded to a crop, a valid row"


@case(10)
def an_hour(place: Place) -> str:
    """An hour at 24 kHz (346 MB as the decoder's floats); the workers' own memory is watched."""
    long_wav(place.put("audio_train/train000.wav", b""), 3600, 24_000)
    with Memory() as memory:
        place.works("prepare")
    clip = place.clips().loc["train000.wav"]
    assert (clip["status"], clip["seconds"]) == ("ok", 3600)
    assert clip["frames"] > 200_000
    assert memory.grown < 330, f"{memory.grown:.0f} MB"
    return "decoded as a stream: a worker grows by less than 330 MB"


@case(11)
def every_format(place: Place) -> str:
    """Stereo, 8 and 96 kHz, 8-bit and 64-bit float clips; then one of 1,000 channels."""
    rng = np.random.default_rng(1)
    kinds = [(2, 16_000, "PCM_16"), (1, 8_000, "PCM_U8"), (1, 96_000, "PCM_24"), (1, 44_100, "DOUBLE")]
    for i, (channels, rate, subtype) in enumerate(kinds):
        soundfile.write(
            place.root / f"audio_train/train{i:03d}.wav", rng.normal(0, 0.1, (rate // 4, channels)), rate, subtype
        )
    place.works("prepare")
    made = place.clips().loc[[f"train{i:03d}.wav" for i in range(4)]]
    assert (made["status"] == "ok").all()
    assert made["frames"].nunique() == 1  # a quarter of a second each, whatever the rate
    place.put("audio_train/train000.wav", wav_bytes(bytes(2000 * 4), channels=1000))
    line = place.refused("prepare", naming=("train000.wav", "1000 channels"))
    return f"mixed down and resampled; the last refused: “{line}”"


@case(12)
def no_audio_at_all(place: Place) -> str:
    """An HTML page, then samples of a codec that nobody decodes (OKI ADPCM), named .wav."""
    line = unusable(place, b"<!DOCTYPE html><html><body>404</body></html>", "cannot be decoded")
    unusable(place, wav_bytes(TONE, code=0x0010, bits=4), "train000.wav: ")
    return line


CUSTOM = """
import os, signal, soundfile
class Broken(soundfile.SoundFile):
    def __init__(self, file, *rest, **more):
        name = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else str(file)
        if name.endswith("train000.wav"):
            os.kill(os.getpid(), signal.SIGSEGV)
        while name.endswith("train001.wav"):
            pass
        super().__init__(file, *rest, **more)
soundfile.SoundFile = Broken
"""


@case(12)
def fatal_decoder(place: Place) -> str:
    """A decoder that dies of SIGSEGV in one file and loops for ever in another (a limit of 3 seconds a file)."""
    import subprocess
    import sys

    (place.root / "sitecustomize.py").write_text(CUSTOM)
    for i in range(2, 8):  # new contents: everything is decoded again
        place.put(f"audio_train/train{i:03d}.wav", wav_bytes(TONE[: 4000 + 2 * i]))
    words = [*place.words, f"root={place.root}", "audio.bad_files=skip", "audio.decode_minutes=0.05"]
    found = subprocess.run(
        [sys.executable, str(TESTS.parent / "src" / "prepare.py"), *words],
        env=os.environ | {"TONESTACK_HOME": str(place.home), "PYTHONPATH": str(place.root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert "unusable train clip train000.wav: the decoder crashed on it" in found.stdout, found.stdout
    assert "unusable train clip train001.wav: the decoder does not end within 0.05 minutes" in found.stdout
    made = place.clips()
    assert (made["status"] == "bad").sum() == 2
    assert (made.loc[made["status"] == "ok", "frames"] > 0).all()
    assert not list(place.folder("cache").glob(".parts/*"))
    return "only the two files are lost, each with its reason; all others are decoded"


class Memory:
    """Watches how far the memory of its own (no mapped files) of any process below this one grows, in MB."""

    def __init__(self) -> None:
        self.start: dict[int, float] = {}
        self.most: dict[int, float] = {}
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    @property
    def grown(self) -> float:
        """The largest growth of a process; one that came later counts from 150 MB, what its imports take."""
        return max((most - self.start.get(pid, 150.0) for pid, most in self.most.items()), default=0.0)

    def __enter__(self) -> "Memory":
        self.start = own_memory()
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            for pid, megabytes in own_memory().items():
                self.most[pid] = max(megabytes, self.most.get(pid, 0.0))
            time.sleep(0.02)


def own_memory() -> dict[int, float]:
    """Anonymous memory in MB of the processes that this one has started."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        if int(lines["PPid"]) == os.getpid() and "RssAnon" in lines:
            found[int(status.parent.name)] = int(lines["RssAnon"].split()[0]) / 1000
    return found
