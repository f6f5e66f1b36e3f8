"""Rows 11 to 31: what strangers' files do to the terminal, to memory and to time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from audio_faults import CUSTOM
from cases import case
from place import TESTS, Place

TURNED = "Be\u202ell"  # shown as Bell turned around


@case(20, trained=True)
def names_that_a_terminal_obeys(place: Place) -> str:
    """Files called ESC]0;owned and with a right-to-left mark are predicted; a class is Be\\u202ell, a column rings."""
    odd = place.root.parent / "\x1b]0;owned\x07"
    odd.mkdir()
    for name in ("a\u202egnp.wav", "b\x1b[2J.wav"):
        shutil.copy(place.root / "audio_test/test000.wav", odd / name)
    (odd / "c\x07.wav").write_bytes(b"")
    found = place.works("predict", str(odd), "model=vgg_small")
    for text in (found.out, found.err):
        assert not set(text) & set("\x1b\x07\u202e"), text
    assert "a\\u202egnp.wav" in found.out
    assert "c\\u0007.wav" in found.out
    whole = (place.root / "train.csv").read_text()
    place.put("train.csv", whole.replace("label", "la\x07bel").encode())
    line = place.refused("prepare", naming=("there is no column 'label'", "la\\u0007bel"))
    place.put("train.csv", whole.replace(",Bell,", f",{TURNED},").encode())
    found = place.works("make_folds")
    assert TURNED not in found.out + found.err
    return f"spelled out wherever they are printed: “{line}”; control signs in labels are refused"


@case(12, trained=True)
def fatal_decoder_of_predict(place: Place) -> str:
    """The same decoder, for `predict`: one recording kills its process, one loops for ever, one is fine."""
    (place.root / "sitecustomize.py").write_text(CUSTOM)
    words = [*place.words, f"root={place.root}", "audio.decode_minutes=0.05"]
    paths = [place.root / f"audio_train/train{i:03d}.wav" for i in (0, 1, 2)]
    found = subprocess.run(
        [sys.executable, str(TESTS.parent / "src" / "predict.py"), *words, *map(str, paths)],
        env=os.environ | {"TONESTACK_HOME": str(place.home), "PYTHONPATH": str(place.root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    first, second, third = found.stdout.splitlines()
    assert "unusable: the decoder crashed on it" in first
    assert "unusable: the decoder does not end within 0.05 minutes" in second
    assert "unusable" not in third
    return "the two are named with their reasons, the third is tagged; before, predict crashed or hung with them"


@case(14, trained=True)
def a_fork_that_blocks(place: Place) -> str:
    """Text called .wav, and beside it a FIFO called ._NAME, where libsndfile looks for a resource fork: every verb."""
    bad = place.put("audio_train/train000.wav", b"<html>404</html>")
    os.mkfifo(bad.with_name(f"._{bad.name}"))
    good = str(place.root / "audio_test/test000.wav")
    line = place.refused("prepare", naming=("train000.wav: cannot be decoded", "audio.bad_files=skip"))
    place.refused("predict", "model=vgg_small", str(bad), naming=("none of the recordings can be used",))
    place.refused(
        "verify",
        "name=others",
        "preset=fast",
        "data=voxceleb1_verify",
        str(bad),
        good,
        naming=("cannot be decoded",),
    )
    place.refused("match", "name=others", "preset=fast", "data=voices", str(bad), naming=("cannot be decoded",))
    place.works("export", "model=vgg_small")
    os.mkfifo(place.root / "._")
    before = Path.cwd()
    os.chdir(place.root)
    try:
        place.refused("predict", "model=vgg_small", str(bad), naming=("none of the recordings can be used",))
    finally:
        os.chdir(before)
    return f"refused at once: “{line}”. Before, every verb waited for ever: decoders get an open file, not a name"
