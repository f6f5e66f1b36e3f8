"""Log-mel spectrograms of many clips at once on a GPU: equal to `frontends.logmel` up to the rounding of sums.

The clips' frames are computed in groups that are independent of where clips begin and end: a group's samples go to the
device in one copy, its frames come back in one. Memory is bounded by the group, not by the clips.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tonestack.features.frontends import _spectrogram as sg

import numpy as np
import torch
from torch import Tensor

GROUP = 1 << 16  # frames at once: half a gigabyte of float32 at an FFT of 2,048, three times over
DECIBELS = 10 / np.log(10)


@dataclass(frozen=True)
class ClipFrames:
    """Frames `first` to `last` (not included) of one clip, and the clip's index in the list."""

    clip: int
    first: int
    last: int


class MelTables(Protocol):
    """The settings and tables of a mel frontend of the CPU: window (n_fft,), basis (bins, F)."""

    n_fft: int
    hop: int
    width: int
    window: np.ndarray
    basis: np.ndarray


class DeviceLogmel:
    """Turns waves into log-mel frames on a device.

    frontend: the CPU's frontend, for its settings and tables.
    """

    def __init__(self, frontend: MelTables, device: torch.device) -> None:
        self.n_fft, self.hop, self.width, self.device = frontend.n_fft, frontend.hop, frontend.width, device
        self.window = torch.from_numpy(frontend.window).to(device)
        self.basis = torch.from_numpy(frontend.basis).to(device)  # (bins, F)

    def counts(self, lengths: Sequence[int]) -> list[int]:
        """Number of frames per clip for these lengths in samples; 0 for a clip that could not be decoded."""
        return [sg.frame_count(n, self.n_fft, self.hop) if n else 0 for n in lengths]

    @torch.inference_mode()
    def __call__(self, waves: Sequence[np.ndarray], summed: Sequence[bool]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield groups of frames of all clips end to end, float16 (t, F), and their sums.

        waves: float32 (n,) each. summed: clips that count in the sums (2, F) of values and of squares.
        """
        for group in self._groups(self.counts([len(wave) for wave in waves])):
            frames = self._frames(self._samples(waves, group))
            counted = np.repeat([summed[p.clip] for p in group], [p.last - p.first for p in group])
            values = frames.double() * self._put(counted)[:, None]
            sums = torch.stack([values.sum(0), values.square().sum(0)])
            yield frames.cpu().numpy(), sums.cpu().numpy()

    def _groups(self, counts: Sequence[int]) -> Iterator[list[ClipFrames]]:
        """Cut all frames into groups of GROUP, across clips."""
        group: list[ClipFrames] = []
        room = GROUP
        for clip, count in enumerate(counts):
            first = 0
            while first < count:
                last = min(count, first + room)
                group.append(ClipFrames(clip, first, last))
                room -= last - first
                first = last
                if room == 0:
                    yield group
                    group, room = [], GROUP
        if group:
            yield group

    def _samples(self, waves: Sequence[np.ndarray], group: list[ClipFrames]) -> tuple[Tensor, Tensor]:
        """A group's samples end to end (n,), zeros where a frame reaches beyond its clip; where its frames start (t,).

        Only neighbouring frames of one clip overlap.
        """
        half = self.n_fft // 2
        rooms = [(p.last - p.first - 1) * self.hop + self.n_fft for p in group]
        begins = np.cumsum([0, *rooms])
        samples = np.zeros(begins[-1], np.float32)
        for piece, begin, room in zip(group, begins, rooms, strict=False):
            wave, start = waves[piece.clip], piece.first * self.hop - half
            inner = wave[max(start, 0) : max(start + room, 0)]
            at = begin + max(-start, 0)
            samples[at : at + len(inner)] = inner
        starts = [b + self.hop * np.arange(p.last - p.first) for p, b in zip(group, begins, strict=False)]
        return self._put(samples), self._put(np.concatenate(starts))

    def _frames(self, placed: tuple[Tensor, Tensor]) -> Tensor:
        """Log-mel float16 (t, F) of samples (n,) at starts (t,)."""
        samples, starts = placed
        frames = samples.unfold(0, self.n_fft, 1)[starts]  # (t, n_fft)
        spectrum = torch.fft.rfft(frames.mul_(self.window))  # (t, bins)
        power = torch.view_as_real(spectrum).square().sum(-1)
        return ((power @ self.basis).clamp_min_(float(sg.AMIN)).log_() * DECIBELS).half()

    def _put(self, array: np.ndarray) -> Tensor:
        value = torch.from_numpy(array)
        return value.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else value
