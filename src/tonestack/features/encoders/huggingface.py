"""Hugging Face folders of audio encoders by transformers (`pip install transformers`): config.json and safetensors.

wav2vec 2.0, HuBERT, WavLM, AST, CLAP's audio half, Whisper's encoder. Pickled weights and code in the folder are
refused; nothing is looked for on the network. The folder's own feature extractor prepares the windows.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import read_text
from tonestack.features.encoders import check_size, chosen, fault

import numpy as np

READ = ("config.json", "preprocessor_config.json", "model.safetensors.index.json")
LARGEST_JSON = 16 << 20


def files(path: Path) -> list[Path]:
    """The files that are read: settings and safetensors. A folder with code, or with pickles alone, is refused."""
    settings = [path / name for name in READ if (path / name).is_file()]
    if path / "config.json" not in settings:
        raise UserError(f"{path}: has no config.json; it is no Hugging Face model")
    for file in settings:
        _check_json(file)
    tensors = sorted(path.glob("*.safetensors"))
    if not tensors:
        pickles = ", ".join(sorted(p.name for p in [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.h5")]))
        held = f"; {pickles} can hold code and are not opened" if pickles else ""
        raise UserError(f"{path}: has no *.safetensors{held}")
    if not (path / "preprocessor_config.json").is_file():
        raise UserError(f"{path}: has no preprocessor_config.json, which says the sample rate")
    check_size([*settings, *tensors])
    for file in tensors:
        _check_safetensors(file)
    return [*settings, *tensors]


def _check_json(file: Path) -> None:
    """Refuse a file that is no json, too large, or that names code of its own (`auto_map`)."""
    if file.stat().st_size > LARGEST_JSON:
        raise UserError(f"{file}: {file.stat().st_size / 1e6:.0f} MB of settings; that is none of a model")
    try:
        held = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not json ({fault(error)})") from None
    if not isinstance(held, dict):
        raise UserError(f"{file}: a mapping of settings is expected")
    if _names_code(held):
        raise UserError(f"{file}: names code of its own (auto_map); a folder's code is never run")


def _names_code(held: Any) -> bool:
    if isinstance(held, dict):
        return "auto_map" in held or any(map(_names_code, held.values()))
    return isinstance(held, list) and any(map(_names_code, held))


def _check_safetensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            opened.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file}: not a safetensors file, or damaged ({fault(error)})") from None


class Encoder:
    """The folder's encoder on the CPU, in float32, with dropout off."""

    batch: int | None = None
    samples: int | None = None

    def __init__(self, path: Path, output: str | None, sample_rate: int | None) -> None:
        self.path = path
        self._extractor, self._model = _loaded(path)
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


def _loaded(path: Path) -> tuple[Any, Any]:
    """Feature extractor and audio encoder of a folder, from disk alone, without any code of its own."""
    try:
        import transformers
    except ImportError:
        raise UserError(f"{path}: Hugging Face folders need transformers; run `pip install transformers`") from None
    safe = {"local_files_only": True, "trust_remote_code": False}
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(path, **safe)
        model = transformers.AutoModel.from_pretrained(path, use_safetensors=True, **safe)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: transformers cannot load it: {fault(error)}") from None
    if hasattr(model, "audio_model"):  # of CLAP, whose other half reads text
        model = model.audio_model
    elif getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    return extractor, model.float().eval()


def _shape(value: Any) -> str:
    return "×".join(map(str, value.shape))
