"""List pretrained weights: what they are, where to get them, licence, rate, and whether they are in input/weights/.

Takes  configs/weights/*.yaml. Checkpoints (.pth, .pt) that are named are converted, once and without running anything
       that they hold: ./run.sh weights convert=FILE.pth writes FILE.safetensors beside it.
Nothing is fetched.
"""

import hashlib
from pathlib import Path
from typing import ClassVar

from tonestack import cli
from tonestack.base.console import aligned
from tonestack.base.errors import UserError
from tonestack.base.model_files import located, weights_folder
from tonestack.base.section import Section
from tonestack.config import pretrained
from tonestack.config.call import Call
from tonestack.config.pretrained import KnownWeights
from tonestack.networks import weights

import pandas as pd
from pydantic import Field


class Wanted(Section):
    """Words of this verb."""

    BARE: ClassVar[str] = "convert"

    convert: tuple[str, ...] = Field(
        (), description="checkpoints to convert; the key may be left out of names without ="
    )


def run(call: Call, wanted: Wanted) -> pd.DataFrame | None:
    """Convert the files that are named, or print the table."""
    for name in wanted.convert:
        path = located(name)
        if path is None:
            raise UserError(f"{name}: no such file, nor in {weights_folder()}")
        print(f"{weights.converted(path)}: written; give it as network.weights=")
    return None if wanted.convert else listed()


def listed() -> pd.DataFrame:
    """Print and return one row for each known model."""
    known = pretrained.known()
    table = pd.DataFrame([{"name": name} | described(one) for name, one in known.items()])
    print(f"files are looked for in {weights_folder()}; none is fetched")
    print(aligned(table.drop(columns=["title", "source", "note"])))
    for name, one in known.items():
        print(f"{name}: {one.title}; {one.source}{f'; {one.note}' if one.note else ''}")
    return table


def described(one: KnownWeights) -> dict[str, str]:
    """A model's facts as text."""
    used = f"network.weights=, model={one.model}" if one.model else f"embedding.model={one.file}"
    facts = {"file": one.file, "here": state(one), "MB": f"{one.megabytes:g}", "Hz": f"{one.sample_rate:,}"}
    return facts | {"licence": one.licence, "used by": used, "title": one.title, "source": one.source, "note": one.note}


def state(one: KnownWeights) -> str:
    """Whether the file is there, whole as published, or has yet to be converted."""
    path = located(one.file)
    if one.model and (safe := located(str(Path(one.file).with_suffix(".safetensors")))):
        return f"yes ({safe.name})"
    if path is None:
        return "no"
    if one.model:
        return "yes, to be converted"
    if one.sha256 is None or not path.is_file():
        return "yes"
    return "yes, checksum right" if _sha256(path) == one.sha256 else "yes, but not the file whose checksum is known"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    cli.main(run, __doc__, own=Wanted)
