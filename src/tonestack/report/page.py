"""Write index.html and audit.html with everything they need into one folder; a browser opens them from disk."""

import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tonestack.base.files import atomic, fingerprint, write_text
from tonestack.config.call import Call
from tonestack.report import doubts, sections, sounds
from tonestack.report.blocks import Block, Chart, More, PageSection, TableBlock, Tabs
from tonestack.report.material import Material
from tonestack.report.sounds import Excerpt

import jinja2
import numpy as np
import pandas as pd
import plotly
from markupsafe import Markup

HERE = Path(__file__).parent
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
ASSETS = "assets"
FIXED = ("number", "clip_id", "given", "verified", "proposed", "doubt")  # of the doubts table: the rest are methods


def write(call: Call) -> tuple[list[Path], str]:
    """Make both pages; return the files written and a line of summary."""
    material = Material(call)
    parts = [PageSection(*named(m), blocks) for m in sections.every() if (blocks := m.blocks(material))]
    doubtful = doubts.table(material)
    shown = doubtful.head(material.params.audit_clips)
    audited = sounds.make(material, shown["number"].tolist(), material.params.audit_seconds, pictures=True)
    wanted = [n for n in dict.fromkeys(clips_of(parts)) if n not in audited][: material.params.clips]
    heard = audited | sounds.make(material, wanted, material.params.seconds)
    sounds.sweep(material.folder, heard.values())
    write_assets(material.folder)
    templates = environment()
    common = {"name": call.name, "has_audit": len(shown) > 0}
    pages = {"index.html": {"parts": parts, "facts": facts(material), "clips": clip_list(material, heard)}}
    if len(shown):
        pages["audit.html"] = {"audit": audit(material, shown, audited), "total": len(doubtful)}
    for name, values in pages.items():
        write_text(material.folder / name, templates.get_template(name).render(common | values))
    if not len(shown):
        (material.folder / "audit.html").unlink(missing_ok=True)
    said = f"{len(parts)} sections, {len(heard):,} playable clips, {len(shown)} to audit"
    return [material.folder / name for name in pages], said


def named(module: Any) -> tuple[str, str]:
    """A section's key and title."""
    return module.__name__.rpartition(".")[2], module.TITLE


