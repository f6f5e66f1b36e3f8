"""Measure the code: sizes, the files that one training run imports and executes, circles of imports.

The run is `model=vgg_small data=fsdkaggle2018`; of parts found by name, those that it uses count. The executed files
come from one tiny fold of the demo competition, trained under `sys.setprofile` with features and folds made before.
"""

import inspect
import os
import sys
import tempfile
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median, quantiles
from types import FrameType
from typing import Any

from _imports import MODULES, SRC, closure, functions, imported, kinds, lines, span

PARTS = [  # found by name in that run
    "tonestack.features.frontends.logmel",
    "tonestack.networks.models.vgg",
    "tonestack.networks.losses.cross_entropy",
    "tonestack.training.learners.network",
    "tonestack.training.engines.local",
    "tonestack.tasks.classify",
    "tonestack.competition.readers.fsdkaggle2018",
    "tonestack.tables.metrics.map",
    "tonestack.tables.metrics.log_loss",
]
BEFORE = ("base", "settings", "config", "competition", "features", "labels")  # read or made before the fold starts
STAGES = ("prepare", "make_folds")  # what train runs first
WORDS = [
    "data=demo",
    "model=vgg_small",
    "preset=smoke",
    "jobs=1",
    "device=cpu",
    "training.epochs=1",
    "network.channels=[4,4]",
]


def size() -> dict[str, Any]:
    """Files, lines, function lengths and the widest folder of src/."""
    found = sorted(length for module in MODULES for length in functions(module))
    folders: dict[str, int] = {}
    for module in MODULES:
        room = module.rpartition(".")[0]
        folders[room] = folders.get(room, 0) + (bool(room) and not module.endswith("__init__"))
    widest = max(folders, key=lambda name: folders[name])
    return {
        "files": len(MODULES),
        "lines": sum(map(lines, MODULES)),
        "functions": len(found),
        "function_median": float(median(found)),
        "function_90": float(quantiles(found, n=10)[-1]),
        "function_longest": found[-1],
        "widest_folder": widest,
        "modules_in_widest_folder": folders[widest],
    }


def circle() -> list[str]:
    """A circle of imports, parts found by name included; empty where there is none."""
    from tonestack.base.parts import modules

    def arrows(module: str) -> set[str]:
        found = {name for kind in kinds(module) for name in modules(kind).values()}
        return (imported(module) | found) - {module, f"{module.rpartition('.')[0]}.__init__"}

    try:
        TopologicalSorter({name: arrows(name) for name in MODULES}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def traced(work: Callable[[], Any]) -> dict[str, set[tuple[str, int]]]:
    """The functions of src/ that `work` calls in this thread, by module: name and first line."""
    names = {str(path): module for module, path in MODULES.items()}
    found: dict[str, set[tuple[str, int]]] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in names and code.co_flags & inspect.CO_OPTIMIZED:  # no class body
            found.setdefault(names[code.co_filename], set()).add((code.co_name, code.co_firstlineno))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def executed(home: Path) -> dict[str, set[tuple[str, int]]]:
    """What one tiny fold executes, from src/train.py to the written tables; features and folds are made before."""
    os.environ["TONESTACK_HOME"] = str(home)
    sys.path.insert(0, str(SRC))
    import make_folds
    import prepare
    import train
    from tonestack.config.call import Call

    first = Call.from_arguments([*WORDS, "fold=0"])
    prepare.run(first)
    make_folds.run(first)
    return traced(lambda: train.run(Call.from_arguments([*WORDS, "fold=0"])))


def main() -> None:
    """Print the figures and write them."""
    from _measure import report

    with tempfile.TemporaryDirectory() as home:
        found = executed(Path(home))
    spine = sorted(name for name in found if [*name.split("."), ""][1] not in BEFORE)
    spine = [name for name in spine if name not in STAGES]
    reached = closure(["train", *PARTS])
    rows: list[dict[str, Any]] = [{"figure": key, "value": value} for key, value in size().items()]
    alone = closure(["train", *PARTS], but=STAGES)
    for what, modules in (
        ("closure of train", reached),
        ("the same without prepare and make_folds", alone),
        ("executed", sorted(found)),
        ("spine", spine),
    ):
        rows += [{"figure": f"{what}: files", "value": len(modules)}]
        rows += [{"figure": f"{what}: lines", "value": sum(map(lines, modules))}]
    on_the_way = sum(span(name, first) for name in spine for _, first in found[name])
    rows += [{"figure": "spine: lines of the functions that run", "value": on_the_way}]
    rows += [{"figure": "circles of imports", "value": int(bool(circle()))}]
    about = "sizes of src/; files behind one training run (model=vgg_small data=fsdkaggle2018)"
    report("structure", rows, {"about": about, "closure": reached, "spine": spine, "executed": sorted(found)})


if __name__ == "__main__":
    main()
