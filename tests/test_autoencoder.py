"""The autoencoder: sizes as asked for, learns, stops early, resumes."""

from pathlib import Path

from tonestack.cleaning import autoencoder, label_pictures
from tonestack.networks.models.autoencoder import Autoencoder, Params, build
from tonestack.settings.model_config import CropParams, ModelConfig, TrainingParams
from tonestack.training.crops import Clips

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_info

SMALL = {"name": "autoencoder", "frames": 14, "channels": (4, 8), "grid": (3, 2), "latent_channels": 2}


def test_the_documents_sizes() -> None:
    params = Params()
    assert params.latent == 4096
    model = Autoencoder(Params(channels=(2, 2, 2, 2)), 513).eval()
    x = torch.rand(1, 1, 513, 439)
    assert model.encode(x).shape == (1, 4096)
    y = model(x).detach()
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 1


def test_it_is_a_classifier_too() -> None:
    params = Params.parse({k: v for k, v in SMALL.items() if k != "name"}, "toy")
    assert build(params, 9, 5)(torch.rand(2, 1, 9, 14)).shape == (2, 5)


@pytest.fixture
def clips() -> Clips:
    """24 clips of 5 to 28 frames of 9 bands, two kinds of pictures; the last without audio."""
    rng = np.random.default_rng(0)
    frames = np.append(rng.integers(5, 29, 23), 0)
    rows = [np.where(np.arange(9) < 4 if i % 2 else np.arange(9) > 6, -10.0, -70.0)[None] for i in range(24)]
    features = np.concatenate([np.repeat(row, n, axis=0) for row, n in zip(rows, frames, strict=True)])
    offsets = torch.from_numpy(np.cumsum(frames) - frames)
    return Clips(torch.from_numpy(features.astype(np.float16)), offsets, torch.from_numpy(frames), torch.zeros(9))


def settings(epochs: int, patience: int = 50) -> ModelConfig:
    training = TrainingParams(
        epochs=epochs, batch_size=8, lr=0.01, weight_decay=0, stop="early", patience=patience, ema=0
    )
    return ModelConfig(frontend={"name": "stft"}, network=SMALL, crop=CropParams(), training=training)


def test_pictures_are_whole_clips_of_one_size(clips: Clips) -> None:
    x = autoencoder.pictures(clips, torch.arange(23), 14)
    assert x.shape == (23, 1, 9, 14)
    assert float(x[1, 0, 0].min()) == pytest.approx(10 / 80)
    assert float(x[0, 0, 0].min()) == pytest.approx(70 / 80)
    ramp = Clips(torch.arange(0, -40, -1).half()[:, None], torch.tensor([0]), torch.tensor([40]), torch.zeros(1))
    assert (autoencoder.pictures(ramp, torch.tensor([0]), 20)[0, 0, 0] * 80).tolist() == list(range(1, 41, 2))


def test_training_lowers_the_loss_and_resumes_bit_for_bit(clips: Clips, tmp_path: Path) -> None:
    model, history = autoencoder.train(settings(12), clips, 9, tmp_path / "a.safetensors")
    assert history[-1]["inner_loss"] < 0.5 * history[0]["inner_loss"]

    calls: list[int] = []
    original = autoencoder.measure

    def killed(*arguments: object) -> float:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            autoencoder.train(settings(12), clips, 9, tmp_path / "b.safetensors")
    again, resumed = autoencoder.train(settings(12), clips, 9, tmp_path / "b.safetensors")
    assert resumed == history
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key

    x = autoencoder.encode(model, clips, 14)
    assert x.shape == (24, 12)
    assert np.isnan(x[23]).all()
    between = np.linalg.norm(x[0:22:2].mean(0) - x[1:23:2].mean(0))
    assert between > 3 * np.linalg.norm(x[0:22:2] - x[0:22:2].mean(0), axis=1).mean()


def test_training_stops_early_with_the_best_weights(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling_then_rising = iter([3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(autoencoder, "measure", lambda *_: next(falling_then_rising))
    _, history = autoencoder.train(settings(20, patience=2), clips, 9, tmp_path / "a.safetensors")
    assert [entry["inner_loss"] for entry in history] == [3, 2, 1, 2, 3]


def test_pictures_are_written(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((3, 1, 9, 14))
    label_pictures.reconstructions(x, x, tmp_path / "r.png")
    label_pictures.loss_curve(
        pd.DataFrame({"epoch": [1, 2], "loss": [1, 0.5], "inner_loss": [1, 0.6]}), tmp_path / "l.png"
    )
    decided = pd.DataFrame({"given_label": ["a", "b"] * 10, "proposed_label": ["a", "b"] * 10, "decision": "keep"})
    points = np.random.default_rng(0).random((20, 5))
    label_pictures.before_and_after(points, decided, {"one": ["a", "b"]}, tmp_path / "tsne")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.png", "r.png", "tsne-one.png"]


def test_a_picture_of_clips_does_not_wait_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Plane:
        def __init__(self, **settings: object) -> None:
            seen.append(settings["max_iter"])

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            seen.append({pool["num_threads"] for pool in threadpool_info()})
            return x[:, :2]

    monkeypatch.setattr("sklearn.manifold.TSNE", Plane)
    label_pictures.plane(np.random.default_rng(0).standard_normal((50, 5)))
    assert seen == [label_pictures.STEPS, {1}]
