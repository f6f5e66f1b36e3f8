"""Download of a competition's files: a Zenodo record or plain addresses by pooch, or Kaggle by its own client.

A file is downloaded into `<root>/.download/`, resumed after a cut, checked against its checksum, unpacked safely
(see `unpack`) and deleted. `<root>/.download/done.json`, updated after every file, lists the finished ones.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from tonestack.base.console import bar
from tonestack.base.errors import UserError, nearest
from tonestack.base.files import atomic, claimed, fingerprint, move, read_json, write_json
from tonestack.competition import kaggle
from tonestack.competition.unpack import Limits, free_bytes, is_archive, named_archive, sweep_unpacked, unpack
from tonestack.settings.data_config import DownloadParams

import pooch
import requests

TIMEOUT = 30.0  # seconds without a byte
BLOCK = 1 << 16  # bytes; what a cut-off block held is fetched again
LISTING = 16 << 20  # bytes
TRIES = 5
PAUSE = 2.0  # seconds before the second try, doubled each time
pooch.get_logger().setLevel("WARNING")


@dataclass(frozen=True)
class Remote:
    """One file to fetch: its name, address, checksum `algorithm:hex` and size in bytes (0: unknown)."""

    name: str
    url: str
    checksum: str
    size: int = 0


def fetch(params: DownloadParams, root: Path) -> list[str]:
    """Download all files into `root`; return one message per file. A second call has nothing to do."""
    with claimed(root / ".download" / ".lock", f"{root}: another process is downloading into it"):
        sweep_unpacked(root)
        return _fetch(params, root, root / ".download")


def _fetch(params: DownloadParams, root: Path, work: Path) -> list[str]:
    source = chosen_source(params)
    if source == "kaggle":
        return [_fetch_kaggle(params, root, work)]
    done = _done(work)
    remotes = zenodo_files(params) if source == "zenodo" else url_files(params)
    missing = [r for r in remotes if done.get(r.name) != r.checksum]
    _check_space(root, sum(r.size for r in missing))
    lines = [f"{r.name}: up to date" for r in remotes if r not in missing]
    for remote in missing:
        path = download(remote, work, remote.size or int(params.max_gb * 1e9))
        count = _place(path, root, params)
        done[remote.name] = remote.checksum
        write_json(work / "done.json", done)
        lines.append(f"{remote.name}: {count} files, checksum right")
    return lines


def chosen_source(params: DownloadParams) -> str:
    """The source to use; `UserError` if the config names none."""
    given = [name for name in ("zenodo", "kaggle", "urls") if getattr(params, name)]
    source = params.source or (given[0] if given else "zenodo")
    if source not in given:
        raise UserError(f"download: no '{source}' is given in the data config{nearest(source, given)}")
    return source


def zenodo_files(params: DownloadParams) -> list[Remote]:
    """The files of a Zenodo record with the checksums that its listing gives."""
    address = f"{params.server}/api/records/{params.zenodo}"
    try:
        listed = [_remote(entry, params) for entry in json.loads(_listing(address))["files"]]
    except UserError:
        raise
    except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{address}: no listing of the record to be had ({_short(error)})") from None
    by_name = {remote.name: remote for remote in listed}
    for name in params.files:
        if name not in by_name:
            raise UserError(f"download: the record has no file '{name}'{nearest(name, by_name)}")
    return [by_name[name] for name in params.files] if params.files else listed


def _listing(address: str) -> bytes:
    """The answer of a server, which may be of any length: no more than `LISTING` bytes of it are taken."""
    text = b""
    with requests.get(address, stream=True, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
        for block in answer.iter_content(BLOCK):
            text += block
            if len(text) > LISTING:
                raise UserError(f"{address}: a listing of more than {LISTING:,} bytes; refused")
    return text


def url_files(params: DownloadParams) -> list[Remote]:
    """The files of plain addresses; of one name there may be several archives, which are unpacked one by one."""
    found: dict[str, Remote] = {}
    for url, checksum in params.urls.items():
        name = _name(Path(urlparse(url).path).name)
        if name in found and (named_archive(name) or not Path(name).suffix):
            name = f"{fingerprint(url)[:6]}-{name}"
        other = found.setdefault(name, Remote(name, url, checksum))
        if other.url != url:
            raise UserError(
                f"download.urls: {other.url} and {url} are both called '{name}', so that one would overwrite the "
                "other; leave one out and fetch it yourself"
            )
    return list(found.values())


def download(remote: Remote, folder: Path, most: int = 100 << 30) -> Path:
    """Download one file of at most so many bytes and check it; an existing part is not downloaded again."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{remote.name}.part"
    fetcher = _Resuming(part, remote, most)
    path = folder / remote.name
    try:
        found = pooch.retrieve(remote.url, remote.checksum, remote.name, folder, downloader=fetcher)
    except requests.RequestException as error:
        raise UserError(f"{remote.url}: {_short(error)}; the same command goes on where it stopped") from None
    except ValueError as error:
        path.unlink(missing_ok=True)
        raise UserError(f"{remote.url}: not what its checksum says ({_short(error)}); thrown away, try again") from None
    return Path(found)


