"""What a pretrained model hears: one vector for every window of a clip, by an ONNX, tflite or Hugging Face model.

The file is the user's own; it is read, never run. Its content is part of the settings (`content`), so that another
file under the same name makes other features, and a trained head refuses a file that is not the one it has learnt from.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from tonestack.base import model_checks, parts
from tonestack.base.errors import UserError
from tonestack.base.files import file_state
from tonestack.base.model_files import located
from tonestack.base.section import Section
from tonestack.features.encoders import EncoderProtocol, format_of

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

STATISTICS = "pooled"  # how `clip_statistics` sums a clip up: columns are no bands
LONGEST = 3600  # s of a window
INPUT = "give embedding.model=FILE"

POOLS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "std": np.std, "max": np.max}
_WIDTHS: dict[tuple[str, "Params"], int] = {}


class Params(Section):
    """The model and its windows. A model without `model` takes the data config's section `embedding`."""

    model: str | None = Field(
        None, description="file (.onnx, .tflite) or Hugging Face folder, also looked for in input/weights/"
    )
    content: str | None = Field(
        None, validate_default=True, description="content hash of the model; filled in, another file is refused"
    )
    sample_rate: int | None = Field(
        None, ge=1_000, le=768_000, description="sample rate that the model was trained with, Hz; left out: as it says"
    )
    output: str | None = Field(None, description="name of the output, or of a tensor inside; left out: the only one")
    window: float | None = Field(None, gt=0, description="length of a window, s; left out: as the model fixes it")
    hop: float | None = Field(None, gt=0, description="step between windows, s; left out: the window")
    lead: float = Field(0.0, ge=0, description="silence put before a clip, s")
    short: Literal["tile", "pad"] = Field(
        "tile", description="the last window's rest: the clip from its start again, or silence"
    )
    level: Literal["none", "peak", "variance"] = Field(
        "none", description="level of each window: as it is; its peak at `peak`; mean 0 and deviation 1"
    )
    peak: float = Field(0.25, gt=0, description="peak of a window with level: peak")
    pool: tuple[Literal["mean", "std", "max"], ...] = Field(
        ("mean",), min_length=1, description="an output with axes between window and width: statistics over them"
    )
    batch: int = Field(16, ge=1, description="windows computed at once")

    @field_validator("content")
    @classmethod
    def _of_the_file(cls, given: str | None, info: ValidationInfo) -> str | None:
        path = located(info.data.get("model"))
        return given or (content(path) if path else None)


def content(path: Path) -> str:
    """Content hash of a model's files; files that were not touched since are not read again."""
    return model_checks.content(path, _files(path))


def _files(path: Path) -> tuple[Path, ...]:
    return _listed(path, file_state(path.stat()))


@cache
def _listed(path: Path, state: tuple[int, ...]) -> tuple[Path, ...]:
    return tuple(parts.find("encoders", format_of(path)).files(path))


def _path(params: Params) -> Path:
    if not params.model:
        raise UserError("the frontend 'embedding' has no model: give embedding.model=FILE (.onnx, .tflite or a folder)")
    path = located(params.model)
    if path is None:
        raise UserError(f"embedding.model={params.model}: no such file, nor in input/weights/; see ./run.sh weights")
    return path


@cache
def _encoder(path: Path, content: str, output: str | None, sample_rate: int | None) -> EncoderProtocol:
    """The model, loaded once a process."""
    made: EncoderProtocol = parts.find("encoders", format_of(path)).Encoder(path, output, sample_rate)
    return made


