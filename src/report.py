"""Make the report: pages to look at and to listen to, opened from disk by any browser.

Takes  what the other stages have left (oof/, folds/, submissions/, reports/, cache/); it never trains.
Leaves reports/<name>/index.html, and audit.html: the most doubtful labels to be kept, changed or dropped by ear;
       with their pictures, excerpts of recordings and scripts in folders beside them.
"""

import time
from pathlib import Path

import make_folds
from tonestack import cli
from tonestack.config.call import Run
from tonestack.ensemble.up_to_date import Stage
from tonestack.tables import oof

OWN = ("assets", "audio", "layers", "spectrograms")  # folders that the report makes
CODE = Path(__file__).parent / "tonestack" / "report"


def run(run: Run) -> None:
    """Write the pages anew where anything they show has changed."""
    started = time.monotonic()
    make_folds.run(run, quiet=True)
    stage = record(run)
    if stage.up_to_date():
        return
    from tonestack.report import page  # Plotly and scikit-learn: a second that most calls save

    pages, said = page.write(run)
    stage.say(f"report: {', '.join(map(str, pages))}")
    print(f"report: {said} ({time.monotonic() - started:.1f} s)")
    stage.finish(pages)


def record(run: Run) -> Stage:
    """What the pages were last made from."""
    return Stage(run, "report", oof.experiments(run.oof, made=True), run.data.model_dump(mode="json"), inputs(run))


def inputs(run: Run) -> list[Path]:
    """Files that the pages show beside the tables: pictures, decisions, corrections, histories, logs; and the code."""
    found = [*run.folds.glob("*.csv"), *run.submissions.glob("*.*"), *run.cache.glob("*/clips.parquet")]
    found += [*run.oof.glob("*/fold*.jsonl"), run.oof / "scores.json"]
    below = [path for kind in ("png", "csv", "json", "txt") for path in run.reports.rglob(f"*.{kind}")]
    found += [path for path in below if path.relative_to(run.reports).parts[0] not in OWN]
    return sorted({*found, *(path for path in CODE.rglob("*") if path.suffix != ".pyc")})


if __name__ == "__main__":
    cli.main(run, __doc__)
