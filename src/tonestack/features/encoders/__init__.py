"""Encoders: pretrained models in files, one module a format; `frontends/embedding.py` feeds them windows of sound.

A module has `files(path)`, all files that a model consists of, and a class `Encoder`. Nothing in such a file is run as
code: it is a graph of known operations with numbers, or numbers alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tonestack.base.errors import UserError, nearest

import numpy as np

SUFFIXES = {".onnx": "onnx", ".tflite": "tflite"}
CODE = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".h5", ".keras")


class EncoderProtocol(Protocol):
    """The contract of every `Encoder(path, output, sample_rate)`.

    samples: length of the windows if the file fixes it. batch: windows at once if the file fixes that.
    sample_rate: the rate in Hz that the file names, None if it names none.
    """

    samples: int | None
    batch: int | None
    sample_rate: int | None

    def __init__(self, path: Path, output: str | None, sample_rate: int | None) -> None: ...

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Turn one clip's batches of windows, float32 (B, n) in order, into float32 (B, ..., D)."""


def format_of(path: Path) -> str:
    """The name of the module that reads a model: by its suffix, or `huggingface` for a folder."""
    if path.is_dir():
        return "huggingface"
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if suffix in CODE:
        raise UserError(f"{path}: {path.suffix} files can hold code and are not opened; save the model as ONNX")
    raise UserError(f"{path}: no kind of model that is known; give an .onnx or .tflite file or a Hugging Face folder")


def chosen(path: Path, asked: str | None, outputs: dict[str, str], others: Iterable[str] = ()) -> str:
    """The output to take: the one asked for, or the only one. outputs: shapes by name; others: hidden names."""
    there = ", ".join(f"{name} {shape}".strip() for name, shape in list(outputs.items())[:20])
    if asked is None:
        if len(outputs) == 1:
            return next(iter(outputs))
        raise UserError(
            f"{path}: has " + (f"several outputs; choose one by output=: {there}" if there else "no output")
        )
    hidden = list(others)
    if asked not in outputs and asked not in hidden:
        hint = nearest(asked, [*outputs, *hidden]).partition("; there")[0] if hidden else ""
        raise UserError(f"{path}: has no output '{asked}'{hint}; there is: {there}")
    return asked


def layout(path: Path, name: str, shape: Sequence[object]) -> tuple[tuple[int, ...], int | None, int | None]:
    """Axes to add to windows (B, n), the fixed number of samples and the fixed batch.

    The input is (n), (B, n), (B, 1, n) or (B, n, 1); a size that is no whole number above 0 is free.
    """
    sizes = [int(str(size)) if str(size).isdigit() and int(str(size)) > 0 else None for size in shape]
    if len(sizes) == 1:
        return (), sizes[0], 1
    if len(sizes) == 2:
        return (), sizes[1], sizes[0]
    if len(sizes) == 3 and 1 in sizes[1:]:
        last = sizes[2] == 1 and sizes[1] != 1
        return ((2,), sizes[1], sizes[0]) if last else ((1,), sizes[2], sizes[0])
    shown = "×".join("?" if size is None else str(size) for size in sizes)
    raise UserError(f"{path}: input '{name}' is {shown}, no wave; a model of spectrograms is not one")
