"""Exported models: the frontend's numbers, the crops, the folds' mean; and a script that needs no torch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import export
from conftest import RATE, TINY_WORDS, sound
from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.parts import part_params
from tonestack.config.call import Call
from tonestack.deploy import onnx_export, predict_onnx
from tonestack.deploy.new_clips import build_frontend
from tonestack.deploy.predictor import Predictor
from tonestack.deploy.trained import TrainedExperiment
from tonestack.features.audio import decode_clip
from tonestack.features.store import Store
from tonestack.settings.data_config import AudioParams
from tonestack.settings.model_config import CropParams, InferenceParams, ModelConfig, TrainingParams
from tonestack.tables import oof
from tonestack.training.crops import even_starts
from tonestack.training.learners.network import build_model, restore
from wavs import wav_bytes

import numpy as np
import onnxruntime
import pytest
import soundfile
import soxr
import torch

SPECTRAL = {"sample_rate": 8000, "n_fft": 256, "hop_length": 128}
FRONTENDS = [
    {"name": "logmel", **SPECTRAL, "n_mels": 16, "fmax": 4000},
    {"name": "mfcc", **SPECTRAL, "n_mels": 16, "fmax": 4000, "n_mfcc": 8},
    {"name": "mfcc", **SPECTRAL, "n_mels": 16, "fmax": 4000, "n_mfcc": 8, "deltas": 2},
    {"name": "stft", **SPECTRAL, "win_length": 200},
    {"name": "waveform", "sample_rate": 8000},
    *(
        {"name": "lnmel", **SPECTRAL, "n_mels": 16, "fmin": 50, "spectrum": s}
        for s in ("power", "magnitude", "complex")
    ),
]

HIDDEN = """
import sys

for name in ("torch", "tonestack", "scipy", "soxr", "librosa", "pandas"):
    sys.modules[name] = None  # importing it fails
"""


def call(root: Path, *words: str) -> Call:
    given = {word.partition("=")[0]: word for word in [*TINY_WORDS, f"root={root}", *words]}
    return Call.from_arguments(list(given.values()))


@pytest.mark.parametrize("spec", FRONTENDS, ids=lambda s: f"{s['name']}{s.get('deltas', '')}{s.get('spectrum', '')}")
@pytest.mark.parametrize("samples", [1, 100, 4000])
def test_a_graph_gives_its_frontends_numbers(spec: dict[str, Any], samples: int) -> None:
    params = part_params("frontends", spec, "here")
    wave = sound("Bell", 1.0, np.random.default_rng(0))[:samples] * np.float32(4)  # over full scale
    expected = parts.find("frontends", spec["name"]).Frontend(params)(wave)
    graph = parts.find("graphs", spec["name"]).build(params)
    found = graph(torch.from_numpy(np.stack([wave, wave * 0.5])))[0].numpy()
    scale = 32768 if spec["name"] == "waveform" else 1
    assert found.shape == expected.shape
    step = 1 if scale > 1 else 0.07  # a last bit of float16 between 64 and 128
    np.testing.assert_allclose(found * scale, expected, atol=step)
    often = 0.3 if spec.get("spectrum") == "complex" else 0.02  # real parts cancel: more of their last bits differ
    assert (np.abs(found * scale - expected) > step / 100).mean() < often  # rounded the other way


@pytest.mark.parametrize(
    ("crops", "overlap", "short", "rolls", "speed"),
    [
        (6, 0.5, "tile", 1, 1.0),
        (3, 0.3, "pad", 1, 1.0),
        (1, 0.0, "tile", 1, 1.0),
        (4, 0.5, "tile", 3, 1.25),
        (4, 0.5, "tile", 3, 0.9),
    ],
)
def test_crops_begin_where_those_of_inference_do(
    crops: int, overlap: float, short: str, rolls: int, speed: float
) -> None:
    inference = InferenceParams(crops=crops, overlap=overlap, rolls=rolls)
    settings = ModelConfig(frontend={}, network={}, crop=CropParams(short=short), inference=inference)
    cut = onnx_export.Crops(20, settings, torch.full((1,), -7.0), speed)
    for total in (1, 7, 19, 20, 21, 33, 40, 64, 200):
        _, starts = even_starts(np.array([total]), 20, overlap, crops, rolls, speed)
        frames = torch.arange(total, dtype=torch.float32).reshape(1, total, 1)
        found = cut(frames)[:, 0, 0]  # (count, 20)
        position = starts[:, None] + (np.arange(20) * speed).astype(int)
        expected = np.where(position < total, position, -7) if short == "pad" else position % total
        np.testing.assert_array_equal(found.numpy(), expected, err_msg=str(total))


@pytest.fixture(scope="module")
def exported(_trained: Path, tiny_root: Path) -> Path:
    """The network's export, made once, in the home that the tests' own homes are copies of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(_trained))
        (path,) = export.run(call(tiny_root))
    moved = _trained.with_name("exports")
    return Path(shutil.move(_trained / "exports", moved)) / path.relative_to(_trained / "exports")


