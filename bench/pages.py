"""Seconds to make the report for a competition of FSDKaggle2018's size, and to open it; sizes of its files.

9,473 train and 1,600 test clips of 6.8 s on average (44.1 kHz WAV), 41 classes, 10 models x 5 folds, all synthetic.
Leaves bench/results/pages.json and prints a table. Opening is measured if chromium is installed.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import report
from ensemble import SIZES, competition  # type: ignore[import-not-found,unused-ignore]
from tonestack.base.files import write_json
from tonestack.config.call import Call

RESULT = Path(__file__).parent / "results" / "pages.json"
RECORDINGS, RATE = 200, 44_100  # distinct ones: the clips are links to them, with a hash each


def recordings(root: Path, names: list[tuple[str, str]]) -> None:
    """Write some recordings of 0.3 to 30 s and link all clips to them."""
    rng = np.random.default_rng(0)
    (root / "made").mkdir()
    for i in range(RECORDINGS):
        wave = rng.normal(0, 0.1, int(RATE * np.clip(rng.exponential(6.8), 0.3, 30)))
        soundfile.write(root / "made" / f"{i}.wav", wave.astype(np.float32), RATE, subtype="PCM_16")
    for part in ("train", "test"):
        (root / f"audio_{part}").mkdir()
    for i, (part, name) in enumerate(names):
        os.link(root / "made" / f"{i % RECORDINGS}.wav", root / f"audio_{part}" / name)


def store(call: Call) -> None:
    """The table of a feature store, so that every clip counts as a recording of its own."""
    from tonestack.base.files import write_parquet
    from tonestack.report.material import Material

    clips = Material(call).clips[["clip_id", "part"]].assign(offset=0, frames=0, seconds=6.8, status="ok", reason="")
    write_parquet(
        call.cache / "logmel-0" / "clips.parquet", clips.assign(audio_hash=[f"{i:032x}" for i in clips.index])
    )


def opening(page: Path) -> float | None:
    """Seconds until a page is loaded and its first chart drawn; None without a browser."""
    path = shutil.which("chromium")
    if path is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_default_timeout(300_000)
        started = time.perf_counter()
        tab.goto(page.as_uri())
        if page.name == "index.html":
            tab.locator(".plot svg").first.wait_for()
        seconds = time.perf_counter() - started
        browser.close()
    return seconds


def main() -> None:
    """Make it twice, open it, say what it took."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["TONESTACK_HOME"] = str(home)
        models, clips, test, classes = SIZES["large"]
        competition(home, models, clips, test, classes)
        names = [("train", f"a{i:05d}.wav") for i in range(clips)] + [("test", f"t{i:05d}.wav") for i in range(test)]
        recordings(home / "input", names)
        call = Call.from_arguments(["data=fsdkaggle2018", f"root={home / 'input'}", "name=toy"])
        store(call)
        for name in ("first s", "again s", "nothing new s"):
            if name == "again s":
                (call.reports / "index.html").unlink()
            started, used = time.perf_counter(), time.process_time()
            report.run(call)
            found[name] = time.perf_counter() - started
            found[f"{name}, processor"] = time.process_time() - used
        for page in sorted(call.reports.glob("*.html")):
            found[f"{page.name} MB"] = page.stat().st_size / 1e6
            found[f"{page.name} opens s"] = opening(page)
        found["folder MB"] = sum(path.stat().st_size for path in call.reports.rglob("*")) / 1e6
    write_json(RESULT, found)
    print("\n".join(f"{name:24} {value:8.2f}" for name, value in found.items() if value is not None))


if __name__ == "__main__":
    main()
