"""Networks by another runtime than torch: ONNX Runtime, or OpenVINO where it is installed. Only CPUs.

A bundle holds a graph for every fold and crop length. After a warm-up, a graph's first outputs at every input shape are
compared with torch's; where they differ, or the runtime fails, the network stays with torch, and a line says so.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

from tonestack.networks.layers import Tagger
from tonestack.settings.model_config import ModelConfig

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 0.02  # largest difference from torch, as a share of the largest output (at least 1): bfloat16 has it, too

Run = Callable[[np.ndarray], list[np.ndarray]]  # crops (B, 1, F, T) -> logits, or logits and attention of frames


class Other(Tagger):
    """A trained network whose outputs a runtime computes, as long as they are torch's.

    graphs: onnx files by crop length, in frames; crops of other lengths go to torch.
    """

    def __init__(self, model: Tagger, graphs: dict[int, Path], runtime: str) -> None:
        super().__init__(model.normalise, model.network, model.centres)
        self.graphs, self.runtime = dict(graphs), runtime
        self.runs: dict[int, Run] = {}
        self.checked: set[torch.Size] = set()

    def forward(self, x: Tensor) -> Tensor:
        """Map raw crops (B, 1, F, T) to logits (B, C)."""
        found = self._outputs(x)
        if found is None:
            return super().forward(x)
        if len(found) == 1:
            return found[0]
        logits, attention = found
        return (attention.softmax(dim=2) * logits).sum(dim=2)

    def frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and attention (B, C, T') of every frame of raw crops (B, 1, F, T)."""
        found = self._outputs(x)
        return super().frames(x) if found is None else (found[0], found[1])

    def _outputs(self, x: Tensor) -> list[Tensor] | None:
        """What the runtime says of crops; None where torch has to."""
        length = x.shape[3]
        if length not in self.graphs:
            return None
        crops = x.contiguous().numpy()
        try:
            if length not in self.runs:
                self.runs[length] = opened(self.runtime, self.graphs[length])
                self.runs[length](crops)  # the first call may be compiled, or tuned, while it runs
            found = [torch.from_numpy(values) for values in self.runs[length](crops)]
        except Exception as error:  # each runtime has exceptions of its own
            self._leave(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return None
        if x.shape not in self.checked:
            gap = self._gap(x, found)
            if not gap <= TOLERANCE:
                self._leave(f"its outputs differ from torch's by {gap:.2g}, over {TOLERANCE:g}")
                return None
            self.checked.add(x.shape)
        return found

    def _gap(self, x: Tensor, found: list[Tensor]) -> float:
        """The largest difference from torch's outputs, as a share of the largest of them; NaN is one, too."""
        known = super().frames(x) if self.has_frames else (super().forward(x).float(),)
        pairs = zip(known, found, strict=True)
        return max(float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1.0)) for ours, theirs in pairs)

    def _leave(self, why: str) -> None:
        names = {path.parent.name + " " + path.name.partition(".")[0] for path in self.graphs.values()}
        print(f"{', '.join(sorted(names))}: torch in place of {self.runtime} ({why})", flush=True)
        self.graphs.clear()


def opened(runtime: str, path: Path) -> Run:
    """A graph, ready to run on the threads that torch has."""
    threads = torch.get_num_threads()
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda crops: list(session.run(None, {"crops": crops}))
    import openvino

    half = torch.is_autocast_enabled("cpu")  # where torch computes in bfloat16, so does it
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if half else "f32", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda crops: [np.array(values, np.float32) for values in request.infer({0: crops}).values()]


def graphs_of(folder: Path, fold: int) -> dict[int, Path]:
    """The graphs of a fold, by crop length."""
    return {int(path.name.split(".")[1]): path for path in sorted(folder.glob(f"fold{fold}.*.onnx"))}


def lengths(settings: ModelConfig, frame_rate: float) -> list[int]:
    """The crop lengths of test time, in frames."""
    return sorted({settings.crop_frames(frame_rate, factor) for factor in settings.inference.lengths})


class _Graph(nn.Module):
    """What is exported of a network: the frames' outputs where it has any, else the crops'."""

    def __init__(self, model: Tagger) -> None:
        super().__init__()
        self.model = model

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return self.model.frames(crops) if self.model.has_frames else (self.model(crops),)


def to_onnx(model: Tagger, bands: int, length: int) -> bytes:
    """The network as an ONNX model: `crops` (batch, 1, bands, length) to `logits` and, of frames, `attention`."""
    graph = _Graph(model).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    names = ["logits", "attention"] if model.has_frames else ["logits"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own insides
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, 1, bands, length),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
            input_names=["crops"],
            output_names=names,
        )
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data
