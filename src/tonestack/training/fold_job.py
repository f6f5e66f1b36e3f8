"""Make one fold of one experiment: train, predict, write its three files. Runs in any process.

A task returns its tables by suffix (`Task.tables`). The suffix "" is the experiment's own table; others (score
normalisation) lie beside it, as a variant.
"""

import json
import platform
import time
from dataclasses import replace
from typing import Any

from tonestack import __version__, tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import atomic, claimed, file_hash, fingerprint, write_text
from tonestack.features import pieces
from tonestack.features.store import Store
from tonestack.tables import metrics, oof
from tonestack.training import learners
from tonestack.training.device import set_up_process
from tonestack.training.finished_networks import made_network
from tonestack.training.job import FoldJob, config_fingerprint, refuse_changed_meaning
from tonestack.training.learners import Fitted

import numpy as np
import torch
from safetensors.torch import save_file


def run(job: FoldJob) -> dict[str, Any]:
    """Make a fold that is not up to date; return the receipt. Of several processes one makes it, the others wait.

    Another process may meanwhile have made this fold, or another one, with other settings under the same name: refused.
    """
    with claimed(job.folder / f".fold{job.fold}.lock", f"{job.name}: another process is at it"):
        refuse_changed_meaning(job.folder, job.experiment)
        return job.finished() or make(job)


def make(job: FoldJob) -> dict[str, Any]:
    """Train, predict held-out and test clips, write the files; return the receipt.

    Where a finished fold differs in `inference` alone, its network predicts and none is trained.
    """
    started = time.perf_counter()
    set_up_process(job.threads)
    settings = job.experiment.config
    store = Store.open(job.cache, settings.frontend, job.audio)
    windows: list[str] = []
    if job.level_on:
        store, windows = pieces.with_pieces(store, pieces.windows(store, job.level_on, job.window))
    made = made_network(job)
    learner = learners.find(settings.network)
    fitted = learner.reopen(job, store, made) if made else learner.fit(job, store)
    tables = tasks.find(job.task).tables(job, fitted, lambda: _predict(job, fitted, store))
    refuse_changed_meaning(job.folder, job.experiment)  # as a fold finished meanwhile
    weights = job.folder / f"fold{job.fold}.safetensors"
    weights.with_suffix(".json").unlink(missing_ok=True)  # an old receipt must not stand beside new weights
    with atomic(weights) as temporary:
        save_file(fitted.tensors() if job.keep_weights else {}, temporary)
    receipt = {
        "kind": getattr(parts.find("models", settings.network["name"]), "KIND", "train"),
        "experiment": job.experiment.name,
        "fold": job.fold,
        **({"train_metrics": _train_scores(job, fitted)} if job.train_score else {}),
        **({"levels": _levels(job, fitted, windows)} if windows else {}),
        **({"network_of": made.parent.name} if made else {}),
        "config": settings.model_dump(mode="json"),
        "config_fingerprint": config_fingerprint(job.experiment),
        "inputs": job.inputs,
        "seed": job.experiment.seed,
        "params": fitted.params,
        "learnt_classes": len(job.classes),
        "epochs": fitted.epochs,
        "versions": versions(),
        "checksums": {weights.name: file_hash(weights)},
        "seconds": round(time.perf_counter() - started, 2),
    }
    for suffix in sorted(tables, reverse=True):  # the experiment's own comes last: it marks the fold as finished
        held_out = tables[suffix][: len(job.held_out)]
        receipt |= {"metrics": _scores(job, held_out)} | _score_apart(job, held_out)
        if not suffix:
            track(job, receipt)
        _write(job, suffix, tables[suffix], receipt)
    fitted.done()
    return receipt


def _write(job: FoldJob, suffix: str, values: np.ndarray, receipt: dict[str, Any]) -> None:
    """Write one table; one with a suffix has no weights of its own."""
    part = ["oof"] * len(job.held_out) + [oof.TAUGHT if name in job.taught else "test" for name in job.test]
    folder = job.folder
    if suffix:
        name = replace(job.experiment, variant="-".join(filter(None, [job.experiment.variant, suffix]))).name
        folder, receipt = folder.with_name(name), receipt | {"experiment": name, "checksums": {}}
    oof.write_fold(folder, job.fold, job.held_out + job.test, part, values, job.headings, receipt)


