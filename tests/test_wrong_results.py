"""Results that would be wrong or lost without a word: each test fails without its fix."""

import shutil
from pathlib import Path

import blend
import score
import stack
import submit
from test_submission import CLASSES, TEST, TRAIN, toy, words
from tonestack.config.call import Call
from tonestack.ensemble import made
from tonestack.tables import oof

import numpy as np
import pandas as pd
import pytest

__all__ = ["toy"]  # a fixture


def strangers(toy: Call, seed: int = 1, name: str = "theirs") -> Path:
    """A foreign table with both parts."""
    folder = toy.oof / name
    folder.mkdir(exist_ok=True)
    rows = pd.DataFrame(np.random.default_rng(seed).dirichlet(np.ones(4), 200), columns=list(CLASSES))
    rows.insert(0, "clip_id", [*TRAIN, *TEST])
    rows.to_csv(folder / "x.csv", index=False)
    return folder


# ------------------------------------------------------------------------------------------------- made of what is gone


def test_a_made_table_goes_when_a_source_goes(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    folder = strangers(toy)
    for verb in (blend, stack, submit):
        verb.run(toy)
    assert {"blend@mixed", "stack-logistic@mixed", "mean@mixed"} <= set(made.of(toy))
    shutil.move(folder, toy.home / "away")
    for verb in (blend, stack, submit):
        verb.run(toy)
    assert "blend@mixed: removed, its source theirs is gone" in capsys.readouterr().out
    assert set(made.of(toy)) == {"blend@r0", "stack-logistic@r0", "stack-lightgbm@r0", "mean@r0"}
    assert "mixed" not in pd.read_csv(toy.submissions / "log.csv")["table"].iloc[-1]


@pytest.mark.parametrize("verb", [blend, stack, submit, score])
def test_a_made_table_goes_when_a_source_changes(toy: Call, verb: object) -> None:
    strangers(toy)
    for one in (blend, stack, submit):
        one.run(toy)
    known = made.content(toy.oof / "theirs")
    strangers(toy, seed=2)
    assert made.content(toy.oof / "theirs") != known
    verb.run(toy)  # type: ignore[attr-defined]
    assert "mean@mixed" not in made.of(toy)  # of tables that are gone: it goes with them
    assert all(not made.fault(toy.oof / name) for name in made.of(toy))
    if verb in (submit, score):
        assert not made.of(toy)


def test_a_receipt_without_sources_is_still_read(toy: Call) -> None:
    """Tables of an earlier version name their tables without fingerprints: only a missing one is noticed."""
    import json

    blend.run(toy)
    for path in (toy.oof / "blend@r0").glob("*.json"):
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sources"}))
    assert not made.fault(toy.oof / "blend@r0")
    oof.remove(toy.oof / "net1@r0")
    assert made.fault(toy.oof / "blend@r0") == "its source net1@r0 is gone"


def test_the_mean_takes_what_this_calls_blend_and_stack_wrote(toy: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (blend, stack, submit):
        verb.run(toy)
    shutil.copytree(toy.oof / "net0@r0", toy.oof / "net0@r1")
    for verb in (blend, stack, submit):
        verb.run(toy)
    parts = {"blend@mixed", "stack-logistic@mixed", "stack-lightgbm@mixed"}
    assert set(made.sources(toy.oof / "mean@mixed")) == parts  # none of r0, though those hold too
    assert "blend@r0" in made.of(toy)
    capsys.readouterr()
    blend.run(words(toy.home, "blend.tables=[net0@r1,net1@r0]"))  # another blend under the same name
    submit.run(toy)
    assert "mean: without blend@mixed, made of other tables" in capsys.readouterr().out
    assert set(made.sources(toy.oof / "mean@mixed")) == parts - {"blend@mixed"}


def test_no_blend_is_made_of_itself(toy: Call) -> None:
    for verb in (blend, stack, submit):
        verb.run(toy)
    again = words(toy.home, "blend.made=true")
    blend.run(again)
    taken = set(made.sources(toy.oof / "blend@r0"))
    assert "stack-logistic@r0" in taken
    assert not taken & {"blend@r0", "mean@r0"}
    blend.run(again)
    assert "blend@r0" in made.of(toy)
