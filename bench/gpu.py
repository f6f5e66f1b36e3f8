"""Training and log-mel on a GPU: seconds for 5 folds x 40 epochs of an 18 h, 41-class set, and the share of the peak.

`gpu.py [word=value ...]`
    what=peak,logmel,models,together   which parts (all)
    model=vgg_small,vgg_large,vgg16,resnet18   batch=128   compile=none,graph,inductor   device=cuda
    epochs=2    epochs timed after a first one that also warms up; the 40 are counted from them
    fold=0      instead: one whole fold as a command of its own, 40 epochs and all predictions, nothing counted
    at_once=1,2,4   small networks at once: `streams` of one process, `processes`, `batched` by torch.func
The set is made on the device: random decibels, 9,473 clips of 0.3 to 13.4 s, 128 bands at 100 frames/s, crops of 2.56 s
(128 x 256). A share of the peak is 3 x 2 x multiply-adds x crops / seconds / the rate of a large bfloat16 product.
Without a GPU the parts are run at a small size on the CPU and held against plain versions; no number is reported.
It needs torch, numpy and pydantic; other packages may be missing. Leaves bench/results/gpu.json.
"""

import _stand_ins  # isort: skip

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tonestack.base import parts
from tonestack.features.frontends import logmel
from tonestack.networks.layers import (
    Network,
    Normalise,
    Pool,
    Tagger,
    activation,
    count_multiply_adds,
    dense_head,
    normed_conv,
)
from tonestack.networks.losses import cross_entropy
from tonestack.settings.model_config import ModelConfig
from tonestack.training.augment import draw
from tonestack.training.crops import Clips
from tonestack.training.device import autocast
from tonestack.training.inference import predict
from tonestack.training.loop import TrainingSet, fit, make_step, run_epoch
from tonestack.training.step import make_optimizer

import numpy as np
import torch
from torch import Tensor, nn

RESULT = Path(__file__).parent / "results" / "gpu.json"
CLASSES, BANDS, RATE, FOLDS, EPOCHS = 41, 128, 100.0, 5, 40
CLIPS, TEST, HOURS = 9_473, 9_400, 18
VGG = {"channels": [64, 128, 256, 512], "dense_activation": "selu"}
NETWORKS: dict[str, dict[str, Any]] = {
    "vgg_small": {"name": "vgg", **VGG, "convs": 2, "dense": 1024},
    "vgg_large": {"name": "vgg", **VGG, "convs": 3, "dense": 4096, "dropout": 0.4},
    "vgg16": {"name": "vgg16"},
    "resnet18": {"name": "resnet18", "size": 0, "in_channels": 1},
    "tiny": {"name": "vgg", "channels": [4, 8], "convs": 1, "dense": 8, "dropout": 0.0},
}
AUGMENT = {"mixup": 0.5, "stretch": 0.2, "shift_bands": 0.05, "time_masks": 1, "band_masks": 1, "gain_db": 6}
WORDS = {
    "what": "peak,logmel,models,together",
    "model": "vgg_small,vgg_large,vgg16,resnet18",
    "batch": "128",
    "compile": "none,graph,inductor",
    "epochs": "2",
    "fold": "",
    "at_once": "1,2,4",
    "device": "",
    "clips": str(CLIPS),
}
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: halve


@dataclass(frozen=True)
class Bench:
    """What one call measures, and on what."""

    words: dict[str, str]
    device: torch.device

    def many(self, word: str) -> list[str]:
        """The values of a word."""
        return self.words[word].split(",")

    def number(self, word: str) -> int:
        """A word that is a number."""
        return int(self.words[word])

    @property
    def gpu(self) -> bool:
        """Whether there is anything to measure."""
        return self.device.type == "cuda"

    def seconds(self, work: Callable[[], Any]) -> float:
        """Wall seconds of some work, the device's share included."""
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        """Let the device finish."""
        if self.gpu:
            torch.cuda.synchronize(self.device)


def settings_of(name: str, batch: int, compile: str, epochs: int) -> ModelConfig:
    """The config of a network: crops of 128 x 256, all augmentation that the model configs use."""
    training = {"epochs": epochs, "batch_size": batch, "compile": compile, "lr": 1e-3, "weight_decay": 0.02}
    return ModelConfig.model_validate(
        {
            "frontend": {"name": "logmel"},
            "network": NETWORKS[name],
            "crop": {"seconds": 2.56},
            "augment": AUGMENT,
            "training": training,
            "inference": {"batch_size": 256},
        }
    )


