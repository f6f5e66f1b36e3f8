"""Seconds that a three-model ensemble takes for a minute of a soundscape, stage by stage and by runtime, without a GPU.

`soundscape_inference.py [files=4] [folds=5] [threads=1] [root=DIR] [runtimes=torch,onnxruntime,openvino]`. Decodes
one-minute recordings (those in `root`, else noise made on the spot), computes the features of both frontends, and hears
their windows of 5 s by the networks of `preset=fast` and `soundscape_vgg`, all folds, with random weights: they take
the time that trained ones take. Times are least processor seconds, so that other load does not count. Says how many
minutes 600 files take. Leaves bench/results/soundscape_inference.json.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from _measure import least_cpu_seconds, report
from tonestack.base import parts
from tonestack.deploy import runtimes
from tonestack.deploy.new_clips import build_frontend, frames
from tonestack.features import pieces
from tonestack.features.audio import decode_clip
from tonestack.features.store import Store
from tonestack.networks.layers import Normalise, Tagger
from tonestack.settings.data_config import AudioParams
from tonestack.settings.model_config import ModelConfig
from tonestack.training.learners.network import RestoredNetwork

import numpy as np
import pandas as pd
import soundfile
import torch
import yaml

MODELS = ("soundscape_cqt", "soundscape_sed", "soundscape_vgg")
CONFIGS = Path(__file__).parents[1] / "configs" / "model"
CLASSES, RATE, MINUTE, WINDOW, FILES = 234, 32_000, 60.0, 5.0, 600
WORDS = {"files": "4", "folds": "5", "threads": "1", "root": "", "runtimes": "torch,onnxruntime,openvino"}


def recordings(folder: Path, words: dict[str, str]) -> list[Path]:
    """The files that are heard: some of `root`, or noise with a tone, as ogg."""
    count = int(words["files"])
    if words["root"]:
        return sorted(path for path in Path(words["root"]).iterdir() if path.suffix in (".ogg", ".wav", ".flac"))[
            :count
        ]
    paths = [folder / f"{number}.ogg" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).normal(0, 0.05, round(MINUTE * RATE))
        soundfile.write(path, noise + 0.1 * np.sin(np.arange(len(noise)) * (0.2 + 0.01 * number)), RATE)
    return paths


def network(settings: ModelConfig, width: int) -> Tagger:
    """A network of a config's size with random weights."""
    params = parts.part_params("models", settings.network, "network")
    built = parts.find("models", settings.network["name"]).build(params, width, CLASSES)
    return Tagger(Normalise(torch.zeros(width), torch.ones(width), settings.crop.normalise), built).eval()


def heard(name: str, runtime: str, store: Store, scratch: Path) -> RestoredNetwork:
    """One fold's network of a model, by a runtime."""
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    settings = ModelConfig.parse(yaml.safe_load(text), name)
    torch.manual_seed(0)
    model = network(settings, store.width)
    if runtime != "torch":
        length, folder = runtimes.lengths(settings, store.frame_rate)[0], scratch / name
        folder.mkdir(exist_ok=True)
        path = folder / f"fold0.{length}.onnx"
        if not path.is_file():
            path.write_bytes(runtimes.to_onnx(model, store.width, length))
        model = runtimes.Other(model, {length: path}, runtime)
    return RestoredNetwork(settings, model.to(memory_format=torch.channels_last), "multilabel", torch.device("cpu"))


def main(arguments: list[str]) -> None:
    """Print the table and leave the json."""
    words = WORDS | dict(argument.split("=", 1) for argument in arguments)
    torch.set_num_threads(int(words["threads"]))
    chosen = [name for name in words["runtimes"].split(",") if importlib.util.find_spec(name)]
    specs = {
        name: yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["frontend"] for name in MODELS
    }
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        paths = recordings(Path(scratch), words)
        decode = least_cpu_seconds(lambda: [decode_clip(path, AudioParams()) for path in paths], 2)
        clips = [decode_clip(path, AudioParams()) for path in paths]
        minutes = sum(len(clip.wave) / clip.rate for clip in clips) / 60
        rows.append({"what": "decoding", "seconds a minute": decode / minutes})
        stores: dict[str, Store] = {}
        for spec in {str(spec): spec for spec in specs.values()}.values():
            frontend = build_frontend(spec)
            made = [frames(clip, [frontend])[0] for clip in clips]
            seconds = least_cpu_seconds(lambda f=frontend: [frames(clip, [f]) for clip in clips], 2)
            rows.append({"what": f"features: {spec['name']}", "seconds a minute": seconds / minutes})
            stores[str(spec)] = windows_of(Store.in_memory(made, frontend))
        shared = sum(row["seconds a minute"] for row in rows)
        folds = int(words["folds"])
        for runtime in chosen:
            total = shared
            for name in MODELS:
                store = stores[str(specs[name])]
                model = heard(name, runtime, store, Path(scratch))
                ids = store.clips.index.tolist()
                model.log_probabilities(store, ids)  # compares with torch, warms up
                seconds = least_cpu_seconds(lambda m=model, s=store, i=ids: m.log_probabilities(s, i), 3)
                rows.append(
                    {"what": f"{name}, {folds} folds, {runtime}", "seconds a minute": folds * seconds / minutes}
                )
                total += folds * seconds / minutes
            whole = total * FILES / 60
            rows.append({"what": f"all, {runtime}", "seconds a minute": total, f"minutes for {FILES} on a core": whole})
    about = f"{len(MODELS)} models x {folds} folds, {minutes:g} minutes of sound, {CLASSES} classes, processor seconds"
    report("soundscape_inference", rows, {"about": about, "folds": folds})


def windows_of(store: Store) -> Store:
    """The store's recordings cut into windows."""
    row, start = pieces.spans(store.clips["frames"].to_numpy() / store.frame_rate, WINDOW)
    table = pd.DataFrame({"recording": store.clips.index.to_numpy()[row], "start": start, "end": start + WINDOW})
    return pieces.only(store, table)


if __name__ == "__main__":
    main(sys.argv[1:])
