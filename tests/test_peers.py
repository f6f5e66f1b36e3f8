"""The benchmark beside other programs: its scripts on tiny inputs, and what it says where one cannot be had."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    return runpy.run_path(str(BENCH / "peers.py"), run_name="peers")


def test_hill_climbing_leans_on_the_better_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 300)
    truth = np.eye(4)[targets]
    rows = np.stack([0.7 * truth + 0.1, 0.4 * truth + 0.2 + 0.2 * rng.random((300, 4))])
    rows /= rows.sum(axis=2, keepdims=True)
    np.savez(tmp_path / "tables.npz", oof=rows, test=rows, targets=targets)
    script = str(BENCH / "peers_scripts/with_hill_climbing.py")
    subprocess.run([sys.executable, script, "tables.npz", "1"], cwd=tmp_path, check=True)
    made = np.load(tmp_path / "probabilities.npy")
    np.testing.assert_allclose(made.sum(axis=1), 1)
    picked = [-np.log(p[np.arange(300), targets]).mean() for p in (made, *rows)]
    assert picked[0] <= min(picked[1:]) + 1e-9


def test_every_peer_has_a_script_or_is_ours(peers: dict[str, object]) -> None:
    named = {*peers["NETWORKS"], *peers["ENSEMBLES"]} - {"ours"}  # type: ignore[misc]
    assert {path.stem for path in (BENCH / "peers_scripts").glob("*.py")} == {f"with_{name}" for name in named}


def test_a_peer_that_cannot_be_installed_is_left_out_with_the_reason(
    peers: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "error: no such package\n")
    monkeypatch.setattr(subprocess, "run", lambda *words, **settings: failed)

    def work(peer: str, options: object, folder: Path) -> dict[str, float]:
        peers["python_of"](peer, ["nothing"], tmp_path)  # type: ignore[operator]
        return {"score": 1.0}

    row = peers["measured"](work, "other", "Other", None)  # type: ignore[operator]
    assert row["left out"] == "cannot be installed: error: no such package"
    assert "score" not in row
