"""Seconds and disk of the first `./run.sh`, by uv and by pip, each from an empty cache; and without a GPU's packages.

Copies run.sh and the locks into fresh folders with caches of their own and sets .venv up there. Needs the package index
and 15 GB of disk; downloads some gigabytes per row. Leaves bench/results/set_up.json.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tonestack.base.files import write_json

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "set_up.json"
WAYS = {"pip": {"TONESTACK_UV": "no"}, "uv": {}, "uv, no GPU": {"TONESTACK_GPU": "no"}}
STAGE = "import timm, torch, lightgbm, librosa; print(torch.__version__)\n"


def measure(settings: dict[str, str]) -> dict[str, float]:
    """Set up once in an empty folder; the stage that is called only imports."""
    with tempfile.TemporaryDirectory(prefix="tonestack-") as scratch:
        folder = Path(scratch) / "checkout"
        (folder / "src").mkdir(parents=True)
        for path in [ROOT / "run.sh", *ROOT.glob("requirements*.lock")]:
            shutil.copy(path, folder / path.name)
        (folder / "src/imports.py").write_text(STAGE)
        caches = {"PIP_CACHE_DIR": f"{scratch}/pip", "UV_CACHE_DIR": f"{scratch}/uv"}
        environment = {**os.environ, **caches, **settings}
        started, before = time.monotonic(), os.times()
        subprocess.run(["bash", str(folder / "run.sh"), "imports"], env=environment, check=True)
        seconds, after = time.monotonic() - started, os.times()
        used = subprocess.run(["du", "-sm", str(folder / ".venv")], check=True, capture_output=True, text=True)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "cpu": cpu, "gb": int(used.stdout.split()[0]) * 2**20 / 1e9}


def main() -> None:
    """Measure each way, write, print."""
    found = {}
    for way, settings in WAYS.items():
        found[way] = measure(settings)
        print(
            f"{way:12}{found[way]['seconds']:6.0f} s{found[way]['cpu']:6.0f} processor s{found[way]['gb']:6.1f} GB",
            flush=True,
        )
    write_json(RESULT, found)


if __name__ == "__main__":
    main()
