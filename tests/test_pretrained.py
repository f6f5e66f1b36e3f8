"""Pretrained encoders in files: windows, outputs by name, contents as part of the settings, what is refused, heads."""

import importlib
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle
import tiny_models
import train
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.config.call import Call
from tonestack.features import store
from tonestack.settings.data_config import AudioParams
from tonestack.tables import oof
from tonestack.training import queue
from tonestack.training.learners import probe

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

all_stages = importlib.import_module("all")
MODULE = parts.find("frontends", "embedding")
RATE = 8000


def frontend(**params: Any) -> Any:
    return MODULE.Frontend(MODULE.Params.parse({"sample_rate": RATE, **params}, "test"))


def wave(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


@pytest.fixture
def same(tmp_path: Path) -> str:
    """A model that gives its window of 4 samples back."""
    return str(tiny_models.identity(tmp_path / "same.onnx", ["batch", 4]))


# -------------------------------------------------------------------------------------------------------------- windows


def test_windows_follow_each_other_and_the_last_starts_over(same: str) -> None:
    heard = frontend(model=same)
    assert heard(np.arange(6, dtype=np.float32)).tolist() == [[0, 1, 2, 3], [4, 5, 0, 1]]
    assert heard(np.array([7.0], np.float32)).tolist() == [[7, 7, 7, 7]]
    assert (heard.width, heard.frame_rate, heard.sample_rate) == (4, RATE / 4, RATE)


def test_hop_lead_and_silence_at_the_end(same: str) -> None:
    params = {"hop": 2 / RATE, "lead": 1 / RATE, "short": "pad", "batch": 1}
    made = frontend(model=same, **params)(np.arange(1, 7, dtype=np.float32))
    assert made.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 0]]


def test_every_sample_is_heard_and_none_too_often(same: str) -> None:
    heard = frontend(model=same, short="pad", hop=3 / RATE)
    for n in range(1, 30):
        clip = np.arange(1, n + 1, dtype=np.float32)
        made = heard(clip)
        assert set(made.ravel()) - {0} == set(clip)
        assert made[-1, 0] > 0  # no window of silence alone
        assert len(made) == 1 or made[-2].max() < n


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_changes_nothing_and_the_frontend_travels(tmp_path: Path, batch: int) -> None:
    model = str(tiny_models.spectrum(tmp_path / "s.onnx"))
    clip, whole = wave(23_456), frontend(model=model, hop=0.05)
    one = pickle.loads(pickle.dumps(frontend(model=model, hop=0.05, batch=batch)))
    np.testing.assert_allclose(one(clip), whole(clip), rtol=1e-5)


@pytest.mark.parametrize("shape", [[4], [1, 4], ["b", 4], ["b", 1, 4], ["b", 4, 1], [3, 1, 4]])
def test_waves_of_every_layout(tmp_path: Path, shape: list[Any]) -> None:
    model = str(tiny_models.identity(tmp_path / "m.onnx", shape))
    made = frontend(model=model, pool=["max"] if shape[-1] == 1 else ["mean"])(np.arange(8, dtype=np.float32))
    assert made.tolist() == ([[3], [7]] if shape[-1] == 1 else [[0, 1, 2, 3], [4, 5, 6, 7]])


def test_levels_of_a_window(same: str) -> None:
    clip = np.array([0, 1, -2, 4], np.float32)
    assert frontend(model=same, level="peak", peak=1.0)(clip).tolist() == [[0, 0.25, -0.5, 1]]
    even = frontend(model=same, level="variance")(clip)[0]
    np.testing.assert_allclose(even, (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7), rtol=1e-6)
    assert not frontend(model=same, level="peak")(np.zeros(4, np.float32)).any()


def test_a_state_is_carried_from_window_to_window_and_begins_with_the_clip(tmp_path: Path) -> None:
    heard = frontend(model=str(tiny_models.running_sum(tmp_path / "r.onnx")), output="out", window=2 / RATE)
    for _ in range(2):
        assert heard(np.arange(1, 7, dtype=np.float32)).tolist() == [[3, RATE], [10, RATE], [21, RATE]]


# ----------------------------------------------------------------------------------------------- outputs and statistics


