"""The scores as a picture: every table's cross-validation with its error, and the test scores beside it."""

from tonestack.report import plots
from tonestack.report.blocks import Block, Chart
from tonestack.report.material import Material

import pandas as pd

TITLE, ORDER = "Scores", 20

MOST = 40  # tables in the picture
MARKS = {"public": ("Public", "diamond"), "private": ("Private", "square")}


def blocks(material: Material) -> list[Block]:
    """Return tables, then the label revisions that were compared."""
    board = material.board[material.board["cv"].notna()].head(MOST)
    shown: list[Block] = [tables(material, board)] if len(board) else []
    loop = material.csv(material.folder / "label_loop.csv", ["revision", "cv", "se", "chosen"])
    return shown + ([revisions(material, loop)] if loop is not None else [])


def tables(material: Material, board: pd.DataFrame) -> Chart:
    """Return one line per table, the best at the top."""
    names = [plots.text(name) for name in board["experiment"]]
    made = plots.figure(plots.rows_height(len(board)), yaxis={"autorange": "reversed"})
    made.update_xaxes(title=material.metric.name)
    made.update_yaxes(tickvals=list(range(len(names))), ticktext=[plots.short(n) for n in board["experiment"]])
    for kind, rows in board.reset_index(drop=True).groupby("kind", sort=True):
        errors = {"type": "data", "array": rows["cv_se"], "thickness": 1.5, "width": 3}
        made.add_scatter(x=rows["cv"], y=rows.index, error_x=errors, mode="markers", name=f"CV ± se, {kind}")
        made.data[-1].update(text=[names[i] for i in rows.index], hovertemplate="%{text}<br>CV %{x:.4f}<extra></extra>")
    for column, (name, symbol) in MARKS.items():
        if board[column].notna().any():
            made.add_scatter(x=board[column], y=list(range(len(board))), mode="markers", name=name)
            made.data[-1].update(marker={"symbol": f"{symbol}-open", "size": 9, "line": {"width": 2}})
            made.data[-1].update(text=names, hovertemplate="%{text}<br>" + name + " %{x:.4f}<extra></extra>")
    first = board.iloc[0]
    alt = f"Scores of {len(board)} tables; the best is {first['experiment']} with {first['cv']:.4f}. The leaderboard "
    said = f"{len(board)} tables" if len(board) < MOST else f"The best {MOST} tables"
    return Chart(made, alt + "holds the same numbers.", f"{said}; bars are one standard error.")


def revisions(material: Material, loop: pd.DataFrame) -> Chart:
    """Return the scores of the same models trained on each label revision."""
    made = plots.figure(plots.rows_height(len(loop)), yaxis={"autorange": "reversed"})
    made.update_xaxes(title=f"{material.metric.name} of the scouts")
    errors = {"type": "data", "array": loop["se"], "thickness": 1.5, "width": 3}
    made.add_scatter(x=loop["cv"], y=[plots.text(r) for r in loop["revision"]], error_x=errors, mode="markers")
    made.data[-1].update(marker={"size": 9}, name="CV ± se", hovertemplate="%{y}: %{x:.4f}<extra></extra>")
    chosen = loop.loc[loop["chosen"].astype(str) == "True", "revision"].tolist()
    said = ", ".join(f"{r.revision} {r.cv:.4f}" for r in loop.itertuples())
    alt = f"Score of the same models on each label revision: {said}. Chosen: {', '.join(chosen) or 'none'}."
    return Chart(made, alt, f"Label revisions compared; chosen: {', '.join(chosen) or 'none'}.")
