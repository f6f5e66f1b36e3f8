"""Hugging Face folders of audio encoders by transformers (`pip install transformers`): config.json and safetensors.

wav2vec 2.0, HuBERT, WavLM, AST, CLAP's audio half, Whisper's encoder. Pickled weights and code in the folder are
refused; nothing is looked for on the network. The folder's own feature extractor prepares the windows.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tonestack.base import hugging_face
from tonestack.base.errors import UserError
from tonestack.base.model_checks import fault
from tonestack.features.encoders import chosen

import numpy as np


def files(path: Path) -> list[Path]:
    """The files that are read: settings and safetensors. A folder with code, or with pickles alone, is refused."""
    return hugging_face.files(path)


class Encoder:
    """The folder's encoder on the CPU, in float32, with dropout off."""

    batch: int | None = None
    samples: int | None = None

    def __init__(self, path: Path, output: str | None, sample_rate: int | None) -> None:
        self.path = path
        self._extractor, self._model = hugging_face.loaded(path)
        own = getattr(self._extractor, "sampling_rate", None)
        self.sample_rate = int(own) if own else None
        self._kind = self._extractor.model_input_names[0]
        made = self._outputs(np.zeros((1, self._trial()), np.float32))
        self.output = chosen(path, output, {name: _shape(value) for name, value in made.items()})

    def _trial(self) -> int:
        """Samples of a window to ask for the outputs with: what the extractor pads to, or a second."""
        return int(getattr(self._extractor, "n_samples", 0) or self.sample_rate or 16_000)

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """See the protocol."""
        for windows in batches:
            made = self._outputs(windows)[self.output]
            yield made.float().numpy()

    def _outputs(self, windows: np.ndarray) -> dict[str, Any]:
        """Every output by name; hidden layer k is `hidden_states.k`, 0 the input of the first."""
        import torch

        try:
            fed = self._extractor(list(windows), sampling_rate=self.sample_rate, return_tensors="pt")
            with torch.inference_mode():
                found = self._model(fed[self._kind].float(), output_hidden_states=True, return_dict=True)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise UserError(
                f"{self.path}: does not take windows of {windows.shape[1]} samples: {fault(error)}"
            ) from None
        named: dict[str, Any] = {}
        for name, value in found.items():
            if isinstance(value, tuple):
                named |= {f"{name}.{number}": one for number, one in enumerate(value) if torch.is_tensor(one)}
            elif torch.is_tensor(value):
                named[name] = value
        return named


def _shape(value: Any) -> str:
    return "×".join(map(str, value.shape))
