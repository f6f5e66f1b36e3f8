"""The documents: they build strictly, ask nothing of the network, name only known words, and their example runs."""

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from conftest import TINY_WORDS
from tonestack.base.files import read_json
from tonestack.settings.data_config import DataConfig
from tonestack.settings.model_config import ModelConfig
from tonestack.settings.words import DATA_KEYS, Words

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
OTHER = {
    "test": {"long"},
    "bench": {"set", "plain"},
    "docs": set(),
}  # verbs of run.sh that are no script, with their words


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)


def commands(path: Path) -> list[list[str]]:
    """Every call of run.sh on a page, in a block or within a line, as words."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M) for line in block.splitlines()]
    lines += re.findall(r"`(\./run\.sh[^`]*)`", text)
    typed = [re.sub(r"[\[\]…]|\.\.\.", " ", line.strip()) for line in lines if line.strip().startswith("./run.sh")]
    return [shlex.split(line.partition("#")[0].partition("   ")[0])[1:] for line in typed]


def own_words(verb: str) -> set[str]:
    """The words of a verb alone: the fields of the section that its script gives to `cli.main`."""
    section = re.search(r"\bown=(\w+)\)", (PROJECT / f"src/{verb}.py").read_text(encoding="utf-8"))
    return set(getattr(importlib.import_module(verb), section[1]).model_fields) if section else set()


def test_words_of_a_verb_alone_are_known() -> None:
    assert own_words("train") == set()
    assert own_words("corrections") == {"merge", "prefer"}
    assert {"n", "prompts", "voice"} <= own_words("voices")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_of_a_page_can_be_typed(page: Path) -> None:
    sections = {*DataConfig.model_fields, *ModelConfig.model_fields}
    for words in commands(page):
        verb = words[0] if words and "=" not in words[0] else "train"
        if verb.isupper() or verb in ("|", ">"):
            continue
        own = OTHER.get(verb)
        if own is None:
            assert (PROJECT / f"src/{verb}.py").is_file(), f"{page.name}: ./run.sh {verb}"
            own = own_words(verb)
        known = {*Words.model_fields, *DATA_KEYS, *own}
        for key in [word.partition("=")[0] for word in words if "=" in word and not word.startswith(">")]:
            assert key in known or key.partition(".")[0] in sections, f"{page.name}: ./run.sh {' '.join(words)}: {key}="


def test_all_pages_have_commands_and_every_verb_of_the_help_is_in_the_documents() -> None:
    typed = {words[0] for page in PAGES for words in commands(page) if words}
    assert {"all", "train", "predict", "export", "bundle", "shift", "report", "docs"} <= typed


# ------------------------------------------------------------------------------------------------------------- the site


class Requests(HTMLParser):
    """Collects what a browser fetches by itself when a page is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "audio", "video", "source"):
            self.found += [values.get("src") or ""]
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.found += [values.get("href") or ""]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed")
    target = tmp_path_factory.mktemp("site")
    # not --quiet: it hides the warnings from --strict as well
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_the_site_has_every_page_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    names = {path.stem for path in (PROJECT / "docs").glob("*.md")}
    assert names <= {path.stem for path in site.glob("*.html")}
    for path in site.rglob("*.html"):
        reader = Requests()
        reader.feed(path.read_text(encoding="utf-8"))
        assert len(reader.found) > 3, path
        outside = [address for address in reader.found if re.match(r"(https?:)?//", address)]
        assert outside == [], path.name
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"url\(\s*[\"']?(https?:)?//", styles)
    assert not re.search(r"@import\s+[\"']?(url\()?[\"']?https?:", styles)


def test_every_page_is_in_the_list_of_pages() -> None:
    text = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")

    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]  # type: ignore[attr-defined]

    listed = pages(yaml.safe_load(text)["nav"])
    assert sorted(listed) == sorted(path.name for path in (PROJECT / "docs").glob("*.md"))


def test_every_page_is_linked_from_the_first_page_and_from_the_readme() -> None:
    names = {path.name for path in (PROJECT / "docs").glob("*.md")}
    first, readme = ((PROJECT / name).read_text(encoding="utf-8") for name in ("docs/index.md", "README.md"))
    assert names - {"index.md"} <= set(re.findall(r"\]\((\w+\.md)", first))
    assert names == set(re.findall(r"\]\(docs/(\w+\.md)", readme))


def test_no_page_has_a_place_left_to_be_filled() -> None:
    for page in PAGES:
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
        assert not re.search(r"^[A-Z]{4,}([_-][A-Z]+)*$|\b[A-Z]+_(TABLE|IMPORTS)\b|TODO", text, re.M), page.name


# ---------------------------------------------------------------------------------------------------------- the example


def test_the_model_of_the_page_can_be_trained(tiny_root: Path, tmp_path: Path) -> None:
    """The page's two files, put into a copy of the project, make an experiment like every other."""
    page = PROJECT / "docs/model.md"
    for folder in ("src", "configs"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src/tonestack/networks/models/separable.py").write_text(blocks(page, "python")[0], encoding="utf-8")
    linted = [sys.executable, "-m", "ruff", "check", "--config", str(PROJECT / "pyproject.toml")]
    linted += [str(tmp_path / "src/tonestack/networks/models/separable.py")]
    assert subprocess.run(linted, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    assert blocks(page, "python")[0].count("description=") == 3
    (tmp_path / "configs/model/separable.yaml").write_text(blocks(page, "yaml")[0], encoding="utf-8")
    words = [w for w in TINY_WORDS if not w.startswith(("network.", "model="))]
    words += ["model=separable", "network.width=4", "fold=0", f"root={tiny_root}"]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "src/train.py"), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"TONESTACK_HOME": str(tmp_path / "home"), "PYTHONPATH": ""},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    receipt = read_json(tmp_path / "home/oof/fsdkaggle2018/separable@r0/fold0.json")
    assert receipt["config"]["network"] == {"name": "separable", "width": 4, "blocks": 3, "dropout": 0.2}
    assert 0 < receipt["params"] < 2000
    assert 0 <= receipt["metrics"]["map@3"] <= 1


def test_the_four_lines_of_yaml_are_a_data_config() -> None:
    text = blocks(PROJECT / "docs/own.md", "yaml")[0]
    given = yaml.safe_load(text)
    assert len(text.strip().splitlines()) <= 4
    assert DataConfig.parse(given, "docs/own.md").reader["name"] == "table"
