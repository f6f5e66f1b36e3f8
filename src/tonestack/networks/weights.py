"""Weights from files: checked before anything uses them. Pickles are never opened."""

from collections.abc import Sequence
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, read_json

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}


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
