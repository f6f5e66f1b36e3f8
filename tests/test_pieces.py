"""Clips that are pieces of recordings: one decoding per file, offsets into its frames, folds that keep files whole."""

from pathlib import Path
from typing import Any

from tonestack.base.errors import UserError
from tonestack.competition import csvs
from tonestack.features import contents, decode, pieces
from tonestack.features.audio import BadAudio, Clip
from tonestack.features.prepare import prepare
from tonestack.features.store import Store, duplicates
from tonestack.labels import folds
from tonestack.settings.data_config import AudioParams
from tonestack.tables.competition import Competition

import numpy as np
import pandas as pd
import pytest
import soundfile

LOGMEL: dict[str, Any] = {"name": "logmel", "sample_rate": 8000, "n_fft": 256, "hop_length": 80, "n_mels": 16}
WAVE: dict[str, Any] = {"name": "waveform", "sample_rate": 8000}
SKIP = AudioParams(bad_files="skip")
RATE = 8000


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    """Two recordings of 3 s in overlapping pieces, a whole file, a test window, a pool; `long` is 3 s long."""
    root = tmp_path / "input"
    root.mkdir()
    for seed, name in enumerate(("long", "other", "whole", "pool")):
        wave = np.random.default_rng(seed).normal(0, 0.1, 3 * RATE).astype(np.float32)
        soundfile.write(root / f"{name}.wav", wave, RATE)
    train = csvs.train_frame(
        ["long_1", "long_2", "whole.wav", "late"],
        ["long.wav", "long.wav", "whole.wav", "long.wav"],
        ["a", "b", "a", "b"],
    ).assign(start=[0.0, 0.5, np.nan, 3.5], end=[1.0, 2.0, np.nan, 4.5])
    test = csvs.test_frame(["other_3"], ["other.wav"]).assign(start=2.5, end=9.0)
    pool = csvs.test_frame(["pool.wav"], ["pool.wav"])
    return Competition(root, train, test, ("a", "b"), None, pool=pool)


def opened(competition: Competition, cache: Path, spec: dict[str, Any]) -> Store:
    prepare(competition, [spec], SKIP, cache, progress=False)
    return Store.open(cache, spec, SKIP)


def frames_of(store: Store, clip_id: str) -> np.ndarray:
    (offset,), (count,) = store.rows([clip_id])
    return np.asarray(store.features[offset : offset + count])


