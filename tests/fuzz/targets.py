"""The fuzz targets: every reader of untrusted bytes. A target takes bytes and must succeed or refuse.

Well means: it returns, or it raises `UserError` (`BadAudio` for recordings). Anything else is a finding.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "src")]

from tonestack import tasks  # noqa: E402
from tonestack.base.errors import UserError  # noqa: E402
from tonestack.competition import submission, unpack  # noqa: E402
from tonestack.competition.readers import esc50, fsdkaggle2018, table  # noqa: E402
from tonestack.config import layers  # noqa: E402
from tonestack.ensemble import scoring  # noqa: E402
from tonestack.features.audio import BadAudio, decode_clip  # noqa: E402
from tonestack.labels import folds  # noqa: E402
from tonestack.settings import words  # noqa: E402
from tonestack.settings.data_config import AudioParams, DataConfig, FoldParams  # noqa: E402
from tonestack.settings.model_config import ModelConfig, Preset  # noqa: E402
from tonestack.tables import (  # noqa: E402
    load,
    oof,
)
from tonestack.tables.competition import SubmissionFormat  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

SEEDS = Path(__file__).parent / "seeds"
CLASSES = ("Bell", "Drum", "Hiss")
FOLDS = pd.DataFrame(
    {"clip_id": ["a.wav", "b.wav"], "label": ["Bell", "Drum"], "verified": True, "group": "", "fold": [0, 1]}
)
SAMPLE = b"fname,label\nt.wav,Bell Drum Hiss\n"
TRAIN = b"fname,label,manually_verified\na.wav,Bell,1\nb.wav,Drum,0\n"


@cache
def folder() -> Path:
    """A folder for the files that targets read, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))


def written(name: str, content: bytes) -> Path:
    path = folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def split(data: bytes, ways: int) -> tuple[int, bytes]:
    """The first byte chooses a way; the rest is its input."""
    return (data[0] % ways, data[1:]) if data else (0, b"")


def readers(data: bytes) -> None:
    """A competition's csv files: train, sample submission, test labels, ESC-50's meta table, a table of scores."""
    way, content = split(data, 5)
    written("train.csv", content if way == 0 else TRAIN)
    written("sample_submission.csv", content if way == 1 else SAMPLE)
    if way == 2:
        scoring.read(written("scoring.csv", content), CLASSES, tasks.find("classify"))
    elif way == 3:
        written("meta/esc50.csv", content)
        made = esc50.read(esc50.Params(), folder()).checked()
        folds.assign(made.train, FoldParams(n=2, small_classes="warn"), "fuzz")
    elif way == 4:
        named = table.Params(verified="manually_verified", sample_submission="sample_submission.csv", multilabel=True)
        written("train.csv", content)
        table.read(named, folder()).checked()
    else:
        made = fsdkaggle2018.read(fsdkaggle2018.Params(), folder()).checked()
        folds.assign(made.train, FoldParams(n=2, small_classes="warn"), "fuzz")


def typed(data: bytes) -> None:
    """The words of a call, one per line, resolved to the configs of a competition and a model."""
    parsed = words.parse(data.decode(errors="surrogateescape").splitlines())
    words.parse_folds(parsed.fold, [0, 1, 2])
    _, preset = layers.load_data(parsed)
    layers.load_model("vgg_small", preset, parsed)


def configs(data: bytes) -> None:
    """A YAML file taken for a data config, a model config or a preset."""
    way, content = split(data, 3)
    values = layers.read_yaml(written("config.yaml", content))
    (DataConfig, ModelConfig, Preset)[way].parse(values, "config.yaml")


def tables(data: bytes) -> None:
    """A prediction table: csv, parquet, a receipt, a table.yaml with arrays; a submission that is read back."""
    way, content = split(data, 6)
    place = folder() / f"table{way}"
    if way in (0, 1):
        written(f"table{way}/t.{('csv', 'parquet')[way]}", content)
    elif way == 2:
        written("table2/fold0.json", content)
        written("table2/fold0.parquet", b"x")
    elif way in (3, 4):
        written(f"table{way}/table.yaml", content if way == 3 else b"{oof: o.npy, oof_ids: i.txt, classes: [Bell]}")
        written(f"table{way}/o.npy", content)
        written(f"table{way}/i.txt", b"a.wav\nb.wav\n")
    else:
        form = SubmissionFormat(("fname", "label"), ("t.wav",), "labels", 3)
        submission.read(written("submission.csv", content), form, CLASSES)
        return
    oof.kind_of(place)
    load.load(place, FOLDS, ["t.wav"], CLASSES)


def recordings(data: bytes) -> None:
    """A recording; what is decoded must be finite."""
    wave = decode_clip(written("a.wav", data), AudioParams(max_seconds=60)).wave
    assert np.isfinite(wave).all()


def archives(data: bytes) -> None:
    """An archive; nothing may be written outside."""
    place = folder() / "unpacked"
    with suppress(UserError):
        archive = written("a.zip", data)
        unpack.is_archive(archive)
        unpack.unpack(archive, place, unpack.Limits(bytes=1 << 20, ratio=50, members=100))
    outside = {path.name for path in folder().iterdir()} - KNOWN
    assert not outside, outside


KNOWN = {"train.csv", "sample_submission.csv", "scoring.csv", "meta", "config.yaml", "submission.csv", "a.wav", "a.zip"}
KNOWN |= {"unpacked", "w.safetensors", *(f"table{way}" for way in range(6))}


def tensors(data: bytes) -> None:
    """A file of weights."""
    from tonestack.networks import weights

    weights.read(written("w.safetensors", data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (readers, typed, configs, tables, recordings, archives, tensors)
}


def survives(name: str, data: bytes) -> None:
    """Run a target; raise any error that it must not raise."""
    with warnings.catch_warnings(), suppress(UserError, BadAudio):
        warnings.simplefilter("ignore")
        TARGETS[name](data)
