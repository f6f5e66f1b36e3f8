"""Training clips per second and resulting scores: `train` against the usual loops over a DataLoader, same network.

`train.py [epochs] [test clips]`: vgg_small on the synthesised demo, once as the fast preset has it (64 bands x 128
frames), then a few steps of the whole one (128 x 256, 250 times the arithmetic). The usual loops take one clip at a
time from a Dataset, in float32 and NCHW, with a plain AdamW and OneCycleLR on all cores: (a) opens, resamples and
transforms the clip by librosa for every sample, (b) loads its spectrogram from a file of its own. Ours trains as many
folds side by side as it would. All sides see random crops without other augmentation, for as many epochs.
Leaves bench/results/train.json.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import make_folds
import prepare
from _measure import peak_memory, product_peak, report
from features import SPECS, by_soundfile
from tonestack.base import parts, workers
from tonestack.base.parts import part_params
from tonestack.config.call import Call
from tonestack.ensemble import scoring
from tonestack.features.store import Store
from tonestack.networks.layers import count_multiply_adds
from tonestack.training import queue
from tonestack.training.crops import even_starts
from tonestack.training.device import bfloat16_pays, set_up_process
from tonestack.training.job import FoldJob, threads_and_jobs
from tonestack.training.learners import network

import joblib
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

KIND = "bfloat16" if bfloat16_pays(torch.device("cpu")) else "float32"
PLAIN = ["augment.mixup=0", "augment.stretch=0", "augment.gain_db=0", "training.verified_only=false"]


class Clips(Dataset):  # type: ignore[type-arg]
    """One clip at a time: its spectrogram from `load`, a random crop of it, tiled where it is short."""

    def __init__(self, sources: list[Path], targets: np.ndarray, store: Store, length: int, load: Any) -> None:
        self.sources, self.targets, self.mean, self.std = sources, targets, store.mean, store.std
        self.length, self.load = length, load

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        x = self.load(self.sources[i])  # (T, F)
        x = np.tile(x, (-(-self.length // len(x)), 1)) if len(x) < self.length else x
        start = np.random.randint(len(x) - self.length + 1)
        x = (x[start : start + self.length] - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(x.T, dtype=np.float32))[None], int(self.targets[i])


@dataclass(frozen=True)
class Task:
    """What all sides share: the competition's call, a fold's job, its store and the test clips' true classes."""

    call: Call
    job: FoldJob
    store: Store
    truth: dict[str, int]

    @property
    def length(self) -> int:
        """Frames of a crop."""
        return round(self.job.experiment.config.crop.seconds * self.store.frame_rate)

    def network(self) -> nn.Module:
        """The network of vgg_small, untrained."""
        settings = self.job.experiment.config.network
        module = parts.find("models", settings["name"])
        torch.manual_seed(0)
        classes = self.job.labels.targets.shape[1]  # cloudpickle takes the word job.classes for torch.classes
        return module.build(part_params("models", settings, "network"), self.store.width, classes)

    def accuracy(self, logs: np.ndarray) -> float:
        """Share of scored test clips whose best class is right; logs (M, C) of the test clips."""
        best = logs.argmax(axis=1)
        right = [best[i] == self.truth[name] for i, name in enumerate(self.job.test) if name in self.truth]
        return float(np.mean(right))


def task_of(home: Path, epochs: int, words: list[str]) -> Task:
    """The demo, prepared and folded below `home`."""
    os.environ["TONESTACK_HOME"] = str(home)
    words = ["reader.n_padding=0", f"training.epochs={epochs}", "training.min_steps=0", *words]
    call = Call.from_arguments(["data=demo", "model=vgg_small", "device=cpu", *words, *PLAIN])
    prepare.run(call)
    make_folds.run(call)
    made = queue.build(call, call.experiments())
    store = Store.open(call.cache, made[0].experiment.config.frontend, call.data.audio)
    labels = scoring.read(call.root / "test_post_competition.csv", made[0].classes, call.task)
    truth = {clip: made[0].classes.index(label) for clip, label in zip(labels["clip_id"], labels["label"], strict=True)}
    return Task(call, made[0], store, truth)


def ours(task: Task, fold: int, threads: int) -> tuple[float, float, float]:
    """Seconds of training, accuracy and peak memory of one fold, in any process."""
    set_up_process(threads)
    job = replace(task.job, fold=fold, threads=threads)
    started = time.perf_counter()
    fitted = network.fit(job, task.store)
    seconds = time.perf_counter() - started
    fitted.done()
    return seconds, task.accuracy(fitted.log_probabilities(job.test)), peak_memory()


def side_by_side(task: Task, threads: int, folds: int) -> tuple[float, float, float]:
    """Ours, some folds at once: seconds a fold, mean accuracy, peak memory of a process. In processes of their own."""
    with joblib.parallel_config("loky", inner_max_num_threads=threads):
        pool = joblib.Parallel(max(folds, 2))
        pool(joblib.delayed(os.getpid)() for _ in range(folds))  # the processes start and import
        done = pool(joblib.delayed(ours)(task, fold, threads) for fold in range(folds))
    seconds = max(d[0] for d in done) / folds  # of as many clips as one fold has
    return seconds, float(np.mean([d[1] for d in done])), max(d[2] for d in done)


