"""Write configs/model/shipped.json, which tells a user's own or edited model config from those that came.

`.venv/bin/python tests/shipped_models.py`, whenever a model config of the project is changed; a test says so.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from tonestack.base.files import fingerprint, write_json
from tonestack.config import layers


def contents() -> dict[str, str]:
    """The content hash of every model config, comments and order of keys aside."""
    return {name: fingerprint(layers.layer("model", name)[1]) for name in layers.available("model")}


if __name__ == "__main__":
    write_json(layers.CONFIGS / layers.SHIPPED, contents())
