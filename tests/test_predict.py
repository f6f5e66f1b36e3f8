"""Tags for new recordings: the same numbers as the competition's tables, any file, any length, in bounded memory."""

import json
import shutil
import tracemalloc
from pathlib import Path

import blend
import predict
import submit
import train
from conftest import CLASSES, RATE, TINY_WORDS, sound
from tonestack import cli
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.config.call import Call
from tonestack.deploy import recordings, timeline
from tonestack.deploy.predictor import Predictor, joined
from tonestack.deploy.recordings import TaggedRecording
from tonestack.ensemble import recipe
from tonestack.ensemble.blends import Blend
from tonestack.ensemble.tables import Tables
from tonestack.features.audio import BadAudio, Clip, decode_clip, pieces
from tonestack.settings.data_config import AudioParams, PredictParams

import numpy as np
import pandas as pd
import pytest
import soundfile


def call(root: Path, *words: str) -> Call:
    given = {word.partition("=")[0]: word for word in [*TINY_WORDS, "stack.rounds=15", f"root={root}", *words]}
    return Call.from_arguments(list(given.values()))


def ask(root: Path, *words: str) -> Call:
    """A call on the finished tables: no model unless one is named."""
    return Call.from_arguments(["data=fsdkaggle2018", "device=cpu", f"root={root}", *words])


def tell(root: Path, *words: str, paths: tuple[Path, ...] = ()) -> None:
    """`predict` with what is typed behind it."""
    mine, rest = cli._parted([*map(str, paths), *words], predict.Wanted)
    predict.run(ask(root, *rest), predict.Wanted.parse(mine, "command line"))


@pytest.fixture
def home(trained_home: Path) -> Path:
    return trained_home


@pytest.fixture
def clips(tiny_root: Path) -> list[Path]:
    return sorted((tiny_root / "audio_test").glob("*.wav"))


# --------------------------------------------------------------------------------------------- the tables' own numbers


TABLES = ["vgg_small@r0", "clip_forest@r0", "blend@r0", "stack-logistic@r0", "stack-lightgbm@r0"]


@pytest.mark.parametrize("table", TABLES)
def test_the_test_clips_get_the_rows_of_the_table(table: str, home: Path, tiny_root: Path, clips: list[Path]) -> None:
    run = ask(tiny_root, f"submit.table={table}")
    tables = Tables.of(run, [table])
    expected = dict(zip(tables.test_ids, tables.test(table), strict=True))
    heard = list(recordings.tagged(clips, predict.build(run), run.data.audio, 60.0, 10.0))
    assert [h.path for h in heard] == clips
    assert [h.path.name for h in heard if h.error] == ["test023.wav"]  # the empty one
    for one in heard[:-1]:
        np.testing.assert_allclose(one.tags, expected[one.path.name], atol=2e-5)


def test_a_search_with_temperatures_and_a_blend_of_blends_are_made_again(
    home: Path, tiny_root: Path, clips: list[Path]
) -> None:
    blend.run(call(tiny_root, "blend.searches=[tempered]", "blend.power=1", "name=fsdkaggle2018"))
    assert read_json(home / "oof/fsdkaggle2018/blend@r0/fold0.json")["temperatures"] is not None
    receipt = {"kind": "blend", "tables": ["blend@r0", "vgg_small@r0"], "power": 0.0}
    receipt |= {"weights": {"blend@r0": 0.75, "vgg_small@r0": 0.25}}
    run = call(tiny_root)
    tables = Tables.of(run, ["blend@r0", "vgg_small@r0"], made=True)
    rows, test = tables.blend(Blend(np.array([0.75, 0.25])), None, tables.fold)
    tables.write("blend-two@r0", rows, test, receipt)
    wanted = Tables.of(run, ["blend-two@r0"]).test("blend-two@r0")
    row = tables.test_ids.index("test000.wav")
    predictor = Predictor(run.oof, "blend-two@r0", run.data)
    found = predictor([decode_clip(clips[0], run.data.audio)])
    np.testing.assert_allclose(found[0], wanted[row], atol=2e-5)
    assert predictor.recipe.tables[0] == "blend-two@r0"
    assert set(predictor.recipe.experiments) <= {"vgg_small@r0", "clip_forest@r0"}


