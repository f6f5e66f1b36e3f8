"""Few-shot voice matching: `<voice>/…` clips to learn a voice from, `<voice>.<suffix>` clips to recognise.

Clips of any format, rate and number of channels; names do not matter inside a voice's folder, and folders inside it (a
session, a recording) are its clips' group. The clips to recognise lie beside the folders: a clip named like a
voice has that voice as its true label, which only `score` reads; any other is recognised but not scored.
"""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.competition.readers.folder import clip_id, group, recordings
from tonestack.tables.competition import Competition, SubmissionFormat

import pandas as pd
from pydantic import Field


class Params(Section):
    """The number of voices to use."""

    voices: int = Field(0, ge=0, description="only the first so many, by name; 0: all")


def read(params: Params, root: Path) -> Competition:
    """List the recordings below `root`; none is opened."""
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder; check root=")
    found = recordings(root, root)
    voices = sorted({path.relative_to(root).parts[0] for path in found if path.parent != root})
    if len(voices) < 2:
        raise UserError(
            f"{root}: {len(voices)} folders with clips; matching needs one folder each of two voices or more"
        )
    chosen = voices[: params.voices or len(voices)]
    clips = [path for path in found if path.parent != root and path.relative_to(root).parts[0] in chosen]
    ids = [clip_id(path, root) for path in clips]
    labels = [path.relative_to(root).parts[0] for path in clips]
    train = csvs.train_frame(ids, ids, labels, group=[group(path, root) for path in clips])
    left_out = set(voices) - set(chosen)
    queries = [clip_id(path, root) for path in found if path.parent == root and path.stem not in left_out]
    submission = SubmissionFormat(("fname", "label"), tuple(queries), "label", 1) if queries else None
    return Competition(root, train, csvs.test_frame(queries, queries), tuple(chosen), submission)


def scoring_table(params: Params, root: Path) -> pd.DataFrame | None:
    """True labels from the names (`clip_id, label, usage`); None if no clip is named like a voice."""
    competition = read(params, root)
    queries = pd.DataFrame({"clip_id": competition.test["clip_id"], "usage": "Public"})
    queries["label"] = queries["clip_id"].map(lambda name: Path(name).stem)
    known = queries[queries["label"].isin(competition.classes)]
    return known.reset_index(drop=True) if len(known) else None