def test_outputs_are_chosen_by_name_hidden_ones_too(tmp_path: Path) -> None:
    path = tiny_models.spectrum(tmp_path / "s.onnx")
    clip = wave(2000)
    session = onnxruntime.InferenceSession(str(path))
    frames = session.run(["frames"], {"wave": clip[None]})[0][0]
    np.testing.assert_allclose(frontend(model=str(path))(clip)[0], frames.mean(0), rtol=1e-5)
    several = frontend(model=str(path), output="frames", pool=["std", "max"])
    np.testing.assert_allclose(several(clip)[0], np.r_[frames.std(0), frames.max(0)], rtol=1e-4)
    hidden = frontend(model=str(path), output="pooled")
    assert hidden.width == 24
    with pytest.raises(UserError, match=r"no output 'poled'.*did you mean 'pooled'.*frames"):
        frontend(model=str(path), output="poled")


def test_of_several_outputs_one_must_be_named(tmp_path: Path) -> None:
    path = str(tiny_models.running_sum(tmp_path / "r.onnx"))
    with pytest.raises(UserError, match=r"several outputs; choose one by output=: out 1×2, stateN \?×1"):
        frontend(model=path, window=1)


# ------------------------------------------------------------------------------------------------- contents as settings


def test_another_file_under_the_same_name_is_another_store(tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    spec = {"name": "embedding", "model": str(path), "sample_rate": RATE}
    keys = set()
    for seed in (0, 1, 0):
        tiny_models.spectrum(path, seed=seed)
        keys.add(store.folder_of(spec, AudioParams(), tmp_path))
    assert len(keys) == 2


def test_a_file_that_is_not_the_one_of_the_settings_is_refused(tmp_path: Path) -> None:
    path = tiny_models.spectrum(tmp_path / "s.onnx")
    saved = MODULE.Params.parse({"model": str(path), "sample_rate": RATE}, "test").model_dump()
    assert frontend(**saved)._content == saved["content"]
    tiny_models.spectrum(path, seed=1)
    with pytest.raises(UserError, match="is not the file of these settings"):
        frontend(**saved)


def test_weights_in_a_second_file_belong_to_the_content(tmp_path: Path) -> None:
    path = tiny_models.spectrum(tmp_path / "s.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="s.data", size_threshold=100)
    before = MODULE.content(path)
    assert list(frontend(model=str(path)).files) == [path, tmp_path / "s.data"]
    assert frontend(model=str(path))(wave(2000)).any()
    data = bytearray((tmp_path / "s.data").read_bytes())
    data[3] ^= 1
    (tmp_path / "s.data").write_bytes(data)
    assert MODULE.content(path) != before


def test_models_lie_below_the_home_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    tiny_models.spectrum(tmp_path / "input/weights/s.onnx")
    assert frontend(model="s.onnx").width == 8
    assert frontend(model="/elsewhere/s.onnx").width == 8  # as a bundle on another machine has it
    with pytest.raises(UserError, match=r"embedding.model=t.onnx: no such file, nor in input/weights"):
        frontend(model="t.onnx")


# ------------------------------------------------------------------------------------------------------ what is refused


def test_wrong_rates_and_windows_are_one_clear_line(tmp_path: Path) -> None:
    path = str(tiny_models.spectrum(tmp_path / "s.onnx"))
    for params, said in (
        ({"sample_rate": None}, "does not say its sample rate; give embedding.sample_rate=HZ"),
        ({"window": 1.0}, r"takes windows of 2000 samples \(0.25 s at 8000 Hz\), not 8000"),
        ({"hop": 0.3}, "hop=0.3: is no step of 1 to 2000 samples"),
        ({"model": None}, "has no model: give embedding.model=FILE"),
    ):
        with pytest.raises(UserError, match=said):
            frontend(**{"model": path} | params)
    anything = str(tiny_models.running_sum(tmp_path / "r.onnx"))
    with pytest.raises(UserError, match=r"windows of any length; give embedding.window=SECONDS"):
        frontend(model=anything, output="out")


def test_inputs_that_nothing_fits_are_refused(tmp_path: Path) -> None:
    picture = tiny_models.identity(tmp_path / "picture.onnx", ["b", 3, 64, 64])
    with pytest.raises(UserError, match=r"input 'wave' is \?×3×64×64, no wave"):
        frontend(model=str(picture))


@pytest.mark.parametrize("name", ["m.pt", "m.pkl", "m.h5", "m.pth", "m.txt", "m"])
def test_other_kinds_of_files_are_not_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UserError, match=r"not opened|no kind of model"):
        frontend(model=str(tmp_path / name))


@pytest.mark.parametrize("kept", [0, 10, 0.01, 0.3, 0.9])
def test_a_broken_model_is_one_line(tmp_path: Path, kept: float) -> None:
    path = tiny_models.spectrum(tmp_path / "s.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(UserError, match=r"s\.onnx") as refused:
        frontend(model=str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("place", ["../secret.data", "/etc/passwd", "sub/../../secret.data"])
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, place: str) -> None:
    path = tiny_models.spectrum(tmp_path / "models/s.onnx")
    (tmp_path / "secret.data").write_bytes(bytes(1 << 16))
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="keeps weights outside its folder"):
        frontend(model=str(path))


@pytest.mark.parametrize(("kind", "said"), [("fifo", "w.bin: is not a regular file"), ("link", "outside its folder"),
    ("nothing", "w.bin: no such file; is the download complete"), ("nul", "outside its folder"),
    ("short", "onnxruntime cannot load it")])  # fmt: skip
def test_odd_weights_beside_the_model_are_one_line(tmp_path: Path, kind: str, said: str) -> None:
    path, data = tiny_models.spectrum(tmp_path / "models/s.onnx"), tmp_path / "models/w.bin"
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w\0.bin" if kind == "nul" else "w.bin")
    path.write_bytes(model.SerializeToString())
    (tmp_path / "other").write_bytes(bytes(1 << 20))
    if kind == "fifo":
        os.mkfifo(data)
    elif kind == "link":
        data.symlink_to(tmp_path / "other")
    elif kind == "short":
        data.write_bytes(b"123")
    with pytest.raises(UserError, match=said) as refused:
        frontend(model=str(path))
    assert "\n" not in str(refused.value)


def test_odd_outputs_and_inputs_are_one_line(tmp_path: Path) -> None:
    def refused(name: str, nodes: list, said: str, constants: dict | None = None, **inputs: list) -> None:
        takes = {"wave": ["b", 4], **inputs}
        path = tiny_models.save(tmp_path / f"{name}.onnx", nodes, takes, {"out": ["n", "m"]}, constants)
        with pytest.raises(UserError, match=said):
            frontend(model=str(path))(np.ones(4, np.float32))

    numbers = {"from": np.array([0]), "to": np.array([0]), "rows": np.array([0]), "columns": np.array([1])}
    cut = [("Slice", ["wave", "from", "to", "rows"], ["out"])]
    refused("rows", cut, r"output 'out' is float32 0×4 for 1 windows, and not numbers for each; choose", numbers)
    cut = [("Slice", ["wave", "from", "to", "columns"], ["out"])]
    refused("columns", cut, r"output 'out' is float32 1×0 for 1 windows", numbers)
    add = [("Identity", ["wave"], ["out"])]
    refused("state", add, r"input 'z' is 100000×100000, too large for a state", z=[100_000, 100_000])
    refused(
        "many", [("Relu", ["wave"], [f"t{i}"]) for i in range(30_001)], "has 30,001 operations; a model of sound has"
    )


def test_a_window_of_days_and_a_suffix_in_capitals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a window of 1,000,000,000 samples is longer than 3600 s"):
        frontend(model=str(tiny_models.identity(tmp_path / "long.onnx", ["b", 10**9])))
    assert frontend(model=str(tiny_models.identity(tmp_path / "S.ONNX", ["b", 4]))).width == 4


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tiny_models.save(tmp_path / "log.onnx", [("Log", ["wave"], ["out"])], {"wave": ["b", 4]}, {"out": ["b", 4]})
    with pytest.raises(UserError, match="not finite"):
        frontend(model=str(path))(-np.ones(4, np.float32))


# ---------------------------------------------------------------------------------------------------------------- heads


def test_the_probe_is_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 5)).astype(np.float32)
    label = (x @ rng.normal(size=(5, 3)) + rng.normal(size=(120, 3))).argmax(1)
    weights = rng.uniform(0.2, 1, 120)
    made = probe.solve((x, np.eye(3, dtype=np.float32)[label], weights), 0.5, 500, False)
    ours = x @ made[:-1] + made[-1]
    theirs = LogisticRegression(C=5 / 0.5 / weights.sum(), tol=1e-8).fit(x, label, weights).decision_function(x)
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=5e-3)


