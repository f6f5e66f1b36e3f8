"""Any recordings sorted into one folder per class: `train/<class>/…` and, optionally, `test/…`.

Without a `train` folder the class folders are looked for in the root itself. Folders inside a class folder
(a session, a speaker, a source recording) are its clips' group. A clip's id is its path relative to the root.
"""

from collections.abc import Iterator
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name, inside
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.features.recording_files import is_recording, walk
from tonestack.tables.competition import Competition, SubmissionFormat

from pydantic import Field


class Params(Section):
    """Reader settings: folder names below the root, and the header and length of the submission's rows."""

    train_dir: str = Field("train", description="folder of training clips below root, one folder per class")
    test_dir: str = Field("test", description="folder of test clips below root")
    id_column: str = Field("fname", description="header of the submission's clip column")
    label_column: str = Field("label", description="header of the submission's label column")
    k: int = Field(3, ge=1, description="labels per row of the submission")


def read(params: Params, root: Path) -> Competition:
    """List the recordings below `root`; none is opened. Links that lead out of the root are refused."""
    train_dir, test_dir = _folder(root, params.train_dir), _folder(root, params.test_dir)
    if not train_dir.is_dir():
        train_dir = root
    clips = [p for p in recordings(root, train_dir) if len(_below(p, train_dir)) > 1 and test_dir not in p.parents]
    if not clips:
        raise UserError(f"{train_dir}: no class folder with recordings in it; make one folder per class")
    labels = [_below(p, train_dir)[0] for p in clips]
    ids = [clip_id(p, root) for p in clips]
    train = csvs.train_frame(ids, ids, labels, group=[group(p, train_dir) for p in clips])

    test_ids = [clip_id(p, root) for p in recordings(root, test_dir)]
    classes = tuple(sorted(set(labels)))
    submission = _submission(params, test_ids, classes) if test_ids else None
    return Competition(root, train, csvs.test_frame(test_ids, test_ids), classes, submission)


def _submission(params: Params, ids: list[str], classes: tuple[str, ...]) -> SubmissionFormat:
    """The k best labels per row; only the best one if a class name has a blank, as blanks separate labels."""
    columns = (params.id_column, params.label_column)
    if any(len(name.split()) > 1 for name in classes):
        return SubmissionFormat(columns, tuple(ids), "label", 1)
    return SubmissionFormat(columns, tuple(ids), "labels", params.k)


def _folder(root: Path, name: str) -> Path:
    """A folder of the settings, as a path that stays below the root."""
    return root / check_clip_name(name, "data: folder")


def recordings(root: Path, folder: Path) -> list[Path]:
    """Every recording below `folder`, sorted by path; hidden files and folders are ignored."""
    return sorted(_walk(root, folder))


def _walk(root: Path, folder: Path) -> Iterator[Path]:
    for folders, files in walk(folder):
        for path in folders:
            _check_folder(root, path)
        for path in files:
            _check_file(root, path)
            yield path


def _check_folder(root: Path, path: Path) -> None:
    # os.walk does not follow links to folders: their clips would be lost without a message
    if path.is_symlink():
        raise UserError(f"{path}: is a link to a folder; put the folder itself below {root}")
    if is_recording(path):
        raise UserError(f"{path}: is a folder with the name of a recording; rename it")


def _check_file(root: Path, path: Path) -> None:
    if not inside(root, path):
        raise UserError(f"{path}: is a link out of {root}; put the recording itself there")
    if not path.is_file():
        raise UserError(f"{path}: is no regular file; remove it")


def _below(path: Path, folder: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts


def clip_id(path: Path, root: Path) -> str:
    return check_clip_name(path.relative_to(root).as_posix(), str(root))


def group(path: Path, train_dir: Path) -> str:
    """`class/session` for `class/session/clip.wav`; empty for a clip that lies right in its class folder."""
    parts = _below(path, train_dir)
    return "/".join(parts[:-1]) if len(parts) > 2 else ""
