"""The report's pages: what they are made of, in a real browser, by mouse and by keyboard alone."""

import csv
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_up
import report
from tonestack.base import parts
from tonestack.base.files import read_csv
from tonestack.config.call import Call
from tonestack.labels import corrections
from tonestack.report import doubts, page, sections, sounds
from tonestack.report.blocks import Cell, Chart, TableBlock
from tonestack.report.material import Material
from tonestack.report.sections import classes
from tonestack.report.sections.calibration import reliability
from tonestack.tables import load
from tonestack.tables.metrics import resolve

import numpy as np
import pandas as pd
import pytest
import soundfile

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of the made-up competition, its report made."""
    home = tmp_path_factory.mktemp("made_up")
    made_up.home(home, made_up.root(home / "input"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(home))
        report.run(Call.from_arguments(made_up.words(home / "input")))
    return home


@pytest.fixture
def run(made: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A call on the made-up competition."""
    monkeypatch.setenv("TONESTACK_HOME", str(made))
    return Call.from_arguments(made_up.words(made / "input"))


def embedded(path: Path, key: str) -> Any:
    """The json that a page's script reads."""
    found = re.search(rf'<script type="application/json" id="{key}">(.*?)</script>', path.read_text(), re.S)
    assert found
    return json.loads(found[1])


# ----------------------------------------------------------------------------------------------- what the pages hold


def test_every_section_whose_inputs_are_there_stands_on_the_page(made: Path) -> None:
    text = (made / "reports/made_up/index.html").read_text()
    shown = re.findall(r'<section id="(\w+)"', text)
    assert set(parts.names("sections")) - set(shown) == {"first_layer", "shift"}  # no network, no comparison was made
    places = [module.ORDER for module in sections.every()]
    assert places == sorted(places)


