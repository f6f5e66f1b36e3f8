"""Rows 21 to 24: archives, weights and predictions from strangers."""

import gzip
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cases import case
from place import Place
from safetensors.torch import load_file, save_file


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not log."""

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def download_refused(place: Place, archives: dict[str, bytes], reason: str) -> str:
    """Offer archives one by one; each must be refused, and nothing but the download itself be left of it."""
    shop = place.root.with_name("shop")
    shop.mkdir(exist_ok=True)
    line = ""
    with served(shop) as address:
        for name, content in archives.items():
            (shop / name).write_bytes(content)
            urls = f"download.urls={{'{address}/{name}': 'md5:{md5(content).hexdigest()}'}}"
            before = everything(place)
            line = place.refused("download", "download.source=urls", urls, naming=(name, reason))
            new = {path for path in everything(place) - before if ".download" not in path.parts}
            assert not new, new
    return line


def everything(place: Place) -> set[Path]:
    return {path for path in place.root.parent.rglob("*") if "shop" not in path.parts}


def zipped(name: str, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.csv", "a,b\n")
        archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name: str, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        archive.addfile(member)
    return buffer.getvalue()


@case(21)
def members_outside(place: Place) -> str:
    """A zip and a tar with a member ../out.csv, and a tar with a link to /etc/passwd, served for download."""
    line = download_refused(
        place, {"a.zip": zipped("../out.csv"), "a.tar.gz": tarred("../out.csv")}, "leave its folder"
    )
    download_refused(place, {"b.tar.gz": tarred("in.csv", link="/etc/passwd")}, "is a link")
    return f"refused: “{line}”; nothing was written outside, and nothing of the archives inside"


@case(22)
def bomb(place: Place) -> str:
    """A zip of 200 kB that unpacks to 200 MB of zeros."""
    line = download_refused(place, {"bomb.zip": zipped("zeros.wav", bytes(200_000_000))}, "a bomb?")
    return f"refused: “{line}”; cleaned up"


@case(22)
def bombs_of_other_kinds(place: Place) -> str:
    """A tar whose one name has 50 MB, a zip packed by LZMA, a zip of 40 zips of zeros, a zip cut in half."""
    name = tarfile.TarInfo("x")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 50_000_000
    long_name = gzip.compress(name.tobuf(tarfile.GNU_FORMAT) + bytes(name.size + 1024))
    lzma = io.BytesIO()
    with zipfile.ZipFile(lzma, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("zeros.wav", bytes(50_000_000))
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(40):
            archive.writestr(f"{i}.zip", zipped("zeros.wav", bytes(1_000_000)))
    line = download_refused(place, {"long.tar.gz": long_name}, "of headers in one (a bomb?)")
    download_refused(place, {"lzma.zip": lzma.getvalue()}, "not packed by deflate")
    download_refused(place, {"inner.zip": inner.getvalue()}, "a bomb?")
    download_refused(place, {"half.zip": zipped("a.wav", bytes(range(256)) * 9)[:-30]}, "damaged")
    return f"refused, in little memory: “{line}”. Without the check tarfile held 1.1 GB for a megabyte of names"


@case(22, trained=True)
def bombs_of_tables(place: Place) -> str:
    """A foreign table whose 1,000 clip names are one text of 5 MB; corrections in a .gz that unpacks to 300 MB."""
    theirs = place.folder("oof") / "theirs"
    theirs.mkdir()
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * 5_000_000])
    pq.write_table(pa.table({"clip_id": names, "Bell": np.ones(1000)}), theirs / "fold0.parquet", compression="zstd")
    line = place.refused("blend", "blend.tables=[theirs]", naming=("fold0.parquet", "'clip_id'", "5,000,000 bytes"))
    packed = place.home / "corrections.csv.gz"
    packed.write_bytes(gzip.compress(b"clip_id,decision,label\n" * 10_000_000))
    place.refused("corrections", f"merge={packed}", naming=(packed.name, "cannot be read as csv"))
    return f"refused before it is unpacked: “{line}”"


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@case(23, trained=True)
def pickles(place: Place) -> str:
    """A pickle that would make a file: as a backbone's weights (.pt), as predictions (.npz, .joblib, .npy, .csv)."""
    ran, evil = place.home / "executed", place.home / "evil.pt"
    content = pickle.dumps(Payload(ran))
    evil.write_bytes(content)
    backbone = ["model=timm_backbone", "network.options={}", "network.backbone=test_vit"]
    words = [word for word in place.words if not word.startswith("network.")]
    here = Place(place.root, place.home, words)
    line = here.refused(
        "train", *backbone, "network.backbone=resnet10t", f"network.weights={evil}", naming=("evil.pt",)
    )
    theirs = place.folder("oof") / "theirs"
    theirs.mkdir()
    for name in ("fold0.npz", "fold0.joblib"):
        (theirs / name).write_bytes(content)
    place.refused("blend", "blend.tables=[theirs]", naming=("theirs", "no prediction table"))
    (theirs / "fold0.csv").write_bytes(content)
    place.refused("blend", "blend.tables=[theirs]", naming=("fold0.csv",))
    np.save(theirs / "oof.npy", np.array([Payload(ran)], dtype=object), allow_pickle=True)
    (theirs / "table.yaml").write_text("{oof: oof.npy, oof_ids: oof.npy, classes: [Bell, Drum, Hiss, Whistle]}")
    place.refused("blend", "blend.tables=[theirs]", naming=("oof.npy", "not a plain npy array"))
    assert not ran.exists(), "a pickle was executed"
    return f"refused: “{line}”; nothing was executed"


@case(24, trained=True)
def weights_of_another_kind(place: Place) -> str:
    """A trained fold's weights with one flipped bit; with a NaN (and the right checksum); of other classes."""
    words = [
        "clean.method=label_spreading",
        "clean.embedding=penultimate",
        "clean.embedder=vgg_small",
        "clean.judge=[vgg_small]",
        "blend.trials=20",
    ]
    words += ["clean.pictures=false", "fold=0"]
    path = place.folder("oof") / "vgg_small@r0/fold0.safetensors"
    receipt = path.with_suffix(".json")
    whole, said = path.read_bytes(), receipt.read_text()
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 16]) + whole[-4:])
    line = place.refused("clean_labels", *words, naming=("fold0.safetensors", "not as its json says"))
    tensors = load_file(path)
    tensors["network.classifier.1.bias" if "network.classifier.1.bias" in tensors else max(tensors)][:1] = torch.nan
    save_file(tensors, path)
    from tonestack.base.files import file_hash, read_json, write_json

    known = read_json(receipt)
    write_json(receipt, known | {"checksums": known["checksums"] | {path.name: file_hash(path)}})
    place.refused("clean_labels", *words, naming=("fold0.safetensors", "NaN or infinite"))
    path.write_bytes(whole)
    receipt.write_text(said.replace('"Bell"', '"Gong"'))
    place.refused("clean_labels", *words, naming=("fold0.safetensors", "other classes"))
    receipt.write_text(said)
    place.works("clean_labels", *words)
    assert (place.folder("folds") / "label_spreading.csv").is_file()
    assert pd.read_csv(place.folder("folds") / "label_spreading.csv")["clip_id"].notna().all()
    return f"refused before they are used: “{line}”"
