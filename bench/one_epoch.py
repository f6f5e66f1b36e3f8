"""One epoch at FSDKaggle2018's size, and a whole run of the preset, from measured training steps.

`one_epoch.py [STEPS] [model=a,b] [preset=fast]` (4): steps of every network at its real shapes, on made features, in
processor seconds, which other load does not change, on one thread as in a fold job. An epoch of one fold is one crop of
each of 7,578 clips (four fifths of 9,473); a run is five folds of the epochs of the config, two jobs side by side. Then
the same for the VGGs of the NTU report at full size (`preset=full`). Leaves bench/results/one_epoch.json.
"""

import sys
import time
from typing import Any

import profile_epoch
from _measure import report
from tonestack.base import parts
from tonestack.config.call import Call
from tonestack.training.device import set_up_process
from tonestack.training.job import threads_and_jobs
from tonestack.training.loop import fit

import torch

CLIPS, FOLDS, CORES = 9_473, 5, 2
LEARNT = CLIPS * (FOLDS - 1) // FOLDS
FULL = ("vgg_small", "vgg_large")


def seconds_per_crop(model: str, call: Call, steps: int) -> tuple[float, Any]:
    """Processor seconds of one crop in a training step of a network, and its config as given."""
    settings, frontend = profile_epoch.settings_of(model, call, steps)
    set_up_process(1)
    torch.manual_seed(0)
    batch = settings.training.batch_size
    net = profile_epoch.tagger(settings, frontend.width)
    loss = parts.find("losses", "cross_entropy").build(parts.find("losses", "cross_entropy").Params())
    data = [profile_epoch.made_set(settings, frontend, count * batch) for count in (1, 1 + steps)]
    spent = []
    for one in data:  # the first step chooses kernels; it is in both and goes out
        started = time.process_time()
        fit(net, loss, one, settings, seed=0)
        spent.append(time.process_time() - started)
    return (spent[1] - min(spent[0], spent[1] / 2)) / (steps * batch), call.experiment(model).config


def row_of(model: str, call: Call, steps: int) -> dict[str, Any]:
    """One line of the table."""
    each, config = seconds_per_crop(model, call, steps)
    crops = max(LEARNT * config.training.epochs, config.training.min_steps * config.training.batch_size)
    return {
        "preset": call.words.preset,
        "model": model,
        "crops/s and core": 1 / each,
        "epoch of a fold, core-minutes": each * LEARNT / 60,
        "epochs": config.training.epochs,
        "five folds, two cores, h": each * crops * FOLDS / CORES / 3600,
    }


def main(arguments: list[str]) -> None:
    """Measure, write, print."""
    words = dict(word.split("=", 1) for word in arguments if "=" in word)
    steps = next((int(word) for word in arguments if word.isdecimal()), 4)
    rows = []
    for preset, named in ((words.get("preset", "fast"), words.get("model")), ("full", ",".join(FULL))):
        call = Call.from_arguments(["data=fsdkaggle2018", f"preset={preset}", "device=cpu"])
        assert threads_and_jobs(call)[0] == 1, "made for machines on which a fold job has one thread"
        for model in named.split(",") if named else call.preset.models:
            if hasattr(parts.find("models", call.experiment(model).config.network["name"]), "build"):
                rows.append(row_of(model, call, steps if preset != "full" else 1))
                print(rows[-1], flush=True)
    total = sum(row["five folds, two cores, h"] for row in rows if row["preset"] != "full")
    report("one_epoch", rows, {"about": f"{LEARNT} clips an epoch; the preset's networks: {total:.1f} h on two cores"})


if __name__ == "__main__":
    main(sys.argv[1:])