def track(job: FoldJob, receipt: dict[str, Any]) -> None:
    """Append the fold's metrics, seconds and parameter count to the last line of its history file.

    Keys: the metrics by name, those on the training clips as `train_<name>`, `seconds` and `params`.
    """
    lines = job.history_path.read_text().splitlines() if job.history_path.is_file() else []
    last = {"experiment": job.experiment.name, "fold": job.fold, "epoch": receipt["epochs"]}
    last |= json.loads(lines.pop()) if lines else {}
    last |= receipt["metrics"] | {f"train_{name}": v for name, v in receipt.get("train_metrics", {}).items()}
    last |= {"seconds": receipt["seconds"], "params": receipt["params"]}
    write_text(job.history_path, "\n".join([*lines, json.dumps(last)]) + "\n")


def _predict(job: FoldJob, fitted: Fitted, store: Store) -> np.ndarray:
    """Probabilities of held-out then test clips (R, C); clips without audio get the training classes' prior."""
    ids = job.held_out + job.test
    logs = fitted.log_probabilities(ids)
    empty = store.rows(ids)[1] == 0
    broken = ~empty & (np.isnan(logs) | (logs == np.inf)).any(axis=1)
    if broken.any():
        raise UserError(
            f"{job.name}: the trained model's output for clip '{ids[int(broken.argmax())]}' is not a number, so "
            "nothing of it is kept; lower training.lr, or set training.precision=float32"
        )
    probabilities = tasks.find(job.task).probabilities(logs)
    probabilities[empty] = job.labels.prior
    return probabilities.astype(np.float32)


def _scores(job: FoldJob, held_out: np.ndarray) -> dict[str, float]:
    """The metric and the log loss on the fold's verified clips with their r0 labels."""
    if not job.scored.any():
        return {}
    task = tasks.find(job.task)
    truth = task.truth(job.truth[job.scored])
    names = dict.fromkeys([job.metric, *job.more_metrics, *task.metrics])
    return {name: float(metrics.resolve(name)(held_out[job.scored], truth)) for name in names}


def _score_apart(job: FoldJob, held_out: np.ndarray) -> dict[str, dict[str, float]]:
    """The metric on the fold's unverified clips, where the competition has them apart: it is printed, and no more."""
    rest = ~job.scored
    if not job.apart or not rest.any():
        return {}
    truth = tasks.find(job.task).truth(job.truth[rest])
    return {"metrics_apart": {f"{job.apart} {job.metric}": float(metrics.resolve(job.metric)(held_out[rest], truth))}}


def _train_scores(job: FoldJob, fitted: Fitted) -> dict[str, float]:
    """The metric on the clips and labels that the model was trained on."""
    task = tasks.find(job.task)
    logs = fitted.log_probabilities(job.labels.clip_ids)
    usable = ~np.isnan(logs).any(axis=1)
    probabilities, truth = task.probabilities(logs[usable]), task.truth(job.labels.targets[usable])
    return {job.metric: float(metrics.resolve(job.metric)(probabilities, truth))}


def _levels(job: FoldJob, fitted: Fitted, windows: list[str]) -> dict[str, Any]:
    """The model's level per class in the windows (`tables.oof.level`), and the fingerprint of their recordings."""
    task = tasks.find(job.task)
    logs = fitted.log_probabilities(windows)
    usable = ~np.isnan(logs).any(axis=1)
    if not usable.any():
        return {}
    values = oof.level(task.probabilities(logs[usable]), task.one_label)
    return {"on": fingerprint([job.level_on, job.window]), "values": [round(float(value), 5) for value in values]}


def versions() -> dict[str, str]:
    """Versions that a rerun would have to match, and the GPU."""
    return {
        "tonestack": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }
