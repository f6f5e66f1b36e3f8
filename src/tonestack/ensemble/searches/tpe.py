"""Weights by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011)."""

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
    """TPE for batches: trials under way count as bad, so that a batch spreads out."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=params.batch)


def work(problem: Problem, params: BlendParams) -> int:
    """Weightings scored."""
    return params.trials
