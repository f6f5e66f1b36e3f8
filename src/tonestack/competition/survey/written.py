"""A data config as text: the settings of a first look, and beside each what is to be looked at."""

import json
import re
from typing import Any

from tonestack.competition.survey.finding import Finding

PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@-]*")
UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")  # as YAML sees it
TRUTH_VALUES = {"yes", "no", "on", "off", "true", "false", "null", "none", "y", "n"}  # what YAML takes them for


def text(name: str, root: str, found: list[Finding]) -> str:
    """The YAML file of a data config called `name`, its files below `root`."""
    values = {
        key: (value, finding.doubt if number == 0 else "")  # the doubt stands once, at the finding's first setting
        for finding in found
        for number, (key, value) in enumerate(finding.settings.items())
    }
    lines = [
        f"# {name}: written by ./run.sh init. Lines with a question mark are guesses: look at them.",
        "reader:",
        "  name: table",
    ]
    lines += [f"  {key.removeprefix('reader.')}: {_line(*values[key])}" for key in values if key.startswith("reader.")]
    lines.append(f"root: {scalar(root)}")
    lines += [f"{key}: {_line(*values[key])}" for key in ("task", "metric") if key in values]
    lines.append("preset: fast")
    sections = {key: values[key] for key in values if "." in key and not key.startswith("reader.")}
    lines += [f"{key.split('.')[0]}: {{{key.split('.')[1]}: {scalar(value)}}}" for key, (value, _) in sections.items()]
    return "\n".join(lines) + "\n"


def _line(value: Any, doubt: str) -> str:
    return scalar(value) + (f"  # ? {doubt}" if doubt else "")


def scalar(value: Any) -> str:
    """A value as YAML reads it back: text that could be taken for something else stands in quotes."""
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value.casefold() not in TRUTH_VALUES else _quoted(value)
    return _quoted(value)


def _quoted(value: Any) -> str:
    """A value as JSON; signs beyond 16 bits stand as they are, since YAML would read JSON's pairs of escapes as two."""
    return UNPRINTABLE.sub(lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(value, ensure_ascii=False))
