"""Make the report: pages with charts and playable clips, opened from disk by any browser.

Takes  the files of the other stages (oof/, folds/, submissions/, reports/, cache/); it never trains.
Leaves reports/<name>/index.html, and audit.html: the most doubtful labels, to be kept, changed or dropped by ear;
       with their pictures, excerpts of recordings and scripts in folders beside them.
"""

import time
from pathlib import Path

import make_folds
from tonestack import cli
from tonestack.config.call import Call
from tonestack.ensemble.up_to_date import UpToDate
from tonestack.tables import oof

OWN = ("assets", "audio", "layers", "spectrograms")  # folders that the report makes
CODE = Path(__file__).parent / "tonestack" / "report"


def run(call: Call) -> None:
    """Write the pages if any of their inputs has changed."""
    started = time.monotonic()
    make_folds.run(call, quiet=True)
    last = record(call)
    if last.up_to_date():
        return
    from tonestack.report import page  # Plotly and scikit-learn: a second that most calls save

    pages, said = page.write(call)
    last.say(f"report: {', '.join(map(str, pages))}")
    print(f"report: {said} ({time.monotonic() - started:.1f} s)")
    last.finish(pages)


def record(call: Call) -> UpToDate:
    """What the pages were last made from."""
    tables, settings = oof.experiments(call.oof, made=True), call.data.model_dump(mode="json")
    return UpToDate(call, "report", tables, settings, inputs(call))


def inputs(call: Call) -> list[Path]:
    """Return the other inputs: pictures, decisions, corrections, histories, logs; and the code."""
    found = [*call.folds.glob("*.csv"), *call.submissions.glob("*.*"), *call.cache.glob("*/clips.parquet")]
    found += [*call.oof.glob("*/fold*.jsonl"), call.oof / "scores.json"]
    below = [path for kind in ("png", "csv", "json", "txt") for path in call.reports.rglob(f"*.{kind}")]
    found += [path for path in below if path.relative_to(call.reports).parts[0] not in OWN]
    return sorted({*found, *(path for path in CODE.rglob("*") if path.suffix != ".pyc")})


if __name__ == "__main__":
    cli.main(run, __doc__)
