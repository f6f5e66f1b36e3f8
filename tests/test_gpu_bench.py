"""The GPU benchmark's parts against plain versions, on the CPU. Marked long."""

import runpy
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[1] / "bench"


@pytest.mark.long
def test_every_part_is_right_at_a_small_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    bench = runpy.run_path(str(BENCH / "gpu.py"))
    words = bench["WORDS"] | {"batch": "4", "clips": "24", "device": "cpu"}
    assert all(bench["check"](bench["Bench"](words, torch.device("cpu"))).values())


def test_missing_packages_are_stood_in_for_at_import_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.syspath_prepend(str(BENCH))
    import _stand_ins

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, _stand_ins.Finder(["nosuchpackage"])])
    from nosuchpackage.deep import Thing  # type: ignore[import-not-found]

    class Own(Thing):  # type: ignore[misc]
        """As a module that needs the package would have it."""

    assert isinstance(Own(1, two=2), _stand_ins.Empty)
    with pytest.raises(ModuleNotFoundError):
        __import__("another_that_is_missing")