def test_several_labels_are_as_many_regressions() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    truth = (x[:, :2] + rng.normal(size=(90, 2)) > 0).astype(np.float32)
    made = probe.solve((x, truth, np.ones(90)), 0.2, 500, True)
    for k in (0, 1):
        theirs = LogisticRegression(C=4 / 0.2 / 90, tol=1e-8).fit(x, truth[:, k])
        np.testing.assert_allclose(made[:-1, k], theirs.coef_[0], atol=5e-3)


def test_the_penalty_is_strong_for_noise_and_weak_for_signal() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 50)).astype(np.float32)
    params = parts.find("models", "linear_probe").Params()
    inner = [rng.uniform(size=200) < 0.2 for _ in range(3)]
    clear, noise = (
        np.eye(2, dtype=np.float32)[(x[:, 0] > 0).astype(int)],
        np.eye(2, dtype=np.float32)[rng.integers(0, 2, 200)],
    )
    least = [probe.search((x, truth, np.ones(200)), inner, params, False)[0][-1] for truth in (clear, noise)]
    assert least[0] < least[1]


NETWORKS = ("embedding_mlp", "embedding_attention", "embedding_sed")
HEADS = (*NETWORKS, "embedding_probe", "embedding_forest", "embedding_boosting")


def words(root: Path, path: Path, *more: str) -> list[str]:
    given = [f"embedding.model={path}", f"embedding.sample_rate={RATE}", "embedding.output=pooled"]
    return [
        "data=fsdkaggle2018",
        "preset=embedding",
        f"root={root}",
        "device=cpu",
        "jobs=1",
        "folds.n=2",
        *given,
        *more,
    ]


