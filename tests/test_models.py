"""Networks, pooling heads and losses: shapes at any length, sizes and values worked by hand, weights from files."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tonestack import parts
from tonestack.errors import UserError
from tonestack.layers import (
    Network,
    Normalise,
    Pool,
    Tagger,
    activation,
    count_multiply_adds,
    count_parameters,
    dense_head,
)
from tonestack.models import resnet18, timm_backbone

SMALL: dict[str, dict[str, Any]] = {
    "vgg": {"channels": (4, 8, 8), "dense": 16},
    "resnet": {"channels": (4, 8), "blocks": (1, 2), "squeeze": 2},
    "crnn": {"channels": (4, 8), "hidden": 6},
    "cnn1d": {"filters": 8, "kernel": 64, "stride": 32, "channels": (8, 8)},
    "timm_backbone": {"backbone": "test_resnet"},
    "resnet18": {"width": 4, "size": 32},
}
WAVES = {"cnn1d"}


def build(name: str, bands: int = 32, classes: int = 5, **params: Any) -> Network:
    torch.manual_seed(0)
    module = parts.find("models", name)
    network: Network = module.build(module.Params(**(SMALL[name] | params)), bands, classes)
    return network.eval()


def crops(name: str, length: int, bands: int = 32) -> Tensor:
    shape = (3, 1, 1, 64 * length) if name in WAVES else (3, 1, bands, length)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_every_network_is_tried_here() -> None:
    built = {name for name in parts.names("models") if hasattr(parts.find("models", name), "build")}
    assert set(SMALL) == built - {"autoencoder"}  # it gives pictures, not logits


@pytest.mark.parametrize("length", [1, 2, 7, 100])
@pytest.mark.parametrize("name", SMALL)
def test_any_length_gives_one_row_of_logits_a_crop(name: str, length: int) -> None:
    with torch.inference_mode():
        logits = build(name)(crops(name, length))
    assert logits.shape == (3, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "attention"])
@pytest.mark.parametrize("name", SMALL)
def test_logits_are_the_classifier_of_the_embedding(name: str, pool: str) -> None:
    network, x = build(name, pool=pool), crops(name, 20)
    with torch.inference_mode():
        assert torch.allclose(network.classifier(network.embed(x)), network(x), atol=1e-6)
        assert network.embed(x).dim() == 2


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name: str) -> None:
    network = build(name, pool="attention").train()
    network(crops(name, 20)).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", SMALL)
def test_a_crops_logits_do_not_depend_on_its_neighbours(name: str) -> None:
    network, x = build(name), crops(name, 20)
    with torch.inference_mode():
        assert torch.allclose(network(x)[1:2], network(x[1:2]), atol=1e-5)


@pytest.mark.parametrize("bands", [1, 13, 64])
def test_spectrogram_networks_take_any_number_of_bands(bands: int) -> None:
    for name in set(SMALL) - WAVES:
        assert build(name, bands)(crops(name, 9, bands)).shape == (3, 5)


# ------------------------------------------------------------------------------------------------ sizes, by hand


def conv_block(n_in: int, n_out: int, convs: int) -> int:
    """3 × 3 kernels without bias, and a scale and a shift a channel for each convolution."""
    return 9 * n_in * n_out + (convs - 1) * 9 * n_out * n_out + convs * 2 * n_out


def test_the_small_vgg_has_the_parameters_counted_by_hand() -> None:
    module = parts.find("models", "vgg")
    convolutions = (576 + 36_864 + 256) + (73_728 + 147_456 + 512) + (294_912 + 589_824 + 1_024)
    convolutions += 1_179_648 + 2_359_296 + 2_048
    dense = (512 * 1024 + 1024) + (1024 * 41 + 41)
    assert count_parameters(module.build(module.Params(), 128, 41)) == convolutions + dense == 5_253_481


def test_the_large_vgg_has_three_convolutions_a_block_and_4096_units() -> None:
    module = parts.find("models", "vgg")
    convolutions = conv_block(1, 64, 3) + conv_block(64, 128, 3) + conv_block(128, 256, 3) + conv_block(256, 512, 3)
    dense = (512 * 4096 + 4096) + (4096 * 41 + 41)
    assert count_parameters(module.build(module.Params(convs=3, dense=4096), 128, 41)) == convolutions + dense


def test_a_small_resnet_and_crnn_counted_by_hand() -> None:
    stem, block = 9 * 4 + 8, 2 * (9 * 4 * 4 + 8)
    gate = (4 * 4 + 4) + (4 * 4 + 4)
    made = build("resnet", classes=3, channels=(4,), blocks=(1,), squeeze=1)
    assert count_parameters(made) == stem + block + gate + (4 * 3 + 3)
    gru = 2 * (3 * 6 * 4 + 3 * 6 * 6 + 2 * 3 * 6)  # two directions, three gates, two biases
    attention, classifier = 12 * 12 + 12, 12 * 3 + 3
    made = build("crnn", classes=3, channels=(4,), hidden=6)
    assert count_parameters(made) == (9 * 4 + 8) + gru + attention + classifier


def test_resnet18_has_its_documents_parameters() -> None:
    module = parts.find("models", "resnet18")
    speakers = module.build(module.Params(), 40, 200)
    assert count_parameters(speakers) == 11_279_112
    assert speakers.embed(torch.zeros(1, 1, 40, 9)).shape == (1, 512)
    stories = module.Params(in_channels=1, conv_bias=True, shortcut_norm=False, init="xavier")
    assert count_parameters(module.build(stories, 40, 2)) == 11_174_274


def test_multiply_adds_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 5 * 6, 7))
    assert count_multiply_adds(network, torch.zeros(1, 1, 5, 6)) == 5 * 6 * 9 * 4 + 120 * 7


# ----------------------------------------------------------------------------------------------- heads, by hand

MAPS = torch.tensor([[[[1.0, 2.0, 6.0], [3.0, 4.0, 0.0]]]])  # (1, 1, F=2, T=3); its mean over F is 2, 3, 3


@pytest.mark.parametrize(("name", "value"), [("avg", 8 / 3), ("max", 3.0), ("avgmax", 8 / 3 + 3)])
def test_pooling_by_hand(name: Any, value: float) -> None:
    assert Pool(name, 1)(MAPS).item() == pytest.approx(value)
    assert Pool(name, 1)(MAPS.mean(2)).item() == pytest.approx(value)  # a sequence is pooled alike


def test_attention_pooling_by_hand() -> None:
    pool = Pool("attention", 1)
    assert pool.score is not None
    nn.init.constant_(pool.score.weight, math.log(2))
    nn.init.zeros_(pool.score.bias)  # type: ignore[arg-type]
    weights = [2**2, 2**3, 2**3]  # softmax of log(2) · (2, 3, 3)
    assert pool(MAPS).item() == pytest.approx((2 * 4 + 3 * 8 + 3 * 8) / sum(weights))
    nn.init.zeros_(pool.score.weight)
    assert pool(MAPS).item() == pytest.approx(8 / 3)  # even weights are the mean


def test_a_dense_head_has_one_hidden_layer_or_none() -> None:
    kinds = [type(layer) for layer in dense_head(4, 3, 8, "selu", 0.1)]
    assert kinds == [nn.Dropout, nn.Linear, nn.SELU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in dense_head(4, 3, 0, "selu", 0.1)] == [nn.Dropout, nn.Linear]
    assert activation("leaky_relu")(torch.tensor(-1.0)).item() == pytest.approx(-0.01)


def test_the_tagger_normalises_each_band_and_saves_how() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.flatten(1)

    tagger = Tagger(Normalise(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.0])), Network(Spy(), Spy(), Spy()))
    tagger(torch.tensor([[[[3.0], [2.0]]]]))
    assert seen[0].tolist() == [[[[1.0], [0.0]]]]  # a constant band does not divide by zero
    assert set(tagger.state_dict()) == {"normalise.mean", "normalise.std"}


# --------------------------------------------------------------------------------------------------------- timm


def backbone(**params: Any) -> Network:
    torch.manual_seed(params.pop("seed", 0))
    return timm_backbone.build(timm_backbone.Params(backbone="test_resnet", **params), 32, 5).eval()


def test_any_backbone_is_found_by_name_and_pooled_by_us() -> None:
    x = crops("timm_backbone", 40)
    own = timm.create_model("test_resnet", in_chans=1, num_classes=0).eval()
    assert count_parameters(backbone(pool="avg")) == count_parameters(own) + own.num_features * 5 + 5
    own.load_state_dict(backbone().body.backbone.state_dict())  # type: ignore[union-attr, operator]
    assert torch.allclose(backbone(pool="avg").embed(x), own(x), atol=1e-5)
    assert backbone(drop_path=0.1)(x).shape == (3, 5)


def test_a_backbone_takes_its_own_options_and_refuses_others() -> None:
    assert backbone(options={"stem_width": 8})(crops("timm_backbone", 40)).shape == (3, 5)
    with pytest.raises(UserError, match=r"network\.options: .*no_such_thing"):
        backbone(options={"no_such_thing": 8})


def test_a_backbone_for_pictures_of_one_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"'test_vit' takes no spectrograms of 32 bands .*choose a convolutional one"):
        timm_backbone.build(timm_backbone.Params(backbone="test_vit"), 32, 5)


def test_an_unknown_backbone_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no timm backbone is called 'resnett18'; did you mean 'resnet18'\?"):
        timm_backbone.build(timm_backbone.Params(backbone="resnett18"), 32, 5)


def test_weights_are_read_from_a_file(tmp_path: Path) -> None:
    path, x = tmp_path / "own.safetensors", crops("timm_backbone", 40)
    given = backbone(seed=1)
    save_file(given.body.backbone.state_dict(), path)  # type: ignore[union-attr, operator]
    assert not torch.allclose(backbone().embed(x), given.embed(x), atol=1e-3)
    assert torch.equal(backbone(weights=str(path)).embed(x), given.embed(x))


def test_a_three_channel_stem_and_classifier_fit_one_channel(tmp_path: Path) -> None:
    path, x = tmp_path / "colour.safetensors", crops("timm_backbone", 40)
    colour = timm.create_model("test_resnet", in_chans=3, num_classes=10).eval()
    save_file(colour.state_dict(), path)
    grey = colour.forward_features(x.expand(-1, 3, -1, -1)).mean(dim=(2, 3))
    assert torch.allclose(backbone(weights=str(path), pool="avg").embed(x), grey, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "no such file"), (b"nonsense", "not a safetensors file"), ("vgg", r"does not fit 'test_resnet': \d+ tens")],
)
def test_a_weights_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, content: object, fault: str) -> None:
    path = tmp_path / "given.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    if content == "vgg":
        save_file(build("vgg").state_dict(), path)
    with pytest.raises(UserError, match=rf"network\.weights: .*given\.safetensors.*{fault}"):
        backbone(weights=str(path))


def test_pretrained_weights_without_a_network_are_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as error:
        backbone(pretrained=True)
    assert str(error.value).startswith("network.pretrained: the weights of 'test_resnet' cannot be had (")
    assert "network.weights=FILE.safetensors" in str(error.value)
    assert "\n" not in str(error.value)


# ----------------------------------------------------------------------------------------------------- resnet18


def test_resnet18_is_torchvisions_network_on_a_resized_picture(tmp_path: Path) -> None:
    from torchvision.models import resnet18 as reference

    torch.manual_seed(3)
    theirs, path = reference().eval(), tmp_path / "published.safetensors"
    save_file(theirs.state_dict(), path)
    params = resnet18.Params(size=64, weights=str(path))
    network = resnet18.build(params, 40, 5).eval()
    resnet18.pretrain(network, params)
    x = crops("resnet18", 50, 40)
    picture = nn.functional.interpolate(x, (64, 64), mode="bilinear").expand(-1, 3, -1, -1)
    theirs.fc = nn.Identity()  # type: ignore[assignment]
    with torch.inference_mode():
        assert torch.allclose(network.embed(x), theirs(picture), atol=1e-5)


def test_published_weights_are_refused_where_they_cannot_fit() -> None:
    with pytest.raises(UserError, match="published weights fit width 64"):
        resnet18.Params.parse({"width": 8, "pretrained": "try"}, "here")


def test_resnet18_starts_from_scratch_where_its_weights_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub.constants as hub

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(resnet18.urllib.request, "urlopen", refuse)
    params = resnet18.Params(pretrained="try", size=32)
    network = resnet18.build(params, 40, 5)
    before = network.state_dict()["classifier.1.weight"].clone()
    resnet18.pretrain(network, params)
    assert "from scratch, as its ImageNet weights cannot be had (no network)" in capsys.readouterr().out
    assert torch.equal(network.state_dict()["classifier.1.weight"], before)
    with pytest.raises(UserError, match=r"network\.weights=FILE\.safetensors"):
        resnet18.pretrain(network, resnet18.Params(pretrained="must"))


# ------------------------------------------------------------------------------------------------------- losses


def loss(
    name: str, logits: list[list[float]], targets: list[list[float]], weights: list[float], **params: Any
) -> float:
    module = parts.find("losses", name)
    return float(module.build(module.Params(**params))(*map(torch.tensor, (logits, targets, weights))))


def test_cross_entropy_by_hand() -> None:
    logits, targets = [[math.log(3), 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.5, 0.5]]
    each = [-math.log(3 / 4), math.log(2)]
    assert loss("cross_entropy", logits, targets, [1, 1]) == pytest.approx(sum(each) / 2)
    assert loss("cross_entropy", logits, targets, [3, 1]) == pytest.approx((3 * each[0] + each[1]) / 4)
    smoothed = -0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4)
    assert loss("cross_entropy", logits[:1], targets[:1], [1], smoothing=0.2) == pytest.approx(smoothed)


def test_binary_cross_entropy_by_hand() -> None:
    logits, targets = [[math.log(3), 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    each = [(-math.log(3 / 4) + math.log(2)) / 2, math.log(2)]
    assert loss("bce", logits, targets, [3, 1]) == pytest.approx((3 * each[0] + each[1]) / 4)
    smoothed = (-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4) + math.log(2)) / 2
    assert loss("bce", logits[:1], targets[:1], [1], smoothing=0.2) == pytest.approx(smoothed)


@pytest.mark.parametrize("name", parts.names("losses"))
def test_a_clip_of_weight_0_does_not_count(name: str) -> None:
    logits, targets = [[1.0, 2.0], [-3.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    assert loss(name, logits, targets, [0, 1]) == pytest.approx(loss(name, logits[1:], targets[1:], [1]))
    assert loss(name, logits, targets, [0, 0]) == 0.0
