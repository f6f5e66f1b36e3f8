"""What `all` would do with these words, and about how long it would take here; nothing of it is done.

Takes  the competition's csv files and recordings, and what is there below cache/, folds/, oof/ and submissions/.
Prints every stage: its jobs, what is up to date and why the rest is not, and an estimate from a few seconds of
calibration: features of a few clips, a few steps of every model at its real shapes, a few trials of a blend.
"""

import time

import blend
import make_folds
import report
import stack
import submit
from tonestack import cli
from tonestack.config.call import Call
from tonestack.ensemble.tables import Tables
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
    """Why `make_folds` and each stage on prediction tables would run as things are; empty where it would not."""
    return {"make_folds": make_folds.why(call)} | on_tables(call)


def on_tables(call: Call) -> dict[str, str]:
    """The same of the stages that read prediction tables."""
    if not oof.experiments(call.oof) or not (call.folds / "r0.csv").is_file():
        return dict.fromkeys(("blend", "stack", "submit", "report"), "not made yet")
    tables = Tables.of(call, call.data.blend.tables, call.data.blend.made)
    stacked = Tables.of(call, call.data.stack.tables)
    return {
        "blend": blend.record(call, tables).why(),
        "stack": stack.record(call, stacked).why(),
        "submit": submit.record(call).why(),
        "report": report.record(call).why(),
    }


if __name__ == "__main__":
    cli.main(run, __doc__)
