"""Crops: one gather says the same as a plain loop, and every start lies inside its clip."""

from functools import partial
from typing import Literal

from tonestack.training import crops
from tonestack.training.crops import Clips, ahead, even_starts, random_starts

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

LENGTHS = [7, 3, 12, 1]
FILL = [-1.0, -2.0]


def clips(dtype: torch.dtype = torch.float16) -> Clips:
    """Four clips of two bands; frame t of the array holds t and 100 + t."""
    count = sum(LENGTHS)
    features = torch.stack([torch.arange(count), 100 + torch.arange(count)], dim=1).to(dtype)
    frames = torch.tensor(LENGTHS)
    return Clips(features, frames.cumsum(0) - frames, frames, torch.tensor(FILL))


def plain(data: Clips, row: int, start: int, length: int, short: str, rate: float) -> list[list[float]]:
    """The same crop frame by frame: (F, T)."""
    offset, frames = int(data.offsets[row]), int(data.frames[row])
    columns = []
    for step in range(length):
        position = start + int(step * rate)
        inside = position < frames
        columns.append(data.features[offset + position % frames].tolist() if inside or short == "tile" else FILL)
    return np.array(columns).T.tolist()


@pytest.mark.parametrize("short", ["tile", "pad"])
@pytest.mark.parametrize("rate", [1.0, 0.5, 1.75])
@pytest.mark.parametrize("length", [1, 5, 20])
def test_the_gather_equals_a_plain_loop(short: Literal["tile", "pad"], rate: float, length: int) -> None:
    data = clips()
    rows, starts = torch.tensor([2, 0, 1, 3, 2]), torch.tensor([4, 0, 1, 0, 0])
    made = data.crops(rows, starts, length, short, torch.full((5,), rate))
    wanted = [plain(data, int(r), int(s), length, short, rate) for r, s in zip(rows, starts, strict=True)]
    assert made.shape == (5, 1, 2, length)
    assert made.dtype == torch.float32
    assert made[:, 0].tolist() == wanted


def test_worked_by_hand() -> None:
    x = clips().crops(torch.tensor([1, 1]), torch.tensor([1, 1]), 4, "tile", torch.tensor([1.0, 2.0]))
    assert x[:, 0, 0].tolist() == [[8, 9, 7, 8], [8, 7, 9, 8]]  # clip 1 is frames 7, 8, 9
    x = clips().crops(torch.tensor([1]), torch.tensor([1]), 4, "pad", torch.ones(1))
    assert x[0, 0].tolist() == [[8, 9, -1, -1], [108, 109, -2, -2]]


def test_samples_of_16_bits_become_full_scale_floats() -> None:
    data = Clips(torch.tensor([[-32768], [16384]], dtype=torch.int16), *torch.tensor([[0], [2]]), torch.zeros(1))
    x = data.crops(torch.tensor([0]), torch.tensor([0]), 3, "pad", torch.ones(1))
    assert x.tolist() == [[[[-1.0, 0.5, 0.0]]]]


# ------------------------------------------------------------------------------------------------- larger than memory


@pytest.mark.parametrize("short", ["tile", "pad"])
def test_streamed_batches_are_the_same_crops_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch, short: Literal["tile", "pad"]
) -> None:
    data, generator = clips(), torch.Generator().manual_seed(0)
    rows = torch.randint(0, 4, (9, 5), generator=generator)
    places = [(r, torch.randint(0, 3, (5,), generator=generator), torch.full((5,), 1.25)) for r in rows]
    whole = [data.crops(r, s, 6, short, rate) for r, s, rate in places]
    assert not data.streamed
    monkeypatch.setattr(crops, "_memory", lambda: 100)  # bytes; the store has 92
    assert data.streamed
    streamed = list(data.stream(places, 6, short))
    assert all(torch.equal(a, b) for a, b in zip(whole, streamed, strict=True))