def test_some_folds_are_the_mean_of_those_folds(home: Path, tiny_root: Path, clips: list[Path]) -> None:
    run = ask(tiny_root, "fold=1")
    predictor = predict.build(run.but(model=("vgg_small",)))
    assert predictor.trained["vgg_small@r0"].folds == [1]
    table = pd.read_parquet(home / "oof/fsdkaggle2018/vgg_small@r0/fold1.parquet").set_index("clip_id")
    found = predictor([decode_clip(clips[0], run.data.audio)])[0]
    np.testing.assert_allclose(found, table.loc["test000.wav", list(CLASSES)].astype(float), atol=2e-5)


def test_nothing_is_read_from_the_cache_or_written_to_it(
    home: Path, tiny_root: Path, clips: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(home / "cache")
    tell(tiny_root, paths=(clips[0],))
    assert capsys.readouterr().out.startswith(str(clips[0]))
    assert not (home / "cache").exists()


# ----------------------------------------------------------------------------------------------------- what a user sees


def test_a_folder_of_good_and_bad_files(
    home: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rng = tmp_path / "new" / "sub", np.random.default_rng(5)
    folder.mkdir(parents=True)
    soundfile.write(folder / "stereo.flac", np.stack([sound("Bell", 1.0, rng)] * 2, axis=1), RATE)
    soundfile.write(folder / "other rate.ogg", sound("Hiss", 0.7, rng), 22_050)
    (folder / "broken.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEnothing")
    (folder / "notes.txt").write_text("not audio")
    (folder / ".hidden.wav").write_bytes(b"")
    tell(tiny_root, "top=2", paths=(tmp_path / "new",))
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.partition("  ")[0].rpartition("/")[2] for line in lines] == [
        "broken.wav",
        "other rate.ogg",
        "stereo.flac",
    ]
    assert "unusable: cannot be decoded" in lines[0]
    assert sum(line.count(name) for line in lines[1:] for name in CLASSES) == 4
    assert "3 clips, 1.5 s of sound" in said.err
    assert "1 unusable" in said.err


def test_json_lines_hold_the_tags_in_order_and_errors_by_file(
    home: Path, tiny_root: Path, clips: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tell(tiny_root, "format=json", "model=vgg_small", paths=(clips[0], clips[23]))
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (good["file"], bad) == (str(clips[0]), {"file": str(clips[23]), "error": "no samples (0 frames)"})
    assert list(good["tags"].values()) == sorted(good["tags"].values(), reverse=True)
    assert len(good["tags"]) == 3
    assert good["seconds"] == pytest.approx(soundfile.info(clips[0]).duration, abs=1e-3)


def test_a_long_file_is_tagged_window_by_window_with_a_picture(
    home: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    parts = [sound(label, 1.0, rng) for label in ("Bell", "Hiss", "Drum", "Whistle")]
    soundfile.write(tmp_path / "long $x$.wav", np.concatenate([*parts, parts[0][: RATE // 2]]), RATE, subtype="FLOAT")
    words = ("predict.whole=2", "predict.window=1", "format=json", "top=4")
    tell(tiny_root, *words, paths=(tmp_path / "long $x$.wav",))
    found = json.loads(capsys.readouterr().out)
    assert [w["start"] for w in found["windows"]] == [0, 1, 2, 3, 4]
    assert found["windows"][-1]["end"] == found["seconds"] == 4.5
    by_class = [[w["tags"][c] for c in CLASSES] for w in found["windows"]]
    mean = np.average(by_class, axis=0, weights=[1, 1, 1, 1, 0.5])
    assert [found["tags"][c] for c in CLASSES] == pytest.approx(list(mean), abs=2e-5)
    assert Path(found["timeline"]).read_bytes().startswith(b"\x89PNG")
    # each window is what a file of just that part would be
    for i, part in enumerate(parts):
        soundfile.write(tmp_path / f"{i}.wav", part, RATE, subtype="FLOAT")
    tell(tiny_root, "format=json", "top=4", paths=tuple(tmp_path / f"{i}.wav" for i in range(4)))
    alone = [json.loads(line)["tags"] for line in capsys.readouterr().out.splitlines()]
    for window, tags in zip(found["windows"], alone, strict=False):
        assert window["tags"] == pytest.approx(tags, abs=2e-5)


def test_timeline_true_cuts_short_files_and_false_draws_nothing(
    home: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", sound("Bell", 3.0, np.random.default_rng(0)), RATE)
    tell(tiny_root, "timeline=true", "predict.window=1", "format=json", paths=(tmp_path / "a.wav",))
    assert len(json.loads(capsys.readouterr().out)["windows"]) == 3
    words = ("timeline=false", "predict.whole=1", "predict.window=1")
    tell(tiny_root, *words, paths=(tmp_path / "a.wav",))
    assert "png" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=vgg_small,crnn"], "give one model="),
        (["model=vgg_small", "submit.table=blend@r0"], "give one model="),
        (["model=crnn"], r"crnn@r0: the table is not there"),
        (["submit.table=blend@r1"], r"not there; did you mean 'blend@r0'\?"),
        (["name=other"], "nothing has been chosen yet; run submit, or give model=NAME"),
        (["fold=7", "model=vgg_small"], r"no fold \[7\]"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], message: str, home: Path, tiny_root: Path, clips: list[Path]
) -> None:
    with pytest.raises(UserError, match=message):
        tell(tiny_root, *words, paths=(clips[0],))


def test_no_file_a_missing_one_or_only_bad_ones_are_refused(home: Path, tiny_root: Path, clips: list[Path]) -> None:
    with pytest.raises(UserError, match="name recordings"):
        tell(tiny_root)
    with pytest.raises(UserError, match="no such file"):
        tell(tiny_root, paths=(Path("nowhere.wav"),))
    with pytest.raises(UserError, match="none of the recordings"):
        tell(tiny_root, paths=(clips[23],))
    (home / "empty").mkdir()
    with pytest.raises(UserError, match="no recording in this folder"):
        tell(tiny_root, paths=(home / "empty",))


def test_damaged_weights_or_tables_from_elsewhere_are_named(home: Path, tiny_root: Path, clips: list[Path]) -> None:
    folder = home / "oof/fsdkaggle2018"
    clip = decode_clip(clips[0], AudioParams())
    run = call(tiny_root)
    path = folder / "vgg_small@r0/fold1.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"fold1\.safetensors: missing or not as its json says"):
        Predictor(run.oof, "vgg_small@r0", run.data)([clip])
    (folder / "foreign").mkdir()
    with pytest.raises(UserError, match="made elsewhere"):
        Predictor(run.oof, "foreign", run.data)
    (folder / "stack-logistic@r0/stacker.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="the stacker cannot be read"):
        Predictor(run.oof, "stack-logistic@r0", run.data)
    (folder / "stack-logistic@r0/stacker.safetensors").unlink()
    with pytest.raises(UserError, match="run stack again"):
        Predictor(run.oof, "stack-logistic@r0", run.data)


def test_a_competition_without_test_set_has_a_choice_too(home: Path, tiny_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_root, tmp_path / "bare"))
    for name in ("sample_submission.csv", "test_post_competition_scoring_clips.csv"):
        (root / name).unlink()
    words = ("data=table", "name=bare", "metric=map@3", "reader.train_csv=train.csv", "reader.clip=fname")
    run = call(root, *words, "reader.label=label", "reader.train_audio=audio_train")
    train.run(run)
    submit.run(run)
    assert read_json(run.submissions / "choice.json")["table"].startswith(("vgg_small", "blend"))
    assert predict.table_of(run)
    submit.run(run)  # says that it is up to date, and does not look for a file to upload


# --------------------------------------------------------------------------------------------------------- decoding


def test_a_short_file_is_one_piece_with_the_samples_of_the_usual_decoder(tmp_path: Path) -> None:
    params = AudioParams(trim_db=40, peak_normalise=True)
    soundfile.write(tmp_path / "a.flac", sound("Drum", 1.3, np.random.default_rng(1)), RATE)
    (piece,) = pieces(tmp_path / "a.flac", params, 60.0, 10.0)
    usual = decode_clip(tmp_path / "a.flac", params)
    np.testing.assert_array_equal(piece.clip.wave, usual.wave)
    assert (piece.start, piece.clip.rate, piece.clip.truncated) == (0.0, usual.rate, False)
    assert piece.seconds == pytest.approx(1.3, abs=1e-4)


@pytest.mark.parametrize("seconds", [2.0, 3.0, 4.0, 4.0001, 7.3])
def test_the_pieces_of_a_long_file_are_all_of_it(seconds: float, tmp_path: Path) -> None:
    wave = sound("Hiss", seconds, np.random.default_rng(2))
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    found = list(pieces(tmp_path / "a.wav", AudioParams(), 3.0, 2.0))
    np.testing.assert_array_equal(np.concatenate([p.clip.wave for p in found]), wave)
    assert [p.start for p in found] == [2.0 * i for i in range(len(found))]
    assert len(found) == (1 if seconds <= 3 else int(np.ceil(len(wave) / (2 * RATE))))


def test_a_truncated_file_says_so_with_its_last_piece(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, sound("Hiss", 8.0, np.random.default_rng(2)), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = list(pieces(path, AudioParams(), 1.0, 1.0))
    assert [p.clip.truncated for p in found] == [False] * (len(found) - 1) + [True]
    assert 2 <= len(found) <= 6


def test_bad_samples_in_the_middle_end_a_long_file(tmp_path: Path) -> None:
    wave = sound("Hiss", 5.0, np.random.default_rng(2))
    wave[int(3.5 * RATE)] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    (heard,) = recordings.tagged(
        [tmp_path / "a.wav"], lambda clips, paths: np.ones((len(clips), 2)), AudioParams(), 1.0, 1.0
    )
    assert heard.starts == [0.0, 1.0, 2.0]
    assert heard.error.startswith("NaN")
    with pytest.raises(BadAudio, match="longer than 2 seconds"):
        list(pieces(tmp_path / "a.wav", AudioParams(max_seconds=2), 1.0, 1.0))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for minutes in (2, 8):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.zeros(minutes * 60 * 8000, np.int16), 8000)
        tracemalloc.start()
        for piece in pieces(path, AudioParams(), 10.0, 5.0):
            assert piece.seconds <= 5.0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 4e6


def test_batches_are_bounded_by_seconds_and_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "BATCH_SECONDS", 3.0)
    monkeypatch.setattr(recordings, "BATCH_PIECES", 4)
    soundfile.write(tmp_path / "long.wav", np.zeros(10 * 8000, np.int16), 8000)
    soundfile.write(tmp_path / "short.wav", np.zeros(800, np.int16), 8000)
    sizes, named = list[int](), list[str]()

    def tag(clips: list[object], files: list[str]) -> np.ndarray:
        sizes.append(len(clips))
        named.extend(files)
        return np.ones((len(clips), 2))

    paths = [tmp_path / "long.wav", *[tmp_path / "short.wav"] * 6]
    heard = list(recordings.tagged(paths, tag, AudioParams(), 1.0, 1.0))  # type: ignore[arg-type]
    assert [len(h.rows) for h in heard] == [10, 1, 1, 1, 1, 1, 1]
    assert max(sizes) <= 4
    assert sum(sizes) == 16
    assert named == [str(tmp_path / "long.wav")] * 10 + [str(tmp_path / "short.wav")] * 6


# --------------------------------------------------------------------------------------------------- recipes, pictures


def test_a_recipe_with_fewer_experiments() -> None:
    parts = tuple(recipe.Recipe(name) for name in "abc")
    blended = recipe.Recipe("mix", parts, recipe._Blended(Blend(np.array([0.5, 0.3, 0.2]), 1.0)))
    rows = {name: np.eye(3, dtype=np.float32)[[[i]]] for i, name in enumerate("abc")}  # (1, 1, 3)

    def mixed(what: recipe.Recipe | None) -> list[float]:
        assert what is not None
        return list(what.rows(rows, lambda spec: np.zeros((1, 1)), lambda x: x[0])[0, 0])

    assert blended.only("abc") is blended
    assert mixed(blended) == pytest.approx([0.5, 0.3, 0.2])
    assert mixed(blended.only("ac")) == pytest.approx([5 / 7, 0, 2 / 7])
    assert blended.only("") is None
    stacked = recipe.Recipe("stack", parts, lambda tables, about: tables[0])
    even = stacked.only("bc")
    assert even is not None
    assert isinstance(even.mix, recipe._Blended)
    assert even.mix.blend.weights.tolist() == [0.5, 0.5]


def test_the_picture_shows_the_strongest_tags_in_order_of_time() -> None:
    rows = np.array([[0.1, 0.0, 0.9, 0.0], [0.8, 0.1, 0.0, 0.1], [0.2, 0.7, 0.0, 0.1]])
    assert timeline.strongest(rows, 3).tolist() == [2, 0, 1]
    assert timeline.strongest(rows, 1).tolist() == [2]
    assert [timeline.clock(s) for s in (3.4, 75, 3723)] == ["0:03", "1:15", "1:02:03"]
    assert timeline.ticks(310).tolist() == list(range(0, 301, 30))
    assert timeline.ticks(3600).tolist() == list(range(0, 3601, 300))


def test_settings_of_long_files_are_checked() -> None:
    with pytest.raises(UserError, match="window"):
        PredictParams.parse({"window": 0}, "here")
    assert TaggedRecording(Path("x")).length == 0


def test_pieces_of_a_recording_are_laid_together() -> None:
    clips = [Clip(np.full(n, v, np.float32), 10, False) for n, v in ((20, 1.0), (10, 2.0), (5, 3.0))]
    whole, cut = joined(clips, ["a.ogg", "a.ogg", "b.ogg"])
    assert [len(clip.wave) for clip in whole] == [30, 5]
    assert cut.to_numpy().tolist() == [["0", 0.0, 2.0], ["0", 2.0, 3.0], ["1", 0.0, 0.5]]


def test_predict_hears_half_windows_where_the_model_was_trained_to(home: Path, tiny_root: Path) -> None:
    run = call(tiny_root)
    predictor = Predictor(run.oof, "vgg_small@r0", run.data, "cpu", [0])
    wave = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    wave[1] *= np.sin(np.arange(RATE) / 3)
    clips = [Clip(part, RATE, False) for part in wave]
    plain = predictor(clips, ["a.wav", "a.wav"])
    trained = predictor.trained["vgg_small@r0"]
    for receipt in trained.receipts.values():
        receipt["config"].setdefault("inference", {})["half_shift"] = True
    trained._loaded.clear()
    trained.__dict__.pop("settings", None)
    apart = predictor(clips, ["a.wav", "b.wav"])  # nothing lies between them; a window's end may cost a frame
    np.testing.assert_allclose(apart, plain, atol=1e-3)
    assert np.abs(predictor(clips, ["a.wav", "a.wav"]) - apart).max() > 2e-3
