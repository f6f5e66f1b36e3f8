"""Who may import whom: a room never imports a higher one, no room a neighbour on its floor; no circle of modules.

An import counts wherever it stands, in a function or for types alone, and so does a part found by name: whoever calls
`parts.find("models", ...)` is taken to import every model.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tonestack.base import parts

import pytest

SRC = Path(__file__).parents[1] / "src"
FLOORS = [
    {"base"},
    {"tables"},
    {"settings"},
    {"labels", "features", "networks"},
    {"tasks", "competition"},
    {"config"},
    {"training", "ensemble"},
    {"cleaning", "deploy"},
    {"report", "studies"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {".".join(path.relative_to(SRC).with_suffix("").parts): path for path in SRC.rglob("*.py")}


def room(module: str) -> str:
    """`training` of `tonestack.training.loop`; blank for a script and for the package itself."""
    return [*module.split("."), ""][1] if module.startswith("tonestack.") else ""


def imported(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, with the parts that it finds by name."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{name.name}" for name in node.names]
            yield from (name if known(name) else node.module for name in below if known(name) or known(node.module))
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if known(name.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "parts.find",
            "part_params",
            "parts.part_params",
        ):
            kind = node.args[0]
            if isinstance(kind, ast.Constant):
                yield from parts.modules(str(kind.value)).values()


def known(module: str) -> bool:
    """Whether it is a module or a package of ours."""
    return module in MODULES or f"{module}.__init__" in MODULES


def arrows(module: str) -> set[str]:
    """What a module imports, packages by their `__init__`."""
    return {name if name in MODULES else f"{name}.__init__" for name in imported(module)} - {module}


@pytest.mark.parametrize("module", [name for name in sorted(MODULES) if room(name)])
def test_no_room_imports_a_higher_one_or_a_neighbour(module: str) -> None:
    own = room(module)
    if own == "__init__":
        return
    wrong = [
        f"{module} -> {other}"
        for other in sorted(arrows(module))
        if not room(other) or (room(other) not in (own, "__init__") and FLOOR[room(other)] >= FLOOR[own])
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({name: arrows(name) - {f"{name.rpartition('.')[0]}.__init__"} for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_scripts_see_the_report_and_the_studies_and_only_score_sees_test_labels() -> None:
    for module in MODULES:
        seen = arrows(module)
        if room(module) not in ("", "report", "studies"):
            assert not {room(other) for other in seen} & {"report", "studies"}, module
        if "tonestack.ensemble.scoring" in seen:
            assert module == "score" or room(module) == "studies", module


def test_no_room_is_crowded() -> None:
    folders = {path.parent for path in MODULES.values() if path.parent != SRC}
    crowd = {str(folder): len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) for folder in folders}
    assert {name: count for name, count in crowd.items() if count > 20} == {}
