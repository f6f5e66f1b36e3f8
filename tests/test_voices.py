"""Voices: the same seed is the same person, utterances differ, and a person can be told from new words.

espeak-ng is tried where it is installed, otherwise by a program that answers as it does; Bark is tried as a tiny
network of random weights where transformers is installed, otherwise by what is asked of the package.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.competition.demo.voices import bark, espeak, formant, repeated

import librosa
import numpy as np
import pytest
import torch


def said(seed: int, take: int, seconds: float = 3.0, text: str = "") -> np.ndarray:
    return formant.voice(seed).say(text, seconds, np.random.default_rng([seed, take]))[0]


def test_samples_are_mono_float32_of_the_length_asked_for() -> None:
    for seconds in (0.01, 0.5, 2.345):
        samples, rate = formant.voice(0).say("", seconds, np.random.default_rng(0))
        assert samples.shape == (round(seconds * rate),)
        assert samples.dtype == np.float32
        assert np.abs(samples).max() <= 1  # also: finite


def test_the_same_seed_is_the_same_person_and_utterances_differ() -> None:
    assert np.array_equal(said(3, 0, 1.0), said(3, 0, 1.0))
    assert not np.array_equal(said(3, 0, 1.0), said(3, 1, 1.0))
    assert formant.voice(3) == formant.voice(3) != formant.voice(4)


@pytest.mark.parametrize("seed", range(4))
def test_the_pitch_heard_is_the_voices_own(seed: int) -> None:
    voice = formant.voice(seed)
    heard = librosa.yin(said(seed, 0, 4.0), fmin=60, fmax=500, sr=formant.RATE)
    assert 2**-0.6 < np.median(heard) / voice.pitch < 2**0.6


def test_text_is_spelt_into_sounds() -> None:
    assert formant.spell("She sang.") == ["sh", "e", "s", "a", "ng", "pause"]
    assert formant.spell("123") == ["uh"]
    rng = np.random.default_rng(0)
    assert all(name in formant.PHONES for _ in range(20) for name in formant.spell(formant.babble(rng)))


def test_ten_voices_are_told_apart_by_new_utterances_but_not_by_pitch_alone() -> None:
    clips = [[said(100 + v, take, 2.0) for take in range(8)] for v in range(10)]
    timbre = [[librosa.feature.mfcc(y=c, sr=formant.RATE, n_mfcc=20)[1:].mean(1) for c in row] for row in clips]
    pitch = [[[np.log(np.median(librosa.yin(c, fmin=60, fmax=500, sr=formant.RATE)))] for c in row] for row in clips]
    assert right_by_nearest_mean(np.array(timbre)) > 0.7
    assert 0.2 < right_by_nearest_mean(np.array(pitch)) < 0.8


def right_by_nearest_mean(features: np.ndarray) -> float:
    """Share of the second half of the takes (voices, takes, C) nearest to their own voice's mean over the first."""
    half = features.shape[1] // 2
    gaps = (features[:, half:, None] - features[:, :half].mean(1)) / features[:, :half].std((0, 1))
    nearest = np.linalg.norm(gaps, axis=-1).argmin(-1)
    return float((nearest == np.arange(len(features))[:, None]).mean())


# ----------------------------------------------------------------------------------------------------------- readings


def test_readings_are_repeated_and_cut_and_every_generator_says_what_it_lacks() -> None:
    said_texts: list[str] = []

    def spoken(text: str) -> tuple[np.ndarray, int]:
        said_texts.append(text)
        return np.full(30, 2.0 if len(said_texts) == 1 else 0.5), 100

    samples, rate = repeated(spoken, "words", 0.75, np.random.default_rng(0))
    assert (len(samples), rate, samples.dtype, said_texts) == (75, 100, np.float32, ["words"] * 3)
    assert samples.max() == 1.0
    repeated(spoken, "", 0.5, np.random.default_rng(0))
    assert all(len(text) > 20 for text in said_texts[3:])
    for name in parts.names("voices"):
        lacking = parts.find("voices", name).missing()
        assert lacking is None or "install" in lacking
    assert formant.missing() is None


# ---------------------------------------------------------------------------------------------------------- espeak-ng

