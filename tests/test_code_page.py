"""The page of the code: its tree is of today, and every function of the journey exists."""

import ast
import re

import code_tree

import pytest

TEXT = code_tree.PAGE.read_text(encoding="utf-8")
STEPS = re.findall(r"`((?:src/)?[a-z0-9_/]+\.py): ([A-Za-z_.]+)`", TEXT)


def test_the_tree_is_of_today() -> None:
    made = TEXT.split(code_tree.BEGIN)[1].split(code_tree.END)[0]
    assert made == code_tree.tree(), "run: python tests/code_tree.py"


def test_the_journey_has_its_steps() -> None:
    assert len(STEPS) >= 20


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_every_function_of_the_page_exists(file: str, name: str) -> None:
    path = code_tree.ROOT / (file if file.startswith("src/") else f"src/tonestack/{file}")
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = [node for node in body if getattr(node, "name", None) == part]
        assert found, f"{file} has no {name}"
        body = getattr(found[0], "body", [])


def test_every_path_of_the_page_exists() -> None:
    before_the_tree = TEXT.split(code_tree.BEGIN)[0]
    for path in re.findall(r"`([a-z_/]+/[a-z0-9_]+\.py)`", before_the_tree):
        places = [code_tree.ROOT / path, code_tree.ROOT / "src/tonestack" / path]
        assert any(place.is_file() for place in places), path
