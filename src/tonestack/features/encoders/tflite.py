"""TensorFlow Lite models by LiteRT (`pip install ai-edge-litert`), one window at a time.

Tensors inside the graph can be the output, too: BirdNET's embedding is the layer before its last.
"""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.model_checks import check_size, fault
from tonestack.features.encoders import chosen, layout

import numpy as np


def files(path: Path) -> list[Path]:
    """The file alone: the format has no others."""
    check_size([path])
    return [path]


class Encoder:
    """One interpreter; it holds its inputs and outputs itself, so that threads take turns."""

    sample_rate: int | None = None
    batch: int | None = 1

    def __init__(self, path: Path, output: str | None, sample_rate: int | None) -> None:
        self.path, self._lock = path, Lock()
        self._interpreter = _interpreter(path, hidden=False)
        own = {str(one["name"]): one for one in self._interpreter.get_output_details()}
        inner = {str(one["name"]): one for one in self._interpreter.get_tensor_details()}
        name = chosen(path, output, {key: _shape(one) for key, one in own.items()}, inner)
        if name not in own:  # the interpreter then keeps what it would write over
            self._interpreter = _interpreter(path, hidden=True)
        self._output = (inner | own)[name]["index"]
        given = self._interpreter.get_input_details()
        if len(given) != 1 or given[0]["dtype"] != np.float32:
            there = ", ".join(f"{one['name']} {np.dtype(one['dtype']).name} {_shape(one)}" for one in given)
            raise UserError(f"{path}: one input of float32 is expected; its inputs: {there}")
        self._input = given[0]
        self._axes, self.samples, _ = layout(path, str(self._input["name"]), list(self._input["shape"]))
        self._flat = len(self._input["shape"]) == 1

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """See the protocol."""
        for windows in batches:
            yield np.concatenate([self._run(window[None]) for window in windows])

    def _run(self, window: np.ndarray) -> np.ndarray:
        sound = np.expand_dims(window, self._axes) if self._axes else window[0] if self._flat else window
        with self._lock:
            try:
                self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(sound, np.float32))
                self._interpreter.invoke()
                made = np.array(self._interpreter.get_tensor(self._output), np.float32)
            except (RuntimeError, ValueError) as error:
                what = f"does not take a window of {window.shape[1]} samples"
                raise UserError(f"{self.path}: {what}: {fault(error)}") from None
        return made if made.ndim > 1 and len(made) == 1 else made.reshape(1, -1)


def _interpreter(path: Path, hidden: bool) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(f"{path}: tflite models need LiteRT; run `pip install ai-edge-litert`") from None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors")
            made = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=hidden)
        made.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a tflite model, or damaged ({fault(error)})") from None
    return made


def _shape(tensor: dict[str, Any]) -> str:
    return "×".join(map(str, tensor["shape"]))
