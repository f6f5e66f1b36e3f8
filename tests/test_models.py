"""Networks, pooling heads and losses: shapes at any length, sizes and values worked by hand, weights from files."""

import math
from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.config.call import Call
from tonestack.networks.layers import (
    BandPool,
    CosineClassifier,
    DropPath,
    FirstConv,
    FrameNetwork,
    Network,
    Normalise,
    Pool,
    Tagger,
    activation,
    count_multiply_adds,
    count_parameters,
    dense_head,
)
from tonestack.networks.models import resnet18, timm_backbone
from tonestack.settings.model_config import ModelConfig
from tonestack.training.learners import network as learner

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

SMALL: dict[str, dict[str, Any]] = {
    "vgg": {"channels": (4, 8, 8), "dense": 16},
    "resnet": {"channels": (4, 8), "blocks": (1, 2), "squeeze": 2},
    "crnn": {"channels": (4, 8), "hidden": 6},
    "cnn1d": {"filters": 8, "kernel": 64, "stride": 32, "channels": (8, 8)},
    "timm_backbone": {"backbone": "test_resnet"},
    "resnet18": {"width": 4, "size": 32},
    "rnn": {"project": 5, "hidden": 6},
    "mlp": {"hidden": (6,)},
    "panns": {"size": "cnn6"},
    "efficientat": {"width": 0.1},
    "window_attention": {"project": 8, "hidden": 6, "heads": 2},
    "ecapa": {"channels": 8, "attention": 6, "embedding": 7, "squeeze": 4},
}
OWN_POOL = {"ecapa", "window_attention", "panns", "efficientat"}  # pools as its paper says
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
    elsewhere = {"autoencoder", "siamese", "hf_encoder"}  # pictures and likenesses, not logits; a folder's network
    assert set(SMALL) == built - elsewhere


@pytest.mark.parametrize("length", [1, 2, 7, 100])
@pytest.mark.parametrize("name", SMALL)
def test_any_length_gives_one_row_of_logits_a_crop(name: str, length: int) -> None:
    with torch.inference_mode():
        logits = build(name)(crops(name, length))
    assert logits.shape == (3, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "attention"])
@pytest.mark.parametrize("name", [name for name in SMALL if name not in OWN_POOL])
def test_logits_are_the_classifier_of_the_embedding(name: str, pool: str) -> None:
    network, x = build(name, pool=pool), crops(name, 20)
    with torch.inference_mode():
        assert torch.allclose(network.classifier(network.embed(x)), network(x), atol=1e-6)
        assert network.embed(x).shape == (3, network.width)


POOLED = [name for name in SMALL if name not in OWN_POOL]


@pytest.mark.parametrize("name", POOLED)
def test_every_body_may_have_a_value_a_class_and_frame(name: str) -> None:
    network = build(name, pool="sed", **({"size": 0} if name == "resnet18" else {}))
    assert isinstance(network, FrameNetwork)
    for length in (1, 7, 100):
        x = crops(name, length)
        with torch.inference_mode():
            found, alone, embedding = network.outputs(x), network(x), network.embed(x)
            logits, attention = network.frames(x)
        assert logits.shape == attention.shape
        assert logits.shape[:2] == (3, 5)
        assert torch.equal(found.frames, logits)
        assert torch.allclose(found.logits, (attention.softmax(2) * logits).sum(2), atol=1e-6)
        assert torch.allclose(alone, found.logits, atol=1e-6)
        assert found.embedding.shape == embedding.shape == (3, network.width)
    assert logits.shape[2] > 3  # 100 frames (of a wave, 64 times as many samples) are more than one value


def test_a_frames_logits_are_the_classifier_of_its_own_state_by_hand() -> None:
    network = FrameNetwork(nn.Identity(), BandPool("mean"), dense_head(2, 3, 0, "relu", 0.5), 3).eval()
    maps = torch.randn(4, 2, 5, 6)  # (B, D, F, T)
    logits, attention = network.frames(maps)
    linear = network.classifier[1]  # type: ignore[index]
    for frame in range(6):
        state = maps[:, :, :, frame].mean(2)
        assert torch.allclose(logits[:, :, frame], linear(state), atol=1e-6)
        assert torch.allclose(attention[:, :, frame], network.attention(state).tanh(), atol=1e-6)
    assert not torch.allclose(network(maps), logits.mean(2), atol=1e-3)


