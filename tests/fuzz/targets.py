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
from tonestack.competition.readers import (  # noqa: E402
    audiofolder,
    dcase,
    esc50,
    fsd50k,
    fsdkaggle2018,
    mlsp2013,
    rainforest,
    table,
    urbansound8k,
)
from tonestack.competition.survey import guess  # noqa: E402
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


LAYOUTS = {  # a file of a past competition -> its reader
    "metadata/UrbanSound8K.csv": urbansound8k,
    "FSD50K.ground_truth/dev.csv": fsd50k,
    "FSD50K.ground_truth/vocabulary.csv": fsd50k,
    "meta.csv": dcase,
    "essential_data/rec_labels_test_hidden.txt": mlsp2013,
    "train_tp.csv": rainforest,
    "metadata.csv": audiofolder,
    "metadata.jsonl": audiofolder,
    "own/train.csv": guess,
}
BESIDE = {  # what else lies there, unchanged
    "FSD50K.ground_truth/dev.csv": b"fname,labels,mids,split\n1,Bell,/m/1,train\n2,Bell,/m/1,val\n",
    "FSD50K.ground_truth/eval.csv": b"fname,labels,mids\n3,Bell,/m/1\n",
    "essential_data/rec_id2filename.txt": b"rec_id,filename\n0,a_1\n1,b_1\n2,c_1\n",
    "essential_data/species_list.txt": b"class_id,code,species\n0,BRCR,Brown Creeper\n1,PAWR,Pacific Wren\n",
    "essential_data/CVfolds_2.txt": b"rec_id,fold\n0,0\n1,0\n2,1\n",
    "train_fp.csv": b"recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max\na,3,1,0.5,100,1.5,900\n",
    "own/clips/a.wav": b"RIFF",
}


def layouts(data: bytes) -> None:
    """A file of a past competition, or a csv that `init` looks at."""
    way, content = split(data, len(LAYOUTS))
    name, place = list(LAYOUTS)[way], folder() / "layouts" / str(way)
    for beside, known in BESIDE.items():
        written(f"layouts/{way}/{beside}", known)
    written(f"layouts/{way}/{name}", content)
    reader = LAYOUTS[name]
    if reader is guess:
        guess.look(place / "own", place / name, place / "own/clips")
        return
    made = reader.read(reader.Params(), place).checked(several=reader in (fsd50k, mlsp2013, rainforest))
    task = tasks.find("multilabel" if reader in (fsd50k, mlsp2013, rainforest) else "classify")
    task.assign(made.train, FoldParams(n=2, small_classes="warn"), "fuzz")


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
KNOWN |= {"unpacked", "layouts", "w.safetensors", *(f"table{way}" for way in range(6))}


def tensors(data: bytes) -> None:
    """A file of weights."""
    from tonestack.networks import weights

    weights.read(written("w.safetensors", data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (readers, layouts, typed, configs, tables, recordings, archives, tensors)
}


def survives(name: str, data: bytes) -> None:
    """Run a target; raise any error that it must not raise."""
    with warnings.catch_warnings(), suppress(UserError, BadAudio):
        warnings.simplefilter("ignore")
        TARGETS[name](data)
