"""Text from strangers: what reaches a terminal, and what a spreadsheet would run."""

import io
import json
import sys

from tonestack import cli
from tonestack.base.console import refuse
from tonestack.base.errors import UserError
from tonestack.base.text import Plain, inert, plain, plain_streams, uninert

import pytest
from hypothesis import given
from hypothesis import strategies as st

ODD = ["\x1b[2Ja", "\x07a", "a\u202eb", "a\u2066b", "a\u200bb", "a\x9b31m", "a\ud800", "a\U000e0041", "a\rb", "\ufeffa"]


@pytest.mark.parametrize("name", ODD)
def test_signs_that_a_terminal_obeys_are_spelled_out(name: str) -> None:
    assert plain(name).isprintable()
    assert json.loads(f'"{plain(name)}"') == name
    assert plain("שלום أهلا é 你好 👩‍👧 नमस्ते می‌خواهم") == "שלום أهلا é 你好 👩‍👧 नमस्ते می‌خواهم"


def test_everything_printed_is_plain_and_bars_still_move() -> None:
    out = io.StringIO()
    stream = Plain(out)
    print("name \x1b[2J\u202e\x07", file=stream)
    stream.write("\rbar 3/4 \x07")
    stream.write("\n\x1b[A")
    stream.write("a\rtonestack: all is well")
    assert out.getvalue() == ("name \\u001b[2J\\u202e\\u0007\n\rbar 3/4 \\u0007\n\x1b[Aa\\u000dtonestack: all is well")


def test_every_verb_prints_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    def stage(call: object) -> None:
        print("label \x1b]0;owned\x07")
        raise UserError("column 'a\u202eb' is \x1b[31mred")

    with pytest.raises(SystemExit):
        cli.main(stage, "", ["data=demo"])
    said = capsys.readouterr()
    assert said.out == "label \\u001b]0;owned\\u0007\n"
    assert "'a\\u202eb' is \\u001b[31mred" in said.err
    assert not isinstance(sys.stdout, Plain)


def test_a_terminal_of_few_letters_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, "ascii"))
    with plain_streams():
        refuse(UserError("clip 'é\udce9'"))
        sys.stderr.flush()
    assert raw.getvalue() == b"tonestack: clip '\\xe9\\udce9'\n"


FORMULAS = [
    "=1+1",
    "x;=1+1",
    "x,=1",
    "x|@a",
    "x\t-1",
    "x\n=1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20a",
    "a;\uff1d1",
]


@pytest.mark.parametrize("cell", [*FORMULAS, *(f"'{cell}" for cell in FORMULAS)])
def test_cells_that_a_spreadsheet_runs_are_guarded(cell: str) -> None:
    for mark in ";,|\t\n":
        assert not any(part[:1] in set("=+-@\uff1d\uff0b\uff0d\uff20") for part in inert(cell).split(mark) if part)
    assert uninert(inert(cell)) == cell


@given(st.text("=+-@\uff1d';,|\t\r\n a"))
def test_the_guard_comes_off_again(text: str) -> None:
    assert uninert(inert(text)) == text


@pytest.mark.parametrize("cell", ["a-b", "a; b", "Bell, Drum", "3 - 4", "", "it's"])
def test_ordinary_cells_stay(cell: str) -> None:
    assert inert(cell) == cell
    assert uninert(cell) == cell
