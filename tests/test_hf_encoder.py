"""Hugging Face encoders as networks: transformers' own numbers, rates and freezing by depth, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import train
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.config.call import Call
from tonestack.features.store import Store
from tonestack.networks import weights
from tonestack.networks.layers import Network, Normalise, Tagger
from tonestack.settings.model_config import TrainingParams
from tonestack.training.learners import network as learner
from tonestack.training.step import make_optimizer

import numpy as np
import pandas as pd
import pytest
import torch

MODULE = parts.find("models", "hf_encoder")
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
CONVOLUTIONS = {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
POSITIONS = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
KINDS = ("Wav2Vec2", "Hubert", "WavLM", "AST")


def saved(folder: Path, kind: str = "Wav2Vec2", seed: int = 0, even: bool = True) -> Path:
    """A tiny encoder, random, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sizes = SIZES | ({"max_length": 64, "num_mel_bins": 32} if kind == "AST" else CONVOLUTIONS | POSITIONS)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    if kind == "AST":
        transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    else:
        transformers.Wav2Vec2FeatureExtractor(do_normalize=even).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "tiny")


def network(folder: Path, **params: Any) -> Network:
    given = MODULE.Params.parse({"folder": str(folder), **params}, "test")
    made: Network = MODULE.build(given, 1, 4)
    MODULE.pretrain(made, given)
    return made


