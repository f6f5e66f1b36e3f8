"""Layered configuration: what is merged, what is refused, and what a message names."""

import re
import shutil
from pathlib import Path
from typing import Any

import shipped_models
from tonestack.base import hardware, parts
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.base.section import Section
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.config.layers import available, load_data, load_model, merge
from tonestack.settings import data_config, model_config
from tonestack.settings.data_config import DataConfig
from tonestack.settings.model_config import ModelConfig, Preset, TrainingParams
from tonestack.settings.words import parse
from tonestack.tables import metrics

import pytest
import yaml

MODELS, PRESETS, DATAS = available("model"), available("preset"), available("data")
ON_DEMO = "data=fsdkaggle2018", "preset=smoke"


def model_of(*words: str, model: str = "vgg_small") -> ModelConfig:
    given = parse([*ON_DEMO, *words])
    return load_model(model, load_data(given)[1], given)


def data_of(*words: str) -> DataConfig:
    return load_data(parse([*ON_DEMO, *words]))[0]


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the configs to spoil."""
    folder = Path(shutil.copytree(layers.CONFIGS, tmp_path / "configs"))
    monkeypatch.setattr(layers, "CONFIGS", folder)
    return folder


def change(path: Path, **values: Any) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


# ------------------------------------------------------------------------------------------------------ the house's own


@pytest.mark.parametrize("preset", PRESETS)
def test_every_model_loads_with_every_preset(preset: str) -> None:
    words = parse(["data=fsdkaggle2018", f"preset={preset}"])
    loaded = load_data(words)[1]
    assert set(loaded.models) | set(loaded.each) <= set(MODELS)  # a model that is not there would do nothing
    for name in MODELS:
        settings = load_model(name, loaded, words)
        assert parts.find("frontends", settings.frontend["name"])


SECTIONS = [
    *(
        data_config.DataConfig,
        data_config.FoldParams,
        data_config.AudioParams,
        data_config.BlendParams,
        data_config.StackParams,
    ),
    *(model_config.CropParams, model_config.AugmentParams, model_config.TrainingParams, model_config.InferenceParams),
    *(parts.find("models", name).Params for name in parts.names("models")),
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: f"{section.__module__}.{section.__name__}")
def test_every_setting_is_read_somewhere(section: type[Section]) -> None:
    source = "".join(path.read_text() for path in (layers.PROJECT / "src").rglob("*.py"))
    read = [key for key in section.model_fields if re.search(rf"\.{key}\b|get\(\"{key}\"\)", source)]
    assert read == list(section.model_fields)


@pytest.mark.parametrize("data", DATAS)
def test_every_data_config_loads_with_every_preset(data: str) -> None:
    own = load_data(parse([f"data={data}"]))[0]
    presets = available("/".join(filter(None, ["preset", own.presets])))
    assert own.preset in presets
    for preset in presets:
        assert load_data(parse([f"data={data}", f"preset={preset}"]))[0].preset == preset


# --------------------------------------------------------------------------------------------------------------- layers


def test_layers_are_merged_left_to_right_and_deeply() -> None:
    layers = [("a", {"x": {"p": 1, "q": 1}, "y": [1]}), ("b", {"x": {"q": 2}}), ("c", {"y": [3], "z": 3})]
    assert merge(layers) == {"x": {"p": 1, "q": 2}, "y": [3], "z": 3}


def test_merging_changes_no_layer() -> None:
    layers = [("a", {"x": {"p": 1}}), ("b", {"x": {"p": 2, "q": {"r": 1}}}), ("c", {"x": {"q": {"r": 2}}})]
    merge(layers)
    assert layers == [("a", {"x": {"p": 1}}), ("b", {"x": {"p": 2, "q": {"r": 1}}}), ("c", {"x": {"q": {"r": 2}}})]


def test_a_part_whose_name_changes_loses_the_old_parameters() -> None:
    assert merge([("a", {"n": {"name": "vgg", "convs": 3}}), ("b", {"n": {"name": "crnn"}})]) == {"n": {"name": "crnn"}}
    kept = merge([("a", {"n": {"name": "vgg", "convs": 3}}), ("b", {"n": {"name": "vgg", "dense": 5}})])
    assert kept == {"n": {"name": "vgg", "convs": 3, "dense": 5}}
    assert "convs" not in model_of("network.name=crnn").network


def test_model_preset_all_each_and_command_line_win_in_this_order(configs: Path) -> None:
    change(configs / "model/vgg_small.yaml", training={"epochs": 1, "lr": 1, "patience": 1, "batch_size": 2})
    each = {"vgg_small": {"training": {"patience": 3, "batch_size": 3}}, "cnn1d": {"training": {"lr": 9}}}
    change(configs / "preset/smoke.yaml", all={"training": {"lr": 2, "patience": 2}}, each=each)
    training = model_of("training.batch_size=4").training
    assert (training.epochs, training.lr, training.patience, training.batch_size) == (1, 2, 3, 4)


def test_a_presets_epochs_for_all_are_not_for_models_that_are_fitted_in_one_go(configs: Path) -> None:
    training = {"epochs": 7, "min_steps": 70, "source_weights": {"given": 0.25}}
    change(configs / "preset/smoke.yaml", all={"training": training}, each={})
    for model, epochs, steps in (
        ("vgg_small", 7, 70),
        ("forest_cqt", 1, 0),
        ("patches", 1, 0),
        ("embedding_probe", 1, 0),
    ):
        found = model_of(model=model).training
        assert (found.epochs, found.min_steps, found.source_weights) == (epochs, steps, {"given": 0.25})
    assert model_of("training.epochs=3", model="forest_cqt").training.epochs == 3


def test_preset_data_and_command_line_change_the_data_config(configs: Path) -> None:
    change(configs / "data/fsdkaggle2018.yaml", folds={"n": 3, "seed": 3}, fold_mean="arithmetic")
    change(configs / "preset/smoke.yaml", data={"folds": {"n": 4, "seed": 4}})
    data = data_of("folds.seed=5", "root=/x")
    assert (data.folds.n, data.folds.seed, data.fold_mean, data.root) == (4, 5, "arithmetic", "/x")


LIGHT = {
    "models": ["vgg_small"],
    "data": {"pseudo": {"rounds": 2}},
    "each": {"vgg_small": {"training": {"epochs": 3}}},
}


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("word", [None, True, False])
def test_a_preset_is_light_where_bfloat16_is_slow_or_where_it_is_said(
    configs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fast: bool, word: bool | None
) -> None:
    monkeypatch.setattr(hardware, "computes_bfloat16", lambda device: fast)
    layers._say_light.cache_clear()
    change(configs / "preset/smoke.yaml", light=LIGHT)
    call = Call.from_arguments(["preset=smoke", *([] if word is None else [f"light={str(word).lower()}"])])
    light = (not fast) if word is None else word
    assert (call.preset.models == ("vgg_small",)) == light
    assert (call.experiment("vgg_small").config.training.epochs == 3) == light
    assert call.experiment("vgg_small").config.training.batch_size == 16  # of `all`, which light leaves alone
    assert (call.data.pseudo.rounds == 2) == light
    assert ("light=false" in capsys.readouterr().out) == (light and word is None)  # the machine's choice is said


@pytest.mark.parametrize("words", [["preset=smoke"], ["preset=fast", "light=false"]])
def test_a_preset_that_is_never_light_does_not_ask_the_machine(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "computes_bfloat16", lambda device: pytest.fail("asked"))
    assert Call.from_arguments(words).experiments()


def test_the_machine_is_asked_for_networks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "computes_bfloat16", lambda device: pytest.fail("asked"))  # it imports torch
    assert Call.from_arguments(["preset=fast"]).data.preset == "fast"


@pytest.mark.parametrize("path", sorted((layers.CONFIGS / "preset").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_loads_light(path: Path) -> None:
    preset = Preset.parse(layers.read_yaml(path), str(path))
    light = layers.lightened(preset, str(path))
    assert set(light.models) | set(light.each) <= set(MODELS)
    for name in {*light.models, *light.each}:
        assert load_model(name, light, parse(["data=fsdkaggle2018"]))


@pytest.mark.parametrize(
    ("light", "message"),
    [
        ({"modles": ["vgg_small"]}, "light: unknown key 'modles'"),
        ({"models": ["vgg_smal"]}, "no model config is called 'vgg_smal'"),
    ],
)
def test_a_wrong_light_of_a_preset_is_refused(configs: Path, light: dict[str, Any], message: str) -> None:
    change(configs / "preset/smoke.yaml", light=light)
    with pytest.raises(UserError, match=message):
        load_data(parse(["preset=smoke"]))  # whatever the machine


def test_overrides_go_to_the_config_that_has_the_section() -> None:
    words = ["folds.n=4", "blend.trials=7", "training.epochs=9", "network.convs=3"]
    assert (data_of(*words).folds.n, data_of(*words).blend.trials) == (4, 7)
    assert (model_of(*words).training.epochs, model_of(*words).network["convs"]) == (9, 3)


def test_the_default_loss_takes_parameters_and_a_named_one_none_of_its() -> None:
    assert model_of("loss.smoothing=0.1").loss == {"name": "cross_entropy", "smoothing": 0.1}
    assert model_of("loss.name=generalised_cross_entropy").loss == {"name": "generalised_cross_entropy", "q": 0.7}


def test_a_resolved_model_says_the_defaults_of_its_parts() -> None:
    settings = model_of("network.name=crnn")
    assert settings.network["layers"] == 1
    assert settings.loss == {"name": "cross_entropy", "smoothing": 0.0}


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainnig.lr=1", "command line: unknown section 'trainnig.'; did you mean 'training'?"),
        ("training.epoch=2", "command line: unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("training.epochs=many", "command line: 'training.epochs': input should be a valid integer"),
        ("pseudo.models=vgg_small", r"command line: 'pseudo.models' is a list; write [vgg_small]"),
        ("training.epochs=0", "command line: 'training.epochs': input should be greater than or equal to 1 (given: 0)"),
        ("training.lr=.nan", "command line: 'training.lr': "),
        ("training.lr=", "command line: 'training.lr': input should be a valid number (given: None)"),
        (
            "training.optimizer=adan",
            "command line: 'training.optimizer': input should be 'muon', 'adamw', 'adam' or 'sgd'",
        ),
        ("training.warmup=1", "command line: 'training.warmup': input should be less than 1"),
        ("augment.mixup=-1", "command line: 'augment.mixup': "),
        ("crop.short=cut", "command line: 'crop.short': input should be 'tile' or 'pad'"),
        ("inference.lengths=[]", "command line: 'inference.lengths': "),
        ("inference.speeds=[1,0]", "command line: 'inference.speeds.1': input should be greater than or equal to 0.5"),
        ("network.chanels=[1]", "command line: network (vgg): unknown key 'chanels'; did you mean 'channels'?"),
        ("network.pool=mean", "command line: network (vgg): 'pool': input should be "),
        ("network.name=vggg", "no model is called 'vggg'; did you mean 'vgg'?"),
        ("network.name=7", "command line: network: 'name' is 7; there is: "),
        ("network.name.x=7", "command line: network: 'name' is {'x': 7}; there is: "),
        ("frontend.name=logmell", "no frontend is called 'logmell'; did you mean 'logmel'?"),
        ("frontend.n_mel=3", "command line: frontend (logmel): unknown key 'n_mel'; did you mean 'n_mels'?"),
        ("loss.name=xyzzy", "no loss is called 'xyzzy'; there is: aam_softmax, asymmetric, bce"),
        ("loss.smoothing=2", "command line: loss (cross_entropy): 'smoothing': "),
        ("metric.k=3", "command line: 'metric': input should be a valid string"),
        ("preset.x=3", "command line: 'preset': input should be a valid string"),
        ("folds.n=1", "command line: 'folds.n': input should be greater than or equal to 2 (given: 1)"),
        ("folds.m=1", "command line: unknown key 'folds.m'; there is: n, repeats, seed, small_classes"),
        ("reader.kk=1", "command line: reader (fsdkaggle2018): unknown key 'kk'"),
        ("reader.k=0", "command line: reader (fsdkaggle2018): 'k': input should be greater than or equal to 1"),
        ("audio.trim_db=-3", "command line: 'audio.trim_db': input should be greater than 0"),
    ],
)
def test_a_wrong_override_names_key_place_and_mend(word: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        model_of(word)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_key_of_a_file_names_the_file(configs: Path) -> None:
    change(configs / "model/vgg_small.yaml", crop={"second": 1})
    with pytest.raises(UserError, match=r"configs/model/vgg_small.yaml: unknown key 'crop.second'; did you mean 'sec"):
        model_of("crop.short=pad")


def test_a_wrong_parameter_names_its_own_file_though_another_layer_sets_the_part_too(configs: Path) -> None:
    change(configs / "model/vgg_small.yaml", network={"name": "vgg", "conv": 2})
    change(configs / "preset/smoke.yaml", each={"vgg_small": {"network": {"dense": 8}}})
    with pytest.raises(UserError, match=r"configs/model/vgg_small.yaml: network \(vgg\): unknown key 'conv'"):
        model_of("network.convs=1")


def test_a_wrong_key_of_the_data_configs_own_preset_names_that_preset(configs: Path) -> None:
    change(configs / "preset/full.yaml", all={"training": {"epoch": 1}})
    words = parse(["data=fsdkaggle2018"])  # its own preset is `full`
    with pytest.raises(UserError, match=r"configs/preset/full.yaml: unknown key 'training.epoch'"):
        load_model("vgg_small", load_data(words)[1], words)


def test_an_empty_section_is_refused_in_a_line(configs: Path) -> None:
    change(configs / "preset/smoke.yaml", all={"training": None}, each={})
    with pytest.raises(UserError, match="training"):
        model_of()
    assert model_of("training.epochs=3").training.epochs == 3


def test_a_part_without_a_name_is_refused(configs: Path) -> None:
    change(configs / "data/fsdkaggle2018.yaml", reader={"k": 3})
    with pytest.raises(UserError, match=r"configs/data/fsdkaggle2018.yaml: reader: 'name' is None; there is: .*table"):
        data_of()
    change(configs / "model/vgg_small.yaml", network={"convs": 2})
    change(configs / "data/fsdkaggle2018.yaml", reader={"name": "fsdkaggle2018"})
    with pytest.raises(UserError, match=r"network: 'name' is None; there is: .*vgg"):
        model_of()


def test_a_metric_or_task_that_is_not_there_is_refused_before_anything_runs(configs: Path) -> None:
    change(configs / "data/fsdkaggle2018.yaml", metric="mapp@3")
    with pytest.raises(UserError, match=r"no metric is called 'mapp'; did you mean 'map'\?"):
        data_of()
    change(configs / "data/fsdkaggle2018.yaml", metric="map@3", task="clasify")
    with pytest.raises(UserError, match=r"no task is called 'clasify'; did you mean 'classify'\?"):
        data_of()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["metric=eer"], "metric 'eer' does not fit task=classify (one label per clip); metrics that do: accuracy, "),
        (
            ["task=multilabel", "metric=map@3"],
            "metric 'map@3' does not fit task=multilabel (several labels per clip); ",
        ),
        (
            ["task=verify", "metric=lwlrap"],
            "metric 'lwlrap' does not fit task=verify (trials); metrics that do: ",
        ),
    ],
)
def test_a_metric_that_does_not_fit_the_task_is_refused_with_those_that_do(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        data_of(*words)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_further_metric_that_does_not_fit_is_refused(configs: Path) -> None:
    change(configs / "data/fsdkaggle2018.yaml", more_metrics=["top@5", "min_dcf"])
    with pytest.raises(UserError, match="metric 'min_dcf' does not fit task=classify"):
        data_of()


def test_every_fitting_metric_is_taken() -> None:
    for task, kind in (("classify", metrics.KINDS[0]), ("match", metrics.KINDS[0]), ("multilabel", metrics.KINDS[1])):
        for name in metrics.fitting(kind):
            assert data_of(f"task={task}", f"metric={name}").metric == name


@pytest.mark.parametrize(("text", "fault"), [("a: [1", r"line \d+: not valid YAML"), ("- a", "a mapping of keys")])
def test_a_file_that_is_no_yaml_mapping_is_refused_by_name(configs: Path, text: str, fault: str) -> None:
    (configs / "data/broken.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"broken.yaml.*{fault}"):
        load_data(parse(["data=broken"]))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data=fsdkagle2018", "no data config is called 'fsdkagle2018'; did you mean 'fsdkaggle2018'?"),
        ("data=../../etc/passwd", "no data config is called '../../etc/passwd'"),
        ("preset=smok", "no preset config is called 'smok'; did you mean 'smoke'?"),
        ("model=vgg_smal", "no model config is called 'vgg_smal'; did you mean 'vgg_small'?"),
        ("model=vgg_small,", "no model config is called ''"),
    ],
)
def test_a_config_that_is_not_there_is_refused_with_the_nearest(word: str, message: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(UserError) as error:
        Call.from_arguments([w for w in ON_DEMO if not w.startswith(key)] + [word]).experiments()
    assert message in str(error.value)


# ------------------------------------------------------------------------------------------------------------- the call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["augment.mix=power", "augment.mixup=1", "frontend.name=mfcc"], "augment.mix=power mixes sounds"),
        (["augment.background=0.5", "frontend.name=lnmel"], r"'lnmel' does not hold; cqt, logmel, stft, waveform do"),
        (["augment.mix=power", "augment.mix_ratio=0.5", "crop.normalise=band"], "powers cannot be had .* 'band'"),
    ],
)
def test_sounds_are_mixed_by_powers_alone(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Call.from_arguments(words).experiment("vgg_small")
    left_out = [word for word in words if not word.startswith(("augment.mixup", "augment.mix_ratio", "augment.back"))]
    assert Call.from_arguments([*left_out, "augment.mixup=0"]).experiment("vgg_small")


def test_waves_are_not_levelled_as_if_they_were_decibels() -> None:
    with pytest.raises(UserError, match=r"crop.normalise=level is for decibels, which the frontend 'waveform'"):
        Call.from_arguments(["crop.normalise=level"]).experiment("cnn1d")
    assert Call.from_arguments(["crop.normalise=level"]).experiment("resnet_cqt").config.crop.normalise == "level"


def test_an_experiments_name_says_variant_seed_and_revision() -> None:
    def name(*words: str) -> str:
        return Call.from_arguments([*ON_DEMO, "model=vgg_small", *words]).experiments()[0].name

    assert name() == "vgg_small@r0"
    assert name("variant=music", "seed=1", "revision=pseudo2") == "vgg_small-music-s1@pseudo2"


def test_the_presets_models_are_the_default_and_a_doubled_model_runs_once() -> None:
    run = Call.from_arguments(list(ON_DEMO))
    assert tuple(e.model for e in run.experiments()) == run.preset.models
    twice = Call.from_arguments([*ON_DEMO, "model=cnn1d,vgg_small,cnn1d"])
    assert [e.model for e in twice.experiments()] == ["cnn1d", "vgg_small"]


def test_small_sets_train_as_many_epochs_as_make_min_steps() -> None:
    params = TrainingParams(epochs=10, min_steps=100, batch_size=8)
    assert params.plan(40) == (20, 5)  # 40 / 8 = 5 steps an epoch; 100 / 5 = 20 epochs
    assert params.plan(800) == (10, 100)
    assert params.plan(3) == (100, 1)


def test_epochs_that_are_typed_win_over_the_least_number_of_steps() -> None:
    with pytest.warns(UserWarning, match=r"training\.epochs=3 was typed: training\.min_steps=500 is left out"):
        config = Call.from_arguments(["preset=fast", "light=false", "training.epochs=3"]).experiment("vgg_bc").config
    assert (config.training.epochs, config.training.min_steps) == (3, 0)
    both = (
        Call.from_arguments(["preset=fast", "light=false", "training.epochs=3", "training.min_steps=7"])
        .experiment("vgg_bc")
        .config
    )
    assert (both.training.epochs, both.training.min_steps) == (3, 7)


def test_settings_that_some_models_have_go_to_those() -> None:
    call = Call.from_arguments(["preset=smoke", "model=vgg_small,cnn1d", "frontend.fmax=4000"])
    with pytest.warns(UserWarning, match=r"frontend\.fmax: not for cnn1d, which lack it"):
        spectral, wave = call.experiments()
    assert spectral.config.frontend["fmax"] == 4000
    assert "fmax" not in wave.config.frontend
    with pytest.raises(UserError, match="unknown key 'fmax'"):
        Call.from_arguments(["preset=smoke", "model=cnn1d", "frontend.fmax=4000"]).experiments()
    with pytest.raises(UserError, match="unknown key 'fmacks'"):
        Call.from_arguments(["preset=smoke", "model=vgg_small,cnn1d", "frontend.fmacks=4000"]).experiments()


def test_what_a_preset_overrides_in_a_model_of_ones_own_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(layers.CONFIGS, tmp_path / "configs")
    own = (tmp_path / "configs/model/vgg_small.yaml").read_text().replace("seconds: 2.56", "seconds: 3")
    (tmp_path / "configs/model/mine.yaml").write_text(own)
    monkeypatch.setattr(layers, "CONFIGS", tmp_path / "configs")
    with pytest.warns(UserWarning, match=r"preset/smoke\.yaml overrides .*mine\.yaml: crop\.seconds=1\.0 \(there 3\)"):
        assert Call.from_arguments(["preset=smoke", "model=mine"]).experiments()[0].config.crop.seconds == 1


def test_what_a_preset_overrides_in_an_edited_model_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    shutil.copytree(layers.CONFIGS, tmp_path / "configs")
    monkeypatch.setattr(layers, "CONFIGS", tmp_path / "configs")
    assert Call.from_arguments(["preset=fast"]).experiment("resnet").config.training.epochs == 25
    assert not recwarn  # as shipped: the preset's sizes are what a preset is for
    own = tmp_path / "configs/model/resnet.yaml"
    edited = layers.merge([layers.layer("model", "resnet"), ("", {"training": {"epochs": 33}})])
    own.write_text(yaml.safe_dump(edited))
    with pytest.warns(UserWarning, match=r"fast\.yaml overrides .*resnet\.yaml: .*training\.epochs=25 \(there 33\)"):
        assert Call.from_arguments(["preset=fast"]).experiment("resnet").config.training.epochs == 25
    recwarn.clear()
    typed = Call.from_arguments(["preset=fast", "training.epochs=33", "training.min_steps=0"])
    assert typed.experiment("resnet").config.training.epochs == 33  # what is typed wins
    assert not [one for one in recwarn if "training.epochs" in str(one.message)]


def test_the_list_of_shipped_models_is_up_to_date() -> None:
    known = read_json(layers.CONFIGS / layers.SHIPPED)
    assert known == shipped_models.contents(), "run .venv/bin/python tests/shipped_models.py"
