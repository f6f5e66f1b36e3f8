"""Decode every clip once and store the features that the models of this call need.

Takes the competition's csv files and recordings.
Leaves cache/<name>/<frontend>-<key>/ (always safe to delete) and names the files that cannot be used.
"""

import warnings
from functools import cache
from typing import Any

from tonestack import cli
from tonestack.base import workers
from tonestack.config.call import Call
from tonestack.features import missing, store
from tonestack.features.audio import MISSING
from tonestack.features.prepare import PrepareReport, prepare

WINDOW = r"[_-]\d+(\.\w+)?$"  # how the name of a window ends: its second or number


def run(call: Call, frontends: list[dict[str, Any]] | None = None) -> PrepareReport:
    """Make the features of `frontends`, or of all models of this call, that are not up to date."""
    specs = frontends or [spec for experiment in call.experiments() for spec in experiment.config.frontends]
    unique = [spec for index, spec in enumerate(specs) if spec not in specs[:index]]
    if call.rate and any(spec.get("sample_rate") == call.rate for spec in unique):
        say_band(call.rate)
    report = prepare(call.competition(), unique, call.data.audio, call.cache, workers.decoders(), device=gpu(call))
    print(f"prepare: {report}")
    for row in report.bad.itertuples():
        print(f"  unusable {row.part} clip {row.clip_id}: {row.reason}")
    if why := no_test_clip(call, report):
        warnings.warn(why, stacklevel=2)
    for line in store.shared_audio(report.clips):
        print(f"  {line}")
    return report


def no_test_clip(call: Call, report: PrepareReport) -> str:
    """Say, before hours of training, that no test clip can be predicted, and the likeliest reason; empty if one can."""
    test, bad = call.competition().test, report.bad[report.bad["part"] == "test"]
    if test.empty or len(bad) < len(test):
        return ""
    said = f"none of the {len(test)} test clips can be used, so no submission can be made of them"
    names = test["clip_id"].str.replace(WINDOW, "", regex=True)
    if 2 * names.nunique() <= len(names):
        return (
            f"{said}: rows such as {', '.join(test['clip_id'][:2])} seem to be windows of recordings; "
            "give one row and one file per window"
        )
    first = str(test["path"].iloc[0])
    where = f"; {missing.why(call.root, first)}" if bad["reason"].iloc[0] == MISSING else ""
    return f"{said}: {call.root / first}: {bad['reason'].iloc[0]}{where}; check the test recordings' folder and suffix"


@cache
def say_band(rate: int) -> None:
    """Print, once per process, that the frontends were laid out for the recordings."""
    print(f"prepare: the recordings are at {rate:,} Hz; spectral frontends reach up to {rate // 2:,} Hz")


def gpu(call: Call) -> Any:
    """The GPU of `device=cuda`, for frontends that can use one; None otherwise."""
    if not call.words.device.startswith("cuda"):
        return None
    from tonestack.training.device import choose_device  # torch: only here, preparing does without it

    device = choose_device(call.words.device)
    return device if device.type == "cuda" else None


if __name__ == "__main__":
    cli.main(run, __doc__)
