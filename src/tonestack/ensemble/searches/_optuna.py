"""Weights by an Optuna sampler: batches of candidates, each scored at once and written to a journal.

The sampling study is in memory. Finished batches are appended to a journal file, so that a killed worker loses at
most one batch and a second run resumes from there.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from tonestack.base import journals
from tonestack.ensemble import resampling
from tonestack.ensemble.blends import Blend, equal
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.searches import log_loss
from tonestack.settings.data_config import BlendParams

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

Sampler = Callable[[int, BlendParams], optuna.samplers.BaseSampler]
optuna.logging.set_verbosity(logging.ERROR)


def search(problem: Problem, params: BlendParams, sampler: Sampler, seed: int, journal: Path | None) -> Blend:
    """Weights with the best metric among `params.trials`; log loss breaks ties, then superfluous tables go."""
    if problem.count == 1:
        return Blend(equal(1), params.power, normalise=problem.normalise)
    names = [f"w{m}" for m in range(problem.count)]
    space: dict[str, BaseDistribution] = {n: FloatDistribution(0.0, 1.0) for n in names}
    kept = _open(journal)
    done = kept.get_trials(deepcopy=False) if kept else []
    study = optuna.create_study(direction="maximize", sampler=sampler(seed + len(done), params))
    study.add_trials(done)
    if not done:
        for start in _starts(problem, params):
            study.enqueue_trial(dict(zip(names, start, strict=True)))
    for first in range(len(done), params.trials, params.batch):
        trials = [study.ask(space) for _ in range(min(params.batch, params.trials - first))]
        free = np.array([[t.params[n] for n in names] for t in trials])
        values = problem.evaluate(simplex(free), params.power)
        finished = [study.tell(t, float(v)) for t, v in zip(trials, values, strict=True)]
        if kept:
            kept.add_trials(finished)
    tried = study.get_trials(deepcopy=False)
    free = np.array([[t.params[n] for n in names] for t in tried])
    best, _ = problem.best(simplex(free), params.power)
    return Blend(without_superfluous(problem, simplex(free)[best], params.power), params.power, None, problem.normalise)


def simplex(free: np.ndarray) -> np.ndarray:
    """Rows (B, M) of numbers in [0, 1] -> weights that sum to 1."""
    total = free.sum(axis=1, keepdims=True)
    return np.where(total > 0, free / np.where(total > 0, total, 1), 1 / free.shape[1])


def without_superfluous(problem: Problem, weights: np.ndarray, power: float) -> np.ndarray:
    """Drop tables, the lightest first, while the metric loses no more than a twentieth of its standard error.

    A rank metric hardly changes with a small weight, so a search leaves small weights on useless tables.
    """
    least = problem.evaluate(weights, power)[0] - 0.05 * _standard_error(problem, weights, power)
    for m in np.argsort(weights):
        fewer = np.where(np.arange(len(weights)) == m, 0.0, weights)
        if fewer.sum() <= 0:
            break
        fewer = fewer / fewer.sum()
        if problem.evaluate(fewer, power)[0] >= least:
            weights = fewer
    return weights


def _standard_error(problem: Problem, weights: np.ndarray, power: float) -> float:
    if not problem.objective.decomposes:
        return 0.0
    blend = Blend(weights, power, normalise=problem.normalise)
    values = problem.objective.per_clip(blend(problem.tables), problem.targets)
    share = problem.objective.weights(problem.targets)
    if share is None and problem.groups is None:
        return float(values.std() / np.sqrt(len(values)))
    return resampling.standard_error(values, share, problem.groups)


def _starts(problem: Problem, params: BlendParams) -> list[np.ndarray]:
    """Return the first candidates: equal weights, those of least log loss, each table alone."""
    smooth = log_loss.fit(problem, params, 0).weights
    return [np.ones(problem.count), smooth / smooth.max(), *np.eye(problem.count)]


def _open(journal: Path | None) -> optuna.Study | None:
    """Open or create the journal's study."""
    if journal is None:
        return None
    kept = journals.storage(journal)
    return optuna.create_study(study_name="weights", direction="maximize", storage=kept, load_if_exists=True)
