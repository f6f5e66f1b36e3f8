"""Time of a training step by phase (data, forward, backward, optimiser, other), against lower bounds.

`profile_epoch.py [steps] [WORD ...]`: the networks of a call (left out: of the fast preset) at their real shapes on
made features, threads as in a fold job. The loop has no timers of its own: its functions are wrapped here and timed in
processor time of the process, which other load does not change; torch.profiler gives the operators. The bounds are
multiply-adds / this machine's measured peak of a matrix product in the same type, and the bytes that every layer must
read and write (three times: forward, and in backward for the input's and the weights' gradients) / the measured copy
rate.
Leaves bench/results/profile_epoch.json.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from _measure import copy_bandwidth, product_peak, report
from tonestack.base import parts
from tonestack.config.call import Call
from tonestack.networks.layers import Normalise, Tagger, count_multiply_adds
from tonestack.settings.model_config import ModelConfig
from tonestack.training import loop, step
from tonestack.training.checkpoint import Average
from tonestack.training.crops import Clips
from tonestack.training.device import bfloat16_pays, set_up_process
from tonestack.training.job import threads_and_jobs
from tonestack.training.loop import TrainingSet, fit

import numpy as np
import torch
from timm.optim import Muon
from torch import nn
from torch.profiler import ProfilerActivity, profile

CLASSES, SECONDS = 41, 6.0  # of a clip
OPTIMISERS = (torch.optim.AdamW, Muon)  # a subclass's step calls that of Muon
CUTTING = [(Clips, "_gather"), (Clips, "_finish")]
RANGES: dict[str, list[tuple[Any, str]]] = {
    "data": [(loop, "draw"), (loop, "epoch_places"), *CUTTING, (step, "augment"), (step, "mixup")],
    "forward": [(step, "outputs"), (step, "loss_on"), (Normalise, "forward")],
    "backward": [(torch.Tensor, "backward")],
    "optimiser": [(nn.utils, "clip_grad_norm_"), *((kind, "step") for kind in OPTIMISERS), (Average, "update")],
}


class Timer:
    """Processor seconds by range; a range inside another counts for the inner one alone."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(RANGES, 0.0)
        self.open: list[float] = []

    def wrapped(self, work: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The same function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.open.append(0.0)
            started = time.process_time()
            try:
                return work(*args, **kwargs)
            finally:
                took, inner = time.process_time() - started, self.open.pop()
                self.spent[name] += took - inner
                if self.open:
                    self.open[-1] += took

        return call


def settings_of(model: str, call: Call, steps: int) -> tuple[ModelConfig, Any]:
    """A model's config for one epoch of `steps`, and its frontend."""
    settings = call.experiment(model).config
    short = settings.training.model_copy(update={"epochs": 1, "min_steps": 0})
    module = parts.find("frontends", settings.frontend["name"])
    frontend = module.Frontend(parts.part_params("frontends", settings.frontend, "frontend"))
    return settings.model_copy(update={"training": short}), frontend


def made_set(settings: ModelConfig, frontend: Any, clips: int) -> TrainingSet:
    """Random features of clips of six seconds, in the store's types."""
    frames = round(SECONDS * frontend.frame_rate)
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((clips * frames, frontend.width)) * 20 - 40
    features = torch.from_numpy(raw.astype(frontend.dtype))
    fill = torch.zeros(frontend.width)
    store = Clips(features, torch.arange(clips) * frames, torch.full((clips,), frames), fill)
    targets = torch.eye(CLASSES)[torch.arange(clips) % CLASSES]
    return TrainingSet(store, torch.arange(clips), targets, torch.ones(clips), frontend.frame_rate)


def tagger(settings: ModelConfig, width: int) -> Tagger:
    """The network behind its normalisation, laid out as a fold job does."""
    module = parts.find("models", settings.network["name"])
    params = parts.part_params("models", settings.network, "network")
    model = Tagger(
        Normalise(torch.full((width,), -40.0), torch.full((width,), 20.0)), module.build(params, width, CLASSES)
    )
    return model.to(memory_format=torch.channels_last) if settings.training.channels_last else model  # type: ignore[call-overload]


def layer_bytes(network: nn.Module, x: torch.Tensor, size: int) -> int:
    """Bytes of all leaf layers' inputs and outputs in one forward pass, `size` bytes a number."""
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        total += size * sum(t.numel() for t in tensors)

    hooks = [m.register_forward_hook(count) for m in network.modules() if not list(m.children())]
    with torch.no_grad():
        network.eval()(x)
    for hook in hooks:
        hook.remove()
    return total


def ranges_of(work: Callable[[], Any]) -> dict[str, float]:
    """Processor seconds of each range, and of all, in one call of `work`."""
    timer = Timer()
    originals = [(owner, name, getattr(owner, name)) for marks in RANGES.values() for owner, name in marks]
    try:
        for part, marks in RANGES.items():
            for owner, name in marks:
                setattr(owner, name, timer.wrapped(getattr(owner, name), part))
        started = time.process_time()
        work()
        return timer.spent | {"all": time.process_time() - started}
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def operators(work: Callable[[], Any], most: int = 8) -> dict[str, float]:
    """The operators that take most of the time, and their shares of it."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    events = [e for e in profiler.key_averages() if not e.key.startswith(("ProfilerStep", "Optimizer."))]
    total = sum(e.self_cpu_time_total for e in events)
    events.sort(key=lambda e: -e.self_cpu_time_total)
    return {e.key: round(e.self_cpu_time_total / total, 4) for e in events[:most]}


def row_of(
    model: str, call: Call, steps: int, threads: int, peak: float, bandwidth: float, size: int
) -> dict[str, Any]:
    """One line of the table: milliseconds a step and their floors."""
    settings, frontend = settings_of(model, call, steps)
    batch = settings.training.batch_size
    set_up_process(threads)
    torch.manual_seed(0)
    data, net = made_set(settings, frontend, steps * batch), tagger(settings, frontend.width)
    loss = parts.find("losses", "cross_entropy").build(parts.find("losses", "cross_entropy").Params())

    def epoch() -> None:
        fit(net, loss, data, settings, seed=0)

    epoch()  # warm
    runs = [ranges_of(epoch) for _ in range(3)]
    spent = {name: 1e3 * min(run[name] for run in runs) / steps for name in (*RANGES, "all")}
    known = sum(spent[name] for name in RANGES)
    crop = torch.zeros(1, 1, frontend.width, round(settings.crop.seconds * frontend.frame_rate))
    flops = 3 * 2 * count_multiply_adds(net.network, crop) * batch
    moved = 3 * layer_bytes(net.network, crop, size) * batch
    arithmetic, memory = flops / peak / 1e6, moved / bandwidth / 1e6
    return {
        "model": model,
        **{f"{name} ms": spent[name] for name in RANGES},
        "other ms": spent["all"] - known,
        "step ms": spent["all"],
        "clips/s": 1e3 * batch / spent["all"],
        "arithmetic ms": arithmetic,
        "bytes ms": memory,
        "share of peak": arithmetic / spent["all"],
        "operators": operators(epoch),
    }


def main(steps: int = 12, *words: str) -> None:
    """Profile every network of the call, write, print."""
    call = Call.from_arguments(["device=cpu", *(words or ["data=fsdkaggle2018", "preset=fast"])])
    threads = threads_and_jobs(call)[0]
    bfloat16 = bfloat16_pays(torch.device("cpu"))
    peak = product_peak(threads, torch.bfloat16 if bfloat16 else torch.float32)
    bandwidth = copy_bandwidth(threads)
    networks = [
        name
        for name in call.words.model or call.preset.models
        if hasattr(parts.find("models", call.experiment(name).config.network["name"]), "build")
    ]
    rows = [row_of(name, call, steps, threads, peak, bandwidth, 2 if bfloat16 else 4) for name in networks]
    kind = "bfloat16" if bfloat16 else "float32"
    about = f"{threads} thread(s), {kind}, peak {peak:.0f} GFLOP/s, copy {bandwidth:.1f} GB/s; milliseconds a step"
    found = {row["model"]: row.pop("operators") for row in rows}
    result = {"about": about, "peak_gflops": peak, "copy_gb_s": bandwidth, "threads": threads, "operators": found}
    report("profile_epoch", rows, result)
    for model, shares in found.items():
        print(f"{model}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*(int(word) for word in given if word.isdecimal()), *(word for word in given if not word.isdecimal()))
