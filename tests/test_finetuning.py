"""Published networks and their weights: the references' numbers, key names, conversion, rates and freezing by depth."""

import importlib.util
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import train
import weights as verb
from conftest import CLASSES
from tonestack import cli
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import file_hash, read_json
from tonestack.config.call import Call
from tonestack.networks import weights
from tonestack.networks.layers import Network, Normalise, Tagger
from tonestack.settings.model_config import TrainingParams
from tonestack.tables import oof
from tonestack.training.learners.network import build_loss
from tonestack.training.loop import learning_rate
from tonestack.training.step import Step, make_optimizer

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.mobilenetv3 import InvertedResidual, MobileNetV3, _mobilenet_v3_conf
from torchvision.ops.misc import SqueezeExcitation


def build(name: str, bands: int, classes: int, **params: Any) -> Network:
    torch.manual_seed(0)
    module = parts.find("models", name)
    network: Network = module.build(module.Params(**params), bands, classes)
    return network


def shaken(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Random values in place of fresh ones, statistics of batch normalisation included."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for key, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        made[key] = value if not value.is_floating_point() else value + 0.1 * noise
        if key.endswith("running_var"):
            made[key] = made[key].abs() + 0.1
    return made


# ---------------------------------------------------------------------------------------------------------- references


def panns_by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Logits of a PANNs network from a published table of weights: log-mel (B, 1, T, F) in dB, step by step."""

    def norm(x: Tensor, name: str) -> Tensor:
        table = [state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *table)

    x = norm(x.transpose(1, 3), "bn0").transpose(1, 3)
    blocks = sum(key.endswith("conv1.weight") for key in state)
    for number in range(1, blocks + 1):
        for layer in ("1", "2"):
            kernel = state.get(f"conv_block{number}.conv{layer}.weight")
            if kernel is not None:
                x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
                x = F.relu(norm(x, f"conv_block{number}.bn{layer}"))
        x = F.avg_pool2d(x, 2 if number < 6 else 1)
    x = x.mean(dim=3)
    x = x.amax(dim=2) + x.mean(dim=2)
    x = F.relu(F.linear(x, state["fc1.weight"], state["fc1.bias"]))
    return F.linear(x, state["fc_audioset.weight"], state["fc_audioset.bias"])


def published(network: Network) -> dict[str, Tensor]:
    """A PANNs network's weights under the published names."""
    names = {"body.": "", "pool.fc1": "fc1", "classifier": "fc_audioset"}
    state = {}
    for key, value in network.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs, 1) if key.startswith(ours) else key
        state[key] = value.clone()
    return state


@pytest.mark.parametrize("size", ["cnn6", "cnn10", "cnn14"])
def test_panns_with_published_weights_give_the_published_numbers(size: str, tmp_path: Path) -> None:
    state = shaken(published(build("panns", 64, 527, size=size)))
    extra = {"logmel_extractor.melW": torch.zeros(3), "spectrogram_extractor.stft.conv_real.weight": torch.zeros(3)}
    save_file(state | extra, tmp_path / "w.safetensors")
    network = build("panns", 64, 527, size=size)
    module = parts.find("models", "panns")
    module.pretrain(network, module.Params(size=size, weights=str(tmp_path / "w.safetensors")))
    x = 20 * torch.randn(2, 1, 64, 101, generator=torch.Generator().manual_seed(2)) - 40
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(x), panns_by_hand(state, x.transpose(2, 3)), atol=1e-4, rtol=1e-4)


def reference_cnn14() -> Any:
    """The class of the package panns-inference, without its `__init__`, which downloads."""
    spec = importlib.util.find_spec("panns_inference")
    pytest.importorskip("torchlibrosa")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("panns-inference is not installed")
    package = types.ModuleType("panns_inference")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["panns_inference"] = package
    return importlib.import_module("panns_inference.models").Cnn14


