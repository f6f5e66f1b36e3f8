"""Imported first by every script: outside the environment one clear line instead of a traceback."""

import importlib.util
import sys
from pathlib import Path

NEEDED = ("numpy", "pandas", "pydantic", "torch")

missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if missing:
    script = Path(sys.argv[0]).name
    print(
        f"tonestack: {missing[0]} is not installed for {sys.executable}; "
        f"run ./run.sh once, then .venv/bin/python src/{script}",
        file=sys.stderr,
    )
    sys.exit(2)
