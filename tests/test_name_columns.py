"""The hour and the site of a soundscape's name, as a stacker sees them: in training, in its file and in a recipe."""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.ensemble import name_columns, stacking
from tonestack.ensemble.name_columns import NameColumns
from tonestack.ensemble.recipe import About, Recipe, _Stacked
from tonestack.ensemble.stack_inputs import StackInputs, StackRows
from tonestack.ensemble.stacking import Beside
from tonestack.settings.data_config import StackParams
from tonestack.tables.metrics import resolve

import numpy as np
import pytest

PATTERN = r"_(?P<site>S\d+)_\d{8}_(?P<hour>\d\d)(?P<minute>\d\d)"
COLUMNS = NameColumns(PATTERN, True, ("S1", "S2"))
PARAMS = StackParams(rounds=60, jobs=1, min_clips=5, feature_fraction=1.0)


def name(number: int, site: int, hour: int, minute: int = 0) -> str:
    return f"train_soundscapes/BC_{number}_S{site}_20250101_{hour:02d}{minute:02d}00.ogg"


def test_the_hour_is_a_place_on_the_clock_and_a_site_has_a_column() -> None:
    found = COLUMNS([name(0, 1, 6), name(1, 2, 12), name(2, 7, 18), name(3, 1, 0, 30), "train_audio/XC1.ogg"])
    np.testing.assert_allclose(found[:3], [[1, 0, 1, 0], [0, -1, 0, 1], [-1, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(found[3], [np.sin(np.pi / 24), np.cos(np.pi / 24), 1, 0], atol=1e-6)
    assert found[4].tolist() == [0, 0, 0, 0]  # nothing is known of a focal recording
    late, early = COLUMNS([name(0, 1, 23), name(0, 1, 1)])[:, :2]
    assert np.abs(late - early).max() < 0.6
    assert COLUMNS([]).shape == (0, 4)
    assert NameColumns(PATTERN, False, ("S1",))([name(0, 1, 6)]).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("settings", "test", "sites", "line"),
    [
        ({}, [name(9, 2, 3)], ("S2",), "the hour and the site (1 of them)"),
        ({}, [name(9, 8, 3)], (), "no test recording is of a training site, so sites are not used"),
        ({}, [], (), "there is no test recording yet whose site is known, so sites are not used"),
        ({"site": "always"}, [], ("S1", "S2"), "the hour and the site (2 of them)"),
        ({"site": "never"}, [name(9, 2, 3)], (), "see the hour of what"),
    ],
)
def test_sites_are_used_where_training_and_test_share_them(
    settings: dict[str, str], test: list[str], sites: tuple[str, ...], line: str
) -> None:
    train = [name(0, 1, 6), name(0, 1, 6), name(1, 1, 7), name(2, 2, 8), name(3, 2, 8), name(4, 3, 1), name(4, 3, 1)]
    found, said = name_columns.choose(PATTERN, train, test, StackParams(**settings))  # type: ignore[arg-type]
    assert found is not None
    assert found.sites == sites  # S3 has one recording alone
    assert line in said


def test_names_that_say_nothing_give_no_columns() -> None:
    assert name_columns.choose(PATTERN, ["a.ogg"], ["b.ogg"], StackParams())[0] is None
    off = StackParams(hour=False, site="never")
    assert name_columns.choose(PATTERN, [name(0, 1, 6)], [], off)[0] is None


def planted() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """800 windows of a class that sings in the morning, which one weak table hears, and a class that it knows."""
    rng = np.random.default_rng(0)
    hours = rng.integers(0, 24, 800)
    truth = np.stack([(rng.random(800) < np.where(hours < 12, 0.8, 0.1)), rng.random(800) < 0.5], axis=1)
    tables = 1 / (1 + np.exp(-((2 * truth - 1) * [0.3, 1.5] + rng.normal(0, 1, truth.shape))))
    return tables[None].astype(np.float32), truth.astype(np.int8), [name(i, 1, h) for i, h in enumerate(hours)]


@pytest.mark.parametrize("stacker", ["lightgbm", "logistic"])
def test_a_stacker_learns_when_a_class_sings(stacker: str) -> None:
    tables, truth, paths = planted()
    fold = np.arange(800) % 4
    auc = resolve("auc")

    def score(columns: np.ndarray | None) -> float:
        inputs = StackInputs.of(tables, columns, True)
        rows = StackRows(inputs, truth, np.ones(800), fold, 2)
        return float(auc(stacking.nested(stacker, rows, inputs, fold, PARAMS, 0), truth))

    assert score(NameColumns(PATTERN, True, ())(paths)) > score(None) + 0.05


def test_a_stackers_file_knows_the_names_and_a_recipe_reads_them(tmp_path: Path) -> None:
    tables, truth, paths = planted()
    columns = NameColumns(PATTERN, True, ("S1",))
    rows = StackRows(StackInputs.of(tables, columns(paths), True), truth, np.ones(800), np.arange(800) % 4, 2)
    fitted = stacking.fit("lightgbm", rows, PARAMS, 0)
    stacking.save(tmp_path / "stacker.safetensors", fitted, Beside(names=columns))
    again, beside = stacking.restore("lightgbm", tmp_path / "stacker.safetensors")
    assert beside == Beside(names=columns)
    stack = Recipe("stack", (Recipe("a", normalise=False),), _Stacked(again, beside, True), None, False)

    def predicted(about: About) -> np.ndarray:
        return stack.rows({"a": tables}, lambda spec: tables[0], lambda k: k.mean(axis=0), about)[0]

    np.testing.assert_allclose(predicted(About(paths=paths)), fitted(rows.inputs), atol=1e-6)
    morning, evening = (predicted(About(paths=[name(0, 1, hour)] * 800))[:, 0] for hour in (6, 18))
    assert (morning > evening).all()
    assert np.isfinite(predicted(About())).all()  # names may be unknown


def test_older_files_of_stackers_load_and_damaged_ones_are_named(tmp_path: Path) -> None:
    tables, truth, _ = planted()
    rows = StackRows(StackInputs.of(tables, None, True), truth, np.ones(800), np.arange(800) % 4, 2)
    path = tmp_path / "stacker.safetensors"
    stacking.save(path, stacking.fit("logistic", rows, PARAMS, 0), Beside(around=True))
    assert stacking.restore("logistic", path)[1] == Beside(around=True)

    class Damaged(NameColumns):
        def to_array(self) -> np.ndarray:
            return np.frombuffer(b"{", np.uint8)

    stacking.save(path, stacking.fit("logistic", rows, PARAMS, 0), Beside(names=Damaged(PATTERN, True, ())))
    with pytest.raises(UserError, match="the stacker cannot be read"):
        stacking.restore("logistic", path)
