"""Windows predicted from the frames of their recordings: pooled and averaged as by hand, whatever the batches."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from test_birdclef import WORDS, year2026
from tonestack import tasks
from tonestack.config.call import Call
from tonestack.networks.layers import BandPool, FrameNetwork, Network, Normalise, Pool, Tagger
from tonestack.settings.model_config import ModelConfig
from tonestack.training import queue, windows
from tonestack.training.crops import Clips
from tonestack.training.inference import predict
from tonestack.training.windows import Frames, predict_pieces

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, logsigmoid

BANDS, CLASSES, RATE = 3, 2, 10.0
MANY, ONE = tasks.find("multilabel"), tasks.find("classify")


class Body(nn.Module):
    """Maps (B, 1, F, T) to states (B, F, T / stride): every `stride` frames averaged, plus the whole crop's mean."""

    def __init__(self, stride: int = 1, context: float = 0.0) -> None:
        super().__init__()
        self.stride, self.context = stride, context

    def forward(self, x: Tensor) -> Tensor:
        steps = x[:, 0]
        return avg_pool1d(steps, self.stride, ceil_mode=True) + self.context * steps.mean(dim=2, keepdim=True)


def tagger(stride: int = 1, context: float = 0.0) -> Tagger:
    torch.manual_seed(3)
    body, head = Body(stride, context), nn.Sequential(nn.Linear(BANDS, CLASSES))
    network = FrameNetwork(body, BandPool("mean"), head, CLASSES)
    return Tagger(Normalise(torch.zeros(BANDS), torch.ones(BANDS)), network).eval()


def config(**inference: Any) -> ModelConfig:
    parts = {"frontend": {"name": "logmel"}, "network": {"name": "vgg"}, "crop": {"seconds": 1.0}}
    training = {"precision": "float32", "channels_last": False}
    return ModelConfig.model_validate(parts | {"training": training, "inference": inference})


def windows_of(recordings: list[int], size: int, hop: int) -> tuple[Clips, np.ndarray]:
    """Windows of `size` frames every `hop` in recordings of these lengths, the recordings' order mixed."""
    total = sum(recordings)
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(total, BANDS))).half()
    first = np.cumsum(recordings) - recordings
    table = [
        (start + at, min(size, length - at), start, start + length)
        for start, length in zip(first, recordings, strict=True)
        for at in range(0, length, hop)
    ]
    rows = np.array(table)[np.random.default_rng(1).permutation(len(table))]
    offsets, frames = torch.from_numpy(rows[:, 0]), torch.from_numpy(rows[:, 1])
    return Clips(features, offsets, frames, torch.zeros(BANDS)), rows[:, 2:]


def run(model: Tagger, clips: Clips, recordings: np.ndarray, task: Any = MANY, **inference: Any) -> np.ndarray:
    return predict_pieces(
        model, clips, recordings, config(**inference), RATE, task.log_probabilities, not task.one_label
    )


def frame_logits(model: Tagger, clips: Clips) -> tuple[Tensor, Tensor]:
    """Logits and attention of every frame of the features (T, C), each frame heard by itself."""
    states = clips.features.float()
    network: Any = model.network
    return network.classifier(states).detach().double(), network.attention(states).tanh().detach().double()


@pytest.mark.parametrize("how", ["mean", "max", "top", "attention"])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.75])
def test_a_window_is_pooled_from_its_own_frames(how: str, overlap: float) -> None:
    model = tagger()  # a frame's state does not depend on its crop: the crops must agree
    clips, recordings = windows_of([23, 9, 40, 10], 8, 4)
    found = run(model, clips, recordings, windows=how, overlap=overlap, batch_size=3)
    logits, attention = frame_logits(model, clips)
    for row, (offset, frames) in enumerate(zip(clips.offsets.tolist(), clips.frames.tolist(), strict=True)):
        own, weight = logits[offset : offset + frames], attention[offset : offset + frames]
        pooled = {
            "mean": own.mean(0),
            "max": own.amax(0),
            "top": own.topk(max(1, round(frames / 4)), dim=0).values.mean(0),
            "attention": (weight.softmax(0) * own).sum(0),
        }[how]
        np.testing.assert_allclose(found[row], logsigmoid(pooled).numpy(), atol=1e-6)


