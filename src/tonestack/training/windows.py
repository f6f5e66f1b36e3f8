"""Predictions of windows from the frames of their recordings, by networks with a value a class and frame.

Every recording is heard once, in overlapping crops; what they say of a frame is averaged, and a window's value is
pooled from its frames. So a sound that a window cuts is heard whole, and half-window shifts cost nothing more. Networks
with one value a crop hear each window by itself and, where `inference.half_shift` is set, from its middle to the next
one's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tonestack.networks.layers import Tagger
from tonestack.settings.model_config import ModelConfig
from tonestack.training.crops import Clips, even_starts
from tonestack.training.inference import ToLogProbabilities, in_parts, predict
from tonestack.training.step import BatchSplit

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

TOP_SHARE = 0.25  # of a window's frames, the strongest, that `top` averages


@dataclass(frozen=True)
class Frames:
    """What a recording's frames say: values and attention (C, T') on the CPU, a frame every `step` of the store's."""

    values: Tensor
    attention: Tensor
    step: float

    def pooled(self, first: int, last: int, how: str) -> Tensor:
        """A window's values (C,), from `first` to before `last`, counted in the store's frames from the beginning."""
        total = self.values.shape[1]
        begin = min(round(first / self.step), total - 1)
        inside = slice(begin, max(begin + 1, min(round(last / self.step), total)))
        values = self.values[:, inside]
        if how == "attention":
            return (self.attention[:, inside].softmax(dim=1) * values).sum(dim=1)
        if how == "mean":
            return values.mean(dim=1)
        count = 1 if how == "max" else max(1, round(TOP_SHARE * values.shape[1]))
        return values.topk(count, dim=1).values.mean(dim=1)


def predict_pieces(
    model: Tagger,
    clips: Clips,
    recordings: np.ndarray,
    config: ModelConfig,
    frame_rate: float,
    to_log: ToLogProbabilities,
    independent: bool,
) -> np.ndarray:
    """Log-probabilities (N, C) of clips: pieces of longer recordings by their frames, if the network has any.

    recordings: (N, 2) frames [first, last) of the recording that a clip lies in. All others, and all clips where
    `inference.windows` is `alone`, are heard by themselves (with `inference.half_shift`: and from middle to middle).
    """
    frames = clips.frames.cpu().numpy()
    inside = (frames > 0) & (recordings[:, 1] - recordings[:, 0] > frames)
    words = config, frame_rate, to_log, independent
    if not (inside.any() and model.has_frames and config.inference.windows != "alone"):
        if not (config.inference.half_shift and inside.any()):
            return predict(model, clips, *words)
        left, right = _in_a_row(clips, recordings[:, 0])
        logs = predict(model, _with_between(clips, left, right), *words)
        return _shared_out(logs, left, right, independent, config.inference.mean == "geometric")
    rows, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    found = predict_windows(model, _chosen(clips, rows), recordings[rows], *words)
    result = np.full((len(frames), found.shape[1]), np.nan)
    result[rows] = found
    if (frames[others] > 0).any():
        result[others] = predict(model, _chosen(clips, others), *words)
    return result


def _chosen(clips: Clips, rows: np.ndarray) -> Clips:
    index = torch.from_numpy(rows).to(clips.home)
    return replace(clips, offsets=clips.offsets[index], frames=clips.frames[index])