def made_set(clips: int, device: torch.device) -> TrainingSet:
    """Random decibels of clips of 0.3 to 13.4 s, 6.84 s on average, made where they stay."""
    frames = torch.from_numpy(np.random.default_rng(0).uniform(30, 1338, clips)).long()
    total = int(frames.sum())
    features = torch.empty(total, BANDS, dtype=torch.float16, device=device)
    for piece in features.split(1 << 20):
        piece.copy_(torch.randn(piece.shape, device=device) * 20 - 40)
    store = Clips(
        features, (frames.cumsum(0) - frames).to(device), frames.to(device), torch.zeros(BANDS, device=device)
    )
    targets = torch.eye(CLASSES)[torch.arange(clips) % CLASSES]
    return TrainingSet(store, torch.arange(clips), targets, torch.ones(clips), RATE)


def tagger(name: str, device: torch.device) -> Tagger:
    """A network behind its normalisation, laid out as a fold job does."""
    torch.manual_seed(0)
    spec = NETWORKS[name]
    if spec["name"] == "vgg16":
        network = vgg16()
    else:
        module = parts.find("models", spec["name"])
        network = module.build(
            module.Params.parse({k: v for k, v in spec.items() if k != "name"}, name), BANDS, CLASSES
        )
    normalise = Normalise(torch.full((BANDS,), -40.0), torch.full((BANDS,), 20.0))
    return Tagger(normalise, network).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def vgg16() -> Network:
    """The thirteen convolutions of VGG16 (Simonyan & Zisserman 2015), normalised, pooled, one layer of 4,096."""
    body: list[nn.Module] = []
    n_in = 1
    for n_out in VGG16:
        if n_out == 0:
            body.append(nn.MaxPool2d(2))
            continue
        body += [*normed_conv(n_in, n_out), activation("relu")]
        n_in = n_out
    return Network(nn.Sequential(*body), Pool("avgmax", 512), dense_head(512, CLASSES, 4096, "selu", 0.4))


def operations(name: str) -> int:
    """Floating-point operations of training on one crop: twice the multiply-adds, three times over."""
    return 6 * count_multiply_adds(tagger(name, torch.device("cpu")).network, torch.zeros(1, 1, BANDS, 256))


# --------------------------------------------------------------------------------------------------------------- parts