@pytest.fixture
def home(trained_home: Path) -> Path:
    return trained_home


def test_an_export_says_what_predict_says_for_any_batch_and_length(
    exported: Path, home: Path, tiny_root: Path, tmp_path: Path
) -> None:
    assert sorted(p.name for p in exported.parent.iterdir()) == ["model.onnx", "predict_onnx.py"]
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    run = call(tiny_root)
    predictor = export.in_float32(Predictor(run.oof, "vgg_small@r0", run.data))
    rng = np.random.default_rng(1)
    for batch, seconds in ((1, 0.05), (3, 0.4), (2, 2.7)):
        waves = np.stack([sound("Hiss", seconds, rng) for _ in range(batch)])[:, ::2].copy()
        rows = session.run(None, {"wave": waves})[0]
        for wave, row in zip(waves, rows, strict=True):
            soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
            found = predictor([decode_clip(tmp_path / "a.wav", AudioParams())])[0]
            np.testing.assert_allclose(row, found, atol=export.TOLERANCE)
            assert row.sum() == pytest.approx(1, abs=1e-5)


def test_the_script_beside_the_model_needs_no_torch(
    exported: Path, home: Path, tiny_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(HIDDEN)
    folder = Path(shutil.copytree(exported.parent, tmp_path / "elsewhere"))
    clips = [tiny_root / "audio_test" / f"test00{i}.wav" for i in range(3)]
    bad = tiny_root / "audio_test/test023.wav"
    done = subprocess.run(
        [sys.executable, str(folder / "predict_onnx.py"), *map(str, clips), str(bad), "format=json", "top=4"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert str(bad) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    run = call(tiny_root)
    predictor = Predictor(run.oof, "vgg_small@r0", run.data)
    for path, text in zip(clips, done.stdout.splitlines(), strict=True):
        record = json.loads(text)
        row = predictor([decode_clip(path, AudioParams())])[0]
        assert record["file"] == str(path)
        found = [record["tags"][name] for name in predictor.classes]
        np.testing.assert_allclose(found, row, atol=3e-3)  # another resampler


def test_what_cannot_be_exported_is_refused_or_left_out(trained_home: Path, tiny_root: Path) -> None:
    run = call(tiny_root)
    forest = Call.from_arguments(["data=fsdkaggle2018", "model=clip_forest", f"root={tiny_root}"])
    with pytest.raises(UserError, match="a forest cannot be exported; networks on lnmel, logmel, mfcc, stft"):
        export.run(forest)
    trained = TrainedExperiment(run.oof / "vgg_small@r0", "classify", torch.device("cpu"))
    trained.settings = trained.settings.model_copy(update={"frontend": {"name": "cqt"}})
    with pytest.raises(UserError, match="the frontend 'cqt' cannot be exported; lnmel"):
        onnx_export.build(trained, "geometric", True)
    with pytest.raises(UserError, match="no finished fold"):
        export.run(Call.from_arguments(["data=fsdkaggle2018", "model=crnn", f"root={tiny_root}"]))


def test_a_model_that_differs_is_not_written(
    trained_home: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "to_onnx", lambda module: b"")
    monkeypatch.setattr(export, "with_facts", lambda data, known: data)
    monkeypatch.setattr(export, "compare", lambda run, trained, data: ([2e-4], 0.0))
    with pytest.raises(UserError, match=r"differs from torch by 0\.0002"):
        export.run(call(tiny_root))
    assert not (trained_home / "exports").exists()


def test_folds_and_settings_of_inference_are_those_of_predict(trained_home: Path, tiny_root: Path) -> None:
    """Arithmetic means over crops and folds, several lengths, padding: torch against torch, without an export."""
    run = call(tiny_root, "fold_mean=arithmetic")
    trained = TrainedExperiment(run.oof / "vgg_small@r0", "classify", torch.device("cpu"))
    inference = InferenceParams(crops=3, lengths=(1.0, 0.5), mean="arithmetic")
    changed = {"inference": inference, "crop": CropParams(seconds=0.4, short="pad")}
    trained.settings = trained.settings.model_copy(update=changed)
    predictor = Predictor(run.oof, "vgg_small@r0", run.data)
    predictor.trained["vgg_small@r0"].settings = trained.settings
    export.in_float32(predictor)
    module = onnx_export.build(trained, "arithmetic", True)
    for name in ("test000.wav", "test001.wav", "test002.wav"):
        clip = decode_clip(tiny_root / "audio_test" / name, AudioParams())
        wave = torch.from_numpy(soxr.resample(clip.wave, RATE, 8000, quality="HQ"))
        np.testing.assert_allclose(module(wave[None]).detach().numpy(), predictor([clip]), atol=1e-4)
    assert len(oof.receipts(run.oof / "vgg_small@r0")) == 2


def test_a_network_of_frames_is_exported_with_its_clips_probabilities() -> None:
    network = {"name": "resnet", "channels": (4, 8), "blocks": (1, 1), "pool": "sed", "pool_bands": "gem"}
    settings = ModelConfig(frontend=FRONTENDS[0], network=network, crop=CropParams(seconds=0.5))
    rng, frontend = np.random.default_rng(0), build_frontend(settings.frontend)
    waves = np.stack([sound(name, 2.0, rng)[::2] for name in ("Bell", "Hiss")])[:, :9000].copy()
    store = Store.in_memory([frontend(wave) for wave in waves], frontend)
    torch.manual_seed(1)
    model = build_model(settings, store.standardised_on(["0", "1"]), 3)
    restored = restore(settings, model.state_dict(), 3, "multilabel", torch.device("cpu"))
    restored.settings = settings.model_copy(update={"training": TrainingParams(precision="float32")})
    wanted = np.exp(restored.log_probabilities(store, ["0", "1"]))
    facts = {"name": "a", "settings": settings, "classes": ("A", "B", "C"), "learner": "network", "folds": [0]}
    trained: Any = SimpleNamespace(**facts, task=tasks.find("multilabel"), tensors=lambda fold: model.state_dict())
    exported = onnx_export.to_onnx(onnx_export.build(trained, "geometric", False))
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"wave": waves.astype(np.float32)})
    np.testing.assert_allclose(found, wanted, atol=export.TOLERANCE)
    assert np.ptp(found, axis=0).min() > 1e-3


# ------------------------------------------------------------------------------------------------------ the resampler


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44_100, 32_000), (8_000, 16_000), (48_000, 16_000), (22_050, 44_100)]
)
def test_the_resampler_agrees_with_soxr_where_both_pass(from_rate: int, to_rate: int) -> None:
    t, lower = np.arange(from_rate // 2) / from_rate, min(from_rate, to_rate) / 2
    wave = sum(np.sin(2 * np.pi * share * lower * t) for share in (0.01, 0.3, 0.85)).astype(np.float32)  # type: ignore[union-attr]
    mine, theirs = predict_onnx.resample(wave, from_rate, to_rate), soxr.resample(wave, from_rate, to_rate, "VHQ")
    assert len(mine) == -(-len(wave) * to_rate // from_rate)
    inner = slice(1000, min(len(mine), len(theirs)) - 1000)
    assert np.abs(mine[inner] - theirs[inner]).max() < 1e-3


def test_the_resampler_keeps_what_is_above_the_lower_band_out() -> None:
    t = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 9_000 * t).astype(np.float32)
    assert np.abs(predict_onnx.resample(tone, 44_100, 16_000)[500:-500]).max() < 1e-4
    assert predict_onnx.resample(tone, 44_100, 44_100) is tone
    assert len(predict_onnx.resample(tone[:1], 44_100, 16_000)) == 1


def test_long_recordings_are_cut_by_the_script_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_onnx, "WHOLE", 2.0)
    monkeypatch.setattr(predict_onnx, "WINDOW", 1.0)
    soundfile.write(tmp_path / "a.wav", np.zeros(int(2.5 * 8000)), 8000)
    heard: list[int] = []

    def model(wave: np.ndarray, rate: int) -> np.ndarray:
        heard.append(len(wave))
        return np.array([len(heard) == 3, 1.0])

    row, seconds = predict_onnx.tag(model, tmp_path / "a.wav")  # type: ignore[arg-type]
    assert (heard, seconds) == ([8000, 8000, 4000], 2.5)
    assert row.tolist() == pytest.approx([0.2, 1.0])


