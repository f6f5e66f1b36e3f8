"""Files are whole or absent, hashes mean content, and clip names stay in their folder."""

import hashlib
import json
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import (
    atomic,
    check_clip_name,
    file_hash,
    fingerprint,
    inside,
    read_json,
    write_array,
    write_csv,
    write_json,
    write_parquet,
    write_text,
)

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_until_it_is_whole_the_new_file_has_another_name(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename over file systems would not be atomic
    assert (path.read_text(), names(path.parent)) == ("new", ["table.csv"])


def test_a_failed_json_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="object does not go into json"):
        write_json(path, {"a": object()})
    assert (read_json(path), names(tmp_path)) == ({"a": 1}, ["a.json"])


def test_every_writer_is_read_back(tmp_path: Path) -> None:
    table = pd.DataFrame({"clip_id": ["a.wav", "b.wav"], "x": [0.5, 1.0]}, index=[7, 3])
    write_parquet(tmp_path / "t.parquet", table)
    write_csv(tmp_path / "t.csv", table)
    write_array(tmp_path / "t.npy", np.arange(3))
    write_text(tmp_path / "t.txt", "é\n")
    write_json(tmp_path / "t.json", {"b": np.float32(0.5), "a": Path("x"), "c": "é"})
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table.reset_index(drop=True))
    assert (tmp_path / "t.csv").read_bytes() == b"clip_id,x\na.wav,0.5\nb.wav,1.0\n"
    assert np.load(tmp_path / "t.npy").tolist() == [0, 1, 2]
    assert (tmp_path / "t.txt").read_bytes() == "é\n".encode()
    assert list(read_json(tmp_path / "t.json").items()) == [("b", 0.5), ("a", "x"), ("c", "é")]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{"])
def test_a_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.json: not valid json .*delete it and run again"):
        read_json(tmp_path / "bad.json")


# ----------------------------------------------------------------------------------------------------------- hashes

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def turned(value: object) -> object:
    """The same value with the keys of every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(json_like)
@settings(max_examples=40, deadline=None)
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value: object) -> None:
    assert fingerprint(value) == fingerprint(turned(value))


@given(json_like, json_like)
@settings(max_examples=40, deadline=None)
def test_other_content_has_another_fingerprint(a: object, b: object) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == same


def test_a_fingerprint_depends_on_the_order_of_lists_and_is_the_same_tomorrow() -> None:
    assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])
    text = '{"a": [1, 2.5, "é"], "b": null}'  # hashed otherwise, every file there is would be stale
    assert fingerprint({"b": None, "a": [1, 2.5, "é"]}) == hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def test_a_files_hash_is_of_its_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"a")
    two.write_bytes(b"a")
    assert file_hash(one) == file_hash(two)
    two.write_bytes(b"b")
    assert file_hash(one) != file_hash(two)


# ------------------------------------------------------------------------------------------------------- clip names


@pytest.mark.parametrize("name", ["00044347.wav", "a/b.wav", "a b.wav", "-x.wav", "é.wav", "..a.wav", "None", "a..b"])
def test_a_name_below_the_folder_is_taken_as_it_is(name: str) -> None:
    assert check_clip_name(name, "train.csv") == name


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a.wav", "a/../../b.wav", "..", "a\\b.wav", "..\\a", "C:a.wav", "c:/a.wav", "a\0b"]
)
def test_a_name_that_leaves_its_folder_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(UserError, match=r"^train\.csv: file name .* leaves its folder"):
        check_clip_name(name, "train.csv")


def test_a_link_out_of_the_folder_is_not_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "plain").write_text("x")
    assert inside(root, root / "plain")
    assert not inside(root, root / "link")
    assert not inside(root, root / ".." / "secret")
