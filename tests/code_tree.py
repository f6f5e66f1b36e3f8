"""Write the tree of docs/code.md: one line per file, the first sentence of its header.

python tests/code_tree.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "code.md"
BEGIN, END = "<!-- tree: made by tests/code_tree.py -->\n", "<!-- end of the tree -->\n"
ROOMS = [
    *("base", "tables", "settings", "labels", "features", "networks", "tasks", "competition", "config", "training"),
    *("ensemble", "cleaning", "deploy", "report", "studies"),
]
PARTS = 7  # a package of more files than these is one line: its parts are found by name


def main() -> None:
    """Put the tree of today between the marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + tree() + END + after, encoding="utf-8")


def tree() -> str:
    """The tree as Markdown: a table per room, one row per file or package of parts."""
    src = ROOT / "src"
    pieces = ["### The stages: `src/`\n\n" + _table([(path.name, path) for path in sorted(src.glob("*.py"))])]
    for room in ROOMS:
        folder = src / "tonestack" / room
        pieces.append(f"### `{room}/`\n\n{_sentence(folder / '__init__.py')}\n\n{_table(_rows(folder))}")
    return "\n" + "\n".join(pieces) + "\n"


def _rows(folder: Path) -> list[tuple[str, Path]]:
    """Names and files of a room: modules, then packages (all files of small ones, one line for a package of parts)."""
    rows = [(path.name, path) for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    for package in sorted(path.parent for path in folder.rglob("__init__.py") if path.parent != folder):
        files = [path for path in sorted(package.glob("*.py")) if path.name != "__init__.py"]
        if len(files) > PARTS:
            names = ", ".join(path.stem for path in files if not path.stem.startswith("_"))
            rows.append((f"{package.relative_to(folder).as_posix()}/ ({names})", package / "__init__.py"))
        else:
            rows += [(path.relative_to(folder).as_posix(), path) for path in files]
    return rows


def _table(rows: list[tuple[str, Path]]) -> str:
    lines = "".join(f"| `{name.split(' (')[0]}`{_rest(name)} | {_sentence(path)} |\n" for name, path in rows)
    return f"| file | what it does |\n|---|---|\n{lines}"


def _rest(name: str) -> str:
    """The parts of a package, behind its name."""
    return f" {name.split(' (')[1].removesuffix(')')}" if " (" in name else ""


def _sentence(path: Path) -> str:
    """The first paragraph of a file's header up to its first full stop, fit for a table."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    first = re.split(r"(?<!al)(?<!\.)\. (?=[A-Z`])", paragraph)[0].rstrip(".")
    return first.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
