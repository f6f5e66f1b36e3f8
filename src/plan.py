"""Plan a call of `all` with these words: its jobs and estimated time. Nothing is run.

Takes  the competition's csv files and recordings, and the files below cache/, folds/, oof/ and submissions/.
Prints every stage: its jobs, what is up to date and why the rest is not, and an estimate from a few seconds of
timing: features of a few clips, a few steps of every model at its real shapes, a few trials of a blend.
"""

import time

import blend
import make_folds
import report
import stack
import submit
from tonestack import cli
from tonestack.config.call import Call
from tonestack.ensemble.tables import Tables, to_join
from tonestack.studies import planning
from tonestack.tables import oof


def run(call: Call) -> list[planning.PlanRow]:
    """Print the plan; return its items."""
    started = time.monotonic()
    found = planning.items(call, records(call))
    print(planning.shown(found))
    print(f"(planned in {time.monotonic() - started:.0f} s)")
    return found


def records(call: Call) -> dict[str, str]:
    """Return the reason why `make_folds` and each stage on prediction tables would run; empty if up to date."""
    return {"make_folds": make_folds.why(call)} | on_tables(call)


def on_tables(call: Call) -> dict[str, str]:
    """Return the same for the stages that read prediction tables."""
    if not oof.experiments(call.oof) or not (call.folds / "r0.csv").is_file():
        return dict.fromkeys(("blend", "stack", "submit", "report"), "not made yet")
    tables, stacked = blend.joined(call), Tables.of(call, to_join(call, call.data.stack.tables))
    return {
        "blend": blend.record(call, tables).why(),
        "stack": stack.record(call, stacked).why(),
        "submit": submit.record(call).why(),
        "report": report.record(call).why(),
    }


if __name__ == "__main__":
    cli.main(run, __doc__)