def test_cnn14_from_the_wave_is_panns_inferences(tmp_path: Path) -> None:
    torch.manual_seed(3)
    reference = reference_cnn14()(32000, 1024, 320, 64, 50, 14000, 527).eval()
    reference.load_state_dict(
        shaken(reference.state_dict())
        | {key: value for key, value in reference.state_dict().items() if "extractor" in key}
    )
    torch.save({"model": reference.state_dict(), "iteration": 1}, tmp_path / "Cnn14.pth")
    network, module = build("panns", 64, 527, size="cnn14"), parts.find("models", "panns")
    module.pretrain(network, module.Params(size="cnn14", weights=str(weights.converted(tmp_path / "Cnn14.pth"))))
    wave = (0.1 * np.random.default_rng(0).standard_normal(64_000)).astype(np.float32)
    logmel = parts.find("frontends", "logmel")
    params = logmel.Params(sample_rate=32000, n_fft=1024, hop_length=320, n_mels=64, fmin=50, fmax=14000)
    ours = torch.from_numpy(logmel.Frontend(params).exact(wave)).T[None, None]
    with torch.inference_mode():
        theirs = reference.logmel_extractor(reference.spectrogram_extractor(torch.from_numpy(wave)[None]))
        # only the two frames at each end differ: they mirror the wave there, ours puts silence around it
        torch.testing.assert_close(ours[0, 0, :, 2:-2].T, theirs[0, 0, 2:-2], atol=1e-2, rtol=0)
        found = network.eval()(theirs.transpose(2, 3)).sigmoid()
        torch.testing.assert_close(found, reference(torch.from_numpy(wave)[None])["clipwise_output"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("width", [0.4, 1.0])
def test_efficientat_is_torchvisions_mobilenet_with_its_gates(width: float, tmp_path: Path) -> None:
    from functools import partial

    torch.manual_seed(4)
    blocks, last = _mobilenet_v3_conf("mobilenet_v3_large", width_mult=width)
    gate = partial(SqueezeExcitation, scale_activation=nn.Sigmoid)
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
    theirs = MobileNetV3(blocks, last, 527, partial(InvertedResidual, se_layer=gate), norm)
    first = theirs.features[0][0]
    theirs.features[0][0] = nn.Conv2d(1, first.out_channels, 3, 2, 1, bias=False)
    theirs.load_state_dict(shaken(theirs.state_dict()))
    state = {}
    for key, value in theirs.eval().state_dict().items():  # under EfficientAT's names
        gated = ".fc1." in key or ".fc2." in key
        key = key.replace(".fc", ".conc_se_layers.0.fc") if gated else key
        key = key.replace("classifier.0", "classifier.2").replace("classifier.3", "classifier.5")
        state[key] = value[:, :, 0, 0].clone() if gated and value.dim() == 4 else value.clone()
    save_file(state, tmp_path / "mn.safetensors")
    network, module = build("efficientat", 128, 527, width=width), parts.find("models", "efficientat")
    module.pretrain(network, module.Params(width=width, weights=str(tmp_path / "mn.safetensors")))
    x = torch.randn(2, 1, 128, 97, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(x), theirs(x), atol=1e-4, rtol=1e-4)


def test_efficientats_mel_bands_are_torchs_and_kaldis() -> None:
    module = parts.find("frontends", "efficientat_mel")
    frontend = module.Frontend(module.Params())
    wave = (0.1 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    sharp = F.conv1d(torch.from_numpy(wave)[None, None], torch.tensor([[[-0.97, 1.0]]]))[0]
    window = torch.hann_window(800, periodic=False)
    power = torch.stft(sharp, 1024, 320, 800, window, center=True, return_complex=True)[0].abs() ** 2
    mel = 1127 * np.log(1 + 32000 / 1024 * np.arange(512) / 700)
    step = 1127 * np.log(1 + 15000 / 700) / 129
    basis = np.zeros((513, 128), np.float32)
    for band in range(128):  # Kaldi's compute-mel-banks, one triangle after the other
        left, centre, right = step * band, step * (band + 1), step * (band + 2)
        up, down = (mel - left) / (centre - left), (right - mel) / (right - centre)
        basis[:512, band] = np.maximum(0, np.minimum(up, down))
    expected = np.log(power.numpy().T @ basis + 1e-5)
    np.testing.assert_allclose(frontend.exact(wave), (expected + 4.5) / 5, atol=1e-3)
    assert frontend(np.zeros(1, np.float32)).shape == (1, 128)


# ---------------------------------------------------------------------------------------------------- weights and files


def test_another_number_of_classes_replaces_the_last_layer_alone(tmp_path: Path) -> None:
    state = shaken(published(build("panns", 64, 527, size="cnn6")))
    save_file(state, tmp_path / "w.safetensors")
    network, module = build("panns", 64, 5, size="cnn6"), parts.find("models", "panns")
    before = network.classifier.weight.clone()
    module.pretrain(network, module.Params(size="cnn6", weights=str(tmp_path / "w.safetensors")))
    assert torch.equal(network.classifier.weight, before)
    assert torch.equal(network.pool.fc1.weight, state["fc1.weight"])


@pytest.mark.parametrize("change", ["another size", "one missing", "one more", "not finite"])
def test_weights_of_another_network_are_refused(tmp_path: Path, change: str) -> None:
    state = published(build("panns", 64, 5, size="cnn6"))
    if change == "another size":
        state = published(build("panns", 64, 5, size="cnn10"))
    elif change == "one missing":
        del state["conv_block2.bn1.weight"]
    elif change == "one more":
        state["conv_block9.bn1.weight"] = torch.zeros(3)
    else:
        state["fc1.bias"][0] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    network, module = build("panns", 64, 5, size="cnn6"), parts.find("models", "panns")
    with pytest.raises(UserError, match=r"w\.safetensors: (not this network's weights|'fc1.bias' holds NaN)"):
        module.pretrain(network, module.Params(size="cnn6", weights=str(tmp_path / "w.safetensors")))


def test_checkpoints_are_converted_once_and_pickled_ones_never_trained_from(tmp_path: Path) -> None:
    state = published(build("panns", 64, 5, size="cnn6"))
    for held in (state, {"model": state, "epoch": 3}, {"state_dict": state}):
        torch.save(held, tmp_path / "w.pth")
        made = weights.read(weights.converted(tmp_path / "w.pth"))
        assert all(torch.equal(made[key], value) for key, value in state.items())
    with pytest.raises(UserError, match=r"pickled; convert it once by `./run.sh weights convert=.*w\.pth`"):
        weights.start(build("panns", 64, 5, size="cnn6"), str(tmp_path / "w.pth"), str, "classifier.")


class _Runs:
    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["pickle", "torch", "cut", "text", "numbers"])
def test_a_checkpoint_that_holds_code_runs_nothing(tmp_path: Path, kind: str) -> None:
    path, touched = tmp_path / "w.pth", tmp_path / "touched"
    hostile = _Runs()
    hostile.path = touched  # type: ignore[attr-defined]
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": hostile}))
    elif kind == "torch":
        torch.save({"model": {"a": torch.zeros(2)}, "extra": hostile}, path)
    elif kind == "cut":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "text":
        path.write_text("no checkpoint")
    else:
        torch.save([1, 2], path)
    with pytest.raises(UserError, match=r"w\.pth: (damaged, or holds more|holds no table)") as refused:
        weights.converted(path)
    assert "\n" not in str(refused.value)
    assert not touched.exists()
    assert not path.with_suffix(".safetensors").exists()


def test_the_table_of_weights_says_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    folder = tmp_path / "input/weights"
    folder.mkdir(parents=True)
    (folder / "nmp.onnx").write_bytes(b"other")
    torch.save({"model": {"a": torch.zeros(2)}}, folder / "Cnn6_mAP=0.343.pth")
    call = Call.from_arguments([])
    table = verb.run(call, verb.Wanted())
    assert table is not None
    here = table.set_index("name")["here"]
    assert here["basic_pitch"] == "yes, but not the file whose checksum is known"
    assert here["panns_cnn6"] == "yes, to be converted"
    assert here["birdnet"] == "no"
    assert "CC BY-NC-SA" in capsys.readouterr().out
    cli.main(verb.run, verb.__doc__, ["convert=Cnn6_mAP=0.343.pth"], own=verb.Wanted)  # names of PANNs hold a sign
    assert verb.listed().set_index("name")["here"]["panns_cnn6"] == "yes (Cnn6_mAP=0.343.safetensors)"


# ------------------------------------------------------------------------------------------------------ rates and depth


def tagger(name: str = "panns", **params: Any) -> Tagger:
    network = build(name, 64, 3, **({"size": "cnn6"} | params if name == "panns" else params))
    return Tagger(Normalise(torch.zeros(64), torch.ones(64), "none"), network)


def test_rates_fall_with_depth_and_the_schedule_keeps_their_ratio() -> None:
    model, params = tagger(), TrainingParams(lr=0.1, layer_decay=0.5)
    optimizer = make_optimizer(model, params)
    names = {id(parameter): name for name, parameter in model.network.named_parameters()}
    rate = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rate["classifier.weight"] == 0.1
    assert rate["pool.fc1.bias"] == 0.05
    assert [rate[f"body.conv_block{n}.conv1.weight"] for n in (4, 3, 2, 1)] == [0.025, 0.0125, 0.00625, 0.003125]
    assert len(rate) == len(names)
    config = Call.from_arguments(["model=panns_cnn6"]).experiments()[0].config
    step = Step(model, build_loss(config, model.network, 3, torch.device("cpu")), [optimizer], config)
    step.rate(learning_rate(500, 1000, params))
    now = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert now["classifier.weight"] < 0.1
    assert all(now[name] / rate[name] == pytest.approx(now["classifier.weight"] / 0.1) for name in rate)


def test_without_depth_every_parameter_has_the_same_rate() -> None:
    groups = make_optimizer(tagger(), TrainingParams(lr=0.1)).param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.01), (0.1, 0.0)]


