"""Record a training step as a CUDA graph and replay it (`training.compile: graph`)."""

from typing import Any

from tonestack.training.step import Step

import torch
from torch import Tensor

WARM_UP = 3  # steps before a graph is recorded: they make the optimiser's state and cuDNN's and cuBLAS's workspaces


class RecordedStep:
    """A step recorded once as a CUDA graph, then replayed: the host launches once per step, not hundreds of times.

    A graph reads its inputs from the addresses of the recording, so every batch is copied there.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.rate, self.pieces = step, step.rate, step.pieces
        self.inputs: tuple[Tensor, ...] = ()
        self.loss = torch.zeros(())
        self.graph: Any = None
        self.calls = 0

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Make one step; the loss is overwritten by the next one."""
        self.inputs = self.inputs or tuple(torch.empty_like(given) for given in inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._aside()
        if self.graph is None:
            self._record()
        self.graph.replay()
        return self.loss

    def _aside(self) -> Tensor:
        """Make the step on a side stream: PyTorch wants warm-up steps there before a recording."""
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            loss = self.step(*self.inputs)
        here.wait_stream(aside)
        return loss

    def _record(self) -> None:
        """Record the step; recording does not execute it."""
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # a thread may be gathering crops
            self.loss = self.step(*self.inputs)
