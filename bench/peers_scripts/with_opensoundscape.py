"""opensoundscape's own training loop: a ResNet-18 on its spectrograms of five seconds, nothing pretrained.

with_opensoundscape.py CLIPS.csv EPOCHS; leaves probabilities.npy of the held clips.
"""

import sys

import numpy as np
import pandas as pd
from opensoundscape import CNN


def main(path: str, epochs: int) -> None:
    """Train, predict."""
    table = pd.read_csv(path)
    classes = sorted(table["label"].unique())
    index = pd.MultiIndex.from_arrays(
        [table["path"], np.zeros(len(table)), np.full(len(table), 5.0)], names=["file", "start_time", "end_time"]
    )
    labels = pd.get_dummies(pd.Series(table["label"].to_numpy(), index=index)).astype(int)[classes]
    labels.columns = [f"c{label}" for label in classes]
    held = table["held"].to_numpy()
    model = CNN("resnet18", list(labels.columns), 5.0, 16_000, single_target=True, arch_weights=None)
    steps = epochs * -(-int((~held).sum()) // 32)
    loading = {"batch_size": 32, "num_workers": 2}
    model.train(labels[~held], labels[held], steps=steps, validation_interval=steps, save_path="models", **loading)
    scores = model.predict(labels[held], batch_size=32, num_workers=2, activation_layer="softmax")
    np.save("probabilities.npy", scores[list(labels.columns)].to_numpy(np.float64))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