def test_crops_that_overlap_are_averaged_as_the_settings_say() -> None:
    model = tagger(context=0.7)
    clips, recordings = windows_of([15], 5, 5)  # crops of 10 frames begin at 0 and at 5
    logits, _ = frame_logits(model, clips)
    shift = [model.network.classifier[0].weight @ clips.features[s : s + 10].float().mean(0) * 0.7 for s in (0, 5)]  # type: ignore[index]
    one, two = (logits + value.detach().double() for value in shift)
    order = clips.offsets.argsort()
    middle = {
        "geometric": ((one + two) / 2)[5:10].mean(0),
        "arithmetic": ((one.sigmoid() + two.sigmoid()) / 2)[5:10].logit().mean(0),
    }
    for mean, value in middle.items():
        found = run(model, clips, recordings, windows="mean", overlap=0.5, mean=mean)[order]
        np.testing.assert_allclose(found[0], logsigmoid(one[:5].mean(0)).numpy(), atol=1e-6)
        np.testing.assert_allclose(found[1], logsigmoid(value).numpy(), atol=1e-6)
        np.testing.assert_allclose(found[2], logsigmoid(two[10:].mean(0)).numpy(), atol=1e-6)


def test_frames_that_stand_for_several_are_laid_where_they_were_heard() -> None:
    model = tagger(stride=5)
    clips, recordings = windows_of([40, 20], 10, 10)
    found = run(model, clips, recordings, windows="mean", overlap=0.5)
    logits, _ = frame_logits(model, clips)
    for row, offset in enumerate(clips.offsets.tolist()):
        np.testing.assert_allclose(found[row], logsigmoid(logits[offset : offset + 10].mean(0)).numpy(), atol=1e-6)


def test_several_lengths_are_averaged_and_batches_change_nothing() -> None:
    model = tagger(context=0.5)
    clips, recordings = windows_of([33, 12, 57, 90], 6, 6)
    one, two, both = (run(model, clips, recordings, lengths=lengths) for lengths in ((1.0,), (2.0,), (1.0, 2.0)))
    odds = [np.log(np.expm1(-logs)) for logs in (one, two, both)]  # minus the log odds
    np.testing.assert_allclose(odds[2], (odds[0] + odds[1]) / 2, atol=1e-6)
    assert not np.allclose(one, two, atol=1e-3)
    for batch in (1, 4, 1000):
        np.testing.assert_allclose(run(model, clips, recordings, batch_size=batch), one, atol=1e-6)


def test_classes_that_exclude_each_other_are_averaged_as_log_probabilities() -> None:
    model = tagger()
    clips, recordings = windows_of([23], 8, 8)
    logits, _ = frame_logits(model, clips)
    wanted = torch.stack(
        [
            logits[a : a + n].log_softmax(1).mean(0)
            for a, n in zip(clips.offsets.tolist(), clips.frames.tolist(), strict=True)
        ]
    )
    for mean in ("geometric", "arithmetic"):
        found = run(model, clips, recordings, ONE, windows="mean", mean=mean)
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_whole_clips_and_networks_without_frames_are_heard_as_before() -> None:
    model = tagger(context=0.5)
    clips, recordings = windows_of([33, 12, 57], 6, 6)
    plain = Tagger(model.normalise, Network(Body(), Pool("avg", BANDS), nn.Linear(BANDS, CLASSES))).eval()
    words = config(), RATE, MANY.log_probabilities, True
    np.testing.assert_array_equal(run(plain, clips, recordings), predict(plain, clips, *words))
    np.testing.assert_array_equal(run(model, clips, recordings, windows="alone"), predict(model, clips, *words))
    assert not np.allclose(run(model, clips, recordings), predict(model, clips, *words), atol=1e-3)
    whole = np.unique(recordings, axis=0)
    files = replace(clips, offsets=torch.from_numpy(whole[:, 0]), frames=torch.from_numpy(whole[:, 1] - whole[:, 0]))
    np.testing.assert_array_equal(run(model, files, whole), predict(model, files, *words))


def test_windows_and_whole_clips_and_empty_ones_keep_their_rows() -> None:
    model = tagger(context=0.5)
    clips, recordings = windows_of([33, 12], 6, 6)
    alone = run(model, clips, recordings)
    offsets, frames = clips.offsets.clone(), clips.frames.clone()
    frames[1] = 0
    offsets[2], frames[2] = 33, 12  # the second recording as a whole
    recordings[2] = 33, 45
    mixed = run(model, replace(clips, offsets=offsets, frames=frames), recordings)
    assert np.isnan(mixed[1]).all()
    rest = [row for row in range(len(frames)) if row not in (1, 2)]
    np.testing.assert_allclose(mixed[rest], alone[rest], atol=1e-6)
    one = replace(clips, offsets=offsets[2:3], frames=frames[2:3])
    whole = predict(model, one, config(), RATE, MANY.log_probabilities, True)
    np.testing.assert_allclose(mixed[2], whole[0], atol=1e-6)


