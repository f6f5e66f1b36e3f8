"""Where files of pretrained models lie: at their path, below the home, or in its folder input/weights/."""

import os
from pathlib import Path

PROJECT = Path(__file__).parents[3]
FOLDER = Path("input/weights")


def weights_folder() -> Path:
    """The folder for files of pretrained models."""
    return Path(os.environ.get("TONESTACK_HOME", PROJECT)) / FOLDER


def located(name: str | None) -> Path | None:
    """The absolute path of a model's file or folder; None where there is none."""
    if not name:
        return None
    given = Path(name).expanduser()
    homes = Path(os.environ.get("TONESTACK_HOME", PROJECT)), PROJECT
    places = [given, *(home / below for home in homes for below in (given, FOLDER / given, FOLDER / given.name))]
    return next((place.absolute() for place in places if place.exists()), None)
