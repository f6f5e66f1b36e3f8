"""tonestack: from a folder of recordings and a csv to a scored submission.

Every script imports this package before anything else: outside the environment one clear line replaces a traceback.
"""

import importlib.util
import sys
from pathlib import Path

__version__ = "0.1.0"

NEEDED = ("numpy", "pandas", "pydantic", "torch")

_missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if _missing:
    print(
        f"tonestack: {_missing[0]} is not installed for {sys.executable}; "
        f"run ./run.sh once, then .venv/bin/python src/{Path(sys.argv[0]).name}",
        file=sys.stderr,
    )
    sys.exit(2)
