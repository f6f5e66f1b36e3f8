"""Every stage at FSDKaggle2018's size: processor seconds and peak memory, and how both grow with the number of clips.

`full_size.py [PERCENT ...] [longest=30] [home=DIR]` (10 100): for every size, the demo of that size is synthesised
(`data=demo_full`, clips up to `longest` seconds) and every stage runs as a user calls it, with the cheapest models:
a forest and a network of one epoch, for it is the stages that are measured. Costs are processor seconds of all
processes, which other load does not change. home: a folder that is kept; stages that are up to date there cost nothing.
Leaves bench/results/full_size.json.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _measure import report
from scale import Memory

SOURCE = Path(__file__).parents[1] / "src"
MODELS = ["model=clip_forest,vgg_small", "preset=smoke", "training.epochs=1"]
LABELS = {"clean.method": "agree", "clean.pictures": "true", "pseudo.rounds": "0"}
STAGES: dict[str, dict[str, str]] = {  # words of a stage, beside those of all
    "make_folds": {},
    "prepare": {},
    "plan": {},
    "clean_labels": {},
    "label_spreading": {"clean.method": "label_spreading"},
    "pseudo_label": {"pseudo.rounds": "1", "pseudo.models": "[clip_forest]"},
    "train": {},
    "blend": {},
    "stack": {},
    "submit": {},
    "score": {},
    "report": {},
    "shift": {},
    "predict": {"top": "3"},
    "bundle": {},
}
VERBS = {"label_spreading": "clean_labels"}


def measure(stage: str, home: Path, words: list[str]) -> dict[str, Any]:
    """Run one stage; its processor seconds and the peak memory of its processes in GiB."""
    verb = VERBS.get(stage, stage)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(SOURCE / f"{verb}.py"), *words, "device=cpu"],
        env=os.environ | {"TONESTACK_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with Memory(process.pid) as memory:
        output = process.communicate()[0]
    (home / f"{stage}.log").write_text(output)
    if process.returncode:
        print(f"{stage} ended with status {process.returncode}: {output.strip().splitlines()[-1:]}", flush=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "stage": stage,
        "wall s": time.perf_counter() - started,
        "cpu s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "together GiB": memory.together / 2**30,
        "largest GiB": memory.largest / 2**30,
        "status": process.returncode,
    }


def run_all(home: Path, percent: int, longest: float, stages: list[str]) -> list[dict[str, Any]]:
    """All stages at one size."""
    name = f"p{percent}"
    words = [
        *("data=demo_full", f"root={home}/input/{name}", f"name={name}", f"reader.scale={percent / 100}"),
        *(f"reader.longest={longest}", *MODELS),
    ]
    rows = []
    for stage in stages:
        extra = [f"{key}={value}" for key, value in (LABELS | STAGES[stage]).items()]
        given = [
            w for w in words if stage not in ("predict", "bundle") or not w.startswith("model=")
        ]  # what is submitted
        if stage == "predict":
            extra += [*map(str, sorted((home / f"input/{name}/audio_test").iterdir())[:20])]
        rows.append({"percent": percent, **measure(stage, home, [*given, *extra])})
        print("  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{v}" for k, v in rows[-1].items()), flush=True)
    return rows


def sizes(home: Path, percent: int) -> dict[str, float]:
    """Megabytes of what the stages have left."""
    name = f"p{percent}"
    pages = sorted((home / "reports" / name).glob("*.html"))
    folders = ("cache", "folds", "oof", "reports", "bundles", "submissions")
    found = {f"{folder} MB": _megabytes((home / folder / name).rglob("*")) for folder in folders}
    return found | {f"{page.name} MB": _megabytes([page]) for page in pages}


def _megabytes(paths: Any) -> float:
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def main(arguments: list[str]) -> None:
    """Measure every size; write, print."""
    words = dict(word.split("=", 1) for word in arguments if "=" in word)
    percents = [int(word) for word in arguments if "=" not in word] or [10, 100]
    stages = words.get("stages", ",".join(STAGES)).split(",")
    with tempfile.TemporaryDirectory() as folder:
        home, rows, left = Path(words.get("home", folder)), [], {}
        for percent in percents:
            rows += run_all(home, percent, float(words.get("longest", "30")), stages)
            left[percent] = sizes(home, percent)
    about = f"demo_full, clips up to {words.get('longest', '30')} s, {percents} % of 9,473 + 9,400 clips"
    report("full_size", rows, {"about": about, "left": left})
    print(left)


if __name__ == "__main__":
    main(sys.argv[1:])
