"""A tiny soundscape competition in BirdCLEF's layout: two tones that last, focal recordings, a pool, a test file."""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

CLASSES = ("high", "low")
PITCH = {"high": 1500.0, "low": 400.0}
RATE = 4000
WORDS = [
    "data=birdclef",
    "preset=smoke",
    "model=vgg_small",
    "name=birds",
    "reader.window=2",
    "student.window=2",
    "student.rounds=1",
    "folds.n=2",
    "crop.seconds=1",
    "training.epochs=12",
    "training.batch_size=4",
    "frontend.sample_rate=4000",
    "frontend.n_fft=256",
    "frontend.hop_length=128",
    "frontend.n_mels=16",
    "frontend.fmin=50",
    "frontend.fmax=1900",
    "device=cpu",
    "jobs=1",
]


def tone(name: str, seed: int, seconds: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.05, int(seconds * RATE))
    time = np.arange(len(noise)) / RATE
    return (noise + (0.4 * np.sin(2 * np.pi * PITCH[name] * time) if name in PITCH else 0)).astype(np.float32)


def write(root: Path) -> Path:
    """Write 12 focal recordings, 4 labelled soundscapes, 2 without labels and 1 to predict below `root`."""
    rows, labels = [], []
    for number in range(12):
        name = CLASSES[number % 2]
        (root / "train_audio" / name).mkdir(parents=True, exist_ok=True)
        soundfile.write(root / "train_audio" / name / f"XC{number}.ogg", tone(name, number, 2), RATE)
        rows.append((name, "[]", f"author {number}", f"{name}/XC{number}.ogg"))
    for folder in ("train_soundscapes", "test_soundscapes"):
        (root / folder).mkdir()
    for number in range(6):
        heard = [CLASSES[number % 2], "", CLASSES[(number + 1) % 2]]
        wave = np.concatenate([tone(name, 100 + 3 * number + i, 2) for i, name in enumerate(heard)])
        soundfile.write(root / "train_soundscapes" / f"S{number}.ogg", wave, RATE)
        labels += [(f"S{number}.ogg", 2 * i, 2 * i + 2, name) for i, name in enumerate(heard) if name and number < 4]
    soundfile.write(root / "test_soundscapes" / "T0.ogg", tone("low", 200, 4), RATE)
    columns = ["primary_label", "secondary_labels", "author", "filename"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "train.csv", index=False)
    pd.DataFrame(labels, columns=["filename", "start", "end", "primary_label"]).to_csv(
        root / "train_soundscapes_labels.csv", index=False
    )
    pd.DataFrame([("T0_2", 0.5, 0.5)], columns=["row_id", *CLASSES]).to_csv(root / "sample_submission.csv", index=False)
    return root