def test_nothing_is_shown_of_what_is_not_there(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(run.folds, folder / "folds/made_up")
    (folder / "folds/made_up/decisions.csv").unlink()
    monkeypatch.setenv("TONESTACK_HOME", str(folder))
    bare = Call.from_arguments(made_up.words(run.root))
    report.run(bare)
    assert re.findall(r'<section id="(\w+)"', (bare.reports / "index.html").read_text()) == ["leaderboard", "settings"]
    assert not (bare.reports / "audit.html").exists()  # nobody has judged a label yet


def test_clips_with_several_labels_get_what_makes_sense_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up.home(tmp_path, made_up.root(tmp_path / "input", several=True))
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    words = ["reader.multilabel=true", "task=multilabel", "metric=lwlrap", "fold_mean=arithmetic"]
    report.run(Call.from_arguments([*made_up.words(tmp_path / "input"), *words]))
    text = (tmp_path / "reports/made_up/index.html").read_text()
    shown = set(re.findall(r'<section id="(\w+)"', text))
    assert {"leaderboard", "scores", "classes", "map", "training"} <= shown
    assert not {"confusion", "calibration"} & shown  # they ask which one label is right
    assert "average precision by class" in text


def test_a_second_call_makes_nothing_until_something_changes(run: Call, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run.reports / "index.html").stat().st_mtime_ns
    report.run(run)
    assert "report: up to date" in capsys.readouterr().out
    assert (run.reports / "index.html").stat().st_mtime_ns == before
    (run.reports / "speakers/votes.txt").write_text("Voice 3 gets 712 of 1,000 votes.\n")
    report.run(run)
    assert "Voice 3 gets 712 of 1,000 votes." in (run.reports / "index.html").read_text()


def test_the_pages_and_folder_are_small_and_name_only_files_that_are_there(run: Call) -> None:
    for path in run.reports.glob("*.html"):
        text = path.read_text()
        assert len(text) < 15e6
        sources = [s for s in re.findall(r'(?:src|href)="([^"#]+)"', text) if not s.startswith("data:")]
        assert sources
        assert all((run.reports / source).is_file() for source in sources), sources
    audio = {clip[5] for clip in embedded(run.reports / "index.html", "clips")["clips"]} - {""}
    assert audio == {f"audio/{path.name}" for path in (run.reports / "audio").iterdir()}


def test_names_are_text_wherever_they_stand(run: Call) -> None:
    for name in ("index.html", "audit.html"):
        text = (run.reports / name).read_text()
        outside = re.sub(r"<script.*?</script>", "", text, flags=re.S)
        assert "&lt;script&gt;alert(1)" in outside or name == "audit.html"
        assert "<img src=x" not in text
        assert not re.search(r"<script>", text)
        assert all("<" not in body for body in re.findall(r'<script type="application/json".*?>(.*?)</script>', text))


def test_calibration_by_hand() -> None:
    p = np.array([[0.95, 0.05], [0.05, 0.95], [0.65, 0.35], [1.0, 0.0]])
    confidence, right, share = reliability(p, np.array([0, 0, 1, 0]))
    assert confidence == pytest.approx([0.65, (0.95 + 0.95 + 1) / 3])
    assert right == pytest.approx([0, 2 / 3])
    assert share == pytest.approx([0.25, 0.75])


def test_cells_say_numbers_plainly() -> None:
    frame = pd.DataFrame({"a": [1234567, 2], "b": [0.5, np.nan], "c": ["x", "y"], "d": [None, None]})
    made = TableBlock.of("t", frame)
    assert made.columns == ("a", "b", "c")  # a blank column is left out
    assert [[cell.text for cell in row] for row in made.rows] == [["1,234,567", "0.5000", "x"], ["2", "", "y"]]
    assert [made.numeric(i) for i in range(3)] == [True, True, False]
    assert Cell.of(True).text == "yes"


# ----------------------------------------------------------------------------------------------- doubts and excerpts


def test_the_most_doubtful_clips_come_first(run: Call) -> None:
    table = doubts.table(Material(run))
    assert table["doubt"].is_monotonic_decreasing
    decided = read_csv(run.folds / "decisions.csv", ["clip_id", "proposed_label"]).set_index("clip_id")
    agree = decided["agree"]
    assert table["doubt"].to_numpy() == pytest.approx(1 - agree.loc[table["clip_id"]].to_numpy())
    assert not (table["proposed"] == table["given"]).any()
    decided = decided[decided["decision"] == "relabel"]
    proposed = table.set_index("clip_id")["proposed"]
    assert proposed[decided.index].tolist() == decided["proposed_label"].tolist()


def test_without_decisions_the_ensemble_doubts(run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    material = Material(run)
    monkeypatch.setattr(doubts, "decided", lambda _: (pd.DataFrame(index=range(32)), [""] * 32))
    table = doubts.table(material)
    competition = run.competition()
    found = load.load(run.oof / "blend@r0", material.folds, competition.test["clip_id"].tolist(), competition.classes)
    assert found.oof is not None
    given = found.oof[np.arange(32), material.targets]
    assert table["doubt"].to_numpy() == pytest.approx(np.sort(1 - given)[::-1], abs=1e-6)


def test_the_loudest_part_is_heard(tmp_path: Path) -> None:
    wave = np.zeros(1000, np.float32)
    wave[620:700] = 0.5
    first, last = sounds.loudest(wave, 100)
    assert last - first == 100
    assert first <= 620 < 700 <= last
    assert sounds.loudest(wave, 2000) == (0, 1000)
    sounds.write(sounds.audio.Clip(wave, 1000, False), 0.1, tmp_path / "x.flac", tmp_path / "x.png")
    heard, rate = soundfile.read(tmp_path / "x.flac")
    assert rate == sounds.RATE  # browsers do not play 1 kHz
    assert len(heard) == 3200
    assert soundfile.info(tmp_path / "x.flac").extra_info is not None


def test_excerpts_that_no_page_names_are_removed(run: Call) -> None:
    stray = run.reports / "audio" / "old-500.flac"
    stray.write_bytes(b"")
    (run.reports / "speakers/votes.txt").write_text("again\n")
    report.run(run)
    assert not stray.exists()


def test_clips_of_tables_are_heard_before_those_of_charts() -> None:
    assert list(page.numbers([np.array([3, 1]), [[2], []], None])) == [3, 1, 2]


# ------------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH")
    api = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


class Visit:
    """A page opened from disk, and everything that went wrong on it."""

    def __init__(self, browser: Any, folder: Path, name: str, **settings: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1200, "height": 800}} | settings))
        self.tab, self.faults = self.context.new_page(), list[str]()
        self.tab.set_default_timeout(120_000)
        self.tab.on("console", lambda said: self.faults.append(said.text) if said.type != "log" else None)
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("dialog", lambda shown: (self.faults.append(f"dialog {shown.message}"), shown.dismiss()))
        self.tab.on("requestfailed", lambda asked: self.failed(asked.url, asked.failure or ""))
        self.tab.on("request", lambda asked: self.outside(asked.url))
        self.tab.goto((folder / name).as_uri())

    def failed(self, url: str, why: str) -> None:
        """Note a file that could not be had; one that was given up, as the page went on, is none."""
        if "ERR_ABORTED" not in why:
            self.faults.append(f"failed {url} {why}")

    def outside(self, url: str) -> None:
        """Note a request that leaves the disk."""
        if not url.startswith(("file:", "data:", "blob:")):
            self.faults.append(f"asked for {url}")

    def draw_all(self) -> None:
        """Scroll through the page, so that every chart is drawn."""
        count = self.tab.locator(".plot").count()
        for i in range(count):
            if self.tab.locator(".plot").nth(i).is_visible():
                self.tab.locator(".plot").nth(i).scroll_into_view_if_needed()
                self.tab.locator(".plot").nth(i).locator("svg").first.wait_for()