SHORT = ("training.min_steps=60", "training.epochs=2", "training.batch_size=8")


def test_the_probe_learns_where_some_cells_are_unknown(tiny_root: Path, tmp_path: Path) -> None:
    path = tiny_models.spectrum(tmp_path / "s.onnx")
    call = Call.from_arguments([*words(tiny_root, path), "model=embedding_probe", "fold=0"])
    train.run(call)
    (job,) = queue.build(call, call.experiments())
    targets = job.labels.targets.astype(float)
    targets[::3, 0] = np.nan
    learnt = replace(job, labels=replace(job.labels, targets=targets))
    made = probe.fit(learnt, store.Store.open(job.cache, job.experiment.config.frontend, job.audio))
    assert np.abs(made.tensors()["weights"].numpy()).max() > 0.01


@pytest.mark.parametrize("model", HEADS)
def test_every_head_learns_from_embeddings(tiny_root: Path, tmp_path: Path, model: str) -> None:
    path = tiny_models.spectrum(tmp_path / "s.onnx")
    short = SHORT if model in NETWORKS else ()
    call = Call.from_arguments([*words(tiny_root, path, *short), f"model={model}", "fold=0"])
    train.run(call)
    receipt = read_json(oof.receipts(call.oof / f"{model}@r0")[0])
    assert receipt["config"]["frontend"]["content"] == MODULE.content(path)
    least = 0.4 if model == "embedding_boosting" else 0.7  # too few clips for leaves of 8
    assert receipt["metrics"]["map@3"] > least
    tiny_models.spectrum(path, seed=1)
    with pytest.raises(UserError, match=r"trained with other settings.*content"):
        train.run(Call.from_arguments([*words(tiny_root, path, *short), f"model={model}", "fold=0"]))


