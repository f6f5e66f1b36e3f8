"""The plain reference: one VGG of 1.2 million parameters on whole clips, in as few lines as it takes.

64 mel bands, one frame per 40 ms, mixup, AdamW with one cycle, batches of 32, one forward pass per clip. Nothing here
comes from the networks, the augmentation or the train loop of the project, so that "better than plain" has a fixed
meaning; only the decoded features are shared.
"""

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRONTEND = {"name": "logmel", "n_mels": 64, "fmin": 40.0}
SECONDS_PER_FRAME, LONGEST = 0.04, 125  # frames of a clip that the network sees: five seconds
CHANNELS, BATCH, RATE = (32, 64, 128, 256), 32, 2e-3


def network(classes: int) -> nn.Module:
    """Four blocks of two 3 x 3 convolutions, halved after each but the last, mean and maximum, one linear layer."""
    layers: list[nn.Module] = []
    before = 1
    for width in CHANNELS:
        for n_in in (before, width):
            layers += [nn.Conv2d(n_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers += [nn.AvgPool2d(2, ceil_mode=True)] if width != CHANNELS[-1] else []
        before = width
    return nn.Sequential(*layers, Pool(), nn.Linear(before, classes)).to(memory_format=torch.channels_last)


class Pool(nn.Module):
    """Mean over bands, then mean plus maximum over time: (B, D, F, T) to (B, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        x = x.mean(dim=2)
        return x.mean(dim=2) + x.amax(dim=2)


def whole(frames: Tensor, start: int) -> Tensor:
    """The `LONGEST` frames of a clip (T, F) from `start` on, a shorter one repeated."""
    return frames[(torch.arange(LONGEST) + start) % len(frames)]


def run(
    clips: list[Tensor], truth: Tensor, learn: np.ndarray, held: np.ndarray, classes: int, epochs: int, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Train on the clips `learn`, predict those of `held`: probabilities (H, C) and processor seconds of the training.

    clips: float16 (T, F) in dB; truth: class indices (N,).
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sample = torch.cat([clips[i] for i in learn[::3]]).float()
    mean, std = sample.mean(0), sample.std(0)
    model = network(classes)
    steps = epochs * (len(learn) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=0.15)
    started = time.process_time()
    for _ in range(epochs):
        for picked in np.array_split(rng.permutation(learn)[: len(learn) // BATCH * BATCH], len(learn) // BATCH):
            starts = [int(rng.integers(max(1, len(clips[i]) - LONGEST))) for i in picked]
            x = torch.stack([whole(clips[i], s) for i, s in zip(picked, starts, strict=True)]).float()
            x = ((x - mean) / std).transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)
            share = torch.from_numpy(rng.beta(0.4, 0.4, len(picked))).float()
            other = torch.from_numpy(rng.permutation(len(picked)))
            y = F.one_hot(truth[picked], classes).float()
            x = share.view(-1, 1, 1, 1) * x + (1 - share.view(-1, 1, 1, 1)) * x[other]
            y = share[:, None] * y + (1 - share[:, None]) * y[other]
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(x)
            F.cross_entropy(logits.float(), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
    spent = time.process_time() - started
    model.eval()
    rows = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for i in held:
            middle = max(0, len(clips[i]) - LONGEST) // 2
            x = ((whole(clips[i], middle).float() - mean) / std).T[None, None]
            rows.append(model(x).float().softmax(1)[0])
    return torch.stack(rows).numpy(), spent