def test_a_window_shorter_than_a_frame_has_one() -> None:
    found = Frames(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 3), 10.0)
    assert found.pooled(12, 13, "mean").item() == 2.0
    assert found.pooled(29, 33, "max").item() == 3.0
    assert windows._groups(np.array([3, 3, 9, 1, 1]), 4)[0].tolist() == [0]


def test_networks_of_frames_hear_whole_soundscapes_over_backgrounds(tmp_path: Path) -> None:
    root, own = year2026(tmp_path / "in"), ["model=soundscape_sed,soundscape_crnn", "training.epochs=1"]
    words = [word for word in WORDS if not word.startswith(("model", "network"))]
    alone, frames, pool = (
        Call.from_arguments(["data=birdclef2026", f"root={root}", *words, *own, "name=x", f"variant={name}", *more])
        for name, more in (
            ("alone", ["inference.windows=alone"]),
            ("frames", []),
            ("pool", ["augment.background_pool=true", "augment.background=1"]),
        )
    )
    for call in (alone, frames, pool):
        importlib.import_module("train").run(call)
    rows = frames.competition().train
    windows_there = rows.loc[rows["start"].notna(), "clip_id"]
    for model in ("soundscape_sed", "soundscape_crnn"):
        tables = {
            name: pd.concat(map(pd.read_parquet, (call.oof / f"{model}-{name}@r0").glob("fold*.parquet")))
            .query("part == 'oof'")
            .set_index("clip_id")
            .drop(columns="part")
            for name, call in (("alone", alone), ("frames", frames), ("pool", pool))
        }
        change = (tables["alone"] - tables["frames"]).abs().max(axis=1)
        assert (change[windows_there] > 1e-6).all()  # they are heard in their recordings, though trained alike
        assert (change.drop(windows_there) == 0).all()
        assert (tables["pool"] != tables["frames"]).any(axis=None)
    (job, *_) = queue.build(pool, pool.experiments())
    assert set(job.backgrounds) == set(pool.competition().pool["clip_id"])
    assert not queue.build(frames, frames.experiments())[0].backgrounds


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
@pytest.mark.parametrize("task", [MANY, ONE])
def test_windows_heard_alone_share_what_is_said_of_half_windows(mean: str, task: Any) -> None:
    model = tagger(context=0.5)
    words: dict[str, Any] = {"windows": "alone", "mean": mean}
    clips, recordings = windows_of([30, 10, 18], 10, 10)  # three windows, one, and two, of which the last is shorter
    own = run(model, clips, recordings, task, **words)
    found = run(model, clips, recordings, task, half_shift=True, **words)
    starts, spans = clips.offsets.tolist(), torch.tensor([[5, 15, 45], [10, 10, 9]])
    half = replace(clips, offsets=spans[0], frames=spans[1])
    between = run(model, half, np.array([[0, 30], [0, 30], [40, 58]]), task, **words)

    def meant(*parts: tuple[float, np.ndarray]) -> np.ndarray:
        odds = mean == "geometric" and task is MANY
        to = (lambda logs: logs - np.log(-np.expm1(logs))) if odds else np.exp if mean == "arithmetic" else np.array
        value = sum(share * to(logs) for share, logs in parts) / sum(share for share, _ in parts)
        return np.asarray(-np.log1p(np.exp(-value)) if odds else np.log(value) if mean == "arithmetic" else value)

    wanted = {
        0: meant((2, own[starts.index(0)]), (1, between[0])),
        10: meant((2, own[starts.index(10)]), (1, between[0]), (1, between[1])),
        20: meant((2, own[starts.index(20)]), (1, between[1])),
        30: own[starts.index(30)],
        40: meant((2, own[starts.index(40)]), (1, between[2])),
        50: meant((2, own[starts.index(50)]), (1, between[2])),
    }
    for start, value in wanted.items():
        np.testing.assert_allclose(found[starts.index(start)], value, atol=1e-6)


def test_half_windows_change_nothing_where_there_are_frames_or_no_windows() -> None:
    model = tagger(context=0.5)
    clips, recordings = windows_of([33, 12, 57], 6, 6)
    np.testing.assert_array_equal(run(model, clips, recordings, half_shift=True), run(model, clips, recordings))
    whole = np.unique(recordings, axis=0)
    files = replace(clips, offsets=torch.from_numpy(whole[:, 0]), frames=torch.from_numpy(whole[:, 1] - whole[:, 0]))
    plain = Tagger(model.normalise, Network(Body(), Pool("avg", BANDS), nn.Linear(BANDS, CLASSES))).eval()
    np.testing.assert_array_equal(run(plain, files, whole, half_shift=True), run(plain, files, whole))
    assert not np.allclose(run(plain, clips, recordings, half_shift=True), run(plain, clips, recordings), atol=1e-3)
