"""ONNX models by onnxruntime. A hidden tensor can be the output, too: it is then added to the graph's outputs."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import inside
from tonestack.base.model_checks import check_size, fault
from tonestack.features.encoders import chosen, layout

import numpy as np
import onnxruntime
from google.protobuf.message import DecodeError

FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
NODES = 30_000  # operations; large transformers have some thousands
VALUES = 100_000_000  # in a state or in the output of one window: 400 MB
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def files(path: Path) -> list[Path]:
    """The file, and those in which it keeps weights; one that lies outside its folder is refused."""
    check_size([path])
    found, graph = [path], _graph(path).graph
    if len(graph.node) > NODES:  # onnxruntime takes minutes over 100,000
        raise UserError(f"{path}: has {len(graph.node):,} operations; a model of sound has at most {NODES:,}")
    for tensor in _tensors(graph):
        for entry in tensor.external_data:
            if entry.key == "location":
                data = path.parent / entry.value
                if "\0" in entry.value or Path(entry.value).is_absolute() or not inside(path.parent, data):
                    raise UserError(f"{path}: keeps weights outside its folder ({entry.value!r}); it is not opened")
                found.append(data)
    found = list(dict.fromkeys(found))
    check_size(found)
    return found


def _graph(path: Path) -> Any:
    import onnx

    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise UserError(f"{path}: not an ONNX model, or damaged ({fault(error)})") from None


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors that a graph holds, those of the graphs inside its nodes included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


class Encoder:
    """One session. Inputs beside the sound: a whole number is the rate; a float is a state, carried between windows."""

    sample_rate: int | None = None

    def __init__(self, path: Path, output: str | None, sample_rate: int | None) -> None:
        self.path, self._given_rate = path, sample_rate
        self._session = _session(path, path)
        outputs = {out.name: _shape(out.shape) for out in self._session.get_outputs()}
        self.output = chosen(path, output, outputs, [] if output in outputs else _hidden(path))
        if self.output not in outputs:
            self._session = _session(path, _with_output(path, self.output))
        self._sound, self._others = self._inputs()
        self._axes, self.samples, self.batch = layout(path, self._sound.name, self._sound.shape)
        self._states = {name: self._successor(name) for name in self._zeros(1)}
        if any(self._states.values()):
            self.batch = 1  # a state belongs to one clip and is handed on from window to window

    def _inputs(self) -> tuple[Any, list[Any]]:
        """The input that takes sound, and the others."""
        given = self._session.get_inputs()
        sound = next((one for one in given if one.type in FLOATS), None)
        if sound is None:
            there = ", ".join(f"{one.name} {one.type} {_shape(one.shape)}" for one in given)
            raise UserError(f"{self.path}: no input takes a wave of floats; its inputs: {there}")
        others = [one for one in given if one is not sound]
        for one in others:
            if one.type in FLOATS and math.prod(size for size in one.shape if isinstance(size, int)) > VALUES:
                raise UserError(f"{self.path}: input '{one.name}' is {_shape(one.shape)}, too large for a state")
        return sound, others

    def _zeros(self, batch: int) -> dict[str, np.ndarray]:
        """Fresh states by name."""
        return {
            one.name: np.zeros([size if isinstance(size, int) else batch for size in one.shape], FLOATS[one.type])
            for one in self._others
            if one.type in FLOATS
        }

    def _successor(self, name: str) -> str | None:
        """The output that is a state's next value: `stateN`, `new_state` … for `state`."""
        return next((out.name for out in self._session.get_outputs() if name in out.name), None)

    def _rates(self) -> dict[str, np.ndarray]:
        """The sample rate for every input that is one whole number."""
        found = {}
        for one in self._others:
            if one.type in INTEGERS and len(one.shape) <= 1:
                found[one.name] = np.full([1] * len(one.shape), self._given_rate or 0, INTEGERS[one.type])
            elif one.type not in FLOATS:
                raise UserError(f"{self.path}: input '{one.name}' {one.type} {_shape(one.shape)}: nothing fits it")
        return found

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """See the protocol; states begin at zero with the clip."""
        states = self._zeros(1)
        for windows in batches:
            count = len(windows)
            if self.batch and count < self.batch:
                windows = np.concatenate([windows, np.zeros((self.batch - count, windows.shape[1]), np.float32)])
            if not any(self._states.values()):
                states = self._zeros(len(windows))
            made, states = self._run(windows, states)
            yield made[:count]

    def _run(self, windows: np.ndarray, states: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        sound = np.expand_dims(windows, self._axes) if self._axes else windows
        sound = sound[0] if len(self._sound.shape) == 1 else sound
        feed = {self._sound.name: sound.astype(FLOATS[self._sound.type], copy=False)} | self._rates() | states
        carried = {name: out for name, out in self._states.items() if out}
        try:
            made, *after = self._session.run([self.output, *carried.values()], feed)
        except Exception as error:  # onnxruntime's own kinds, one for each status
            raise UserError(
                f"{self.path}: does not take windows of {windows.shape[1]} samples: {fault(error)}"
            ) from None
        made = np.asarray(made)
        made = made[None] if len(self._sound.shape) == 1 else made
        if (
            made.dtype.kind not in "fiub"
            or made.shape[:1] != (len(windows),)
            or not 0 < made.size <= VALUES * len(made)
        ):
            got = f"{made.dtype.name} {_shape(list(made.shape)) or 'one value'}"
            raise UserError(
                f"{self.path}: output '{self.output}' is {got} for {len(windows)} windows, and not numbers for each; "
                "choose another by embedding.output"
            )
        return made.astype(np.float32, copy=False), states | dict(zip(carried, after, strict=True))


def _session(path: Path, model: Path | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # clips run side by side
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own kinds, one for each status
        raise UserError(f"{path}: onnxruntime cannot load it: {fault(error)}") from None


def _shape(shape: list[Any]) -> str:
    return "×".join(str(size) if isinstance(size, int) else "?" for size in shape)


def _hidden(path: Path) -> list[str]:
    """Names of all tensors inside the graph."""
    return [name for node in _graph(path).graph.node for name in node.output if name]


def _with_output(path: Path, name: str) -> bytes:
    """The model with one more output."""
    import onnx

    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    content: bytes = model.SerializeToString()
    return content