def peak(bench: Bench) -> float:
    """FLOP/s of a large bfloat16 product of random numbers, median of ten."""
    size = 8192 if bench.gpu else 256
    a, b = (torch.randn(size, size, device=bench.device).bfloat16() for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * size**3 / median(bench.seconds(lambda: a @ b) for _ in range(10))


def measure_logmel(bench: Bench, hours: float) -> dict[str, Any]:
    """Seconds for the log-mel of so much audio in the host's memory, copies there and back and the sums included."""
    frontend = logmel.Frontend(logmel.Params(n_fft=2048, hop_length=320, n_mels=128, fmin=40, fmax=15500))
    maker = logmel.on_device(frontend, bench.device)
    rng = np.random.default_rng(0)
    minutes = (0.1 * rng.standard_normal(600 * 32_000)).astype(np.float32)
    clips = max(3, round(CLIPS * hours / HOURS))
    waves = [minutes[i : i + n] for i, n in rng.integers((0, 9_600), (len(minutes) // 2, 428_000), (clips, 2))]
    first = next(maker(waves[:2], [True] * 2))[0]
    own = np.concatenate([frontend(wave) for wave in waves[:2]])[: len(first)]
    error = float(np.abs(first.astype(float) - own.astype(float)).max())
    if not error < 0.07:  # a step of float16 at 64 dB and more
        raise SystemExit(f"log-mel on {bench.device} differs from the CPU's by {error} dB")
    done = [0]

    def work() -> None:
        done[0] = sum(len(frames) for frames, _ in maker(waves, [True] * clips))

    seconds = bench.seconds(work)
    made = sum(len(wave) for wave in waves) / 32_000 / 3600
    return {"hours": made, "frames": done[0], "seconds": seconds, "largest difference dB": error}


def measure_model(bench: Bench, data: TrainingSet, name: str, compile: str, rate: float) -> dict[str, Any]:
    """One line of the table: a few epochs, and what forty of them in five folds come to."""
    batch, epochs = bench.number("batch"), bench.number("epochs") + 1
    marks = [time.perf_counter()]
    model, settings = tagger(name, bench.device), settings_of(name, batch, compile, epochs)
    if bench.gpu:
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        state = None if "safetensors" in _stand_ins.missing else Path(folder) / "state"
        loss = cross_entropy.build(cross_entropy.Params())
        fit(model, loss, data, settings, 0, state, report=lambda entry: marks.append(time.perf_counter()))
    spans = np.diff(marks)
    epoch = float(np.median(spans[1:]))
    extra = float(spans[0]) - epoch  # warming up and compiling
    count = len(data.rows) // FOLDS + round(len(data.rows) * TEST / CLIPS)  # held out, and test
    judge = torch.arange(count, device=bench.device) % len(data.rows)
    held = Clips(data.clips.features, data.clips.offsets[judge], data.clips.frames[judge], data.clips.fill)
    judged = bench.seconds(lambda: predict(model, held, settings, RATE, lambda x: x.log_softmax(1)))
    crops = len(data.rows) // batch * batch
    flops = operations(name) * crops / epoch
    return {
        "model": name,
        "compile": compile,
        "batch": batch,
        "epoch s": epoch,
        "crops/s": crops / epoch,
        "TFLOP/s": flops / 1e12,
        "share of peak": flops / rate,
        "start s": extra,
        "predict s": judged,
        "5 x 40 s": FOLDS * (EPOCHS * epoch + extra + judged),
        "GiB": torch.cuda.max_memory_allocated() / 2**30 if bench.gpu else float("nan"),
    }


def refuse_waiting(bench: Bench, data: TrainingSet, name: str, compile: str) -> None:
    """End the benchmark where a step makes the host wait for the device; an epoch's first step may."""
    call = epochs_of(bench, data, name, compile, 0)
    for _ in range(6):
        next(call)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(6):
            next(call)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def whole_fold(bench: Bench, name: str, compile: str) -> dict[str, Any]:
    """One fold as a command of its own: the set, 40 epochs, all predictions, in wall seconds."""
    started = time.perf_counter()
    data = made_set(bench.number("clips"), bench.device)
    row = measure_model(bench, data, name, compile, float("inf"))
    return {"model": name, "compile": compile, "fold": bench.words["fold"], "wall s": time.perf_counter() - started} | {
        key: row[key] for key in ("epoch s", "start s", "predict s", "GiB")
    }


# ------------------------------------------------------------------------------------------------------------ together


def epochs_of(bench: Bench, data: TrainingSet, name: str, compile: str, seed: int) -> Iterator[Tensor]:
    """The steps of one fold's epochs, one at a time, without averages and files."""
    settings = settings_of(name, bench.number("batch"), compile, 1)
    model = tagger(name, bench.device).train()
    optimizer = make_optimizer(model, settings.training)
    step = make_step(model, cross_entropy.build(cross_entropy.Params()), [optimizer], settings)
    generator = torch.Generator().manual_seed(seed)
    steps, batch = settings.training.plan(len(data.rows))[1], settings.training.batch_size
    while True:
        order = torch.randperm(len(data.rows), generator=generator)[: steps * batch].view(steps, batch)
        draws = draw(settings.augment, steps, batch, generator)
        yield from run_epoch(step, data, order, draws, settings, [1e-3] * steps)


def streams(bench: Bench, data: TrainingSet, name: str, compile: str, folds: int) -> Callable[[int], Tensor]:
    """Several folds taking turns, each on a stream of its own; returns what runs so many steps of each."""
    runs = [epochs_of(bench, data, name, compile, seed) for seed in range(folds)]
    own = [torch.cuda.Stream() if bench.gpu else None for _ in runs]

    def work(steps: int) -> Tensor:
        losses = []
        for _ in range(steps):
            for call, stream in zip(runs, own, strict=True):
                with torch.cuda.stream(stream) if stream else nullcontext():
                    losses.append(next(call))
        return torch.stack([loss.detach().cpu() for loss in losses[-folds:]])

    return work


class Batched:
    """Several folds as one network with stacked weights (torch.func), normalised by the batch alone."""

    def __init__(self, name: str, folds: int, device: torch.device) -> None:
        from torch.func import functional_call, replace_all_batch_norm_modules_, stack_module_state, vmap

        models = []
        for seed in range(folds):
            model = tagger(name, device)
            torch.manual_seed(seed)
            replace_all_batch_norm_modules_(model.network)
            models.append(model.network.train())
        weights, buffers = stack_module_state(models)  # type: ignore[arg-type]
        self.weights = {key: value.detach().requires_grad_() for key, value in weights.items()}
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=1e-3, fused=True)

        def loss(weights: Any, buffers: Any, x: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.cross_entropy(functional_call(models[0], (weights, buffers), (x,)).float(), targets)

        losses = vmap(loss, randomness="different")
        self.losses = lambda x, targets: losses(self.weights, buffers, x, targets)

    def step(self, x: Tensor, targets: Tensor, params: Any) -> Tensor:
        """One step of all folds on their batches (folds, B, ...); returns their losses."""
        with autocast(x.device, params):
            each = self.losses(x, targets)
        each.sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return each.detach()


def batched(bench: Bench, data: TrainingSet, name: str, folds: int) -> Callable[[int], Tensor]:
    """Returns what runs so many steps of all folds as one network; all on one batch each, cut beforehand."""
    batch, together = bench.number("batch"), Batched(name, folds, bench.device)
    params = settings_of(name, batch, "none", 1).training
    x = torch.randn(folds, batch, 1, BANDS, 256, device=bench.device)
    targets = data.targets[: folds * batch].view(folds, batch, -1).to(bench.device)

    def work(steps: int) -> Tensor:
        for _ in range(steps):
            losses = together.step(x, targets, params)
        return losses.cpu()

    return work


def processes(bench: Bench, name: str, compile: str, folds: int, steps: int) -> float:
    """Seconds in which so many processes, begun together, each make so many steps."""
    words = [f"{key}={bench.words[key]}" for key in ("batch", "clips")]
    call = [sys.executable, __file__, "worker", f"model={name}", f"compile={compile}", f"device={bench.device}", *words]
    workers = [
        subprocess.Popen([*call, f"fold={fold}", f"epochs={steps}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for fold in range(folds)
    ]
    try:
        for worker in workers:
            _hear(worker, b"ready")
        started = time.perf_counter()
        for worker in workers:
            assert worker.stdin
            worker.stdin.write(b"go\n")
            worker.stdin.flush()
        for worker in workers:
            _hear(worker, b"done")
        return time.perf_counter() - started
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _hear(worker: subprocess.Popen[bytes], word: bytes) -> None:
    assert worker.stdout
    while (line := worker.stdout.readline().strip()) != word:
        if not line:
            raise SystemExit("a worker of `processes` has ended early")


def be_worker(bench: Bench) -> None:
    """One process of `processes`: warm up, say so, wait for the start, make the steps, say so."""
    data = made_set(bench.number("clips"), bench.device)
    call = epochs_of(bench, data, bench.words["model"], bench.words["compile"], int(bench.words["fold"] or 0))
    for _ in range(6):
        next(call)
    bench.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(bench.number("epochs")):
        next(call)
    bench.wait()
    print("done", flush=True)


def measure_together(bench: Bench, data: TrainingSet, name: str, steps: int = 60) -> list[dict[str, Any]]:
    """Crops a second of several folds at once, by each way of having them at once."""
    rows = []
    for folds in map(int, bench.many("at_once")):
        ways: dict[tuple[str, str], Callable[[], float]] = {}
        for compile in [word for word in ("none", "graph") if word in bench.many("compile")]:
            ways["streams", compile] = partial(timed, bench, partial(streams, bench, data, name, compile, folds), steps)
            ways["processes", compile] = partial(processes, bench, name, compile, folds, steps)
        ways["batched", "none"] = partial(timed, bench, partial(batched, bench, data, name, folds), steps)
        for (way, compile), work in ways.items():
            try:
                seconds = work()
            except torch.OutOfMemoryError:
                seconds = float("nan")
            crops = folds * steps * bench.number("batch") / seconds
            rows.append({"model": name, "at once": folds, "way": way, "compile": compile, "crops/s": crops})
            print(rows[-1], flush=True)
    return rows


def timed(bench: Bench, make: Callable[[], Callable[[int], Any]], steps: int) -> float:
    """Seconds of so many steps of what `make` returns, after a few to warm up."""
    work = make()
    work(6)
    return bench.seconds(partial(work, steps))


# ----------------------------------------------------------------------------------------------- checks without a GPU


def check(bench: Bench) -> dict[str, bool]:
    """Hold every part against a plain version at a small size; what differs ends the benchmark."""
    data = made_set(24, bench.device)
    held = {
        "log-mel is the CPU frontend's": measure_logmel(bench, 0.005)["frames"] > 0,
        "folds taking turns are the folds alone": _same_in_turns(bench, data),
        "batched folds are the folds alone": _same_batched(bench),
        "processes make their steps": processes(bench, "tiny", "none", 2, 2) > 0,
        "VGG16 has its multiply-adds": abs(operations("vgg16") / 6 / 10.0e9 - 1) < 0.02,
        "a measured row is complete": all(
            value == value for key, value in _small_row(bench, data).items() if key != "GiB"
        ),
    }
    wrong = [name for name, right in held.items() if not right]
    if wrong:
        raise SystemExit(f"checks failed: {'; '.join(wrong)}")
    return held


def _small_row(bench: Bench, data: TrainingSet) -> dict[str, Any]:
    return measure_model(bench, data, "tiny", "none", peak(bench))


def _same_in_turns(bench: Bench, data: TrainingSet) -> bool:
    together = streams(bench, data, "tiny", "none", 2)(3)
    alone = [epochs_of(bench, data, "tiny", "none", seed) for seed in range(2)]
    return torch.equal(together, torch.stack([[next(call) for _ in range(3)][-1] for call in alone]))


def _same_batched(bench: Bench) -> bool:
    both, x = Batched("tiny", 2, bench.device), torch.randn(2, 4, 1, BANDS, 256)
    targets = torch.eye(CLASSES)[torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])]
    alone = tagger("tiny", bench.device).network.train()
    expected = [nn.functional.cross_entropy(alone(batch), truth) for batch, truth in zip(x, targets, strict=True)]
    return torch.allclose(both.losses(x, targets), torch.stack(expected), atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------- main


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    lines = [list(rows[0]), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def parse(arguments: list[str]) -> Bench:
    """Words into what is to be measured."""
    words = dict(WORDS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in words:
            raise SystemExit(f"'{argument}' is not one of {', '.join(f'{word}=' for word in words)}")
        words[key] = value
    device = torch.device(words["device"] or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True  # as fold jobs do
    return Bench(words, device)


def measure(bench: Bench) -> dict[str, Any]:
    """All parts that are asked for, on a GPU."""
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(bench.device), "torch": torch.__version__}
    if bench.words["fold"]:
        long = Bench(bench.words | {"epochs": str(EPOCHS - 1)}, bench.device)
        found["folds"] = [whole_fold(long, m, c) for m in bench.many("model") for c in bench.many("compile")]
        show(found["folds"])
        return found
    found["peak"] = rate = peak(bench)
    print(f"{found['gpu']}: {rate / 1e12:.0f} TFLOP/s in a bfloat16 product", flush=True)
    if "logmel" in bench.many("what"):
        found["logmel"] = measure_logmel(bench, HOURS)
        show([found["logmel"]])
    data = made_set(bench.number("clips"), bench.device)
    if "models" in bench.many("what"):
        found["models"] = []
        for name in bench.many("model"):
            if name == "resnet18" and "timm" in _stand_ins.missing:
                print("resnet18 is left out: timm is not installed")
                continue
            for compile in bench.many("compile"):
                refuse_waiting(bench, data, name, compile)
                found["models"].append(measure_model(bench, data, name, compile, rate))
                print(found["models"][-1], flush=True)
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps(found, indent=1))
        show(found["models"])
    if "together" in bench.many("what"):
        found["together"] = [r for m in bench.many("model")[:1] for r in measure_together(bench, data, m)]
        show(found["together"])
    return found


def main(arguments: list[str]) -> None:
    """Measure or check; write, print."""
    if arguments[:1] == ["worker"]:
        be_worker(parse(arguments[1:]))
        return
    bench = parse(arguments)
    if bench.gpu:
        found = measure(bench)
    else:
        print("no GPU: every part is run at a small size on the CPU and held against a plain version")
        small = Bench(bench.words | {"batch": "4", "clips": "24"}, bench.device)
        found = {"checks": check(small), "not measured": ["peak", "log-mel of 18 h", *NETWORKS, "folds at once"]}
        for name in found["checks"]:
            print(f"  right: {name}")
        print("  not measured: the peak, log-mel of 18 h, seconds of any network, folds at once")
    RESULT.parent.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
