"""Speed of scoring candidate weightings, against the usual way, and seconds of a whole search.

Ten synthetic models x 9,473 clips x 41 classes. Leaves bench/results/blend.json and prints a table.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tonestack.base.files import write_json
from tonestack.ensemble import searches
from tonestack.ensemble.blends import row_normal
from tonestack.ensemble.problem import Problem
from tonestack.settings.data_config import BlendParams
from tonestack.tables.metrics import resolve

MODELS, CLIPS, CLASSES = 10, 9473, 41
RESULT = Path(__file__).parent / "results" / "blend.json"


def synthetic() -> Problem:
    """Ten models of 0.71 to 0.81 MAP@3 that share part of their errors."""
    rng = np.random.default_rng(0)
    targets = rng.integers(CLASSES, size=CLIPS)
    truth = np.arange(CLASSES) == targets[:, None]
    shared = 1.2 * rng.normal(size=(CLIPS, CLASSES))
    quality = rng.uniform(3.2, 4.4, MODELS)
    logits = (shared + rng.normal(size=(CLIPS, CLASSES)) + q * truth for q in quality)
    tables = np.stack([row_normal(np.exp(z)) for z in logits]).astype(np.float32)
    return Problem(tables, targets, resolve("map@3"), tuple(f"m{m}" for m in range(MODELS)))


def usual_way(problem: Problem, weights: np.ndarray) -> float:
    """One candidate as notebooks do it: a loop of weighted sums, argsort, a look for the label."""
    blend = np.zeros(problem.tables.shape[1:])
    for m, weight in enumerate(weights):
        blend += weight * np.log(problem.tables[m])
    best = np.argsort(-blend, axis=1)[:, :3]
    total = 0.0
    for row, target in zip(best, problem.targets, strict=True):
        for place, label in enumerate(row):
            if label == target:
                total += 1 / (1 + place)
    return total / len(best)


def timed(work: Callable[[], object]) -> tuple[object, float]:
    """A result and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def main() -> None:
    """Measure, check that both ways agree, write, print."""
    problem = synthetic()
    weights = np.random.default_rng(1).dirichlet(np.ones(MODELS), 1000)
    usual, usual_seconds = timed(lambda: [usual_way(problem, w) for w in weights[:20]])
    values, batch_seconds = timed(lambda: problem.evaluate(weights, 0.0))
    np.testing.assert_allclose(np.asarray(values)[:20], np.asarray(usual), atol=2e-4)  # float32 against float64
    result = {
        "usual_candidates_per_second": 20 / usual_seconds,
        "candidates_per_second": 1000 / batch_seconds,
        "seconds_1000_candidates": batch_seconds,
        "ratio": usual_seconds / 20 * 1000 / batch_seconds,
    }
    for name in ("tpe", "cmaes", "greedy", "log_loss"):
        blend, seconds = timed(lambda n=name: searches.find(n).fit(problem, BlendParams(trials=1000), 0, None))  # type: ignore[misc]
        result |= {f"seconds_{name}": seconds, f"map3_{name}": problem.score(blend)}  # type: ignore[arg-type]
    write_json(RESULT, result)
    for key, value in result.items():
        print(f"{key:30} {value:12,.4f}")


if __name__ == "__main__":
    main()
