"""Scripts outside the environment."""

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"


def test_every_script_imports_the_environment_first() -> None:
    scripts = list(SRC.glob("*.py"))
    assert len(scripts) > 8
    for path in scripts:
        imports = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert imports[0].startswith("from tonestack import environment"), path.name


def test_outside_the_environment_one_line_says_what_to_do() -> None:
    # -S and -I leave site-packages out: an interpreter on which nothing is installed
    run = (
        f"import sys; sys.path.insert(0, {str(SRC)!r}); sys.argv = ['src/blend.py']; from tonestack import environment"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert ".venv/bin/python src/blend.py" in done.stderr
