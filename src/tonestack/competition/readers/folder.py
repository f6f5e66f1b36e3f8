"""Any recordings sorted into one folder per class: `train/<class>/…` and, optionally, `test/…`.

Without a `train` folder the class folders are looked for in the root itself. Folders inside a class folder
(a session, a speaker, a source recording) are its clips' group. A clip's id is its path relative to the root.
"""

import stat
from collections.abc import Iterator
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import check_clip_name, inside
from tonestack.base.section import Section
from tonestack.competition import csvs
from tonestack.features.recording_files import is_recording, left_out, walk
from tonestack.tables.competition import Competition, SubmissionFormat

from pydantic import Field

PARTS = {"train", "training", "test", "testing", "valid", "val", "validation", "eval", "evaluation", "dev"}


class Params(Section):
    """Reader settings: folder names below the root, and the header and length of the submission's rows."""

    train_dir: str = Field("train", description="folder of training clips below root, one folder per class")
    test_dir: str = Field("test", description="folder of test clips below root")
    id_column: str = Field("fname", description="header of the submission's clip column")
    label_column: str = Field("label", description="header of the submission's label column")
    k: int = Field(3, ge=1, description="labels per row of the submission; 1 where a class name has a blank")


def read(params: Params, root: Path) -> Competition:
    """List the recordings below `root`; none is opened. Links that lead out of the root are refused."""
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder; give root=DIR")
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
    _refuse_other_layouts(root, train_dir, clips)
    submission = _submission(params, test_ids, classes) if test_ids else None
    return Competition(
        root,
        train,
        csvs.test_frame(test_ids, test_ids),
        classes,
        submission,
        notes=_notes(train_dir, test_dir, classes),
    )


def _submission(params: Params, ids: list[str], classes: tuple[str, ...]) -> SubmissionFormat:
    """The k best labels per row; only the best one if a class name has a blank, as blanks separate labels."""
    columns = (params.id_column, params.label_column)
    if blank := next((name for name in classes if len(name.split()) > 1), None):
        if "k" in params.model_fields_set and params.k > 1:
            raise UserError(
                f"reader.k={params.k}: blanks separate the labels of a row, and class '{blank}' has one; "
                "say reader.k=1, or rename the folder"
            )
        return SubmissionFormat(columns, tuple(ids), "label", 1)
    return SubmissionFormat(columns, tuple(ids), "labels", params.k)


def _folder(root: Path, name: str) -> Path:
    """A folder of the settings, as a path that stays below the root; spelt in other case (`Train`) if that is there."""
    path = root / check_clip_name(name, "data: folder")
    if path.is_dir() or not path.parent.is_dir():
        return path
    alike = sorted(p for p in path.parent.iterdir() if p.is_dir() and p.name.casefold() == path.name.casefold())
    if len(alike) > 1:
        raise UserError(f"{root}: the folders {' and '.join(p.name for p in alike)} differ in case alone; rename one")
    return alike[0] if alike else path


def _refuse_other_layouts(root: Path, train_dir: Path, clips: list[Path]) -> None:
    """Refuse folders of parts, and one folder around all classes, where folders of classes are to be."""
    below: dict[str, set[str]] = {}
    for path in clips:
        name, *rest = _below(path, train_dir)
        below.setdefault(name, set()).add(rest[0] if len(rest) > 1 else "")
    if len(below) == 1:
        (name, inner), *_ = below.items()
        if "" not in inner and len(inner) > 1:
            found = (train_dir / name).relative_to(root).as_posix()
            raise UserError(
                f"{train_dir}: all recordings lie in the one folder '{name}', in {len(inner)} folders of it; "
                f"if these are the classes, say reader.train_dir={found}"
            )
    parts = [name for name, inner in below.items() if name.casefold() in PARTS and "" not in inner]
    if parts:
        raise UserError(
            f"{train_dir}: '{parts[0]}' is the name of a part, not of a class; say reader.train_dir= and "
            "reader.test_dir=, or rename the folder"
        )


def _notes(train_dir: Path, test_dir: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Say what is left out: files by their suffix, and class folders without a recording."""
    folders = [train_dir, *([test_dir] if test_dir.is_dir() and train_dir not in test_dir.parents else [])]
    found = [line for folder in folders if (line := left_out(folder))]
    names = {p.name for p in train_dir.iterdir() if p.is_dir() and not p.name.startswith(".") and p != test_dir}
    if empty := sorted(names - set(classes)):
        found.append(f"{train_dir}: no recording in {len(empty)} folders, so no class of: {', '.join(empty[:5])}")
    return tuple(found)


def recordings(root: Path, folder: Path) -> list[Path]:
    """Every recording below `folder`, sorted by path; hidden files and folders are ignored."""
    return sorted(_walk(root, folder))


def _walk(root: Path, folder: Path) -> Iterator[Path]:
    if not inside(root, folder):
        raise UserError(f"{folder}: is a link out of {root}; put the recordings themselves there")
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
    """Refuse what is no recording below the root; of plain files one `lstat` tells: no folder above is a link."""
    if stat.S_ISREG(path.lstat().st_mode):
        return
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
