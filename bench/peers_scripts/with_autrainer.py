"""autrainer: its log-mel at 16 kHz, its MobileNetV3-Small, Adam; a folder in its standard format and its command.

with_autrainer.py CLIPS.csv EPOCHS; leaves probabilities.npy of the held clips.
"""

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import soundfile

DATASET = """
id: ESC
_target_: autrainer.datasets.BaseClassificationDataset
path: data/ESC
features_subdir: log_mel_16k
index_column: filename
target_column: label
file_type: npy
file_handler: autrainer.datasets.utils.NumpyFileHandler
criterion: autrainer.criterions.CrossEntropyLoss
metrics: [autrainer.metrics.Accuracy]
tracking_metric: autrainer.metrics.Accuracy
transform: {type: grayscale}
"""
CONFIG = """
defaults: [_autrainer_, _self_]
results_dir: results
experiment_id: esc
iterations: EPOCHS
hydra:
  sweeper:
    params: {+seed: 1, +batch_size: 32, +learning_rate: 0.001, dataset: ESC, model: MobileNetV3-Small, optimizer: Adam}
"""


def lay_out(table: pd.DataFrame) -> None:
    """Write the folder: wav files at 16 kHz, and train.csv, dev.csv and test.csv."""
    audio = Path("data/ESC/default")
    audio.mkdir(parents=True)
    names = []
    for path in table["path"]:
        wave, _ = librosa.load(path, sr=16_000)
        soundfile.write(audio / f"{Path(path).stem}.wav", wave, 16_000)
        names.append(f"{Path(path).stem}.wav")
    table = table.assign(filename=names, label=[f"c{label:02d}" for label in table["label"]])
    for name, rows in (("train", table[~table["held"]]), ("dev", table[table["held"]]), ("test", table[table["held"]])):
        rows[["filename", "label"]].to_csv(f"data/ESC/{name}.csv", index=False)


def main(path: str, epochs: int) -> None:
    """Lay out, preprocess, train, gather."""
    table = pd.read_csv(path)
    lay_out(table)
    Path("conf/dataset").mkdir(parents=True)
    Path("conf/dataset/ESC.yaml").write_text(DATASET)
    Path("conf/config.yaml").write_text(CONFIG.replace("EPOCHS", str(epochs)))
    command = str(Path(sys.executable).parent / "autrainer")
    for verb in ("preprocess", "train"):
        subprocess.run([command, verb], check=True)
    (results,) = Path("results").rglob("_test/test_results.csv")
    found = pd.read_csv(results).set_index("index").sort_index()  # places in test.csv
    classes = [f"probability_c{label:02d}" for label in sorted(table["label"].unique())]
    np.save("probabilities.npy", found[classes].to_numpy(np.float64))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