def usual(task: Task, load: Any, sources: list[Path], epochs: int) -> tuple[float, nn.Module]:
    """The usual loop: seconds of training, and the network."""
    cores = workers.cores()
    torch.set_num_threads(cores)
    config = task.job.experiment.config.training
    data = Clips(sources, task.job.labels.targets.argmax(axis=1), task.store, task.length, load)
    loader = DataLoader(
        data, config.batch_size, shuffle=True, drop_last=True, num_workers=cores, persistent_workers=True
    )
    model = task.network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, epochs * len(loader), pct_start=config.warmup)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    started = time.perf_counter()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            schedule.step()
            loss.item()
    return time.perf_counter() - started, model


def usual_accuracy(task: Task, model: nn.Module) -> float:
    """Accuracy on the test clips with the same crops as ours."""
    offsets, frames = task.store.rows(task.job.test)
    config = task.job.experiment.config.inference
    row, start = even_starts(frames, task.length, config.overlap, config.crops)
    logs = np.zeros((len(frames), len(task.job.classes)))
    model.eval()
    for i, first in zip(row, start, strict=True):
        x = task.store.features[offsets[i] + (first + np.arange(task.length)) % frames[i]]
        x = torch.from_numpy(((x - task.store.mean) / task.store.std).T.astype(np.float32).copy())[None, None]
        with torch.inference_mode():
            logs[i] += model(x).log_softmax(dim=1)[0].numpy() / (row == i).sum()
    return task.accuracy(logs)


def spectrogram_files(task: Task, folder: Path) -> list[Path]:
    """One npy a training clip, as a notebook would keep them."""
    folder.mkdir()
    offsets, frames = task.store.rows(task.job.labels.clip_ids)
    paths = []
    for name, offset, n in zip(task.job.labels.clip_ids, offsets, frames, strict=True):
        paths.append(folder / f"{name}.npy")
        np.save(paths[-1], np.asarray(task.store.features[offset : offset + n], np.float32))
    return paths


def measure(task: Task, epochs: int, folder: Path, by_librosa: bool) -> list[dict[str, Any]]:
    """Lines of the table: every side of one network."""
    cores = workers.cores()
    path_of = dict(zip(task.call.competition().train["clip_id"], task.call.competition().train["path"], strict=True))
    recordings = [task.call.root / path_of[name] for name in task.job.labels.clip_ids]
    spectrograms = spectrogram_files(task, folder / "spectrograms")
    params = task.job.experiment.config.training
    clips = params.plan(len(recordings))[1] * params.batch_size
    work = 3 * 2 * count_multiply_adds(task.network(), torch.zeros(1, 1, task.store.width, task.length)) / 1e9
    found = {"ours, folds side by side": side_by_side(task, *threads_and_jobs(task.call))}
    found["ours, one fold, all cores"] = side_by_side(task, cores, 1)
    seconds, model = usual(task, np.load, spectrograms, epochs)
    found["DataLoader, spectrogram files"] = (seconds, usual_accuracy(task, model), peak_memory())
    if by_librosa:
        slow_epochs = max(1, epochs // 10)  # clips a second do not change from epoch to epoch
        seconds, _ = usual(task, partial(by_soundfile, spec=SPECS["fast preset"]), recordings, slow_epochs)
        found["DataLoader, librosa"] = (seconds * epochs / slow_epochs, float("nan"), peak_memory())
    peak, first = product_peak(cores, getattr(torch, KIND)), found["ours, folds side by side"][0]
    speed = {name: epochs * clips / seconds for name, (seconds, *_) in found.items()}
    return [
        {
            "input": f"{task.store.width} x {task.length}",
            "GFLOP a crop": work,
            "side": name,
            "clips/s": speed[name],
            "GFLOP/s": speed[name] * work,
            "share of peak": speed[name] * work / peak,
            "accuracy": accuracy if epochs > 1 else float("nan"),
            "peak GiB": memory,
            "ours is faster by": seconds / first,
        }
        for name, (seconds, accuracy, memory) in found.items()
    ]


def main(epochs: int = 20, test: int = 600) -> None:
    """Measure, write, print."""
    with tempfile.TemporaryDirectory() as folder:
        narrow = task_of(Path(folder) / "narrow", epochs, ["preset=fast", f"reader.n_test={test}"])
        rows = measure(narrow, epochs, Path(folder) / "narrow", by_librosa=True)
        whole = task_of(Path(folder) / "whole", 1, ["preset=full", "reader.n_train=160", "reader.n_test=20"])
        rows += measure(whole, 1, Path(folder) / "whole", by_librosa=False)
    ratios = [row["ours is faster by"] for row in rows if row["side"].startswith("DataLoader")]
    result = {
        "about": f"vgg_small, {epochs} epochs (the whole one: 1), {KIND}, {workers.cores()} cores; accuracy on "
        f"{len(narrow.truth)} test clips, ± {0.5 / len(narrow.truth) ** 0.5:.3f}",
        "ratio": ratios[2],
        "ratio_narrow": ratios[0],
        "ratio_narrow_librosa": ratios[1],
    }
    report("train", rows, result)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
