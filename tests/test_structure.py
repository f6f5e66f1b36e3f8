"""The size of the code stays within bounds: functions, folders, and the files behind one training run."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])


def test_functions_and_folders_stay_small() -> None:
    import structure

    found = structure.size()
    assert found["function_longest"] <= 52
    assert found["function_median"] <= 10
    assert found["function_90"] <= 30
    assert found["modules_in_widest_folder"] <= 20


def test_no_imports_go_in_a_circle() -> None:
    import structure

    assert structure.circle() == []


def test_a_training_run_imports_few_files() -> None:
    import structure
    from _imports import closure, lines

    reached = closure(["train", *structure.PARTS])
    assert not [name for name in reached if "ensemble" in name or "cleaning" in name or "report" in name]
    assert not [name for name in reached if "studies" in name or "deploy" in name]
    assert len(reached) <= 90
    assert sum(map(lines, reached)) <= 11_050