class _Resuming:
    """A pooch downloader that keeps the part received and requests the rest (HTTP Range)."""

    def __init__(self, part: Path, remote: Remote, most: int) -> None:
        self.part, self.remote, self.most = part, remote, most

    def __call__(self, url: str, output_file: Any, mover: Any, check_only: bool = False) -> None:
        for attempt in range(TRIES):
            try:
                self._go_on(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == TRIES - 1:
                    raise
                time.sleep(PAUSE * 2**attempt)
        move(self.part, Path(str(output_file)))

    def _go_on(self, url: str) -> None:
        have = self.part.stat().st_size if self.part.is_file() else 0
        if self.remote.size and have >= self.remote.size:
            if have == self.remote.size:
                return
            self.part.unlink()  # longer than the file: of another version
            have = 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as answer:
            if answer.status_code == 416:  # nothing is left, or the part is of another file: the checksum will tell
                return
            answer.raise_for_status()
            resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            left = int(answer.headers.get("Content-Length", 0))
            self._write(answer, have if resumed else 0, left)

    def _write(self, answer: requests.Response, have: int, left: int) -> None:
        arrived = 0
        with (
            bar((have + left) >> 20, self.remote.name, "MiB") as progress,
            open(self.part, "ab" if have else "wb") as handle,
        ):
            progress.update(have >> 20)
            for block in answer.iter_content(BLOCK):
                handle.write(block)
                progress.update(((arrived + len(block)) >> 20) - (arrived >> 20))
                arrived += len(block)
                if have + arrived > self.most:
                    break
        if have + arrived > self.most:
            self.part.unlink()
            raise UserError(f"{self.remote.url}: sends more than its {self.most:,} bytes; thrown away")
        if left and arrived < left and "Content-Encoding" not in answer.headers:
            raise requests.ConnectionError(f"cut off after {have + arrived:,} of {have + left:,} bytes")


def _remote(entry: dict[str, Any], params: DownloadParams) -> Remote:
    name = _name(str(entry["key"]))
    link = entry.get("links", {}).get("self") or f"{params.server}/records/{params.zenodo}/files/{name}?download=1"
    return Remote(name, str(link), str(entry["checksum"]), int(entry.get("size", 0)))


def _name(name: str) -> str:
    """A safe file name from the network: one plain word."""
    if not name or name != Path(name).name or name.startswith(".") or "\\" in name:
        raise UserError(f"download: the server calls a file {name!r}; refused")
    return name


def _fetch_kaggle(params: DownloadParams, root: Path, work: Path) -> str:
    competition = params.kaggle or ""
    done = _done(work)
    if done.get(competition) == "kaggle":
        return f"{competition}: up to date (delete {work / 'done.json'} to fetch it again)"
    archive = kaggle.download(competition, work)
    count = _place(archive, root, params)
    write_json(work / "done.json", done | {competition: "kaggle"})
    packed = sorted(path.name for path in root.glob("*.7z"))
    return f"{competition}: {count} files" + (f"; unpack them: 7z x {', 7z x '.join(packed)}" if packed else "")


def _place(path: Path, root: Path, params: DownloadParams) -> int:
    """Unpack an archive (and archives directly inside it), or move a plain file; return the number of files."""
    if not (is_archive(path) or named_archive(path.name)):
        with atomic(root / path.name) as temporary:
            shutil.copyfile(path, temporary)
        names: Sequence[str] = [path.name]
    else:
        limits = Limits(bytes=int(params.max_gb * 1e9), ratio=params.max_ratio)
        names = unpack(path, root, limits, nested=True)
    if not params.keep:
        path.unlink()
    return len(names)


def _done(work: Path) -> dict[str, str]:
    path = work / "done.json"
    return dict(read_json(path)) if path.is_file() else {}


def _check_space(root: Path, needed: int) -> None:
    free = free_bytes(root)
    if needed * 2 > free:  # the archive and what comes out of it
        raise UserError(f"{root}: {needed * 2 / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; give root=")


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