@pytest.mark.parametrize("name", ["panns", "efficientat"])
def test_frozen_stages_do_not_move(name: str) -> None:
    model = tagger(name, **({} if name == "panns" else {"width": 0.1}))
    model.network.freeze(2)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = make_optimizer(model, TrainingParams(lr=0.1))
    model(torch.randn(4, 1, 64, 40)).square().sum().backward()
    optimizer.step()
    now = model.network.state_dict()
    moved = {key for key, value in now.items() if not torch.equal(value, before[f"network.{key}"])}
    frozen = {key for key, _ in model.network.named_parameters()} - moved
    first = ("body.bn0.", "body.conv_block1.") if name == "panns" else ("body.0.", "body.1.")
    assert frozen == {key for key, _ in model.network.named_parameters() if key.startswith(first)}
    assert not any(key.startswith(first) for key in moved)  # nor do the statistics of its normalisation


def test_a_fold_starts_from_the_file_and_is_stale_when_the_file_changes(tiny_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(published(build("panns", 16, 9, size="cnn6")), path)
    words = ["data=fsdkaggle2018", "preset=full", f"root={tiny_root}", "device=cpu", "jobs=1", "folds.n=2", "fold=0"]
    words += ["frontend.sample_rate=8000", "frontend.n_fft=256", "frontend.hop_length=128", "frontend.n_mels=16"]
    words += ["frontend.fmax=4000", "crop.seconds=0.5", "training.epochs=1", "training.min_steps=1"]
    words += ["training.batch_size=8", "training.freeze=7", "training.ema=0", f"network.weights={path}"]
    call = Call.from_arguments([*words, "model=panns_cnn6"])
    train.run(call)
    folder = call.oof / "panns_cnn6@r0"
    kept, started = weights.read(folder / "fold0.safetensors"), weights.read(path)
    assert torch.equal(kept["network.body.conv_block3.conv1.weight"], started["conv_block3.conv1.weight"])
    assert kept["network.classifier.weight"].shape == (len(CLASSES), 512)
    assert read_json(oof.receipts(folder)[0])["inputs"]["weights"] == file_hash(path)
    save_file({key: value + 1 for key, value in started.items()}, path)
    train.run(call)
    again = weights.read(folder / "fold0.safetensors")
    assert torch.equal(again["network.body.conv_block3.conv1.weight"], started["conv_block3.conv1.weight"] + 1)


def test_published_weights_keep_their_frontend_whatever_the_recordings_rate(tiny_root: Path) -> None:
    words = ["data=fsdkaggle2018", "preset=full", f"root={tiny_root}", "model=panns_cnn6"]
    given = Call.from_arguments(words).experiments()[0].config.frontend
    assert given["sample_rate"] == 16_000
    kept = Call.from_arguments([*words, "network.weights=w.safetensors"]).experiments()[0].config.frontend
    assert (kept["sample_rate"], kept["n_mels"]) == (32_000, 64)
