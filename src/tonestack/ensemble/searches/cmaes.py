"""Weights by the covariance matrix adaptation evolution strategy (Hansen 2016)."""

from pathlib import Path

from tonestack.ensemble.blends import Blend
from tonestack.ensemble.problem import Problem
from tonestack.ensemble.searches import _optuna
from tonestack.settings.data_config import BlendParams

import optuna

COMPLEXITY = 25


def fit(problem: Problem, params: BlendParams, seed: int, journal: Path | None = None) -> Blend:
    """Search the simplex for the best metric."""
    return _optuna.search(problem, params, sampler, seed, journal)


def sampler(seed: int, params: BlendParams) -> optuna.samplers.BaseSampler:
    """CMA-ES whose generations are the batches."""
    return optuna.samplers.CmaEsSampler(seed=seed, popsize=params.batch, n_startup_trials=1)


def work(problem: Problem, params: BlendParams) -> int:
    """Weightings scored."""
    return params.trials
