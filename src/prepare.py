"""Decode every clip once and store the features that the models of this call need.

Takes the competition's csv files and recordings.
Leaves cache/<name>/<frontend>-<key>/ (always safe to delete) and names the files that cannot be used.
"""

from typing import Any

from tonestack import cli
from tonestack.base import workers
from tonestack.config.call import Call
from tonestack.features import store
from tonestack.features.prepare import PrepareReport, prepare


def run(call: Call, frontends: list[dict[str, Any]] | None = None) -> PrepareReport:
    """Make the features of `frontends`, or of all models of this call, that are not up to date."""
    specs = frontends or [experiment.config.frontend for experiment in call.experiments()]
    unique = [spec for index, spec in enumerate(specs) if spec not in specs[:index]]
    if call.rate and any(spec.get("sample_rate") == call.rate for spec in unique) and not frontends:
        print(f"prepare: the recordings are at {call.rate:,} Hz; spectral frontends reach up to {call.rate // 2:,} Hz")
    report = prepare(call.competition(), unique, call.data.audio, call.cache, workers.decoders(), device=gpu(call))
    print(f"prepare: {report}")
    for row in report.bad.itertuples():
        print(f"  unusable {row.part} clip {row.clip_id}: {row.reason}")
    for line in store.shared_audio(report.clips):
        print(f"  {line}")
    return report


def gpu(call: Call) -> Any:
    """The GPU of `device=cuda`, for frontends that can use one; None otherwise."""
    if not call.words.device.startswith("cuda"):
        return None
    from tonestack.training.device import choose_device  # torch: only here, preparing does without it

    device = choose_device(call.words.device)
    return device if device.type == "cuda" else None


if __name__ == "__main__":
    cli.main(run, __doc__)