def _in_a_row(clips: Clips, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of clips (rows of each) of one recording, which begins at `first`, where one begins as the other ends."""
    offsets, frames = (value.cpu().numpy() for value in (clips.offsets, clips.frames))
    table = pd.DataFrame({"first": first, "begin": offsets, "end": offsets + frames})[frames > 0]
    table = table.reset_index(names="row")
    pairs = table.merge(table, left_on=["first", "end"], right_on=["first", "begin"], suffixes=("", "_next"))
    return pairs["row"].to_numpy(), pairs["row_next"].to_numpy()


def _with_between(clips: Clips, left: np.ndarray, right: np.ndarray) -> Clips:
    """The clips (N) and, behind them, those from the middle of each on the left to that of its right neighbour (P)."""
    offsets, frames = (value.cpu().numpy() for value in (clips.offsets, clips.frames))
    middle = offsets + frames // 2
    between = torch.from_numpy(np.stack([middle[left], middle[right] - middle[left]])).to(clips.home)
    return replace(clips, offsets=torch.cat([clips.offsets, between[0]]), frames=torch.cat([clips.frames, between[1]]))


def _shared_out(
    logs: np.ndarray, left: np.ndarray, right: np.ndarray, independent: bool, geometric: bool
) -> np.ndarray:
    """Log-probabilities (N, C) of clips to which those of the P clips between two of them are added; logs: (N + P, C).

    Weights are 1/2, 1/4 and 1/4; at the ends of a recording those that there are add up to one.
    """
    count, odds = len(logs) - len(left), independent and geometric
    values = torch.from_numpy(logs)
    each = (values.exp().logit(1e-12) if odds else values if geometric else values.exp()).numpy()
    total, weight = each[:count] / 2, np.full((count, 1), 0.5)
    for rows in (left, right):
        np.add.at(total, rows, each[count:] / 4)
        np.add.at(weight, rows, 0.25)
    mean = torch.from_numpy(total / weight)
    return (logsigmoid(mean) if odds else mean if geometric else mean.clamp_min(1e-12).log()).numpy()


@torch.inference_mode()
def predict_windows(
    model: Tagger,
    clips: Clips,
    recordings: np.ndarray,
    config: ModelConfig,
    frame_rate: float,
    to_log: ToLogProbabilities,
    independent: bool,
) -> np.ndarray:
    """Log-probabilities (N, C) of clips, none of them empty, that are windows of `recordings` (N, 2).

    They are what `inference.predict` gives, with the crops of a recording in place of those of a clip.
    """
    offsets, frames = (value.cpu().numpy() for value in (clips.offsets, clips.frames))
    spans, which = np.unique(recordings, axis=0, return_inverse=True)
    table = torch.as_tensor(np.stack([spans[:, 0], spans[:, 1] - spans[:, 0]]), device=clips.home)
    heard, params = replace(clips, offsets=table[0], frames=table[1]), config.inference
    mine = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    result = np.zeros(0)
    model.eval()
    for factor in params.lengths:
        length = config.crop_frames(frame_rate, factor)
        for recording, found in _recordings(model, heard, length, config, to_log, independent):
            result = result if len(result) else np.zeros((len(frames), len(found.values)))
            for row in mine[recording]:
                begin = offsets[row] - spans[recording, 0]
                result[row] += found.pooled(begin, begin + frames[row], params.windows).numpy() / len(params.lengths)
    return logsigmoid(torch.from_numpy(result)).numpy() if independent else result


def _recordings(
    model: Tagger, heard: Clips, length: int, config: ModelConfig, to_log: ToLogProbabilities, independent: bool
) -> Iterator[tuple[int, Frames]]:
    """What each recording's frames say, one after the other, averaged over its crops as `inference.mean` says."""
    frames, params = heard.frames.cpu().numpy(), config.inference
    geometric, pieces = params.mean == "geometric", BatchSplit(least=1)
    row, start = even_starts(frames, length, params.overlap, most=len(heard.features))
    for group in _groups(np.bincount(row), params.batch_size):
        mine = np.flatnonzero((row >= group[0]) & (row <= group[-1]))
        logits, attention = _crops(model, heard, (row[mine], start[mine]), length, config, pieces)
        each = logits if independent and geometric else to_log(logits)
        each = each if geometric else each.exp()
        step = length / each.shape[2]
        for recording in group:
            own = row[mine] == recording
            total, shifts = max(1, round(frames[recording] / step)), np.rint(start[mine][own] / step).astype(int)
            mean, weight = (_overlapped(values[own], shifts, total) for values in (each, attention))
            if not geometric:
                mean = mean.logit(1e-12) if independent else mean.clamp_min(1e-12).log()
            yield recording, Frames(mean, weight, step)


def _groups(counts: np.ndarray, batch: int) -> list[np.ndarray]:
    """Recordings in a row whose crops (counts, one number a recording) fill about a batch."""
    group = (np.cumsum(counts) - 1) // batch
    return np.split(np.arange(len(counts)), np.flatnonzero(np.diff(group)) + 1)


def _crops(
    model: Tagger,
    heard: Clips,
    places: tuple[np.ndarray, np.ndarray],
    length: int,
    config: ModelConfig,
    pieces: BatchSplit,
) -> tuple[Tensor, Tensor]:
    """Logits and attention (N, C, T') of crops, in double precision on the CPU. places: rows and first frames (N,)."""
    found = []
    for picked in torch.arange(len(places[0])).split(config.inference.batch_size):
        row, start = (torch.from_numpy(place)[picked].to(heard.home) for place in places)
        x = heard.crops(row, start, length, config.crop.short, torch.ones(len(row), device=heard.home))
        x = x.to(memory_format=torch.channels_last) if config.training.channels_last else x
        found.append([value.cpu().double() for value in in_parts(model.frames, x, config, pieces)])
    logits, attention = (torch.cat(values) for values in zip(*found, strict=True))
    return logits, attention


def _overlapped(values: Tensor, shifts: np.ndarray, total: int) -> Tensor:
    """Mean (C, total) of crops' values (N, C, T') that begin at the frames `shifts` (N,); every frame is in a crop."""
    width = values.shape[2]
    sums, counts = values.new_zeros(values.shape[1], total + width), torch.zeros(total + width)
    for crop, shift in zip(values, np.minimum(shifts, total).tolist(), strict=True):
        sums[:, shift : shift + width] += crop
        counts[shift : shift + width] += 1
    return sums[:, :total] / counts[:total].clamp_min(1)