ANSWER = """#!{python}
import io, sys
import numpy as np, soundfile
text = sys.stdin.read()
pitch = 100 + float(sys.argv[sys.argv.index("-p") + 1])
if "+" not in sys.argv[sys.argv.index("-v") + 1] or "--stdout" not in sys.argv:
    sys.exit("wrong call")
wave = 0.3 * np.sin(np.arange(200 * len(text)) * pitch / 2000)
file = io.BytesIO()
soundfile.write(file, wave, 22050, format="WAV")
sys.stdout.buffer.write(file.getvalue())
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """espeak-ng, or a program that answers as it does."""
    if shutil.which("espeak-ng") is None:
        path = tmp_path / "espeak-ng"
        path.write_text(ANSWER.format(python=sys.executable))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_espeak_speaks_with_a_voice_of_its_own(program: None) -> None:
    assert espeak.missing() is None
    one, two = espeak.voice(0), espeak.voice(1)
    assert one == espeak.voice(0) != two
    assert (one.variant, two.variant, espeak.voice(12).variant) == ("m1", "f1", "m1")
    samples, rate = one.say("Hello there.", 1.5, np.random.default_rng(0))
    assert samples.shape == (round(1.5 * rate),)
    assert 0.05 < np.abs(samples).max() <= 1
    assert np.array_equal(samples, one.say("Hello there.", 1.5, np.random.default_rng(0))[0])


def test_espeak_that_fails_or_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="voice=espeak: espeak-ng is not installed"):
        espeak.voice(0)
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\necho no voice of that name >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match="espeak-ng failed: no voice of that name"):
        espeak.voice(0).say("a", 1.0, np.random.default_rng(0))


# --------------------------------------------------------------------------------------------------------------- Bark


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    bark._load.cache_clear()
    yield
    bark._load.cache_clear()


def package(monkeypatch: pytest.MonkeyPatch, calls: list[Any], error: Exception | None = None) -> None:
    """A `transformers` that notes what is asked of it."""

    class BarkProcessor:
        available_voice_presets = ["v2/en_speaker_0", "v2/en_speaker_1"]

        @classmethod
        def from_pretrained(cls, name: str) -> "BarkProcessor":
            calls.append(("processor", name))
            return cls()

        def __call__(self, text: str, voice_preset: str) -> dict[str, torch.Tensor]:
            calls.append((text, voice_preset))
            return {"input_ids": torch.zeros(1, 4), "history_prompt": torch.zeros(3)}

    class BarkModel:
        device = torch.device("cpu")
        generation_config = type("Generation", (), {"sample_rate": 24000})

        @classmethod
        def from_pretrained(cls, name: str, use_safetensors: bool) -> "BarkModel":
            calls.append(("model", name, use_safetensors))
            if error:
                raise error
            return cls()

        def eval(self) -> "BarkModel":
            return self

        def to(self, device: str) -> "BarkModel":
            return self

        def generate(self, input_ids: Any, history_prompt: Any, do_sample: bool) -> torch.Tensor:
            assert do_sample
            return torch.randn(1, 12_000).clamp(-1, 1)

    module = ModuleType("transformers")
    module.__spec__ = ModuleSpec("transformers", None)
    module.BarkProcessor, module.BarkModel = BarkProcessor, BarkModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)


def test_bark_is_asked_for_a_saved_prompt_in_safetensors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    package(monkeypatch, calls)
    person = bark.voice(1)
    assert person.prompt == "v2/en_speaker_1"
    assert bark.voice(12).prompt == "v2/de_speaker_2"
    one, rate = person.say("Hello.", 0.7, np.random.default_rng(5))
    assert (one.shape, rate) == ((16_800,), 24000)
    assert calls == [("processor", bark.WEIGHTS), ("model", bark.WEIGHTS, True), *[("Hello.", "v2/en_speaker_1")] * 2]
    assert np.array_equal(one, person.say("Hello.", 0.7, np.random.default_rng(5))[0])
    assert not np.array_equal(one, person.say("Hello.", 0.7, np.random.default_rng(6))[0])
    with pytest.raises(UserError, match="has no speaker prompt 'v2/en_speaker_2'; it has 2"):
        bark.voice(2).say("Hello.", 0.7, np.random.default_rng(5))


def test_bark_without_package_or_weights_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="voice=bark: Bark needs transformers"):
        bark.voice(0).say("Hello.", 0.1, np.random.default_rng(0))
    package(monkeypatch, [], OSError("no file named model.safetensors\nmore"))
    with pytest.raises(UserError) as caught:
        bark.voice(0, "here/none").say("Hello.", 0.1, np.random.default_rng(0))
    assert str(caught.value) == (
        "voice=bark: the weights 'here/none' cannot be had (no file named model.safetensors); "
        "give weights=FOLDER, or voice=formant"
    )


@pytest.mark.long
def test_bark_of_random_weights_speaks(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="Bark's package is an extra: pip install transformers")
    tiny_bark(tmp_path, transformers)
    person = bark.voice(0, str(tmp_path))
    samples, rate = person.say("hello there .", 0.5, np.random.default_rng(0))
    assert (samples.shape, rate) == ((12_000,), 24000)
    assert np.abs(samples).max() > 0
    assert np.array_equal(samples, person.say("hello there .", 0.5, np.random.default_rng(0))[0])
    (tmp_path / "model.safetensors").unlink()
    bark._load.cache_clear()
    with pytest.raises(UserError, match=r"the weights .* cannot be had"):
        person.say("hello there .", 0.5, np.random.default_rng(0))


def tiny_bark(folder: Path, transformers: Any) -> None:
    """A Bark of random weights with one speaker prompt, saved as the hub has it."""
    small = {"block_size": 1024, "num_layers": 1, "num_heads": 2, "hidden_size": 16}
    codec = transformers.EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, num_lstm_layers=1)
    torch.manual_seed(0)
    model = transformers.BarkModel(
        transformers.BarkConfig(
            semantic_config={"input_vocab_size": 129_600, "output_vocab_size": 10_048, **small},
            coarse_acoustics_config={"input_vocab_size": 12_096, "output_vocab_size": 12_096, **small},
            fine_acoustics_config={"input_vocab_size": 1056, "output_vocab_size": 1056, "n_codes_given": 1, **small},
            codec_config=codec.to_dict(),
        )
    )
    model.save_pretrained(folder)
    parts_of = {"semantic_config": {"max_new_tokens": 20, "eos_token_id": 10_000}}
    own = {**parts_of, "coarse_acoustics_config": {}, "fine_acoustics_config": {}}
    settings = {**own, "sample_rate": 24_000, "codebook_size": 1024}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "there", "."]))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    rng, shapes = np.random.default_rng(0), {"semantic": (300,), "coarse": (2, 300), "fine": (8, 300)}
    prompts: dict[str, str] = {}
    (folder / "speaker_embeddings").mkdir()
    for name, shape in shapes.items():
        prompts[f"{name}_prompt"] = f"speaker_embeddings/{name}.npy"
        np.save(folder / prompts[f"{name}_prompt"], rng.integers(0, 1024, shape))
    known = {"repo_or_path": str(folder), "v2/en_speaker_0": prompts}
    (folder / "speaker_embeddings_path.json").write_text(json.dumps(known))
