"""Weights from files: checked before anything uses them.

Pickles are never opened, but for one case: `converted` reads a published checkpoint (.pth, .pt), once and by torch's
reader for numbers alone, and writes what it holds as safetensors.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.base.files import atomic, file_hash, read_json
from tonestack.base.model_files import located

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}
PICKLES = (".pth", ".pt", ".ckpt", ".bin")
WRAPPERS = ("model", "state_dict", "model_state")  # keys under which a checkpoint keeps its tensors
LARGEST = 4 << 30  # bytes of a checkpoint; no published encoder of sound is larger


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; anything else, or a number that is not finite, is a `UserError`."""
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file ({error}); pickled weights are not opened") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise UserError(f"{path}: '{name}' holds {str(tensor.dtype).removeprefix('torch.')}; save it as float32")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: '{name}' holds NaN or infinite values; train again")
    return tensors


def read_fold(path: Path, classes: Sequence[str]) -> dict[str, Tensor]:
    """The weights `fold<k>.safetensors`, checked against the json beside it: same bytes, same classes in order."""
    receipt = read_json(path.with_suffix(".json"), {"classes": list, "checksums": dict})
    if not path.is_file() or receipt["checksums"].get(path.name) != file_hash(path):
        raise UserError(f"{path}: missing or not as its json says (damaged); delete {path.stem}.json, train again")
    if receipt["classes"] != list(classes):
        raise UserError(f"{path}: was trained on other classes than the competition has now; train again")
    return read(path)


def put(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load tensors into a network; one that is absent, superfluous or of another shape is a `UserError`."""
    own = model.state_dict()
    wrong = [name for name in {**own, **tensors} if _shape(own, name) != _shape(tensors, name)]
    if wrong:
        shapes = f"{_shape(tensors, wrong[0])} there, {_shape(own, wrong[0])} in the network"
        raise UserError(f"{path}: does not fit the network: {len(wrong)} tensors differ, first '{wrong[0]}' ({shapes})")
    model.load_state_dict(tensors)


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


# --------------------------------------------------------------------------------------------------- published weights


def start(network: nn.Module, file: str, rename: Callable[[str], str | None], last: str) -> None:
    """Fill a network with published weights; the last layer alone may have other classes, and then stays as it is.

    file: safetensors, also looked for in input/weights/. rename: a published key to ours, None to leave it out. last:
    the keys of the last layer begin so.
    """
    path = located(file)
    if path is None:
        raise UserError(f"network.weights={file}: no such file, nor in input/weights/; see ./run.sh weights")
    if path.suffix in PICKLES:
        raise UserError(
            f"{path}: pickled; convert it once by `./run.sh weights convert={path}`, then give the .safetensors"
        )
    given = {ours: value for key, value in read(path).items() if (ours := rename(key)) is not None}
    own = network.state_dict()
    given = {key: value for key, value in given.items() if not key.startswith(last) or _fits(own, key, value)}
    needed = [key for key in own if not key.startswith(last) and not key.endswith("num_batches_tracked")]
    wrong = [key for key in {**dict.fromkeys(needed), **given} if _shape(own, key) != _shape(given, key)]
    if wrong:
        shapes = f"{_shape(given, wrong[0])} there, {_shape(own, wrong[0])} in the network"
        raise UserError(f"{path}: not this network's weights: {len(wrong)} differ, first '{wrong[0]}' ({shapes})")
    network.load_state_dict(given, strict=False)


def _fits(own: Mapping[str, Tensor], key: str, value: Tensor) -> bool:
    return key in own and own[key].shape == value.shape


def converted(path: Path) -> Path:
    """Write a published checkpoint's tensors as safetensors beside it; return the new file.

    torch reads it by `weights_only`: an object that is no tensor, number or container of them is refused.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix not in PICKLES or path.stat().st_size > LARGEST:
        raise UserError(f"{path}: no checkpoint ({', '.join(PICKLES)}) of at most 4 GB")
    try:
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: damaged, or holds more than weights, and is not opened ({why})") from None
    tensors = {key: value.contiguous().clone() for key, value in _tensors(held, path).items()}
    target = path.with_suffix(".safetensors")
    with atomic(target) as temporary:
        save_file(tensors, temporary)
    return target


def _tensors(held: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, which may keep them under one key beside other things."""
    for key in WRAPPERS:
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    found = {str(k): v for k, v in held.items() if isinstance(v, Tensor)} if isinstance(held, dict) else {}
    if not found:
        raise UserError(f"{path}: holds no table of named tensors; it is no checkpoint of a network")
    return found
