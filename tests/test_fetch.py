"""Downloads: checksums, resuming, Kaggle's client, and archives that mean harm."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import download as download_verb
from tonestack.base.errors import UserError
from tonestack.competition import download
from tonestack.competition.unpack import Limits, is_archive, unpack
from tonestack.config.call import Call
from tonestack.settings.data_config import DownloadParams

import pytest


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """A Zenodo of one record: files with checksums, byte ranges; it can hang up early or lie."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.ranges = files, [], True
        self.hang_up_after: dict[str, int] = {}
        self.checksums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def do_GET(self) -> None:
        if self.path == "/api/records/7":
            self.answer(200, json.dumps({"files": [self.entry(n) for n in self.server.files]}).encode())
            return
        name = self.path.rpartition("/")[2]
        self.server.asked.append((name, self.headers.get("Range")))
        if name not in self.server.files:
            self.answer(404, b"no")
            return
        content, first = self.server.files[name], 0
        if self.headers.get("Range") and self.server.ranges:
            first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        limit = self.server.hang_up_after.pop(name, None)
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:limit])

    def entry(self, name: str) -> dict[str, Any]:
        content = self.server.files[name]
        link = {"self": f"{self.server.url}/files/{name}"}
        return {"key": name, "checksum": f"md5:{self.server.checksums[name]}", "size": len(content), "links": link}

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    noise = bytes(range(256)) * 4000
    one = Server({"meta.zip": make_zip({"meta/train.csv": b"fname,label\n"}), "notes.bin": noise})
    thread = threading.Thread(target=partial(one.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()


def params(server: Server, **more: Any) -> DownloadParams:
    return DownloadParams.parse({"zenodo": 7, "server": server.url, **more}, "test")


def test_a_record_is_fetched_once(tmp_path: Path, server: Server) -> None:
    lines = download.fetch(params(server), tmp_path / "root")
    assert (tmp_path / "root/meta/train.csv").read_text() == "fname,label\n"
    assert (tmp_path / "root/notes.bin").stat().st_size == 1_024_000
    assert "checksum right" in lines[0]
    asked = len(server.asked)
    assert all("up to date" in line for line in download.fetch(params(server), tmp_path / "root"))
    assert len(server.asked) == asked
    assert [p.name for p in (tmp_path / "root/.download").iterdir()] == ["done.json"]


def test_a_download_goes_on_where_it_was_cut_off(tmp_path: Path, server: Server) -> None:
    server.hang_up_after["notes.bin"] = 300_000
    download.fetch(params(server, files=["notes.bin"]), tmp_path)
    assert server.asked == [("notes.bin", None), ("notes.bin", "bytes=262144-")]
    assert (tmp_path / "notes.bin").read_bytes() == server.files["notes.bin"]


def test_a_killed_download_goes_on(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    server.hang_up_after["notes.bin"] = 300_000
    with pytest.raises(UserError, match="goes on where it stopped"):
        download.fetch(params(server, files=["notes.bin"]), tmp_path)
    assert not (tmp_path / "notes.bin").exists()
    server.ranges = False  # a server that ignores ranges: from the start again
    download.fetch(params(server, files=["notes.bin"]), tmp_path)
    assert server.asked[-1] == ("notes.bin", "bytes=262144-")
    assert (tmp_path / "notes.bin").read_bytes() == server.files["notes.bin"]


def test_a_wrong_checksum_is_refused(tmp_path: Path, server: Server) -> None:
    server.checksums["meta.zip"] = "0" * 32
    with pytest.raises(UserError, match="not what its checksum says"):
        download.fetch(params(server), tmp_path)
    assert not (tmp_path / "meta").exists()
    assert not list((tmp_path / ".download").glob("*"))


def test_what_is_not_there(tmp_path: Path, server: Server) -> None:
    with pytest.raises(UserError, match=r"no file 'meta.zi'; did you mean 'meta.zip'"):
        download.fetch(params(server, files=["meta.zi"]), tmp_path)
    with pytest.raises(UserError, match="no listing"):
        download.fetch(params(server, zenodo=8), tmp_path)
    with pytest.raises(UserError, match="404"):
        download.fetch(DownloadParams(urls={f"{server.url}/files/x": "md5:00"}), tmp_path)
    with pytest.raises(UserError, match="no 'kaggle' is given"):
        download.fetch(params(server, source="kaggle"), tmp_path)
    with pytest.raises(UserError, match="urls"):
        DownloadParams.parse({"urls": {"http://x/y": "none"}}, "test")


def test_a_server_cannot_choose_the_place(tmp_path: Path, server: Server) -> None:
    server.files["../evil.txt"] = b"x"
    server.checksums["../evil.txt"] = "0" * 32
    with pytest.raises(UserError, match=r"'../evil.txt'; refused"):
        download.fetch(params(server), tmp_path / "root")


def test_addresses_of_one_name_are_refused_and_files_appear_whole(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = f"{server.url}/a/notes.bin", f"{server.url}/b/notes.bin"
    checksum = f"md5:{server.checksums['notes.bin']}"
    with pytest.raises(UserError, match=r"a/notes\.bin and .*/b/notes\.bin are both called 'notes\.bin'"):
        download.fetch(DownloadParams(urls={one: checksum, two: checksum}), tmp_path)
    assert not server.asked
    archives = {"https://x/train/a.zip": checksum, "https://x/test/a.zip": checksum}
    first, second = download.url_files(DownloadParams(urls=archives))
    assert (first.name, second.name[6:]) == ("a.zip", "-a.zip")

    def broken(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(download.shutil, "copyfile", broken)
        with pytest.raises(OSError, match="disk full"):
            download.fetch(DownloadParams(urls={one: checksum}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".download"]
    download.fetch(DownloadParams(urls={one: checksum}), tmp_path)
    assert (tmp_path / "notes.bin").read_bytes() == server.files["notes.bin"]


def tar_of(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("fine.txt"))
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


HARM = {
    "zip up": make_zip({"fine.txt": b"", "../evil.txt": b"x"}),
    "zip deep up": make_zip({"a/../../evil.txt": b"x"}),
    "zip absolute": make_zip({"/evil.txt": b"x"}),
    "zip drive": make_zip({"C:evil.txt": b"x"}),
    "zip back slash": make_zip({"..\\evil.txt": b"x"}),
    "zip link": zip_link(),
    "zip bomb": make_zip({"bomb": bytes(5_000_000)}),
    "tar up": tar_of(tarfile.TarInfo("../evil.txt"), b"x"),
    "tar absolute": tar_of(tarfile.TarInfo("/evil.txt"), b"x"),
    "tar link": tar_of(special("link", tarfile.SYMTYPE, "/etc")),
    "tar hard link": tar_of(special("link", tarfile.LNKTYPE, "/etc/passwd")),
    "tar device": tar_of(special("device", tarfile.CHRTYPE)),
    "tar fifo": tar_of(special("fifo", tarfile.FIFOTYPE)),
    "tar bomb": tar_of(tarfile.TarInfo("bomb"), bytes(5_000_000)),
    "damaged": make_zip({"a.txt": bytes(range(256)) * 30})[:-40],
    "no archive": b"hello",
}


@pytest.mark.parametrize("kind", HARM)
def test_archives_that_mean_harm(tmp_path: Path, kind: str) -> None:
    path, root = tmp_path / "a", tmp_path / "box" / "root"
    path.write_bytes(HARM[kind])
    with pytest.raises(UserError, match=r"not unpacked|damaged"):
        unpack(path, root)
    assert not list(root.iterdir())
    assert [p.name for p in tmp_path.iterdir()] == ["a", "box"] or [p.name for p in tmp_path.iterdir()] == ["box", "a"]
    assert [p.name for p in root.parent.iterdir()] == ["root"]


def test_limits_and_flipped_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"a": b"1", "b": b"2", "c": b"3"}))
    with pytest.raises(UserError, match="more than 2 files"):
        unpack(path, tmp_path / "out", Limits(members=2))
    with pytest.raises(UserError, match="bomb"):
        unpack(path, tmp_path / "out", Limits(bytes=2))
    whole = bytearray(make_zip({"a.txt": b"some text that is stored" * 50}))
    whole[45] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(UserError, match="damaged"):
        unpack(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_link_that_is_there_leads_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "meta").symlink_to(tmp_path / "elsewhere")
    path = tmp_path / "a.zip"
    path.write_bytes(make_zip({"first.txt": b"x", "meta/train.csv": b"x"}))
    with pytest.raises(UserError, match="through a link"):
        unpack(path, root)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not (root / "first.txt").exists()


def test_a_file_that_is_there_where_a_folder_goes_is_named_before_anything_moves(tmp_path: Path) -> None:
    root, path = tmp_path / "root", tmp_path / "a.zip"
    (root / "deep").mkdir(parents=True)
    (root / "deep/meta").write_text("mine")
    path.write_bytes(make_zip({"first.txt": b"x", "deep/meta/more/train.csv": b"x"}))
    with pytest.raises(UserError, match=r"needs a folder where .*deep/meta is a file; move that away; not unpacked"):
        unpack(path, root)
    assert sorted(found.name for found in root.rglob("*")) == ["deep", "meta"]


def test_tar_and_archives_inside_archives(tmp_path: Path, server: Server) -> None:
    server.files = {"all.zip": make_zip({"deep/audio.zip": make_zip({"a.wav": b"RIFF"}), "train.csv": b"x"})}
    server.files["t.tar.gz"] = tar_of(tarfile.TarInfo("t/b.wav"), b"RIFF")
    server.checksums = {n: hashlib.md5(c).hexdigest() for n, c in server.files.items()}
    download.fetch(params(server, keep=True), tmp_path)
    assert (tmp_path / "deep/a.wav").read_bytes() == b"RIFF"
    assert (tmp_path / "t/b.wav").read_bytes() == b"RIFF"
    assert not (tmp_path / "deep/audio.zip").exists()
    assert (tmp_path / ".download/all.zip").is_file()


CLIENT = """#!/usr/bin/env python3
import shutil, sys
open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
if "download" in sys.argv:
    shutil.copy({archive!r}, sys.argv[sys.argv.index("-p") + 1] + "/" + sys.argv[sys.argv.index("-c") + 1] + ".zip")
if {status}:
    print("403 - Forbidden")
    sys.exit({status})
print("Successfully submitted")
"""


def fake_client(folder: Path, status: int = 0) -> Path:
    """A `kaggle` that writes down what it was asked; returns its log."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "all.zip").write_bytes(make_zip({"train.csv": b"fname,label\n", "test.7z": b"7z"}))
    program = folder / "bin" / "kaggle"
    program.write_text(CLIENT.format(log=str(folder / "asked"), archive=str(folder / "all.zip"), status=status))
    program.chmod(0o755)
    return folder / "asked"


def test_kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    words = ["data=fsdkaggle2018", f"root={tmp_path / 'root'}", "download.source=kaggle"]
    with pytest.raises(UserError, match="not on the PATH"):
        download_verb.run(Call.from_arguments(words))
    asked = fake_client(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    download_verb.run(Call.from_arguments(words))
    assert (tmp_path / "root/train.csv").is_file()
    assert asked.read_text().startswith("competitions download -c freesound-audio-tagging -p ")
    assert "2 files; unpack them: 7z x test.7z" in capsys.readouterr().out
    download_verb.run(Call.from_arguments(words))
    assert "up to date" in capsys.readouterr().out
    assert len(asked.read_text().splitlines()) == 1
    with pytest.raises(UserError, match="no 'download:' section"):
        download_verb.run(Call.from_arguments(["data=demo"]))
    fake_client(tmp_path, status=1)
    with pytest.raises(UserError, match=r"failed \(403 - Forbidden\)"):
        download_verb.run(Call.from_arguments([words[0], f"root={tmp_path / 'other'}", words[2]]))


def tar_bytes(*blocks: bytes) -> bytes:
    """A tar.gz of raw headers and contents."""
    return gzip.compress(b"".join(blocks) + bytes(1024))


def header(name: str, kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def packed(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("zeros", bytes(60_000_000))
    return buffer.getvalue()


def nested(depth: int, content: bytes) -> bytes:
    return content if depth == 0 else make_zip({f"{depth}.zip": nested(depth - 1, content)})


LARGE = 50_000_000  # bytes that a reader must not hold
PAX = b"".join(b"%d a%06d=b\n" % (13, i) for i in range(100_000))
BOMBS: dict[str, Callable[[], bytes]] = {
    "long name": lambda: tar_bytes(header("x", tarfile.GNUTYPE_LONGNAME, LARGE), bytes(LARGE)),
    "long link": lambda: tar_bytes(header("x", tarfile.GNUTYPE_LONGLINK, LARGE), bytes(LARGE)),
    "pax record": lambda: tar_bytes(header("x", tarfile.XHDTYPE, LARGE), b"a" * LARGE),
    "pax records": lambda: tar_bytes(header("x", tarfile.XGLTYPE, len(PAX)), padded(PAX)),
    "pax behind a file": lambda: tar_bytes(
        header("f", b"0", 3), padded(b"abc"), header("x", b"x", LARGE), bytes(LARGE)
    ),
    "names before names": lambda: tar_bytes(*[header("x", tarfile.GNUTYPE_LONGNAME, 4) + padded(b"abc\0")] * 1000),
    "folders": lambda: tar_bytes(*[header("d/", b"5", 0)] * 20_000),
    "backwards": lambda: tar_bytes(header("a", b"0", 0), header("b", b"0", -1024), bytes(512)),
    "bzip2 in zip": lambda: packed(zipfile.ZIP_BZIP2),
    "lzma in zip": lambda: packed(zipfile.ZIP_LZMA),
    "many files": lambda: make_zip({str(i): b"" for i in range(1500)}),
    "inner zips": lambda: make_zip({f"{i}.zip": make_zip({f"{i}.wav": bytes(1_000_000)}) for i in range(40)}),
    "inner bomb": lambda: nested(1, make_zip({"zeros": bytes(20_000_000)})),
    "inner damage": lambda: make_zip({"a.zip": b"good " * 30 + make_zip({"a": bytes(range(256)) * 50})[:-60]}),
    "endless name": lambda: make_zip({"n" * 400 + ".wav": b"x"}),
    "file and folder": lambda: make_zip({"a": b"x", "a/b.wav": b"x"}),
    "bell": lambda: make_zip({"a\x07\x1b[31m.wav": b"x"}),
    "own records": lambda: make_zip({".download/done.json": b"{}"}),
    "half": lambda: gzip.compress(tarred({"a.wav": bytes(range(256)) * 400}))[:600],
}


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_end_early(tmp_path: Path, kind: str) -> None:
    path, root = tmp_path / "a", tmp_path / "root"
    path.write_bytes(BOMBS[kind]())
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"not unpacked|damaged"):
            unpack(path, root, Limits(members=1000 if kind == "many files" else 100_000), nested=True)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert not list(root.iterdir())


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_ordinary_tars_with_long_names_are_unpacked(tmp_path: Path, mode: str) -> None:
    name = "deep/" * 40 + "é" * 60 + ".wav"
    for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path, root = tmp_path / f"{style}.tar", tmp_path / f"root{style}"
        with tarfile.open(path, mode, format=style) as archive:
            for one in ("a.wav", name):
                member = tarfile.TarInfo(one)
                member.size = 5
                archive.addfile(member, io.BytesIO(b"RIFF!"))
        assert is_archive(path)
        assert sorted(unpack(path, root)) == sorted(["a.wav", name])
        assert (root / name).read_bytes() == b"RIFF!"


def test_a_download_ends_where_its_listing_says(tmp_path: Path, server: Server) -> None:
    server.files = {"a.csv": b"x" * 5_000_000}
    remote = download.Remote("a.csv", f"{server.url}/a.csv", "md5:" + "0" * 32, 1_000)
    with pytest.raises(UserError, match="sends more than its 1,000 bytes"):
        download.download(remote, tmp_path / "d", remote.size)
    assert not list((tmp_path / "d").iterdir())


def test_a_listing_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(download, "LISTING", 50)
    with pytest.raises(UserError, match="a listing of more than 50 bytes"):
        download.fetch(params(server), tmp_path / "root")