def test_the_generalised_mean_over_bands_by_hand() -> None:
    maps = torch.tensor([[[[1.0], [2.0], [4.0]]]])  # (1, 1, F, 1)
    pool = BandPool("gem")
    assert pool(maps).item() == pytest.approx(((1 + 8 + 64) / 3) ** (1 / 3))
    pool.power.data.fill_(1.0)  # type: ignore[union-attr]
    assert pool(maps).item() == pytest.approx(7 / 3)
    assert torch.equal(pool(maps[:, :, 0]), maps[:, :, 0])  # sequences have no bands
    assert Pool("max", 1, "gem")(maps).item() == pytest.approx((73 / 3) ** (1 / 3))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (7, 2, 3), ((3, 9), (1, 2), (1, 4))])
def test_a_first_convolution_is_the_same_as_a_product(kernel: Any, stride: Any, padding: Any, compiled: bool) -> None:
    conv = nn.Conv2d(1, 5, kernel, stride, padding)
    state = torch.random.get_rng_state()
    first = FirstConv.like(conv)
    assert torch.equal(torch.random.get_rng_state(), state)
    product = torch.compile(first.product, backend="eager", fullgraph=True) if compiled else first.product
    x = torch.randn(2, 1, 20, 23)
    assert torch.equal(first(x), conv(x))
    assert torch.allclose(product(x), conv(x), atol=1e-5)
    product(x).square().sum().backward()
    gradients = [p.grad.clone() for p in conv.parameters() if p.grad is not None]
    conv.zero_grad()
    conv(x).square().sum().backward()
    assert all(
        torch.allclose(a, p.grad, rtol=1e-4, atol=1e-3) for a, p in zip(gradients, conv.parameters(), strict=True)
    )
    with torch.autocast("cpu", torch.bfloat16):
        maps = product(x)
    assert maps.dtype == torch.bfloat16
    assert maps.is_contiguous(memory_format=torch.channels_last)


def test_a_branch_is_dropped_for_its_share_of_the_crops() -> None:
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    torch.manual_seed(0)
    y = drop.train()(x)
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(y, y[:, :1, :1].expand_as(y))  # whole crops
    assert float(y.mean()) == pytest.approx(1, abs=4 * (1 / 3 / 4000) ** 0.5)
    assert torch.equal(drop.eval()(x), x)
    network = build("resnet", blocks=(2, 2), drop_path=0.3)
    assert [m.share for m in network.modules() if isinstance(m, DropPath)] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("pool", ["attention", "sed"])
def test_every_parameter_learns(name: str, pool: str) -> None:
    network = build(name, **({} if name in OWN_POOL else {"pool": pool})).train()
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


@pytest.mark.parametrize(("name", "pretrained"), [("resnet18", "must"), ("timm_backbone", True)])
def test_a_finished_network_is_rebuilt_without_what_it_started_from(name: str, pretrained: object) -> None:
    given = {"name": name, "pretrained": pretrained, "weights": "gone.safetensors"}
    found = learner.unfetched(ModelConfig(frontend={}, network=given)).network
    params: Any = parts.part_params("models", found, "here")
    assert (params.pretrained, params.weights) in (("off", None), (False, None))


def test_resnet18_has_its_documents_parameters() -> None:
    module = parts.find("models", "resnet18")
    speakers = module.build(module.Params(), 40, 200)
    assert count_parameters(speakers) == 11_279_112
    assert speakers.embed(torch.zeros(1, 1, 40, 9)).shape == (1, 512)
    stories = module.Params(in_channels=1, conv_bias=True, shortcut_norm=False, init="xavier")
    assert count_parameters(module.build(stories, 40, 2)) == 11_174_274


def test_ecapa_has_its_documents_parameters_and_none_that_nothing_reads() -> None:
    module = parts.find("models", "ecapa")
    document = {"dilations": (1, 1, 1), "mask": False, "unused": True}
    assert count_parameters(module.build(module.Params(**document), 80, 1211)) == 1_329_039 == 1_096_527 + 192 * 1211
    dead = 3 * (20 * 20 * 3 + 2 * 20)
    assert count_parameters(module.build(module.Params(), 80, 1211)) == 1_329_039 - dead


