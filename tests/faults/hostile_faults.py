"""Rows 11 to 31: what strangers' files do to the terminal, to memory and to time."""

import shutil

from cases import case
from place import Place

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