class Short:
    """A model that says how loud a wave is."""

    classes = ["Bell\x1b[2J", "\u202eDrum"]

    def __call__(self, wave: np.ndarray, rate: int) -> np.ndarray:
        return np.array([np.abs(wave).max(), 0.0])


def test_strange_recordings_are_refused_by_the_script(tmp_path: Path) -> None:
    def header(rate: int, channels: int = 1) -> bytes:
        return wav_bytes(np.zeros(100, np.int16).tobytes(), rate=rate, channels=channels)

    for name, rate in (("fast.wav", 2**31 - 1), ("slow.wav", 1)):
        (tmp_path / name).write_bytes(header(rate))
        with pytest.raises(ValueError, match="a sample rate of"):
            predict_onnx.tag(Short(), tmp_path / name)  # type: ignore[arg-type]
    (tmp_path / "wide.wav").write_bytes(header(8000, 100))
    with pytest.raises(ValueError, match="100 channels"):
        predict_onnx.tag(Short(), tmp_path / "wide.wav")  # type: ignore[arg-type]
    os.mkfifo(tmp_path / "fifo.wav")
    with pytest.raises(ValueError, match="not a regular file"):
        predict_onnx.tag(Short(), tmp_path / "fifo.wav")  # type: ignore[arg-type]
    (tmp_path / "page.au").write_text("<html>" * 100)
    os.mkfifo(tmp_path / "._page.au")
    with pytest.raises(soundfile.SoundFileError):
        predict_onnx.tag(Short(), tmp_path / "page.au")  # type: ignore[arg-type]
    tone = np.sin(np.arange(30_000))
    soundfile.write(tmp_path / "two.wav", np.stack([tone, -tone], 1), 8000, "FLOAT")
    row, seconds = predict_onnx.tag(Short(), tmp_path / "two.wav")  # type: ignore[arg-type]
    assert row[0] == pytest.approx(1, abs=1e-3)  # not the silence of two channels that cancel out
    assert seconds == 30_000 / 8000