@pytest.mark.parametrize(("cell", "gates"), [("gru", 3), ("lstm", 4)])
def test_a_recurrent_network_counted_by_hand(cell: str, gates: int) -> None:
    made = build("rnn", bands=7, classes=3, cell=cell, project=5, hidden=6, pool="avg")
    recurrent = 2 * gates * (6 * 5 + 6 * 6 + 2 * 6)  # two directions, two biases
    assert count_parameters(made) == (7 * 5 + 5) + recurrent + (12 * 3 + 3)


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


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("minmax", [[0.0, 0.5], [0.25, 1.0]]),
        ("band", [[-1.0, 1.0], [-1.0, 1.0]]),
        ("frame", [[-1.0, -1.0], [1.0, 1.0]]),
        ("none", [[1.0, 3.0], [2.0, 5.0]]),
    ],
)
def test_a_crop_is_normalised_by_its_own_values(how: Any, expected: list[list[float]]) -> None:
    crop = torch.tensor([[[[1.0, 3.0], [2.0, 5.0]]]])
    normalise = Normalise(torch.tensor([9.0, 9.0]), torch.tensor([2.0, 2.0]), how)
    made = normalise(torch.cat([crop, 7 * crop]))
    assert torch.allclose(made[0, 0], torch.tensor(expected), atol=1e-5)
    assert how == "none" or torch.allclose(made[0], made[1], atol=1e-5)
    assert normalise(torch.ones(1, 1, 2, 3)).isfinite().all()  # a constant crop


def test_level_is_relative_to_the_loudest_frame_and_can_be_undone() -> None:
    x = torch.tensor([[[[-20.0, -90.0, -300.0], [-20.0, -50.0, -300.0]]]])  # two bands, three frames, dB
    normalise = Normalise(torch.zeros(2), torch.ones(2), "level")
    made = normalise(x)
    assert torch.allclose(made, normalise(x + 30), atol=1e-4)  # loudness says nothing
    levels = normalise.decibels(made)[0, 0]
    assert levels[:, 0].tolist() == pytest.approx([-3.01, -3.01], abs=0.01)  # both bands make up the loudest frame
    assert levels[0, 2] == pytest.approx(-70, abs=0.01)  # silence is the floor
    assert torch.allclose(normalise.again(levels), made[0, 0], atol=1e-5)
    assert normalise(torch.full((1, 1, 2, 3), -100.0)).isfinite().all()


@pytest.mark.parametrize("how", ["dataset", "none"])
def test_other_normalisations_of_decibels_can_be_undone(how: Any) -> None:
    x = torch.randn(2, 1, 3, 4)
    normalise = Normalise(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 0.5]), how)
    assert torch.allclose(normalise.decibels(normalise(x)), x, atol=1e-5)
    assert torch.allclose(normalise.again(x), normalise(x))


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


# -------------------------------------------------------------------------------------------------------- ecapa


def test_an_ecapa_embedding_does_not_depend_on_the_padding_behind_a_clip() -> None:
    x = crops("ecapa", 20)
    padded = nn.functional.pad(x, (0, 13))
    with torch.inference_mode():
        masked, plain = build("ecapa"), build("ecapa", mask=False)
        assert (masked.embed(x) - masked.embed(padded)).abs().max() < 1e-6
        assert (plain.embed(x) - plain.embed(padded)).abs().max() > 3e-4
        assert masked.embed(torch.zeros(2, 1, 32, 9)).isfinite().all()  # nothing but padding


def test_ecapas_dilations_widen_what_a_frame_sees() -> None:
    """A change in one frame reaches 2 for the stem and, a block, 1 for each of five convolutions' neighbours."""

    def reach(dilations: tuple[int, ...]) -> int:
        frames = build("ecapa", channels=32, dilations=dilations, mask=False).body
        x = crops("ecapa", 121)[:1]
        moved = x.clone()
        moved[..., 60] += 100
        # squeeze-excitation looks at the whole clip: its gates are held open
        for block in frames.blocks:  # type: ignore[union-attr]
            block.steps[3].gate = nn.Sequential(nn.Identity())  # type: ignore[operator, index, union-attr]
            block.steps[3].gate.forward = lambda mean: torch.ones_like(mean)  # type: ignore[operator, index, union-attr]
        with torch.inference_mode():
            changed = (frames(x) - frames(moved)).abs().amax(dim=(0, 1)) > 0
        return int((changed.nonzero().max() - 60).item())

    groups = 3  # convolutions in a row in a Res2 unit
    assert reach((1,)) == 2 + 4 + groups
    assert reach((3,)) == 2 + 4 + 3 * groups


def test_the_cosine_classifier_by_hand() -> None:
    head = CosineClassifier(2, 2, scale=10)
    head.weight.data = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [pytest.approx([6.0, 8.0])]
    assert Network(nn.Identity(), nn.Identity(), head).width == 2


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


def on_embedding(name: str) -> bool:
    return getattr(parts.find("losses", name), "ON_EMBEDDING", False)


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


