"""The official `kaggle` client, where it is installed: downloads and submissions. Its credentials are its own."""

import shutil
import subprocess
from pathlib import Path

from tonestack.base.errors import UserError


def download(competition: str, folder: Path) -> Path:
    """Download a competition's files into `folder` (the client resumes); return the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    _call("competitions", "download", "-c", competition, "-p", str(folder))
    archive = folder / f"{competition}.zip"
    if not archive.is_file():
        raise UserError(f"kaggle: {archive} was not written, though the client reported success")
    return archive


def submit(competition: str, path: Path, message: str) -> str:
    """Upload a submission file; return the client's last line."""
    return _call("competitions", "submit", "-c", competition, "-f", str(path), "-m", message)


def find() -> str:
    """The client's path; `UserError` where it is not installed."""
    client = shutil.which("kaggle")
    if client is None:
        raise UserError("the official client 'kaggle' is not on the PATH; pip install kaggle, then put an API token in")
    return client


def _call(*words: str) -> str:
    found = subprocess.run([find(), *words], stdout=subprocess.PIPE, stderr=None, text=True, check=False)
    lines = [line for line in found.stdout.splitlines() if line.strip()]
    if found.returncode:
        said = f" ({lines[-1]})" if lines else ""
        raise UserError(f"kaggle {' '.join(words[:2])} failed{said}; is its API token set up, are the rules accepted?")
    return lines[-1] if lines else ""
