"""Log-mel on a device: the CPU's frames but for rounding, whatever the groups, and the same store from `prepare`."""

import json
from pathlib import Path
from typing import Any

from tonestack.features import gpu_logmel
from tonestack.features.frontends import logmel
from tonestack.features.prepare import prepare
from tonestack.features.store import Store
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import Competition

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

RATE = 16_000
CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"sample_rate": RATE, "n_fft": 512, "hop_length": 160, "n_mels": 20}


def recording(seconds: float, seed: int = 0) -> np.ndarray:
    """A decaying tone over noise, float32 (n,)."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * RATE)) / RATE
    return (0.2 * np.sin(2 * np.pi * 440 * t) * np.exp(-3 * t) + 1e-3 * rng.standard_normal(len(t))).astype(np.float32)


def compare(waves: list[np.ndarray], **settings: Any) -> None:
    """Hold the frames of all clips and their sums against the CPU's; clips at even places count."""
    frontend = logmel.Frontend(logmel.Params.parse(SETTINGS | settings, "logmel"))
    maker = logmel.on_device(frontend, CPU)
    wanted = [frontend(wave) if len(wave) else np.zeros((0, frontend.width), np.float16) for wave in waves]
    counted = [i % 2 == 0 for i in range(len(waves))]
    made = list(maker(waves, counted))
    frames = np.concatenate([frames for frames, _ in made])
    assert frames.dtype == np.float16
    assert maker.counts([len(wave) for wave in waves]) == [len(w) for w in wanted]
    # one step of float16 at 64..128 dB is 1/16: the sums of products come out in another order
    np.testing.assert_allclose(frames.astype(float), np.concatenate(wanted).astype(float), atol=0.0626)
    rows = np.concatenate([w for w, c in zip(wanted, counted, strict=True) if c]).astype(float)
    np.testing.assert_allclose(sum(sums for _, sums in made), [rows.sum(0), (rows**2).sum(0)], rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"n_fft": 500, "win_length": 300}, {"hop_length": 512}, {"n_fft": 401}])
def test_the_frames_are_the_cpus(settings: dict[str, Any]) -> None:
    waves = [recording(0.7), recording(1 / RATE), np.zeros(5000, np.float32), recording(0.3, 1), recording(0.01, 2)]
    compare(waves, **settings)


@pytest.mark.parametrize("group", [1, 7, 64])
def test_groups_may_end_anywhere(monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(gpu_logmel, "GROUP", group)
    compare([recording(0.2), recording(0.005, 1), np.zeros(0, np.float32), recording(0.4, 2)])


def test_no_frame_hears_the_clip_before_or_after() -> None:
    frontend = logmel.Frontend(logmel.Params.parse(SETTINGS, "logmel"))
    loud, quiet = np.ones(3000, np.float32), np.zeros(3000, np.float32)
    (frames, _) = next(logmel.on_device(frontend, CPU)([loud, quiet, loud], [True] * 3))
    count = len(frontend(quiet))
    assert (frames[count : 2 * count] == -100).all()


def test_prepare_on_a_device_makes_the_same_store(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    names = [f"{i}.wav" for i in range(5)]
    for i, name in enumerate(names):
        soundfile.write(tmp_path / "input" / name, recording(0.1 + 0.1 * i, i)[: 0 if i == 3 else None], RATE)
    train, test = (pd.DataFrame({"clip_id": part, "path": part}) for part in (names[:3], names[3:]))
    competition, spec = Competition(tmp_path / "input", train, test, ("a",), None), {"name": "logmel", **SETTINGS}
    both: list[Store] = []
    for folder, device in (("cpu", None), ("device", CPU)):
        specs = [spec, {"name": "waveform", "sample_rate": 8000}]
        prepare(competition, specs, AudioParams(), tmp_path / folder, progress=False, device=device)
        both.append(Store.open(tmp_path / folder, spec, AudioParams()))
    one, two = both
    pd.testing.assert_frame_equal(one.clips, two.clips)
    assert two.clips.loc["3.wav", "status"] == "bad"
    np.testing.assert_allclose(two.features.astype(float), one.features.astype(float), atol=0.0626)
    np.testing.assert_allclose(two.mean, one.mean, atol=1e-2)
    np.testing.assert_allclose(two.std, one.std, atol=1e-2)
    assert one.fingerprint == two.fingerprint
    assert not list((tmp_path / "device/.parts").rglob("*.bin"))
    meta = [json.loads(next((tmp_path / f).glob("logmel-*/meta.json")).read_text()) for f in ("cpu", "device")]
    assert meta[0]["frames"] == meta[1]["frames"]
