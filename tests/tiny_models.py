"""Tiny ONNX models for the tests of pretrained encoders, written node by node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
Shape = list[Any]


def save(
    path: Path,
    nodes: list[tuple[str, list[str], list[str]]],
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
    constants: dict[str, np.ndarray] | None = None,
    kinds: dict[str, int] | None = None,
) -> Path:
    """Write a model of nodes (operation, inputs, outputs); kinds: types of inputs that are not floats."""
    made = [helper.make_node(op, given, gives) for op, given, gives in nodes]
    held = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    takes = [helper.make_tensor_value_info(n, (kinds or {}).get(n, FLOAT), shape) for n, shape in inputs.items()]
    gives = [helper.make_tensor_value_info(n, FLOAT, shape) for n, shape in outputs.items()]
    graph = helper.make_graph(made, "tiny", takes, gives, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def identity(path: Path, shape: Shape) -> Path:
    """The window itself."""
    return save(path, [("Identity", ["wave"], ["out"])], {"wave": shape}, {"out": shape})


def spectrum(path: Path, samples: int = 2000, bands: int = 12, rate: int = 8000, seed: int = 0) -> Path:
    """Mean loudness of a few bands: |wave in blocks x sines| averaged, then a random mixture called `mixed`."""
    block = 200
    hertz = np.geomspace(100, rate / 2.5, bands)
    t = np.arange(block) / rate
    waves = np.concatenate([np.sin(2 * np.pi * np.outer(t, hertz)), np.cos(2 * np.pi * np.outer(t, hertz))], axis=1)
    constants = {
        "waves": waves.astype(np.float32),
        "blocks": np.array([-1, samples // block, block], np.int64),
        "mixture": np.random.default_rng(seed).normal(size=(2 * bands, 8)).astype(np.float32),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        ("Reshape", ["wave", "blocks"], ["framed"]),
        ("MatMul", ["framed", "waves"], ["products"]),
        ("Abs", ["products"], ["loud"]),
        ("ReduceMean", ["loud"], ["pooled"]),
        ("MatMul", ["loud", "mixture"], ["frames"]),
    ]
    made = save(path, nodes, {"wave": ["batch", samples]}, {"frames": ["batch", samples // block, 8]}, constants)
    model = onnx.load(made)
    model.graph.node[3].attribute.append(helper.make_attribute("axes", [1]))
    model.graph.node[3].attribute.append(helper.make_attribute("keepdims", 0))
    onnx.save(model, made)
    return made


def running_sum(path: Path) -> Path:
    """A state that adds up the windows' sums, and the rate beside it: out = (state + sum, rate)."""
    nodes = [
        ("ReduceSum", ["wave", "axis"], ["sum"]),
        ("Add", ["sum", "state"], ["stateN"]),
        ("Cast", ["sr"], ["rate"]),
        ("Expand", ["rate", "one"], ["rates"]),
        ("Concat", ["stateN", "rates"], ["out"]),
    ]
    constants = {"axis": np.array([1], np.int64), "one": np.array([1, 1], np.int64)}
    inputs = {"wave": [None, None], "state": [None, 1], "sr": []}
    made = save(path, nodes, inputs, {"out": [None, 2], "stateN": [None, 1]}, constants, {"sr": TensorProto.INT64})
    model = onnx.load(made)
    model.graph.node[2].attribute.append(helper.make_attribute("to", FLOAT))
    model.graph.node[4].attribute.append(helper.make_attribute("axis", 1))
    onnx.save(model, made)
    return made