class Frontend:
    """Wave float32 (n,) -> float32 (windows, D); window k begins `k · hop - lead` seconds into the clip."""

    dtype = np.float32

    def __init__(self, params: Params) -> None:
        self._params, self._path = params, _path(params)
        found = content(self._path)
        if params.content not in (None, found):
            raise UserError(
                f"{self._path}: is not the file of these settings (content {found}, not {params.content}); "
                "put that one back, or train again under another variant="
            )
        self._content = found
        self.sample_rate = self._rate()
        self._length, self._hop = self._samples()
        self._lead = round(params.lead * self.sample_rate)
        self.frame_rate = self.sample_rate / self._hop
        if (found, params) not in _WIDTHS:  # asked for many times, by one window of the model
            _WIDTHS[found, params] = self.exact(np.zeros(self._length, np.float32)).shape[1]
        self.width = _WIDTHS[found, params]

    def _rate(self) -> int:
        own, given = self.encoder.sample_rate, self._params.sample_rate
        if own and given and own != given:
            raise UserError(f"{self._path}: was trained at {own} Hz, not at {given}; leave embedding.sample_rate out")
        if not (own or given):
            raise UserError(f"{self._path}: does not say its sample rate; give embedding.sample_rate=HZ")
        return own or given or 0

    def _samples(self) -> tuple[int, int]:
        """Length and step of the windows."""
        fixed, p = self.encoder.samples, self._params
        if not fixed and not p.window:
            raise UserError(f"{self._path}: takes windows of any length; give embedding.window=SECONDS")
        length = round(p.window * self.sample_rate) if p.window else fixed or 0
        if fixed and length != fixed:
            at = f"{fixed / self.sample_rate:.6g} s at {self.sample_rate} Hz"
            raise UserError(
                f"{self._path}: takes windows of {fixed} samples ({at}), not {length}; "
                "correct embedding.sample_rate, or leave embedding.window out"
            )
        hop = round(p.hop * self.sample_rate) if p.hop else length
        if length > LONGEST * self.sample_rate:
            raise UserError(
                f"{self._path}: a window of {length:,} samples is longer than {LONGEST} s; it is no encoder"
            )
        if not 1 <= hop <= length:
            raise UserError(f"embedding.hop={p.hop:g}: is no step of 1 to {length} samples, a window's length")
        return length, hop

    @property
    def encoder(self) -> EncoderProtocol:
        """The model, which does not travel to the workers with the settings."""
        return _encoder(self._path, self._content, self._params.output, self._params.sample_rate)

    @property
    def files(self) -> dict[Path, Path]:
        """All files of the model, and where a copy's would lie below input/weights/."""
        above = self._path.parent
        return {file: file.relative_to(above) for file in _files(self._path)}

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        return self.exact(wave)

    def exact(self, wave: np.ndarray) -> np.ndarray:
        """Return float32 (windows, D)."""
        vectors = np.concatenate([self._pooled(made) for made in self.encoder.stream(self._batches(wave))])
        if not np.isfinite(vectors).all():
            raise UserError(f"{self._path}: gives values that are not finite; check embedding.level and output")
        return vectors

    def _batches(self, wave: np.ndarray) -> Iterator[np.ndarray]:
        """Windows float32 (B, n), in order."""
        total = self._lead + len(wave)
        count = 1 + max(0, -(-(total - self._length) // self._hop))
        step = self.encoder.batch or self._params.batch
        for first in range(0, count, step):
            starts = self._hop * np.arange(first, min(first + step, count)) - self._lead
            yield self._levelled(self._cut(wave, starts[:, None] + np.arange(self._length)))

    def _cut(self, wave: np.ndarray, place: np.ndarray) -> np.ndarray:
        silent = place < 0 if self._params.short == "tile" else (place < 0) | (place >= len(wave))
        return np.where(silent, np.float32(0), wave[place % len(wave)])

    def _levelled(self, windows: np.ndarray) -> np.ndarray:
        if self._params.level == "peak":
            return windows * (
                np.float32(self._params.peak) / np.maximum(np.abs(windows).max(axis=1, keepdims=True), 1e-7)
            )
        if self._params.level == "variance":  # as wav2vec 2.0's feature extractor does it
            mean, variance = windows.mean(axis=1, keepdims=True), windows.var(axis=1, keepdims=True)
            return (windows - mean) / np.sqrt(variance + np.float32(1e-7))
        return windows

    def _pooled(self, made: np.ndarray) -> np.ndarray:
        """(B, ..., D) to (B, D x statistics)."""
        if made.ndim < 2:
            made = made.reshape(len(made), -1)
        if made.ndim == 2:
            return made
        flat = made.reshape(len(made), -1, made.shape[-1])
        return np.concatenate([POOLS[name](flat, axis=1) for name in self._params.pool], axis=1)
