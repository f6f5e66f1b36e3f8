"""One vector per clip for label spreading: clip statistics, autoencoder latents, or a network's penultimate layer.

Statistics and latents use no label and are shared by all holdouts. The penultimate layer differs by holdout: holdout
k's network is trained without fold k.
"""

from tonestack.base.errors import UserError, nearest
from tonestack.cleaning.pair_models import Partition
from tonestack.config.call import Call, Experiment
from tonestack.features import clip_statistics
from tonestack.features.store import Store
from tonestack.training import learners, queue

import numpy as np

KINDS = ("statistics", "penultimate", "autoencoder")


def model_of(call: Call) -> str:
    """Return the name of the embedding's model config."""
    params = call.data.clean
    if params.embedding not in KINDS:
        raise UserError(f"clean.embedding={params.embedding}: unknown{nearest(params.embedding, KINDS)}")
    return "autoencoder" if params.embedding == "autoencoder" else params.embedder


def by_holdout(call: Call, revision: str) -> np.ndarray:
    """Return embeddings (K, N, D) float32 of the training clips for every holdout; NaN rows have no audio."""
    table = call.labels.folds
    names, holdouts = table["clip_id"].tolist(), Partition.of(table).holdouts
    experiment = call.but(revision=None).experiment(model_of(call), revision)
    if call.data.clean.embedding == "penultimate":
        return np.stack([_penultimate(call, experiment, k, names) for k in holdouts])
    store = Store.open(call.cache, experiment.config.frontend, call.data.audio)
    if call.data.clean.embedding == "statistics":
        if store.width == 1:
            raise UserError(
                f"clean.embedder={experiment.model}: statistics need a spectrogram frontend, not a waveform"
            )
        x = clip_statistics.table(store, names, clip_statistics.kind_for(experiment.config.frontend["name"]))
    else:
        from tonestack.cleaning import autoencoder

        x = autoencoder.latents(call, experiment, store, names)
    return np.broadcast_to(x, (len(holdouts), *x.shape))


def _penultimate(call: Call, experiment: Experiment, holdout: int, names: list[str]) -> np.ndarray:
    """Return embeddings (N, D), means over crops, by the network of one holdout, which is trained if missing."""
    from tonestack.training.learners import network

    if learners.name_of(experiment.config.network) != "network":
        raise UserError(f"clean.embedding=penultimate: {experiment.model} is not a network; set clean.embedder")
    alone = call.but(fold=str(holdout), revision=None)
    todo = queue.pending(alone, [experiment])
    queue.run_all(alone, todo)
    job = queue.build(alone, [experiment])[0]
    store = Store.open(call.cache, experiment.config.frontend, call.data.audio)
    return network.embeddings(job, store, names)