def environment() -> jinja2.Environment:
    """Return templates that escape their inputs."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["json"] = as_json
    made.filters["figure"] = lambda figure: _quiet(figure.to_json())
    return made


def as_json(value: Any) -> Markup:
    """Return a value as json that is safe inside a script element."""
    return _quiet(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def _quiet(text: str) -> Markup:
    """Replace `<`, `>` and `&`, so that no text ends the element or begins another."""
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def write_assets(folder: Path) -> None:
    """Copy style sheet, scripts and Plotly beside the pages."""
    for source in [*sorted((HERE / "assets").iterdir()), PLOTLY]:
        with atomic(folder / ASSETS / source.name) as temporary:
            shutil.copyfile(source, temporary)


# ---------------------------------------------------------------------------------------------------------- index.html


def facts(material: Material) -> list[tuple[str, str]]:
    """Return the facts at the top of the page: name and value."""
    folds, first = material.folds, material.first
    lines = [("Metric", material.metric.name)]
    if first is not None:
        row = material.board.set_index("experiment").loc[first]
        chosen = material.choice if material.choice.get("table") == first else {}
        lines += [("Submitted" if first == material.submitted else "Chosen" if chosen else "Best table", first)]
        said = {"CV": f"{row['cv']:.4f} ± {row['cv_se']:.4f}"} if pd.notna(row["cv"]) else {}
        if isinstance(chosen.get("cv"), float) and isinstance(chosen.get("se"), float):
            said = {"CV of the choice, nested": f"{chosen['cv']:.4f} ± {chosen['se']:.4f}"}
        said |= {n.capitalize(): f"{row[n]:.4f}" for n in ("public", "private") if pd.notna(row[n])}
        lines += said.items()
    lines += [("Train clips", f"{len(folds):,} ({int(folds['verified'].sum()):,} verified)")]
    lines += [("Test clips", f"{len(material.clips) - len(folds):,}"), ("Classes", f"{len(material.classes):,}")]
    return [*lines, ("Tables", f"{len(material.board):,}")]


def clips_of(parts: Sequence[PageSection]) -> Iterator[int]:
    """Numbers of the clips that the page plays: those of tables first, then those of charts."""
    every = [block for part in parts for block in flat(part.blocks)]
    tables = (cell.clips for block in every if isinstance(block, TableBlock) for row in block.rows for cell in row)
    yield from chain.from_iterable(tables)
    for block in every:
        if isinstance(block, Chart):
            for trace in block.figure.data:
                yield from numbers(getattr(trace, "customdata", None))


def flat(blocks: Sequence[Block]) -> Iterator[Block]:
    """Blocks and those within them."""
    for block in blocks:
        if isinstance(block, More):
            yield from flat(block.blocks)
        elif isinstance(block, Tabs):
            yield from flat(list(block.tabs.values()))
        else:
            yield block


def numbers(value: Any) -> Iterator[int]:
    """All numbers in nested lists or arrays."""
    if value is None:
        return
    for one in value:
        if isinstance(one, int | np.integer):
            yield int(one)
        else:
            yield from numbers(one)


def clip_list(material: Material, heard: dict[int, Excerpt]) -> dict[str, Any]:
    """All clips by number: name, given label, first choice, its probability, state, sound.

    Labels are numbers into `labels`, -1 for none; state is 0 for a test clip, 1 unverified, 2 verified.
    """
    clips = material.clips
    labels = sorted({*material.classes, *clips["label"]} - {""})
    place = {label: i for i, label in enumerate(labels)}
    rows: list[list[Any]] = []
    first, sure = choices(material)
    for number, row in enumerate(clips.itertuples()):
        state = 0 if row.part == "test" else 2 if row.verified else 1
        choice = place[material.classes[first[number]]] if first[number] >= 0 else -1
        sound = heard[number].audio if number in heard else ""
        rows.append([row.clip_id, place.get(str(row.label), -1), choice, float(sure[number]), state, sound])
    return {"labels": labels, "clips": rows}


def choices(material: Material) -> tuple[np.ndarray, np.ndarray]:
    """The best table's first choice of every clip (-1: none) and its probability."""
    first, sure = np.full(len(material.clips), -1), np.zeros(len(material.clips))
    if material.best is not None and material.best.train.shape[1] == len(material.classes):
        p = material.best.every
        there = np.flatnonzero(np.isfinite(p).all(axis=1))
        first[there], sure[there] = p[there].argmax(axis=1), p[there].max(axis=1).round(3)
    return first, sure


# ---------------------------------------------------------------------------------------------------------- audit.html


def audit(material: Material, shown: pd.DataFrame, heard: dict[int, Excerpt]) -> dict[str, Any]:
    """Return the data of the audit page's script."""
    methods = [name for name in shown.columns if name not in FIXED]
    entries = []
    for _, row in shown.iterrows():
        sound = heard.get(int(row["number"]))
        seen = {} if sound is None else {"audio": sound.audio, "picture": sound.picture, "span": span(sound)}
        entries.append(doubts.entry(material, row, methods) | seen)
    return {
        "name": material.call.name,
        "key": fingerprint([material.call.name, material.folds["clip_id"].tolist()]),
        "classes": list(material.classes),
        "methods": methods,
        "clips": entries,
        "corrections": material.corrections.to_dict("records"),
    }


def span(sound: Excerpt) -> str:
    """Return the part of the recording that the excerpt plays."""
    if sound.whole - sound.seconds < 0.05:
        return f"{sound.whole:.1f} s"
    return f"{sound.start:.1f} to {sound.start + sound.seconds:.1f} s of {sound.whole:.1f} s"