def test_work_ahead_keeps_its_order_and_its_distance() -> None:
    done: list[int] = []
    results = ahead((partial(lambda i: done.append(i) or i, i) for i in range(20)), depth=3)
    for i, result in enumerate(results):
        assert result == i
        assert len(done) <= i + 4
    assert done == list(range(20))


def test_an_error_of_the_thread_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ahead([lambda: 1 // 1, lambda: 1 // 0], depth=1))


def test_features_that_do_not_fit_stay_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert crops.fits(500, gpu)
    assert not crops.fits(501, gpu)
    assert crops.fits(10**15, torch.device("cpu"))


# -------------------------------------------------------------------------------------------------------------- starts


@given(st.lists(st.tuples(st.integers(1, 400_000), st.integers(1, 300)), min_size=1, max_size=20), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_random_starts_lie_inside(sizes: list[tuple[int, int]], seed: int) -> None:
    frames, span = torch.tensor(sizes).T
    starts = random_starts(frames, span, torch.rand(len(frames), generator=torch.Generator().manual_seed(seed)))
    assert (starts >= 0).all()
    assert (starts <= (frames - span).clamp_min(0)).all()


def test_the_largest_random_number_is_the_last_start() -> None:
    starts = random_starts(torch.tensor([12, 4, 400_010]), torch.full((3,), 10), torch.full((3,), 1 - 2**-24))
    assert starts.tolist() == [2, 0, 400_000]


def test_random_starts_reach_every_place_about_equally_often() -> None:
    chance = torch.rand(4000, generator=torch.Generator().manual_seed(0))
    starts = random_starts(torch.full((4000,), 13), torch.full((4000,), 10), chance)
    counts = torch.bincount(starts)
    assert len(counts) == 4
    assert ((counts - 1000).abs() < 5 * (4000 * 0.25 * 0.75) ** 0.5).all()


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=10),
    st.integers(1, 80),
    st.sampled_from([0.0, 0.25, 0.5, 0.9]),
)
@settings(max_examples=60, deadline=None)
def test_even_starts_cover_every_clip_from_first_to_last_frame(frames: list[int], length: int, overlap: float) -> None:
    rows, starts = even_starts(np.array(frames), length, overlap, most=10**6)
    assert rows.tolist() == sorted(rows.tolist())
    for row, size in enumerate(frames):
        own = starts[rows == row]
        seen = {int(s) + t for s in own for t in range(min(length, size))}
        assert seen == set(range(size))
        assert len(set(own.tolist())) == len(own)


def test_even_starts_worked_by_hand() -> None:
    rows, starts = even_starts(np.array([4, 10, 16]), 10, 0.5, 6)
    assert rows.tolist() == [0, 1, 2, 2, 2]
    assert starts.tolist() == [0, 0, 0, 3, 6]  # 6 frames of room at a hop of at most 5: three crops
    rows, starts = even_starts(np.array([100]), 10, 0.5, 4)
    assert starts.tolist() == [0, 30, 60, 90]  # the most allowed, still from end to end
    rows, starts = even_starts(np.array([4, 10, 16]), 10, 0.5, 6, speed=1.19)
    assert rows.tolist() == [0, 1, 2, 2, 2]  # as many
    assert starts.tolist() == [0, 0, 0, 2, 4]  # 12 frames are heard in 10


def test_a_clip_that_one_crop_covers_is_rolled() -> None:
    rows, starts = even_starts(np.array([9, 10, 16]), 10, 0.5, 6, rolls=3)
    assert rows.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert starts.tolist() == [0, 3, 6, 0, 3, 6, 0, 3, 6]
    chance = torch.linspace(0, 0.999, 50)
    frames, span = torch.full((50,), 8), torch.full((50,), 10)
    assert set(random_starts(frames, span, chance, roll=True).tolist()) == set(range(8))
    assert set(random_starts(frames, span, chance).tolist()) == {0}
    longer = random_starts(torch.full((50,), 12), span, chance, roll=True)
    assert set(longer.tolist()) == {0, 1, 2}  # a longer clip is cut, never wrapped
