"""Networks by ONNX Runtime and OpenVINO: torch's outputs at any batch, or torch itself, with a line that says so."""

from pathlib import Path

from tonestack.deploy import runtimes
from tonestack.deploy.runtimes import Other
from tonestack.networks.layers import Normalise, PoolingName, Tagger
from tonestack.networks.models import vgg

import numpy as np
import pytest
import torch

BANDS, LENGTH = 16, 20


def tagger(pool: PoolingName, seed: int = 0) -> Tagger:
    torch.manual_seed(seed)
    network = vgg.build(vgg.Params(channels=(4, 8), convs=1, pool=pool), BANDS, 3)
    return Tagger(Normalise(torch.full((BANDS,), -20.0), torch.full((BANDS,), 9.0)), network).eval()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for pool in ("sed", "avgmax"):
        folder = tmp_path_factory.mktemp(pool) / f"{pool}@r0"
        folder.mkdir()
        found[pool] = folder / f"fold0.{LENGTH}.onnx"
        found[pool].write_bytes(runtimes.to_onnx(tagger(pool), BANDS, LENGTH))  # type: ignore[arg-type]
    return found


def crops(batch: int, length: int = LENGTH) -> torch.Tensor:
    rng = np.random.default_rng(batch)
    return torch.from_numpy(rng.normal(-20, 9, (batch, 1, BANDS, length)).astype(np.float32))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("pool", ["sed", "avgmax"])
@torch.inference_mode()
def test_outputs_are_torchs(
    runtime: str, pool: PoolingName, graphs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed (pip install openvino)")
    model = tagger(pool)
    other = Other(model, runtimes.graphs_of(graphs[pool].parent, 0), runtime)
    for batch in (1, 5, 2):
        x = crops(batch).to(memory_format=torch.channels_last)
        np.testing.assert_allclose(other(x), model(x), atol=1e-4)
        if pool == "sed":
            for ours, theirs in zip(other.frames(x), model.frames(x), strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert list(other.runs) == [LENGTH]
    assert len(other.checked) == 3
    np.testing.assert_array_equal(other(crops(2, 33)), model(crops(2, 33)))  # there is no graph of this length
    assert capsys.readouterr().out == ""


@torch.inference_mode()
def test_a_graph_that_differs_or_fails_leaves_the_network_to_torch(
    graphs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tagger("sed", seed=1)
    other = Other(wrong, {LENGTH: graphs["sed"]}, "onnxruntime")
    np.testing.assert_array_equal(other.frames(crops(2))[0], wrong.frames(crops(2))[0])
    np.testing.assert_array_equal(other(crops(2)), wrong(crops(2)))
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith("sed@r0 fold0: torch in place of onnxruntime (its outputs differ from torch's by")
    damaged = graphs["sed"].with_name("fold1.20.onnx")
    damaged.write_bytes(b"nonsense")
    other = Other(wrong, runtimes.graphs_of(damaged.parent, 1), "onnxruntime")
    np.testing.assert_array_equal(other(crops(2)), wrong(crops(2)))
    assert "sed@r0 fold1: torch in place of onnxruntime (" in capsys.readouterr().out


@torch.inference_mode()
def test_every_shape_is_compared(graphs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    model = tagger("avgmax")
    other = Other(model, {LENGTH: graphs["avgmax"]}, "onnxruntime")
    other(crops(2))
    own = other.runs[LENGTH]
    other.runs[LENGTH] = lambda x: [values + (len(x) == 3) for values in own(x)]
    np.testing.assert_allclose(other(crops(2)), model(crops(2)), atol=1e-4)
    np.testing.assert_array_equal(other(crops(3)), model(crops(3)))
    assert "differ from torch's" in capsys.readouterr().out
