"""Read the imports of src/ from its text: late imports, imports for types alone and parts found by name included."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
MODULES = {".".join(path.relative_to(SRC).with_suffix("").parts): path for path in sorted(SRC.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def lines(module: str) -> int:
    """Lines of the whole file."""
    return len(MODULES[module].read_text(encoding="utf-8").splitlines())


def functions(module: str) -> list[int]:
    """The lines of every function and method, decorators not counted."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.end_lineno or 0) - node.lineno + 1 for node in ast.walk(tree(module)) if isinstance(node, kinds)]


def span(module: str, first: int) -> int:
    """Lines of the function that starts at a line, decorators counted; 0 for a lambda or a comprehension."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if start == first:
                return (node.end_lineno or 0) - start + 1
    return 0


def imported(module: str) -> set[str]:
    """The modules of ours that a module imports by an import line, wherever the line stands."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {_file(f"{node.module}.{name.name}") or _file(node.module) for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {_file(name.name) for name in node.names}
    return found - {"", module}


def kinds(module: str) -> set[str]:
    """The kinds of parts that a module finds by name."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[::2] in (
            ("parts", "find"),
            ("parts", "part_params"),
            ("layers", "part_params"),
            ("", "part_params"),
        ):
            kind = node.args[0]
            found |= {str(kind.value)} if isinstance(kind, ast.Constant) else set()
    return found


def closure(starts: Iterable[str], but: Iterable[str] = ()) -> list[str]:
    """All modules that the given ones import, directly or not; packages whose file holds only a docstring do not count.

    but: modules that are not followed.
    """
    found: set[str] = set(but)
    waiting = list(starts)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [*imported(module), *_packages(module)]
    return sorted(name for name in found - set(but) if len(tree(name).body) > 1 or not name.endswith("__init__"))


def _packages(module: str) -> list[str]:
    """The `__init__` of every package that a module lies in."""
    names = module.split(".")
    inits = (".".join([*names[:depth], "__init__"]) for depth in range(1, len(names)))
    return [name for name in inits if name in MODULES and name != module]


def _file(name: str) -> str:
    """A module or a package's `__init__`; blank for what is not ours."""
    return name if name in MODULES else f"{name}.__init__" if f"{name}.__init__" in MODULES else ""