# --------------------------------------------------------------------------------------------------------- its numbers


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_embedding_is_the_mean_of_transformers_own_hidden_states(kind: str, even: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    path = saved(tmp_path / "tiny", kind, even=even)
    clip = (0.1 * np.random.default_rng(0).normal(size=8_000)).astype(np.float32)
    fed = transformers.AutoFeatureExtractor.from_pretrained(path)(clip, sampling_rate=16_000, return_tensors="pt")
    model = transformers.AutoModel.from_pretrained(path).eval()
    ours = network(path).eval()
    with torch.inference_mode():
        own = model(fed["input_values"]).last_hidden_state[0]
        states = ours.body(torch.from_numpy(clip)[None, None, None])[0].T
        assert float((states - own).abs().max()) < 1e-4
        embedding = ours.embed(torch.from_numpy(clip)[None, None, None])[0]
    assert float((embedding - own.mean(dim=0)).abs().max()) < 1e-4


def test_the_lower_layers_alone_are_those_of_the_whole(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    wave = torch.randn(1, 2_000, generator=torch.Generator().manual_seed(1))
    wave = (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt()
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        hidden = model(wave, output_hidden_states=True).hidden_states[2]
        made = network(folder, layers=2).eval().body(wave[:, None, None])
    torch.testing.assert_close(made.transpose(1, 2), hidden, atol=1e-4, rtol=0)


def test_crops_of_one_training_step_are_not_masked_by_chance_of_numpy(folder: Path) -> None:
    """A resumed run has to draw what the run that was killed drew: numpy's global numbers are not part of its state."""
    made, wave = network(folder, dropout=0).train(), torch.randn(2, 1, 1, 4_000)
    found = []
    for seed in (0, 1):
        np.random.seed(seed)
        torch.manual_seed(0)
        found.append(made(wave))
    assert torch.equal(*found)


# ------------------------------------------------------------------------------------------------------ rates and depth


@pytest.mark.parametrize("kind", KINDS)
def test_rates_fall_with_depth(kind: str, tmp_path: Path) -> None:
    made = network(saved(tmp_path / "tiny", kind))
    model = Tagger(Normalise(torch.zeros(1), torch.ones(1), "none"), made)
    groups = make_optimizer(model, TrainingParams(lr=0.1, layer_decay=0.5)).param_groups
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    named = {name: rate[id(parameter)] for name, parameter in made.named_parameters()}
    assert named["classifier.1.weight"] == 0.1
    layers = "body.encoder.layers" if kind == "AST" else "body.encoder.encoder.layers"
    for number, wanted in enumerate((0.0125, 0.025, 0.05)):
        assert {value for name, value in named.items() if name.startswith(f"{layers}.{number}.")} == {wanted}
    first = "body.encoder.embeddings." if kind == "AST" else "body.encoder.feature_extractor."
    assert {value for name, value in named.items() if name.startswith(first)} == {0.003125}
    unused = {name for name, value in named.items() if value == 0.1} - {"classifier.1.weight", "classifier.1.bias"}
    assert unused <= {"body.encoder.masked_spec_embed"}


def test_frozen_stages_do_not_move(folder: Path) -> None:
    made = network(folder)
    made.freeze(3)
    made.train()
    before = {name: value.clone() for name, value in made.named_parameters()}
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.5)
    made(torch.randn(3, 1, 1, 3_000)).square().sum().backward()
    optimizer.step()
    moved = {name for name, value in made.named_parameters() if not torch.equal(value, before[name])}
    assert "classifier.1.weight" in moved
    assert any(name.startswith("body.encoder.encoder.layers.1.") for name in moved)
    kept = ("body.encoder.feature", "body.encoder.encoder.pos_conv", "body.encoder.encoder.layers.0.")
    assert not [name for name in moved if name.startswith(kept)]


# ----------------------------------------------------------------------------------------------------- from end to end


def words(root: Path, folder: Path, *more: str) -> list[str]:
    given = ["data=fsdkaggle2018", "preset=full", f"root={root}", "device=cpu", "jobs=1", "folds.n=2", "fold=0"]
    given += [
        "model=hf_encoder",
        f"network.folder={folder}",
        "crop.seconds=0.3",
        "training.epochs=1",
        "inference.crops=2",
    ]
    return [*given, "training.batch_size=8", "training.precision=float32", *more]


def test_a_fold_is_trained_and_read_back_without_the_folder(tiny_root: Path, folder: Path) -> None:
    call = Call.from_arguments(words(tiny_root, folder))
    experiment = train.run(call)[0]
    held = weights.read(call.oof / experiment.name / "fold0.safetensors")
    started = network(folder).state_dict()
    kept = "body.encoder.feature_extractor.conv_layers.0.conv.weight"
    assert torch.equal(held[f"network.{kept}"], started[kept])  # freeze: 1
    folder.rename(folder.with_name("gone"))
    model = learner.restore(experiment.config, held, 4, "classify", torch.device("cpu"))
    store = Store.open(call.cache, experiment.config.frontend, call.data.audio)
    frame = pd.read_parquet(call.oof / experiment.name / "fold0.parquet")
    ids = frame["clip_id"].tolist()[:5]
    again = np.exp(model.log_probabilities(store, ids))
    again /= again.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(again, frame.iloc[:5][list(call.competition().classes)], atol=1e-4)


def test_another_folder_under_the_name_is_another_experiment(tiny_root: Path, folder: Path, tmp_path: Path) -> None:
    one = Call.from_arguments(words(tiny_root, folder)).experiments()[0].config
    saved(folder, seed=1)
    other = Call.from_arguments(words(tiny_root, folder)).experiments()[0].config
    assert one.network["content"] != other.network["content"]
    made = MODULE.build(MODULE.Params(**{k: v for k, v in one.network.items() if k != "name"}), 1, 4)
    with pytest.raises(UserError, match="is not the folder of these settings"):
        MODULE.pretrain(made, MODULE.Params(**{k: v for k, v in one.network.items() if k != "name"}))


# ---------------------------------------------------------------------------------------------------- what is refused


def test_code_pickles_and_gaps_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    held = load_file(folder / "model.safetensors")
    del held["encoder.layers.1.attention.k_proj.weight"]
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of the encoder's weights, first 'encoder\.layers\.1\.attention"):
        network(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"has no \*\.safetensors; pytorch_model\.bin can hold code"):
        network(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(UserError, match="names code of its own"):
        network(folder)


def test_another_rate_is_refused_before_anything_is_made(tiny_root: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"was trained at 16000 Hz; set frontend\.sample_rate=16000"):
        Call.from_arguments(words(tiny_root, folder, "frontend.sample_rate=32000")).experiments()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "network.folder: no folder is given; give network.folder=DIR"),
        ({"folder": "nowhere"}, "network.folder: nowhere: no such folder, nor in input/weights/"),
        ({"architecture": {"model_type": "bert"}}, "'bert' is none of wav2vec2"),
    ],
)
def test_what_it_needs_is_one_line(params: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        MODULE.build(MODULE.Params(**params), 1, 4)
    assert said in str(refused.value)


def test_spectrograms_are_refused() -> None:
    with pytest.raises(UserError, match=r"hears waves; set frontend=\{name: waveform"):
        MODULE.build(MODULE.Params(architecture={"model_type": "wavlm"}), 64, 4)


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="pip install transformers"):
        MODULE.build(MODULE.Params(architecture={"model_type": "wavlm"}), 1, 4)
