"""Write trained networks as ONNX models, wave in and probabilities out, the frontend inside.

Takes  oof/<name>/<experiment>/ of `model=` (fold= for some of its folds) and a few of the competition's clips.
Leaves exports/<name>/<experiment>/model.onnx, compared with torch on those clips, and predict_onnx.py beside it, which
       needs onnxruntime, numpy and soundfile alone.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.base.files import atomic
from tonestack.config.call import Call
from tonestack.deploy import onnx_export, predict_onnx
from tonestack.deploy.new_clips import build_frontend
from tonestack.deploy.predictor import Predictor
from tonestack.deploy.trained import TrainedExperiment
from tonestack.features import watched
from tonestack.features.audio import BadAudio, resample
from tonestack.labels import revisions
from tonestack.settings.words import parse_folds
from tonestack.tables import oof

import numpy as np
import onnx
import onnxruntime
import torch

CHECKED = 12  # clips: the shortest, the longest and some between
TOLERANCE = 1e-4  # largest difference of a probability from torch's


def run(call: Call) -> list[Path]:
    """Export every model of the call; those that cannot be exported are named, or refused if `model=` names them."""
    made = []
    for experiment in call.experiments(revisions.chosen(call.folds)):
        receipts = oof.receipts(call.oof / experiment.name)
        folds = parse_folds(call.words.fold, list(receipts)) if call.words.fold and receipts else None
        trained = TrainedExperiment(call.oof / experiment.name, call.data.task, torch.device("cpu"), folds)
        why = onnx_export.refusal(trained)
        if why and call.words.model:
            raise UserError(why)
        if why:
            print(f"export: left out: {why}")
            continue
        made.append(export(call, trained))
    return made


def export(call: Call, trained: TrainedExperiment) -> Path:
    """Export one experiment; return the path of its model."""
    started = time.monotonic()
    module = onnx_export.build(trained, call.data.fold_mean, call.task.one_label)
    data = with_facts(onnx_export.to_onnx(module), facts(call, trained, module.sample_rate))
    gaps, took = compare(call, trained, data)
    folder = call.exports / trained.name
    if max(gaps) > TOLERANCE:
        raise UserError(
            f"{folder}: the model differs from torch by {max(gaps):.2g}, over {TOLERANCE:g}; nothing written"
        )
    with atomic(folder / "model.onnx") as temporary:
        temporary.write_bytes(data)
    shutil.copyfile(Path(predict_onnx.__file__), folder / "predict_onnx.py")
    print(
        f"{folder / 'model.onnx'}: {len(trained.folds)} folds, {len(data) / 1e6:.1f} MB, wave at "
        f"{module.sample_rate} Hz (batch, samples) -> {len(trained.classes)} probabilities; at most "
        f"{max(gaps):.1e} from torch on {len(gaps)} clips, {took * 1000:.0f} ms "
        f"per clip ({time.monotonic() - started:.0f} s)"
    )
    return folder / "model.onnx"


def facts(call: Call, trained: TrainedExperiment, sample_rate: int) -> dict[str, Any]:
    """Return the facts that a user of the model needs."""
    audio = call.data.audio
    return {
        "experiment": trained.name,
        "folds": trained.folds,
        "classes": list(trained.classes),
        "sample_rate": sample_rate,
        "trim_db": audio.trim_db,
        "peak_normalise": audio.peak_normalise,
    }


def with_facts(data: bytes, known: dict[str, Any]) -> bytes:
    """Return the model with the facts as metadata."""
    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, {"tonestack": json.dumps(known, ensure_ascii=False)})
    changed: bytes = model.SerializeToString()
    return changed


def compare(call: Call, trained: TrainedExperiment, data: bytes) -> tuple[list[float], float]:
    """Return the largest difference from our predictions for each of some clips, and the seconds per clip."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    predictor = in_float32(Predictor(call.oof, trained.name, call.data, "cpu", trained.folds))
    rate, gaps, seconds = build_frontend(trained.settings.frontend).sample_rate, [], 0.0
    for path in some_clips(call):
        clip = watched.decode_clip(path, call.data.audio)
        wave = resample(clip.wave, clip.rate, rate)
        started = time.perf_counter()
        rows = session.run(None, {"wave": wave[None]})[0]
        seconds += time.perf_counter() - started
        gaps.append(float(np.abs(rows - predictor([clip])).max()))
    return gaps, seconds / len(gaps)


def in_float32(predictor: Predictor) -> Predictor:
    """Return the predictor in float32, which the exported model uses."""
    for trained in predictor.trained.values():
        training = trained.settings.training.model_copy(update={"precision": "float32"})
        trained.settings = trained.settings.model_copy(update={"training": training})
    return predictor


def some_clips(call: Call) -> list[Path]:
    """Return the shortest and the longest usable file of the competition, and some between."""
    competition = call.competition()
    paths = [call.root / path for path in competition.clips["path"].unique()]
    there = sorted((p for p in paths if p.is_file() and p.stat().st_size), key=lambda p: p.stat().st_size)
    chosen = [there[i] for i in np.unique(np.linspace(0, len(there) - 1, 2 * CHECKED).astype(int))] if there else []
    usable = [p for p in chosen if _usable(call, p)]
    if not usable:
        raise UserError(f"{call.root}: no recording of the competition can be read, so an export cannot be checked")
    return [usable[i] for i in np.unique(np.linspace(0, len(usable) - 1, CHECKED).astype(int))]


def _usable(call: Call, path: Path) -> bool:
    try:
        watched.decode_clip(path, call.data.audio)
    except BadAudio:
        return False
    return True


if __name__ == "__main__":
    cli.main(run, __doc__)
