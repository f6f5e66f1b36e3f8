"""Tag any recordings with trained models: `predict FILE|DIR ... [model=NAME] [top=3] [format=table|json]`.

Takes  recordings that libsndfile reads (wav, flac, ogg, mp3, ...), and oof/<name>/: the table that `submit` chose, with
       its experiments; submit.table=NAME takes another table, model=NAME one model's folds.
Leaves tags and probabilities on the terminal (format=json: one line of json per recording, messages on stderr) and, for
       recordings longer than predict.whole seconds, a picture of the tags over time in reports/<name>/timelines/.
"""

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from tonestack import cli
from tonestack.base.console import bar
from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, read_json
from tonestack.base.section import Section
from tonestack.config.call import Call
from tonestack.deploy import recordings, timeline
from tonestack.deploy.predictor import Predictor
from tonestack.deploy.recordings import TaggedRecording
from tonestack.labels import revisions
from tonestack.settings.words import parse_folds
from tonestack.tables import oof

import numpy as np
from pydantic import Field
from tqdm import tqdm


class Wanted(Section):
    """The words of this verb alone."""

    BARE: ClassVar[str] = "path"

    path: tuple[str, ...] = Field((), description="recordings, or folders of them; the key may be left out")
    top: int = Field(3, ge=1, description="tags shown")
    format: Literal["table", "json"] = Field("table", description="table, or one line of json per recording")
    timeline: Literal["auto", "true", "false"] = Field(
        "auto", description="picture of the tags over time; auto: for long files, true: for all"
    )


def run(call: Call, wanted: Wanted) -> None:
    """Tag every recording; name unusable ones and go on."""
    if not wanted.path:
        raise UserError("predict: name recordings or folders of them, such as ./run.sh predict some.wav data=demo")
    paths = recordings.find([Path(name).expanduser() for name in wanted.path])
    for line in recordings.skipped([Path(name).expanduser() for name in wanted.path]):
        note(f"note: {line}")
    predictor = build(call)
    note(f"predict: {predictor.recipe.name} ({', '.join(predictor.trained)})")
    started, seconds, failed = time.monotonic(), 0.0, 0
    params = call.data.predict
    whole = params.window if wanted.timeline == "true" else params.whole
    shown = Shown(call, wanted, predictor.classes, max(len(str(path)) for path in paths))
    with bar(len(paths), "predict", "clips", enabled=len(paths) > 1) as progress:
        for recording in recordings.tagged(paths, predictor, call.data.audio, whole, params.window):
            shown(recording)
            seconds, failed = seconds + recording.length, failed + (not recording.rows)
            progress.update()
    took = time.monotonic() - started
    speed = f"{len(paths) / took:.3g} clips/s, {seconds / took:.3g} times real time"
    unusable = f", {failed} unusable" * (failed > 0)
    note(f"predict: {len(paths)} clips, {seconds:.1f} s of sound in {took:.1f} s ({speed}){unusable}")
    if failed == len(paths):
        raise UserError("predict: none of the recordings can be used")


def build(call: Call) -> Predictor:
    """Return the predictor of `model=`, of `submit.table=`, or of the table that `submit` chose."""
    table = table_of(call)
    receipts = oof.receipts(call.oof / table)
    folds = parse_folds(call.words.fold, list(receipts)) if call.words.fold and receipts else None
    return Predictor(call.oof, table, call.data, call.words.device, folds)


def table_of(call: Call) -> str:
    """Return the name of the table to predict with."""
    models, table = call.words.model or (), call.data.submit.table
    if len(models) + bool(table) > 1:
        raise UserError("predict: give one model=, or one table of several by submit.table=, or neither")
    if models:
        return call.experiment(models[0], revisions.chosen(call.folds)).name
    choice = call.submissions / "choice.json"
    if table:
        return table
    if not choice.is_file():
        raise UserError(f"{choice}: nothing has been chosen yet; run submit, or give model=NAME")
    return str(read_json(choice, {"table": str})["table"])


class Shown:
    """Prints the tags, one recording after the other, and draws timelines."""

    def __init__(self, call: Call, wanted: Wanted, classes: Sequence[str], width: int) -> None:
        self.call, self.wanted, self.classes, self.width = call, wanted, classes, width

    def __call__(self, recording: TaggedRecording) -> None:
        """Print one recording's line and draw its picture."""
        picture = self.picture(recording)
        as_json = self.wanted.format == "json"
        text = (
            json.dumps(self.record(recording, picture), ensure_ascii=False)
            if as_json
            else self.line(recording, picture)
        )
        tqdm.write(text, file=sys.stdout)
        if recording.error and as_json:
            note(f"  {recording.path}: {self.fault(recording)}")

    def best(self, row: np.ndarray) -> dict[str, float]:
        """Return the likeliest tags of probabilities (C,)."""
        order = np.argsort(-row, kind="stable")[: self.wanted.top]
        return {self.classes[c]: round(float(row[c]), 5) for c in order}

    def line(self, recording: TaggedRecording, picture: Path | None) -> str:
        """Return a recording's line of the table."""
        name = str(recording.path).ljust(self.width)
        if not recording.rows:
            return f"{name}  unusable: {recording.error}"
        tags = "  ".join(f"{tag} {p:.3f}" for tag, p in self.best(recording.tags).items())
        more = [f"[{self.fault(recording)}]"] if recording.error or recording.cut else []
        more += [f"[{len(recording.rows)} windows: {picture}]"] if picture else []
        return "  ".join([name, timeline.clock(recording.length).rjust(7), tags, *more])

    def record(self, recording: TaggedRecording, picture: Path | None) -> dict[str, Any]:
        """Return a recording's line of json."""
        result: dict[str, Any] = {"file": str(recording.path)}
        if recording.rows:
            result |= {"seconds": round(recording.length, 3), "tags": self.best(recording.tags)}
        if len(recording.rows) > 1:
            spans = zip(recording.starts, recording.seconds, map(self.best, recording.rows), strict=True)
            result["windows"] = [{"start": round(a, 3), "end": round(a + n, 3), "tags": tags} for a, n, tags in spans]
        if picture:
            result["timeline"] = str(picture)
        return result | ({"error": self.fault(recording)} if recording.error or recording.cut else {})

    def fault(self, recording: TaggedRecording) -> str:
        """Return the fault of a recording."""
        if not recording.rows:
            return recording.error
        return f"ends after {timeline.clock(recording.length)}: {recording.error or 'shorter than its header says'}"

    def picture(self, recording: TaggedRecording) -> Path | None:
        """Draw a timeline if there is more than one piece."""
        if len(recording.rows) < 2 or self.wanted.timeline == "false":
            return None
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", recording.path.stem)[:60]
        path = self.call.reports / "timelines" / f"{stem}-{fingerprint(str(recording.path.resolve()))[:8]}.png"
        timeline.draw(recording, self.classes, self.call.data.predict.shown, path)
        return path


def note(text: str) -> None:
    """Print a message on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.main(run, __doc__, own=Wanted)