def test_the_script_names_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict_onnx, "loaded", lambda path: Short())
    soundfile.write(tmp_path / "a\x07.wav", np.ones(8000) * 0.5, 8000)
    soundfile.write(tmp_path / ".hidden.wav", np.ones(8000), 8000)
    (tmp_path / "b.m4a").touch()
    assert predict_onnx.main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "1 files are left out for their suffix, first" in said.err
    assert said.out.count("\n") == 1
    assert "a\\u0007.wav  Bell\\u001b[2J 0.500" in said.out
    assert predict_onnx.main([str(tmp_path), "format=json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["file"], list(record["tags"])) == (str(tmp_path / "a\x07.wav"), Short.classes)


@pytest.mark.parametrize("words", [["--help"], ["-h", "x.wav"]])
def test_the_script_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert predict_onnx.main(words) == 0
    assert "model=FILE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("top=x", "whole number"), ("top=0", "whole number"), ("format=xml", "table or json"), ("modle=a", "none of"),
        ("model=none.onnx", "no such model"), (f"model={__file__}", "not a model that export wrote"),
    ],
)  # fmt: skip
def test_wrong_words_of_the_script_are_a_line(word: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict_onnx.main(["a.wav", word]) == 2
    said = capsys.readouterr().err
    assert said.startswith("predict_onnx: ")
    assert reason in said
    assert said.count("\n") == 1