def test_a_file_is_decoded_once_and_its_frames_lie_in_the_store_once(
    competition: Competition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    original = decode.decode_clip
    monkeypatch.setattr(decode, "decode_clip", lambda path, *rest: names.append(path.name) or original(path, *rest))
    store = opened(competition, tmp_path / "cache", WAVE)
    assert sorted(names) == ["long.wav", "other.wav", "pool.wav", "whole.wav"]
    assert len(store.features) == 4 * 3 * RATE


def test_a_piece_has_the_samples_between_its_times(competition: Competition, tmp_path: Path) -> None:
    store = opened(competition, tmp_path / "cache", WAVE)
    wave = soundfile.read(competition.root / "long.wav", dtype="int16")[0]
    np.testing.assert_allclose(frames_of(store, "long_1")[:, 0], wave[:RATE], atol=1)
    np.testing.assert_allclose(frames_of(store, "long_2")[:, 0], wave[RATE // 2 : 2 * RATE], atol=1)
    assert len(frames_of(store, "whole.wav")) == 3 * RATE


def test_pieces_of_a_spectrogram_are_its_frames(competition: Competition, tmp_path: Path) -> None:
    store = opened(competition, tmp_path / "cache", LOGMEL)
    whole = Competition(competition.root, csvs.train_frame(["x"], ["long.wav"], ["a"]), competition.test, ("a",), None)
    frames = frames_of(opened(whole, tmp_path / "whole", LOGMEL), "x")
    np.testing.assert_array_equal(frames_of(store, "long_2"), frames[50:200])
    (first,), (last,) = store.recordings(["long_2"])
    np.testing.assert_array_equal(np.asarray(store.features[first:last]), frames)


def test_a_piece_behind_the_end_is_bad_and_one_over_the_end_is_cut(competition: Competition, tmp_path: Path) -> None:
    report = prepare(competition, [WAVE], SKIP, tmp_path / "cache", progress=False)
    assert report.bad["reason"].tolist() == ["the piece begins at 3.5 s, its recording ends at 3 s"]
    store = Store.open(tmp_path / "cache", WAVE, SKIP)
    assert len(frames_of(store, "other_3")) == RATE // 2
    assert len(frames_of(store, "whole.wav")) == 3 * RATE
    assert store.clips.loc["other_3", "seconds"] == pytest.approx(0.5)
    with pytest.raises(UserError, match=r"late: the piece begins at 3.5 s"):
        prepare(competition, [WAVE], AudioParams(), tmp_path / "cache", progress=False)


def test_other_times_make_the_store_anew_and_the_same_times_do_not(competition: Competition, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = opened(competition, cache, LOGMEL).fingerprint
    assert prepare(competition, [LOGMEL], SKIP, cache, progress=False).made == []
    moved = competition.train.assign(start=competition.train["start"] + 0.1)
    other = Competition(competition.root, moved, competition.test, ("a", "b"), None, pool=competition.pool)
    assert opened(other, cache, LOGMEL).fingerprint != before


def test_two_pieces_of_one_recording_are_no_duplicates(competition: Competition, tmp_path: Path) -> None:
    assert duplicates(opened(competition, tmp_path / "cache", LOGMEL).clips).empty


def test_trimmed_silence_is_refused_where_it_would_move_times(competition: Competition, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"audio.trim_db"):
        prepare(competition, [WAVE], AudioParams(trim_db=40, bad_files="skip"), tmp_path / "cache", progress=False)


def test_one_clip_name_for_two_pieces_is_refused(competition: Competition) -> None:
    train = competition.train.assign(clip_id="same")
    with pytest.raises(UserError, match="clip 'same' names two files or pieces"):
        contents.clip_list(Competition(competition.root, train, competition.test, ("a", "b"), None))


def test_a_recording_used_in_training_counts_for_the_moments(competition: Competition) -> None:
    clips = competition.clips.assign(part=["test", "train", "train", "train", "test", "pool"])
    rows = contents.recordings_of(clips)
    assert rows["path"].tolist() == ["long.wav", "whole.wav", "other.wav", "pool.wav"]
    assert rows["part"].tolist() == ["train", "train", "test", "pool"]


def test_pieces_of_one_file_share_a_group() -> None:
    files = pd.Series(["a.wav", "a.wav", "", ""])
    joined = folds.join_duplicates(pd.Series(["", "", "x", ""]), files)
    assert joined[0] == joined[1] != ""
    assert joined[2:].tolist() == ["x", ""]


def test_a_decoded_piece_is_a_view_of_its_recording() -> None:
    clip = Clip(np.arange(10, dtype=np.float32), 2, False)
    assert clip.piece(1, 2.5).wave.tolist() == [2, 3, 4]
    assert clip.piece(float("nan"), float("nan")) is clip
    with pytest.raises(BadAudio, match="ends at 5 s"):
        clip.piece(5, 6)


def test_cut_keeps_a_row_for_every_clip() -> None:
    recordings = pd.DataFrame(
        {"clip_id": ["x", "y"], "part": "train", "offset": [0, 100], "frames": [100, 0], "seconds": [1.0, 0.0]}
    ).assign(status=["ok", "bad"], reason=["", "no samples"], audio_hash=["h", ""])
    clips = pd.DataFrame({"clip_id": ["x", "y", "z"], "path": ["1", "2", "1"], "part": ["train", "test", "pool"]})
    table = pieces.cut(recordings, clips.assign(start=[0.0, 0.0, 0.999], end=[0.5, 1.0, 1.0]), 100.0)
    assert table["frames"].tolist() == [50, 0, 1]
    assert table["offset"].tolist() == [0, 100, 99]
    assert table["reason"].tolist() == ["", "no samples", ""]
    assert table["audio_hash"].tolist() == ["h@0-0.5", "", "h@0.999-1"]


def test_a_network_of_frames_hears_the_whole_recording_of_a_piece(competition: Competition, tmp_path: Path) -> None:
    from tonestack.settings.model_config import CropParams, InferenceParams, ModelConfig
    from tonestack.training.learners.network import build_model, restore

    import torch

    store, ids = opened(competition, tmp_path / "cache", LOGMEL), ["long_1", "late", "whole.wav", "other_3"]
    network = {"name": "resnet", "channels": (4, 8), "blocks": (1, 1), "pool": "sed"}
    found = {}
    for how in ("alone", "mean"):
        inference = InferenceParams(windows=how)
        settings = ModelConfig(frontend=LOGMEL, network=network, crop=CropParams(seconds=1.0), inference=inference)
        torch.manual_seed(0)
        tensors = build_model(settings, store, 2).state_dict()
        made = restore(settings, tensors, 2, "multilabel", torch.device("cpu"))
        found[how] = made.log_probabilities(store, ids)
        assert np.isnan(found[how][1]).all()  # it begins behind its recording's end
    np.testing.assert_array_equal(found["mean"][2], found["alone"][2])  # a whole file
    for row in (0, 3):
        assert np.abs(found["mean"][row] - found["alone"][row]).max() > 1e-4
        assert np.isfinite(found["mean"][row]).all()