@pytest.mark.parametrize("name", [n for n in parts.names("losses") if not on_embedding(n)])
def test_a_clip_of_weight_0_does_not_count(name: str) -> None:
    logits, targets = [[1.0, 2.0], [-3.0, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    assert loss(name, logits, targets, [0, 1]) == pytest.approx(loss(name, logits[1:], targets[1:], [1]))
    assert loss(name, logits, targets, [0, 0]) == 0.0


def test_aam_softmax_by_hand() -> None:
    angle, other, margin, scale = 0.5, 0.8, 0.2, 30.0
    logits = [[scale * math.cos(angle), scale * math.cos(other)]]
    gap = scale * (math.cos(other) - math.cos(angle + margin))
    given = {"margin": margin, "scale": scale}
    assert loss("aam_softmax", logits, [[1.0, 0.0]], [1], **given) == pytest.approx(math.log1p(math.exp(gap)), rel=1e-4)
    plain = loss("cross_entropy", logits, [[1.0, 0.0]], [1])
    assert loss("aam_softmax", logits, [[1.0, 0.0]], [1], margin=0, scale=scale) == pytest.approx(plain, abs=1e-6)


def test_aam_softmax_keeps_falling_with_the_angle_up_to_pi() -> None:
    angles = torch.linspace(0, math.pi, 200)
    module = parts.find("losses", "aam_softmax")
    of = module.build(module.Params())
    each = [
        float(of(torch.tensor([[30 * math.cos(a), 0.0]]), torch.tensor([[1.0, 0.0]]), torch.ones(1))) for a in angles
    ]
    assert (np.diff(each) > -1e-4).all()


CENTRES = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
EMBEDDING, ONE_HOT = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.eye(3)[[0, 2]]
INTRA, INTER = [1.0, 4.0], [4.0 + 17.0, 4.0 + 13.0]


def center_loss(weights: list[float], **params: Any) -> Tensor:
    module = parts.find("losses", "contrastive_center")
    made = module.build(module.Params(delta=0.5, **params), 2, 3)
    made.centres.data = CENTRES.clone()
    value: Tensor = made(torch.zeros(2, 3), ONE_HOT, torch.tensor(weights), EMBEDDING)
    return value


def test_the_contrastive_center_loss_by_hand_in_both_forms() -> None:
    entropy = math.log(3)
    paper = sum(a / (b + 0.5) for a, b in zip(INTRA, INTER, strict=True)) / 2
    assert center_loss([1, 1], weight=0.6).item() == pytest.approx(entropy + 0.3 * paper)
    batch = sum(INTRA) / (sum(INTER) + 0.5)
    assert center_loss([1, 1], weight=0.6, form="batch").item() == pytest.approx(entropy + 0.3 * batch)
    assert center_loss([0, 1]).item() == pytest.approx(entropy + 0.5 * INTRA[1] / (INTER[1] + 0.5))


@pytest.mark.parametrize(("optimizer", "lr"), [("adagrad", 0.3), ("adam", 0.3), ("sgd", 10.0)])
def test_centres_move_to_their_classes_by_their_own_optimiser(optimizer: str, lr: float) -> None:
    module = parts.find("losses", "contrastive_center")
    torch.manual_seed(0)
    made = module.build(module.Params(optimizer=optimizer, lr=lr), 2, 3)
    own = made.optimizer()
    before = made.ratio(ONE_HOT, torch.ones(2), EMBEDDING).item()
    for _ in range(30):
        own.zero_grad()
        made(torch.zeros(2, 3), ONE_HOT, torch.ones(2), EMBEDDING).backward()
        own.step()
    assert made.ratio(ONE_HOT, torch.ones(2), EMBEDDING).item() < 0.5 * before


@pytest.mark.parametrize("preset", ["smoke", "fast", "night"])
def test_every_preset_lists_its_models(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import models

    monkeypatch.setattr(models, "count_multiply_adds", lambda network, x: 0 if network(x) is not None else 1)
    table = models.run(Call.from_arguments([f"preset={preset}", "model=judge_conv2d_none,vgg_small,clip_forest"]))
    assert len(table) == 3
    strange = table.set_index("model").loc["judge_conv2d_none", "multiply-adds"]
    assert strange == ("not for crops of this length" if preset == "smoke" else "0.0 M")


def test_attention_over_windows_does_not_see_padding() -> None:
    network = build("window_attention", bands=5)
    x = torch.randn(2, 1, 5, 7, generator=torch.Generator().manual_seed(3))
    x[:, ..., 4:] = 0
    with torch.inference_mode():
        assert torch.allclose(network(x), network(x[..., :4]), atol=1e-6)
        assert torch.allclose(network(x[..., :4].flip(3)), network(x[..., :4]), atol=1e-6)  # windows have no order
        assert not torch.allclose(network(x[..., :4]), network(x[..., :1]), atol=1e-3)
