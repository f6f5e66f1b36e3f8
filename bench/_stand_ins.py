"""Imported first by a benchmark that also runs where only some of tonestack's packages are installed.

A GPU machine often has PyTorch and little else. Missing packages are not used there, but needed modules import them.
They get an empty module, in which every name is an empty class: for imports only. Installed packages are not replaced.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

NEEDED = ("numpy", "torch", "pydantic")
OPTIONAL = (
    *("soundfile", "soxr", "librosa", "scipy", "sklearn", "lightgbm", "optuna", "cmaes", "cleanlab", "pandas"),
    *("pyarrow", "joblib", "threadpoolctl", "safetensors", "yaml", "tqdm", "pooch", "matplotlib", "jinja2", "plotly"),
    *("onnx", "onnxruntime", "onnxscript", "pywt", "timm", "torchvision"),
)


class Empty:
    """Stands for anything that a missing package defines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


class EmptyModule(ModuleType):
    """A module in which every name is an empty class."""

    __path__: list[str] = []  # a package: its modules are empty, too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Empty,), {})


class Finder:
    """Finds the missing packages, and whatever is imported from them."""

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = missing

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Take what belongs to a missing package."""
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self.missing else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make the empty module."""
        return EmptyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


lacking = [name for name in NEEDED if find_spec(name) is None]
if lacking:
    print(f"tonestack: this benchmark needs {', '.join(lacking)}; install it for {sys.executable}", file=sys.stderr)
    sys.exit(2)
missing = [name for name in OPTIONAL if find_spec(name) is None]
if missing:
    print(f"without {', '.join(missing)}: empty modules stand in for them")
    sys.meta_path.append(Finder(missing))  # type: ignore[arg-type]
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
