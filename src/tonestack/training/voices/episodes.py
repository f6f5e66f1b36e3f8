"""Training items of few-shot voice matching: whose crop is it, among crops of several voices?

An episode has a target voice and N candidate voices, with one random crop each. As in the few-shot voice report, every
candidate is compared with a fresh crop of the target (`shared: false`); otherwise the episodes of a batch share the
candidates' crops and each has one crop of its target, which gives batch x N comparisons for batch + N crops.

A voice played faster is another voice: pitch and resonances move as with a smaller head. `speeds` makes several voices
of every one, which is how a network trained on six people learns to tell strangers apart.
"""

from dataclasses import dataclass

from tonestack.networks.models.siamese import EpisodeParams
from tonestack.training.crops import Clips, random_starts

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Voices:
    """Clips by voice: rows of `clips` of voice v are `rows[first[v]:first[v] + count[v]]`. All on the CPU."""

    clips: Clips
    rows: Tensor
    first: Tensor
    count: Tensor
    frames: Tensor

    @classmethod
    def of(cls, clips: Clips, voice: Tensor) -> "Voices":
        """Group clips by their voice (N,), 0..V-1; clips without audio are left out."""
        frames = clips.frames.cpu()
        usable = torch.nonzero(frames > 0).flatten()
        rows = usable[torch.argsort(voice[usable], stable=True)]
        count = torch.bincount(voice[usable], minlength=int(voice.max()) + 1)
        return cls(clips, rows, count.cumsum(0) - count, count, frames)

    def __len__(self) -> int:
        return len(self.count)

    def draw(self, voice: Tensor, span: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """For each of voices (B,) a random clip and a first frame from which `span` (B,) frames fit, if any do."""
        at = (torch.rand(len(voice), generator=generator) * self.count[voice]).long()
        rows = self.rows[self.first[voice] + at]
        return rows, random_starts(self.frames[rows], span, torch.rand(len(rows), generator=generator))


def join_short(clips: Clips, voice: Tensor, length: int) -> tuple[Clips, Tensor]:
    """Put all clips of a voice (N,) that are shorter than a crop end to end, rather than repeat each in its crop.

    Returns the clips and their voices: the long ones first, then one joined clip a voice.
    """
    frames = clips.frames.cpu()
    short = (frames > 0) & (frames < length)
    if not short.any():
        return clips, voice
    pieces, sizes = [clips.features], []
    of = torch.unique(voice[short])
    for v in of.tolist():
        rows = torch.nonzero(short & (voice == v)).flatten().tolist()
        joined = [clips.features[clips.offsets[r] : clips.offsets[r] + clips.frames[r]] for r in rows]
        pieces += joined
        sizes.append(sum(map(len, joined)))
    long = torch.nonzero(frames >= length).flatten()
    added = torch.tensor(sizes)
    offsets = torch.cat([clips.offsets.cpu()[long], len(clips.features) + added.cumsum(0) - added])
    table = torch.stack([offsets, torch.cat([frames[long], added])]).to(clips.features.device)
    return Clips(torch.cat(pieces), table[0], table[1], clips.fill), torch.cat([voice[long], of])


@dataclass(frozen=True)
class Batch:
    """Crops by (voice, speed) and which are compared.

    samples, targets: (N or B·N,) and (B or B·N,) indices into voices × speeds. truth: (B,) the candidate that is the
    target, 0..N-1. positions: (B or B·N,) which of the samples each target is.
    """

    samples: Tensor
    targets: Tensor
    truth: Tensor
    positions: Tensor


def draw_batch(n_voices: int, episodes: int, params: EpisodeParams, generator: Generator) -> Batch:
    """Draw a batch of episodes; every candidate is another voice, or the same one at another speed."""
    kinds = n_voices * len(params.speeds)
    n = min(params.voices or n_voices, kinds)
    if params.shared:
        samples = torch.randperm(kinds, generator=generator)[:n]
        rounds = -(-episodes // n)  # every candidate is the target about equally often
        truth = torch.cat([torch.randperm(n, generator=generator) for _ in range(rounds)])[:episodes]
        return Batch(samples, samples[truth], truth, truth)
    samples = torch.stack([torch.randperm(kinds, generator=generator)[:n] for _ in range(episodes)])  # (B, N)
    truth = torch.randint(n, (episodes,), generator=generator)
    positions = (truth + n * torch.arange(episodes)).repeat_interleave(n)
    return Batch(samples.flatten(), samples.flatten()[positions], truth, positions)


def cut(voices: Voices, kinds: Tensor, length: int, params: EpisodeParams, generator: Generator) -> tuple[Tensor, ...]:
    """One crop (B, 1, F, length) of each of `kinds` (B,), with its clip's row (B,) and its speed's index (B,)."""
    voice, speed = kinds // len(params.speeds), kinds % len(params.speeds)
    rate = torch.tensor(params.speeds)[speed]
    rows, starts = voices.draw(voice, (length * rate).ceil().long(), generator)
    device = voices.clips.features.device
    crops = voices.clips.crops(rows.to(device), starts.to(device), length, "tile", rate.to(device))
    return crops, rows, speed
