"""Compare the speakers of two recordings: ./run.sh verify a.wav b.wav [data=NAME] [model=a,b].

Takes  two recordings, the finished folds of the models (trained first where they are not) and their OOF trials.
Leaves nothing: prints every model's score (mean over folds of the cosine of embeddings), and the probability of one
speaker, calibrated by logistic regression on OOF trials. Without data= the demo's models are used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import train
from tonestack import cli
from tonestack.base.console import aligned
from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.config.call import Call, Experiment
from tonestack.deploy import new_clips
from tonestack.ensemble.tables import Tables
from tonestack.ensemble.trials import fusion
from tonestack.features.audio import Clip
from tonestack.features.store import Store
from tonestack.settings.words import Words
from tonestack.training import device, queue
from tonestack.training.crops import Clips
from tonestack.training.learners import network

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.special import expit, logit

DEMO = "demo_trials"


class Wanted(Section):
    """The words of this verb alone."""

    BARE: ClassVar[str] = "clip"

    clip: tuple[str, ...] = Field((), description="the two recordings; the key may be left out")


def run(call: Call, wanted: Wanted) -> float:
    """Print the scores and the probability; return it."""
    if not call.task.open_set:
        call = instead(call)
    files = [Path(name).expanduser() for name in wanted.clip]
    if len(files) != 2:
        raise UserError(f"verify: give two recordings, such as ./run.sh verify a.wav b.wav (given: {len(files)})")
    clips = [new_clips.decoded(path, call.data.audio) for path in files]  # before hours of training
    experiments = train.run(call)
    scores = [score(call, experiment, clips) for experiment in experiments]
    names = [experiment.name for experiment in experiments]
    print(aligned(pd.DataFrame({"model": names, "score": [f"{value:.4f}" for value in scores]})))
    probability, count = calibrated(call, names, scores)
    prior = call.data.verify.prior
    print(f"one person: probability {probability:.3f} (prior {prior:g}; calibrated on {count} trials of strangers)")
    return probability


def instead(call: Call) -> Call:
    """Return the demo's call if no data were named."""
    if call.words.data != Words.model_fields["data"].default:
        raise UserError(f"verify: data={call.words.data} is not a verification task; give task=verify or other data=")
    return call.but(data=DEMO)


def score(call: Call, experiment: Experiment, recordings: Sequence[Clip]) -> float:
    """Return the mean over folds of the cosine of two recordings; embeddings of two folds have no common space."""
    spec = experiment.config.frontend
    store = Store.open(call.cache, spec, call.data.audio)
    frontend = new_clips.build_frontend(spec)
    features = [frames for clip in recordings for frames in new_clips.frames(clip, [frontend])]
    clips = Clips.of(features, store, device.choose_device(call.words.device))
    made = [network.unit_embeddings(job, store, clips) for job in queue.build(call, [experiment])]
    return float(np.mean([one @ two for one, two in made]))


def calibrated(call: Call, names: list[str], scores: list[float]) -> tuple[float, int]:
    """Return the probability of one speaker, and the number of trials that it is calibrated on."""
    problem = Tables.of(call, names).problem()
    fused = fusion.fitted(problem.tables, problem.targets)
    ratio = float(fused(np.array(scores)[:, None, None])[0, 0])
    return float(expit(ratio + logit(call.data.verify.prior))), len(problem.targets)


if __name__ == "__main__":
    cli.main(run, __doc__, own=Wanted)
