"""Scripts outside the environment."""

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"


@pytest.mark.parametrize("path", sorted(SRC.glob("*.py")), ids=lambda path: path.name)
def test_outside_the_environment_one_line_says_what_to_do(path: Path) -> None:
    # -S and -I leave site-packages out: an interpreter on which nothing is installed
    run = f"import runpy, sys; sys.path.insert(0, {str(SRC)!r}); runpy.run_path({str(path)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "run ./run.sh once, then .venv/bin/python src/" in done.stderr
