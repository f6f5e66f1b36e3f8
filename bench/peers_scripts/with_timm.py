"""The usual script: librosa's log-mel in a Dataset, a DataLoader, a timm network, AdamW with one cycle, bfloat16.

with_timm.py CLIPS.csv EPOCHS; leaves probabilities.npy of the held clips.
"""

import sys

import librosa
import numpy as np
import pandas as pd
import timm
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

RATE, SECONDS = 32_000, 5


class Clips(Dataset):
    """Log-mel pictures (1, 64, T), and labels."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table.reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        wave, _ = librosa.load(self.table["path"][i], sr=RATE, duration=SECONDS)
        wave = librosa.util.fix_length(wave, size=RATE * SECONDS)
        mel = librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=1024, hop_length=512, n_mels=64, fmax=15_000)
        picture = torch.from_numpy(librosa.power_to_db(mel)).float()[None]
        return (picture + 40) / 20, int(self.table["label"][i])


def main(path: str, epochs: int) -> None:
    """Train, predict."""
    torch.manual_seed(0)
    table = pd.read_csv(path)
    learn = DataLoader(Clips(table[~table["held"]]), batch_size=32, shuffle=True, drop_last=True, num_workers=2)
    held = DataLoader(Clips(table[table["held"]]), batch_size=32, num_workers=2)
    options = {"channels": [24, 48, 96, 192], "stem_width": 16}
    model = timm.create_model("resnet10t", in_chans=1, num_classes=table["label"].nunique(), **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(learn) + 1)
    for _ in range(epochs):
        for x, y in learn:
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x).float(), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    model.eval()
    with torch.inference_mode():
        rows = [model(x).softmax(1) for x, _ in held]
    np.save("probabilities.npy", torch.cat(rows).numpy())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
