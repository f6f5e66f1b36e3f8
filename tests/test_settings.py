"""docs/settings.md: it is up to date, and every key says what it means."""

from tonestack.config import layers
from tonestack.settings.model_config import Preset
from tonestack.studies import settings_page


def test_the_page_is_up_to_date() -> None:
    text = settings_page.path().read_text(encoding="utf-8")
    assert text == settings_page.text(), "docs/settings.md is out of date; run ./run.sh settings"


def test_every_key_has_a_description() -> None:
    assert settings_page.undescribed() == []


def test_the_page_says_type_default_range_and_presets() -> None:
    lines = settings_page.text().splitlines()
    epochs = next(line for line in lines if line.startswith("| `training.epochs` |"))
    assert epochs.startswith("| `training.epochs` | int | 40 | ≥ 1 |")
    quick = Preset.parse(layers.read_yaml(layers.CONFIGS / "preset" / "quick.yaml"), "quick")
    assert f"{quick.all['training']['epochs']}: " in epochs
    assert "`quick`" in epochs
    assert any(line.startswith("| `trees` | int | 300 |") for line in lines)