@pytest.fixture
def visit(browser: Any, run: Call) -> Iterator[Any]:
    """Open a page; at the end nothing must have gone wrong on it."""
    opened: list[Visit] = []

    def open_page(name: str, **settings: Any) -> Visit:
        opened.append(Visit(browser, run.reports, name, **settings))
        return opened[-1]

    yield open_page
    for each in opened:
        each.context.close()
        assert each.faults == []


def wait_until(tab: Any, condition: str) -> None:
    """Wait for a condition in the page; Playwright's own way needs `eval`, which the pages forbid."""
    deadline = time.monotonic() + 120
    while not tab.evaluate(condition):
        assert time.monotonic() < deadline, condition
        tab.wait_for_timeout(50)


def serious(tab: Any) -> list[str]:
    """What axe calls serious or critical, with where it stands."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(tab, options={"preload": False}).response["violations"]
    bad = [v for v in found if v["impact"] in ("serious", "critical")]
    return [f"{v['id']}: {node['html'][:200]}" for v in bad for node in v["nodes"]]


@needs_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_the_report_opens_from_disk_without_a_fault_and_is_accessible(visit: Any, scheme: str, width: int) -> None:
    opened = visit("index.html", color_scheme=scheme, viewport={"width": width, "height": 800})
    opened.draw_all()
    tab = opened.tab
    assert tab.locator(".plot[data-drawn]").count() >= 8
    assert tab.evaluate("document.documentElement.scrollWidth") <= width  # no sideways scrolling
    assert tab.evaluate("[...document.images].every((image) => image.alt)")
    assert serious(tab) == []


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_audit_page_opens_from_disk_without_a_fault_and_is_accessible(visit: Any, scheme: str) -> None:
    tab = visit("audit.html", color_scheme=scheme, viewport={"width": 390, "height": 800}).tab
    tab.keyboard.press("r")
    tab.locator("summary").click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious(tab) == []


@needs_browser
def test_tables_sort_by_keyboard_and_numbers_as_numbers(visit: Any) -> None:
    tab = visit("index.html").tab
    head = tab.locator("#leaderboard th", has_text="CV").first
    column = head.evaluate("(cell) => cell.cellIndex")

    def values() -> list[float]:
        return [float(t) for t in tab.locator(f"#leaderboard tbody td:nth-child({column + 1})").all_inner_texts()]

    for order, expected in (("descending", sorted(values(), reverse=True)), ("ascending", sorted(values()))):
        head.locator("button").focus()
        tab.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        assert values() == expected
    name = tab.locator("#leaderboard th", has_text="Table")
    name.locator("button").click()
    names = [t.split(" ")[0] for t in tab.locator("#leaderboard tbody td:first-child").all_inner_texts()]
    assert names == sorted(names, key=str.lower)
    assert head.get_attribute("aria-sort") is None


@needs_browser
def test_a_player_plays_a_clip_found_by_name_or_clicked_on_the_map(visit: Any) -> None:
    opened = visit("index.html")
    tab = opened.tab
    tab.get_by_label("Find a clip").fill("=cmd().wav")
    tab.locator(".finder .play").first.focus()
    tab.keyboard.press("Enter")
    wait_until(tab, "document.querySelector('#dock audio').currentTime > 0")
    assert tab.locator("#dock strong").inner_text() == "=cmd().wav"
    assert tab.evaluate("document.querySelector('#dock audio').duration") <= 1.25
    tab.keyboard.press("Escape")
    assert tab.locator("#dock").is_hidden()
    plot = tab.locator("#map .plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".points path").last.wait_for()
    plot.evaluate("(p) => p.emit('plotly_click', { points: [{ customdata: p.data[1].customdata[0] }] })")
    assert tab.locator("#dock strong").inner_text() != ""
    wait_until(tab, "document.querySelector('#dock audio').currentTime > 0")


@needs_browser
def test_a_click_on_the_confusion_matrix_lists_its_clips(visit: Any) -> None:
    tab = visit("index.html").tab
    plot = tab.locator("#confusion .plot")
    plot.scroll_into_view_if_needed()
    plot.locator("svg .hm").first.wait_for()
    numbers = plot.evaluate("(p) => p.data[0].customdata[2][2]")
    inside = plot.evaluate("(p) => [p._fullLayout.xaxis.d2p(2) + p._fullLayout.xaxis._offset,"
                           " p._fullLayout.yaxis.d2p(2) + p._fullLayout.yaxis._offset]")  # fmt: skip
    plot.click(position={"x": inside[0], "y": inside[1]})
    tab.locator("#dock").wait_for()
    listed = tab.locator("#dock ul .play")
    assert listed.count() == (len(numbers) if len(numbers) > 1 else 0)


@needs_browser
def test_tabs_are_chosen_by_arrow_keys(visit: Any) -> None:
    tab = visit("index.html").tab
    tabs = tab.locator("#map [role=tab]")
    tabs.first.focus()
    tab.keyboard.press("ArrowRight")
    assert [t.get_attribute("aria-selected") for t in tabs.all()][:2] == ["false", "true"]
    assert tab.locator("#map [role=tabpanel]").nth(1).is_visible()
    tab.locator("#map .plot").nth(1).locator("svg").first.wait_for()


@needs_browser
def test_ten_decisions_by_keyboard_give_the_right_corrections(visit: Any, run: Call, tmp_path: Path) -> None:
    tab = visit("audit.html").tab
    entries = embedded(run.reports / "audit.html", "audit")["clips"]
    tab.get_by_label("Your name").fill("=Ann")
    tab.keyboard.press("Tab")
    tab.locator("h2").click()
    expected: dict[str, tuple[str, str]] = {}

    def here() -> dict[str, Any]:
        name = tab.locator("#clip-name").inner_text()
        return next(entry for entry in entries if entry["id"] == name)

    for key in "kadrskadkd":
        clip = here()
        tab.keyboard.press(key)
        if key == "k":
            expected[clip["id"]] = ("keep", clip["given"])
        if key == "a":
            expected[clip["id"]] = ("relabel", clip["proposed"])
        if key == "d":
            expected[clip["id"]] = ("drop", "")
        if key == "r":
            label = next(name for name in made_up.LABELS if name != clip["given"])
            tab.keyboard.type(label[:9].lower())
            tab.keyboard.press("Enter")
            expected[clip["id"]] = ("relabel", label)
    assert len(expected) == 9  # ten keys, one of them skips
    assert tab.locator("#count").inner_text() == f"9 of {len(entries)} decided"
    tab.reload()  # the browser keeps the progress
    assert tab.locator("#count").inner_text() == f"9 of {len(entries)} decided"
    assert here()["id"] == entries[10]["id"]
    tab.keyboard.press("d")
    tab.keyboard.press("u")
    assert here()["id"] == entries[10]["id"]
    with tab.expect_download() as download:
        tab.get_by_text("Download corrections.csv").click()
    path = tmp_path / "corrections.csv"
    download.value.save_as(path)
    rows = list(csv.reader(path.open(newline="")))
    assert rows[0] == corrections.COLUMNS
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    read = corrections.read_file(path, Material(run).folds).set_index("clip_id")
    assert {name: (row["decision"], row["label"]) for name, row in read.iterrows()} == expected
    assert set(read["by"]) == {"=Ann"}
    assert read["when"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()


@needs_browser
def test_keys_are_text_while_one_types_and_can_be_switched_off(visit: Any) -> None:
    tab = visit("audit.html").tab
    first = tab.locator("#clip-name").inner_text()
    tab.get_by_label("Your name").fill("kdas")
    tab.get_by_label("Your name").press("d")
    tab.keyboard.press("Tab")
    tab.keyboard.press("r")
    tab.keyboard.type("drum or not")
    tab.keyboard.press("Enter")
    assert tab.locator("#wrong").inner_text() == "No such label."
    tab.keyboard.press("Escape")
    assert tab.locator("#relabel").is_hidden()
    assert tab.locator("#clip-name").inner_text() == first
    tab.locator("summary").click()
    tab.get_by_label("Use the keys").uncheck()
    tab.keyboard.press("d")
    assert tab.locator("#clip-name").inner_text() == first
    tab.get_by_role("button", name="Drop").click()
    assert tab.locator("#clip-name").inner_text() != first


@needs_browser
def test_the_audit_player_plays_and_shows_the_spectrogram(visit: Any) -> None:
    tab = visit("audit.html").tab
    wait_until(tab, "document.getElementById('spectrogram').naturalWidth > 0")
    tab.keyboard.press("p")
    wait_until(tab, "document.getElementById('player').currentTime > 0")


@needs_browser
def test_corrections_that_are_there_count_as_decided(
    browser: Any, run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("folds", "oof", "submissions"):
        shutil.copytree(run.home / name, tmp_path / name)
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path))
    again = Call.from_arguments(made_up.words(run.root))
    first = embedded(run.reports / "audit.html", "audit")["clips"][0]
    said = [{"clip_id": first["id"], "decision": "drop", "label": "", "by": "Bo", "when": ""}]
    corrections.write(again.folds, pd.DataFrame(said))
    report.run(again)
    opened = Visit(browser, again.reports, "audit.html")
    assert opened.tab.locator("#count").inner_text().startswith("1 of ")
    assert opened.tab.locator("#clip-name").inner_text() != first["id"]
    assert opened.faults == []
    opened.context.close()


@pytest.mark.parametrize(("metric", "shown"), [("auc", "auc"), ("row_f1", "average precision")])
def test_the_classes_are_shown_by_the_metric_itself_where_it_has_a_value_for_each(metric: str, shown: str) -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((40, 3)) < 0.4).astype(int)
    found = SimpleNamespace(name="net@r0", train=rng.random((40, 3)))
    material = SimpleNamespace(best=found, judged=lambda _: np.arange(40), targets=targets, classes=("a", "b", "c"))
    material.metric, material.one_label = resolve(metric), False
    made, _ = classes.blocks(material)  # type: ignore[arg-type]
    assert isinstance(made, Chart)
    assert made.figure.layout.xaxis.title.text == shown
    assert made.caption.startswith(f"{shown} by class, net@r0.")
    assert (f"{metric} has no value for a single class." in made.caption) == (metric != shown)