def test_one_call_goes_from_a_file_to_a_submission_and_a_bundle(tiny_root: Path, tmp_path: Path) -> None:
    path = tiny_models.spectrum(tmp_path / "models/s.onnx")
    given = words(tiny_root, path, "model=embedding_probe,embedding_forest")
    more = ["blend.bootstrap=50", "clean.candidates=[label_spreading]", "pseudo.rounds=0", "stack.rounds=5"]
    call = Call.from_arguments([*given, *more, "clean.pictures=false"])
    all_stages.run(call)
    sent = pd.read_csv(call.submissions / "submission.csv")
    truth = pd.read_csv(tiny_root / "test_post_competition_scoring_clips.csv").set_index("fname")["label"]
    heard = sent.set_index("fname")["label"].str.split(" ").str[0].drop("test023.wav")
    assert (heard == truth[heard.index]).mean() > 0.8
    bundled = bundle.run(call.but(model=None, overrides={}))
    assert (bundled / "input/weights/s.onnx").read_bytes() == path.read_bytes()
    shutil.rmtree(path.parent)
    done = subprocess.run(
        [sys.executable, str(bundled / "infer.py"), f"root={tiny_root}", "output=out.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (pd.read_csv(tmp_path / "out.csv")["label"] == sent["label"]).mean() > 0.9


# -------------------------------------------------------------------------------------------------- published models


def published(name: str) -> str:
    """A published model's file below the folder that TONESTACK_MODELS names; the test skips without it."""
    folder = os.environ.get("TONESTACK_MODELS")
    found = next(iter(sorted(Path(folder).rglob(name))), None) if folder else None
    if found is None:
        pytest.skip(f"TONESTACK_MODELS names no folder with {name}")
    return str(found)


def test_basic_pitch_hears_as_onnxruntime_runs_it() -> None:
    path, clip = published("nmp.onnx"), 0.1 * wave(50_000)
    output = "StatefulPartitionedCall:0"
    made = frontend(model=path, sample_rate=22_050, output=output)(clip)
    own = onnxruntime.InferenceSession(path).run([output], {"serving_default_input_2:0": clip[None, :43_844, None]})
    np.testing.assert_allclose(made[0], own[0][0].mean(axis=0), atol=1e-4)


def test_silero_vad_hears_as_onnxruntime_runs_it_window_after_window() -> None:
    path, clip = published("silero_vad.onnx"), 0.1 * wave(8_000)
    times = {"window": 0.036, "hop": 0.032, "lead": 0.004}
    made = frontend(model=path, sample_rate=16_000, output="output", **times)(clip)
    session, state = onnxruntime.InferenceSession(path), np.zeros((2, 1, 128), np.float32)
    padded = np.concatenate([np.zeros(64, np.float32), clip])
    for k in range(15):
        given = {"input": padded[None, 512 * k : 512 * k + 576], "state": state, "sr": np.array(16_000)}
        speech, state = session.run(["output", "stateN"], given)
        np.testing.assert_allclose(made[k], speech[0], atol=1e-4)


def test_birdnets_hidden_layer_is_litertes_without_delegates() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path, clip = published("BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"), 0.1 * wave(144_000)
    made = frontend(model=path, sample_rate=48_000, output="model/GLOBAL_AVG_POOL/Mean")(clip)
    plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    own = litert.Interpreter(path, experimental_op_resolver_type=plain)
    own.allocate_tensors()
    own.set_tensor(own.get_input_details()[0]["index"], clip[None])
    own.invoke()
    np.testing.assert_allclose(made[0], own.get_tensor(own.get_output_details()[0]["index"] - 1)[0], atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"no model" * 50])
def test_a_broken_tflite_model_is_one_line(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(UserError, match=r"m\.tflite: (0\.0 GB|not a tflite model)"):
        frontend(model=str(tmp_path / "m.tflite"))


def test_without_litert_a_tflite_model_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    (tmp_path / "m.tflite").write_bytes(b"any")
    with pytest.raises(UserError, match="pip install ai-edge-litert"):
        frontend(model=str(tmp_path / "m.tflite"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny wav2vec 2.0, random, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    sizes |= {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
    sizes |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**sizes)).save_pretrained(tmp_path / "tiny")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_hugging_face_folder_hears_as_transformers_runs_it(folder: Path) -> None:
    import torch
    import transformers

    clip = 0.1 * wave(8_000)
    made = frontend(model=str(folder), sample_rate=None, output="hidden_states.1", window=0.5)(clip)
    fed = transformers.AutoFeatureExtractor.from_pretrained(folder)(clip, sampling_rate=16_000, return_tensors="pt")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        own = model(fed["input_values"], output_hidden_states=True).hidden_states[1][0].mean(dim=0)
    np.testing.assert_allclose(made[0], own, atol=1e-4)
    with pytest.raises(UserError, match=r"no output 'pooled'.*last_hidden_state"):
        frontend(model=str(folder), sample_rate=None, output="pooled", window=0.5)
    with pytest.raises(UserError, match="was trained at 16000 Hz, not at 8000"):
        frontend(model=str(folder), output="hidden_states.1", window=0.5)


def test_folders_with_code_or_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"has no \*\.safetensors; pytorch_model\.bin can hold code"):
        frontend(model=str(tmp_path))
    (tmp_path / "config.json").write_text('{"a": [{"auto_map": {"AutoModel": "evil.Model"}}]}')
    with pytest.raises(UserError, match="names code of its own"):
        frontend(model=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match="not a safetensors file, or damaged"):
        frontend(model=str(tmp_path))
