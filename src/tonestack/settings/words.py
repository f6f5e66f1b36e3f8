"""The words a user types: `key=value`, the same for `run.sh` and for every script."""

import re
from typing import Any

from tonestack.base.errors import UserError, nearest
from tonestack.base.files import load_yaml
from tonestack.base.section import Section

from pydantic import Field

LONGEST = 100  # letters of a name: other names are made of it, and disks take 255
DATA_KEYS = (
    "task",
    "metric",
    "fold_mean",
    "fold_levels",
    "presets",
    "sample_rate",
    "clip_seconds",
)  # of the data config's own, no section before them


class Words(Section):
    """All words but the dotted overrides; `--help` prints the descriptions."""

    data: str = Field("demo", description="data config: configs/data/<data>.yaml")
    model: tuple[str, ...] | None = Field(None, description="model configs, by comma; left out: the preset's models")
    preset: str | None = Field(None, description="smoke, quick, fast, night, full …; left out: the data config's own")
    fold: str | None = Field(None, description="folds: 0..4, 0,2 or 3; left out: all")
    name: str | None = Field(None, description="folder name below folds/, oof/, submissions/; left out: the data name")
    cache: str | None = Field(None, description="name whose features are used; left out: name=")
    root: str | None = Field(None, description="folder of the competition's files; left out: the data config's")
    scoring: str | None = Field(None, description="csv of test labels with a 'usage' column, read by score alone")
    revision: str | None = Field(None, description="label revision; left out: the last choice of `all`, otherwise r0")
    variant: str | None = Field(None, description="name for changed settings: <model>-<variant>")
    seed: int = Field(0, ge=0, description="seed of the networks; not 0: <model>-s<seed>")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    light: bool | None = Field(
        None, description="true or false: the preset's lighter networks; left out: on CPUs that are slow at bfloat16"
    )
    engine: str = Field("local", description="local: this machine; ray: a Ray cluster")
    jobs: int | None = Field(None, ge=1, description="jobs at once; left out: from the number of cores or GPUs")
    gpu: float | None = Field(None, gt=0, le=1, description="share of a GPU for one job: 0.5 puts two on each [1]")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="any key of a config; task=, metric= and fold_mean= need no section"
    )


def parse(arguments: list[str]) -> Words:
    """Parse `key=value` words; dotted keys become nested overrides. Unknown words are refused."""
    values: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not key:
            raise UserError(f"'{argument}' is not key=value{_suggest(key)}")
        if "." in key or key in DATA_KEYS:
            _put(overrides, key.split("."), _value(argument, text))
        elif key in values:
            raise UserError(f"'{key}=' is given twice; give it once, values separated by commas")
        elif key in Words.model_fields and key != "overrides":
            values[key] = _word(key, text)
        else:
            raise UserError(f"unknown word '{key}='{_suggest(key)} (a config's key is written section.key=value)")
    return Words.parse(values | {"overrides": overrides}, "command line")


def _suggest(key: str) -> str:
    return nearest(key, {*Words.model_fields, *DATA_KEYS} - {"overrides"})


def _word(key: str, text: str) -> Any:
    if not text:
        raise UserError(f"'{key}=' has no value")
    if key == "model":
        return tuple(text.split(","))
    if key in ("name", "cache", "variant") and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        raise UserError(f"'{key}={text}': use letters, digits, '_', '-' and '.' only")
    if key in ("name", "cache", "variant", "revision") and len(text) > LONGEST:
        raise UserError(
            f"'{key}={text[:20]}...': {len(text)} letters are too many for a folder; use {LONGEST} or fewer"
        )
    if key == "revision" and not re.fullmatch(r"[^./\\\0][^/\\\0]*", text):
        raise UserError(f"'revision={text}': give the name of a revision, no path")
    if key == "device" and not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text):
        raise UserError(f"'device={text}': write auto, cpu, cuda or cuda:N")
    if key == "variant" and re.fullmatch(r"s\d+", text):
        raise UserError(f"'variant={text}' would read as a seed; choose another word")
    return text


def _value(argument: str, text: str) -> Any:
    return load_yaml(text, f"'{argument}'")


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise UserError(f"'{'.'.join(path)}=' contradicts another word that sets '{key}' as a whole")
    if path[-1] in tree:
        raise UserError(f"'{'.'.join(path)}=' is given twice, as a whole or in part; give it once")
    tree[path[-1]] = value


def parse_folds(text: str | None, available: list[int]) -> list[int]:
    """Turn `0..4`, `0,2` or `3` into a list of folds; one that does not exist is refused."""
    if text is None:
        return available
    folds: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", piece)
        if not match or int(match[1]) > int(match[2] or match[1]):
            raise UserError(f"'fold={text}': write 0..4, 0,2 or 3")
        first, last = int(match[1]), int(match[2] or match[1])
        folds += range(first, min(last, max(first, available[-1] + 1)) + 1)  # however large `last` is
    missing = sorted(set(folds) - set(available))
    if missing:
        raise UserError(f"'fold={text}': no fold {missing}; there are folds {available[0]}..{available[-1]}")
    return sorted(set(folds))
