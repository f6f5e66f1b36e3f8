"""The confusion matrix and the most frequent mistakes, with clips to play."""

from tonestack.report import plots
from tonestack.report.blocks import Block, Cell, Chart, TableBlock
from tonestack.report.material import Material

import numpy as np

TITLE, ORDER = "Confusion", 50

MOST = 60  # classes in the matrix: those with the most errors
NAMED, PLAYED = 6, 12  # clips named when a cell is hovered, played when it is clicked
LISTED = 15  # mistakes in the table

Cells = dict[tuple[int, int], list[int]]  # given and predicted class -> numbers of clips, the surest first


def blocks(material: Material) -> list[Block]:
    """The matrix and the most frequent mistakes."""
    found = material.best
    if found is None or not material.one_label or not len(rows := material.judged(found)):
        return []
    predicted = found.train[rows].argmax(axis=1)
    given, cells = material.targets[rows], Cells()
    for i in np.argsort(-found.train[rows, predicted], kind="stable"):
        cells.setdefault((int(given[i]), int(predicted[i])), []).append(int(rows[i]))
    wrong = {pair: clips for pair, clips in sorted(cells.items()) if pair[0] != pair[1]}
    share = float((given == predicted).mean())
    shown: list[Block] = [chart(material, cells, f"{found.name}: {share:.1%} of {len(rows):,} verified clips right.")]
    return shown + ([mistakes(material, wrong)] if len(wrong) else [])


def chart(material: Material, cells: Cells, said: str) -> Chart:
    """Rows are given labels, columns predictions; colours are shares per row."""
    kept = classes_shown(cells, len(material.classes))
    names = [material.classes[i] for i in kept]
    place = {number: i for i, number in enumerate(kept)}
    count = np.zeros((len(kept), len(kept)))
    hover = np.full(count.shape, "", dtype=object)
    numbers: list[list[list[int]]] = [[[] for _ in kept] for _ in kept]
    for (given, predicted), clips in cells.items():
        if given in place and predicted in place:
            i, j = place[given], place[predicted]
            count[i, j], numbers[i][j] = len(clips), clips[:PLAYED]
            hover[i, j] = _hover(material, names[i], names[j], clips)
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    made = plots.heat(np.where(count > 0, share, np.nan), names, names, plots.SEQUENTIAL, hoverinfo="text", zmin=0)
    made.data[0].update(zmax=1, hovertext=hover, customdata=numbers, xgap=1, ygap=1, showscale=len(kept) > 1)
    made.data[0].update(colorbar={"title": "share", "thickness": 12})
    made.update_xaxes(title={"text": "predicted", "standoff": 12})
    made.update_yaxes(title={"text": "given", "standoff": 12})
    left = f" The {len(kept)} classes with the most mistakes." if len(kept) < len(material.classes) else ""
    return Chart(made, f"Confusion matrix. {said} The table below lists the most frequent mistakes.{left}", said + left)


def classes_shown(cells: Cells, count: int) -> list[int]:
    """All classes, or the `MOST` with the most mistakes, in order."""
    if count <= MOST:
        return list(range(count))
    errors = np.zeros(count)
    for (given, predicted), clips in cells.items():
        errors[[given, predicted]] += len(clips) * (given != predicted)
    return sorted(np.argsort(-errors, kind="stable")[:MOST].tolist())


def mistakes(material: Material, wrong: Cells) -> TableBlock:
    """Return the most frequent mistakes, each with its most confident clips to play."""
    lines = []
    for (given, predicted), clips in sorted(wrong.items(), key=lambda cell: -len(cell[1]))[:LISTED]:
        names = material.classes[given], material.classes[predicted]
        lines.append([*map(Cell.of, names), Cell.of(len(clips)), Cell("", clips=tuple(clips[:5]))])
    return TableBlock("The most frequent mistakes", ("Given", "Predicted", "Clips", "Listen"), lines)


def _hover(material: Material, given: str, predicted: str, clips: list[int]) -> str:
    names = [plots.text(name) for name in material.clips["clip_id"].iloc[clips[:NAMED]]]
    more = f"<br>and {len(clips) - NAMED} more" if len(clips) > NAMED else ""
    return f"{plots.text(given)} → {plots.text(predicted)}: {len(clips)}<br>" + "<br>".join(names) + more
