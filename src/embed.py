"""Export embeddings: one vector per clip by every fold's network of the models of this call.

Takes  what train takes; folds that are not finished are trained first.
Leaves reports/<name>/embeddings/<experiment>-fold<k>.parquet: clip_id, d0, d1, ... of all clips, blank without audio.
Vectors of one fold can be compared, by their product: the mean cosine over all pairs of test-time crops.
"""

import train
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.base.files import write_parquet
from tonestack.config.call import Call, Experiment
from tonestack.features.store import Store
from tonestack.training import device, learners, queue
from tonestack.training.crops import Clips
from tonestack.training.job import FoldJob
from tonestack.training.learners import network

import pandas as pd


def run(call: Call) -> None:
    """Write one table per fold."""
    for experiment in call.experiments():
        refuse_others(experiment)
    experiments = train.run(call)
    competition = call.competition()
    clips = list(dict.fromkeys([*competition.train["clip_id"], *competition.test["clip_id"]]))
    for job in queue.build(call, experiments):
        table = embedded(call, job, clips)
        path = call.reports / "embeddings" / f"{job.experiment.name}-fold{job.fold}.parquet"
        write_parquet(path, table)
        print(f"{path}: {len(table)} clips, {table.shape[1] - 1} numbers each")


def refuse_others(experiment: Experiment) -> None:
    """Only networks have an embedding."""
    if learners.name_of(experiment.config.network) != "network":
        raise UserError(f"{experiment.model} is no network and has no embedding; name others with model=")


def embedded(call: Call, job: FoldJob, clip_ids: list[str]) -> pd.DataFrame:
    """The embeddings of one fold's network."""
    store = Store.open(call.cache, job.experiment.config.frontend, call.data.audio)
    clips = Clips.load(store, clip_ids, device.choose_device(job.device))
    vectors = network.unit_embeddings(job, store, clips)
    table = pd.DataFrame(vectors, columns=[f"d{i}" for i in range(vectors.shape[1])])
    table.insert(0, "clip_id", clip_ids)
    return table


if __name__ == "__main__":
    cli.main(run, __doc__)
