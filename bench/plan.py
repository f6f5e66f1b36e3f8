"""Estimates of `plan` against measured times: every stage of the demo.

`plan.py`: the synthesised demo with its own preset, in a folder of its own. Leaves bench/results/plan.json.
"""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import blend
import make_folds
import prepare
import report as report_verb
import score
import stack
import submit
import train
from _measure import report
from tonestack.config.call import Call
from tonestack.studies import planning

STAGES: dict[str, Callable[[Call], Any]] = {
    "prepare": prepare.run,
    "make_folds": make_folds.run,
    "train": train.run,
    "blend": blend.run,
    "stack": stack.run,
    "submit": submit.run,
    "score": score.run,
    "report": report_verb.run,
}
NOTHING_THERE = {"make_folds": "not made yet", **dict.fromkeys(("blend", "stack", "submit", "report"), "not made yet")}


def timed(work: Callable[[Call], Any], call: Call) -> float:
    """Seconds of a stage, its words swallowed."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        work(call)
    return time.perf_counter() - started


def main() -> None:
    """Plan, run, compare."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["TONESTACK_HOME"] = home
        call = Call.from_arguments(["data=demo"])
        call.competition()  # synthesised here, so that neither side pays for it
        planned = -time.perf_counter()
        items = planning.items(call, NOTHING_THERE)
        planned += time.perf_counter()
        estimate: dict[str, float] = {}
        for item in items:
            estimate[item.stage] = estimate.get(item.stage, 0.0) + (item.seconds or 0.0)
        took = {stage: timed(work, call) for stage, work in STAGES.items()}
    rows = [
        {"stage": stage, "estimate s": estimate.get(stage, 0.0), "took s": seconds} for stage, seconds in took.items()
    ]
    rows.append({"stage": "all", "estimate s": sum(estimate.values()), "took s": sum(took.values())})
    known = [stage for stage in ("prepare", "train", "blend", "stack") if estimate.get(stage)]
    ratio = sum(estimate[stage] for stage in known) / sum(took[stage] for stage in known)
    about = f"estimate and truth of the demo, {len(call.preset.models)} models; planned in {planned:.0f} s"
    report("plan", rows, {"about": about, "ratio": ratio, "seconds_to_plan": planned})


if __name__ == "__main__":
    main()
