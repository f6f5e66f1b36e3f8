"""Peak memory and seconds of extracting story features from one long clip, by its length.

`long_clips.py [MINUTES ...]`; writes a wav of noise and tones, decodes it and extracts `f0, centroid, contrast, mfcc,
spectrogram, lsf` in a process of its own. Default: 1, 10 and 60 minutes at 44.1 kHz. Leaves
bench/results/long_clips.json.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tonestack.base.files import write_json

RESULT = Path(__file__).parent / "results" / "long_clips.json"
RATE = 44_100
EXTRACT = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, {source!r})
import librosa
from tonestack.features.audio import decode_clip, resample
from tonestack.features.frontends import story
from tonestack.settings.data_config import AudioParams
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
names = ["f0", "centroid", "contrast", "mfcc", "spectrogram", "lsf"]
frontend = story.Frontend(story.Params.parse({{"features": names}}, "bench"))
frontend(librosa.tone(200, sr=16000, length=16000))
before, started, scratch = peak(), time.monotonic(), Path({folder!r})
clip = decode_clip(scratch / "clip.wav", AudioParams(peak_normalise=True), None, scratch)
decoded = peak()
wave = resample(clip.wave, clip.rate, frontend.sample_rate, scratch)
del clip
resampled = peak()
made = frontend(wave)
print(json.dumps({{"imports_mib": before, "decoded_mib": decoded, "resampled_mib": resampled, "peak_mib": peak(),
                   "features_mib": made.nbytes / 2**20, "seconds": time.monotonic() - started}}))
"""


def write_clip(path: Path, minutes: float) -> None:
    """A gliding voice-like tone over noise, written minute by minute."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as out:
        for _ in range(round(minutes * 4)):
            t = np.arange(15 * RATE) / RATE
            tone = sum(np.sin(2 * np.pi * n * (140 * t + 2 * np.sin(3 * t))) / n for n in range(1, 8))
            out.write(0.2 * tone + 0.01 * rng.standard_normal(len(t)))


def measure(minutes: float) -> dict[str, float]:
    """Peak memory in MiB (with the imports, which are named too) and seconds for one clip."""
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "clip.wav", minutes)
        code = EXTRACT.format(source=str(Path(__file__).parents[1] / "src"), folder=folder)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {"minutes": minutes, **json.loads(done.stdout.splitlines()[-1])}


def main(words: list[str]) -> None:
    """Measure each length, write, print."""
    found = [measure(float(word)) for word in words or ["1", "10", "60"]]
    write_json(RESULT, found)
    for row in found:
        print("  ".join(f"{key} {value:.1f}" for key, value in row.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
