"""Files that are unusable or end early, and duplicate recordings."""

from tonestack.features import store
from tonestack.report.blocks import Block, Cell, TableBlock, Text
from tonestack.report.material import Material

import pandas as pd

TITLE, ORDER = "Files", 130

MOST = 200  # rows of a table


def blocks(material: Material) -> list[Block]:
    """Return the results of decoding, then near duplicates if `shift` has run."""
    shown: list[Block] = []
    if len(material.decoded):
        shown.append(Text(summary(material.decoded)))
        shown += faults(material.decoded) + same(material)
    for path in sorted(material.folder.glob("**/near_duplicates*.csv")):
        table = material.csv(path)
        if table is not None:
            shown.append(TableBlock.of(f"Near duplicates ({path.name}), the first {MOST}", table.head(MOST)))
    return shown


def summary(clips: pd.DataFrame) -> str:
    """Return the number of clips, their length, the number of faults."""
    bad, cut = int((clips["status"] == "bad").sum()), int((clips["status"] == "truncated").sum())
    hours = clips["seconds"].sum() / 3600
    return f"{len(clips):,} clips, {hours:.2f} hours; {bad} unusable, {cut} shorter than their headers say."


def faults(clips: pd.DataFrame) -> list[Block]:
    """Unusable and truncated files, by name."""
    found = clips[clips["status"].isin(["bad", "truncated"])].sort_values(["status", "part", "clip_id"])
    if found.empty:
        return []
    names = {"clip_id": "Clip", "part": "Part", "status": "Status", "reason": "Reason"}
    frame = found[list(names)].rename(columns=names).head(MOST)
    return [TableBlock.of(f"Files that are skipped or end early, {len(frame)} of {len(found)}", frame)]


def same(material: Material) -> list[Block]:
    """Groups of clips with the same decoded samples; groups with several labels are marked."""
    twins = store.duplicates(material.decoded)
    if twins.empty:
        return []
    number = pd.Series(material.clips.index, index=material.clips["clip_id"])
    label = material.clips.set_index("clip_id")["label"]
    lines = []
    for _, group in twins.groupby("audio_hash", sort=False):
        names = group["clip_id"].tolist()
        given = sorted({label.get(name, "") for name in names} - {""})
        mark = "labels differ" if len(given) > 1 else ""
        heard = tuple(int(number[name]) for name in names[:5] if name in number.index)
        cells = [Cell(", ".join(names)), Cell.of(len(names)), Cell(", ".join(given), mark=mark), Cell("", clips=heard)]
        lines.append(cells)
    said = f"The same recording more than once: {len(lines)} groups, kept together in one fold"
    return [TableBlock(said, ("Clips", "Count", "Labels", "Listen"), lines[:MOST])]
