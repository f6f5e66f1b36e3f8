"""Soundscapes to the end: windows, their neighbours, a submission, and a bundle that writes it again from the files."""

import importlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import soundscapes
from tonestack.base.files import read_json
from tonestack.config.call import Call
from tonestack.deploy import bundle_inference, runtimes
from tonestack.deploy.bundle_inference import batches, infer

import numpy as np
import pandas as pd
import pytest
import soundfile
from safetensors.numpy import load_file, save_file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Call, Path]]:
    """The tiny competition, run through to its submission and a bundle of `windows@r0`, the corrected windows."""
    root = soundscapes.write(tmp_path_factory.mktemp("soundscapes"))
    soundfile.write(root / "test_soundscapes" / "T1.ogg", soundscapes.tone("high", 300, 7), soundscapes.RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(tmp_path_factory.mktemp("home")))
        words = [f"root={root}", "submit.table=windows@r0", "stack.rounds=5", r"reader.name_pattern=(?P<hour>\d)$"]
        words += ["inference.half_shift=true", "bundle.runtime=onnxruntime"]
        call = Call.from_arguments([*soundscapes.WORDS, *words])
        for verb in ("train", "blend", "stack", "submit"):
            importlib.import_module(verb).run(call)
        yield call, importlib.import_module("bundle").run(call.but(model=None))


def test_every_window_of_the_test_files_has_its_row(made: tuple[Call, Path]) -> None:
    table = pd.read_csv(made[0].submissions / "submission.csv")
    assert table["row_id"].tolist() == ["T0_2", "T0_4", "T1_2", "T1_4", "T1_6", "T1_8"]
    assert table.columns.tolist() == ["row_id", *soundscapes.CLASSES]
    assert table[["high", "low"]].stack().between(0, 1).all()


def test_the_receipt_names_the_rule(made: tuple[Call, Path]) -> None:
    receipt = read_json(made[0].oof / "windows@r0" / "fold0.json")
    assert receipt["tables"] == ["mean@r0"]
    assert len(receipt["rule"]["kernel"]) in (1, 3, 5)


def test_the_bundle_writes_the_very_submission(
    made: tuple[Call, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call, folder = made
    words = bundle_inference.WORDS | {"root": str(call.root), "output": str(tmp_path / "a.csv"), "device": "cpu"}
    state = infer(folder, words)
    assert (state == 2).all()
    assert "torch in place of" not in capsys.readouterr().out
    assert len(list((folder / "oof/vgg_small@r0").glob("fold?.*.onnx"))) == 2
    assert "onnxruntime==" in (folder / "requirements.txt").read_text(encoding="utf-8")
    sent = pd.read_csv(call.submissions / "submission.csv").set_index("row_id")
    written = pd.read_csv(tmp_path / "a.csv").set_index("row_id")
    assert written.index.tolist() == sent.index.tolist()
    np.testing.assert_allclose(written, sent, atol=2e-3)


def test_a_bundle_without_its_runtime_goes_on_with_torch(
    made: tuple[Call, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(runtime: str, path: Path) -> runtimes.Run:
        raise ImportError(f"No module named '{runtime}'")

    monkeypatch.setattr(runtimes, "opened", missing)
    words = {"root": str(made[0].root), "output": str(tmp_path / "a.csv"), "device": "cpu"}
    assert (infer(made[1], bundle_inference.WORDS | words) == 2).all()
    said = capsys.readouterr().out
    assert "vgg_small@r0 fold1: torch in place of onnxruntime (ImportError: No module named 'onnxruntime')" in said


def test_the_stackers_of_the_bundle_read_files_names(made: tuple[Call, Path], tmp_path: Path) -> None:
    folder, path = made[1], Path("oof/stack-logistic@r0/stacker.safetensors")
    assert "hour" in load_file(folder / path)["names"].tobytes().decode()
    fewer = shutil.copytree(folder, tmp_path / "other")
    arrays = load_file(folder / path)
    arrays["free"] = np.zeros_like(arrays["free"])
    arrays["free"][-11:-9] = 30.0  # the two columns of the hour; those of neighbours (4 a class) and the bias follow
    save_file(arrays, fewer / path)
    told = {"root": str(made[0].root), "output": str(tmp_path / "a.csv"), "device": "cpu"}
    rows = []
    for bundle in (folder, fewer):
        infer(bundle, bundle_inference.WORDS | told)
        rows.append(pd.read_csv(tmp_path / "a.csv").set_index("row_id"))
    assert (rows[0] - rows[1]).abs().min(axis=None) > 0.01  # what the hour does to the files T0 and T1


def test_windows_of_a_file_are_decoded_once_and_stay_together(
    made: tuple[Call, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    original = bundle_inference.decode_clip
    monkeypatch.setattr(
        bundle_inference, "decode_clip", lambda path, *rest: names.append(path.name) or original(path, *rest)
    )
    found = list(batches(made[0].competition(), 6, made[0].data))
    assert names == ["T0.ogg", "T1.ogg"]
    assert np.concatenate([batch.rows for batch in found]).tolist() == [0, 1, 2, 3, 4, 5]
    assert found[1].cut is not None
    assert found[1].about.paths == ["test_soundscapes/T1.ogg"] * 4
    assert found[1].cut["end"].tolist() == [2, 4, 6, 8]  # cut at the end where frames are counted, as in training


def test_a_batch_of_rows_behind_the_end_of_their_file_is_left_out(made: tuple[Call, Path]) -> None:
    competition = made[0].competition()
    late = competition.test.assign(start=1000.0, end=1002.0).where(
        competition.test["path"].str.contains("T0"), competition.test
    )
    found = list(batches(replace(competition, test=late), 6, made[0].data))
    assert np.concatenate([batch.rows for batch in found]).tolist() == [2, 3, 4, 5]
