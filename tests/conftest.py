"""What the tests share: a home folder of their own, and a tiny competition with made features."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

SRC = Path(__file__).parents[1] / "src"
sys.path.insert(0, str(SRC))

RATE = 16_000
CLASSES = ("Bell", "Drum", "Hiss", "Whistle")
TINY_WORDS = [
    *("data=fsdkaggle2018", "preset=smoke", "model=vgg_small", "device=cpu", "jobs=1", "folds.n=2"),
    *("frontend.sample_rate=8000", "frontend.n_fft=256", "frontend.hop_length=128", "frontend.n_mels=16"),
    *("frontend.fmin=50", "frontend.fmax=4000", "crop.seconds=0.4", "inference.crops=2", "blend.bootstrap=50"),
    *("network.channels=[4,8]", "network.convs=1", "network.stem_stride=1", "network.dense=8"),
    *("training.epochs=2", "training.min_steps=0", "training.batch_size=8", "training.ema=0.9"),
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test writes below its own temporary folder."""
    monkeypatch.setenv("TONESTACK_HOME", str(tmp_path / "home"))


def sound(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A recording of one of `CLASSES`: a tone of the class's pitch or noise, over a noise floor."""
    t = np.arange(int(seconds * RATE)) / RATE
    pitch = {"Bell": 600, "Drum": 150, "Whistle": 2500}.get(label)
    wave = rng.normal(size=len(t)) if pitch is None else np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * t)
    return np.float32(0.3 * rng.uniform(0.3, 1) * wave + 0.01 * rng.normal(size=len(t)))


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FSDKaggle2018's layout: 40 training clips of 4 classes, 24 test clips (the last is empty), a scoring csv."""
    root, rng = tmp_path_factory.mktemp("tiny"), np.random.default_rng(0)
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for part, count in (("train", 40), ("test", 24)):
        (root / f"audio_{part}").mkdir()
        for i in range(count):
            name, label = f"{part}{i:03d}.wav", CLASSES[i % 4]
            wave = sound(label, rng.uniform(0.2, 1.5), rng)
            soundfile.write(root / f"audio_{part}" / name, wave[:0] if name == "test023.wav" else wave, RATE)
            rows[part].append({"fname": name, "label": label, "manually_verified": int(i % 8 < 5)})
    pd.DataFrame(rows["train"]).to_csv(root / "train.csv", index=False)
    test = pd.DataFrame(rows["test"]).drop(columns="manually_verified").sample(frac=1, random_state=1)
    test.assign(label="Drum Bell Hiss").to_csv(root / "sample_submission.csv", index=False)
    usage = np.where(np.arange(24) % 3 == 0, "Public", "Private")
    test.assign(usage=usage).to_csv(root / "test_post_competition_scoring_clips.csv", index=False)
    return root


@pytest.fixture(scope="session")
def tiny_words(tiny_root: Path) -> list[str]:
    """The words of a call on the tiny competition with a tiny network."""
    return [*TINY_WORDS, f"root={tiny_root}"]


@pytest.fixture(scope="session")
def _prepared(tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the tiny competition's features and folds, made once."""
    import make_folds
    import prepare
    from tonestack.config.call import Call

    home = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(home))
        run = Call.from_arguments(tiny_words)
        prepare.run(run)
        make_folds.run(run)
    return home


@pytest.fixture
def tiny_home(_prepared: Path, tmp_path: Path) -> Path:
    """This test's home folder, with the tiny competition's features and folds in it."""
    return Path(shutil.copytree(_prepared, tmp_path / "home"))


@pytest.fixture(scope="session")
def _trained(_prepared: Path, tiny_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a network, a forest, their blend, two stacks and a submission, made once."""
    import blend
    import stack
    import submit
    import train
    from tonestack.config.call import Call

    home = shutil.copytree(_prepared, tmp_path_factory.mktemp("trained"), dirs_exist_ok=True)
    forest = [word for word in tiny_words if not word.startswith(("model", "network", "crop", "inference"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONESTACK_HOME", str(home))
        train.run(Call.from_arguments([*forest, "model=clip_forest", "network.trees=5"]))
        run = Call.from_arguments([*tiny_words, "stack.rounds=15"])
        for verb in (train, blend, stack, submit):
            verb.run(run)
    return Path(home)


@pytest.fixture
def trained_home(_trained: Path, tmp_path: Path) -> Path:
    """This test's home folder, with everything up to the submission in it."""
    return Path(shutil.copytree(_trained, tmp_path / "home"))


@pytest.fixture
def tiny_run(tiny_home: Path, tiny_words: list[str]) -> Callable[..., object]:
    """Resolve a call on the tiny competition: `tiny_run("training.epochs=3")`; later words win."""
    from tonestack.config.call import Call

    def resolve(*words: str) -> Call:
        given = {word.partition("=")[0]: word for word in [*tiny_words, *words]}
        return Call.from_arguments(list(given.values()))

    return resolve
