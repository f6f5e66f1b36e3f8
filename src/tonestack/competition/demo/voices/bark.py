"""Voices of Bark, a text-to-audio model (https://github.com/suno-ai/bark), through transformers: slow, lifelike.

A person is one of the speaker prompts saved with the model, so that a voice is the same in every clip; the samples are
drawn from a seed. The package is an extra (`transformers`); the weights come from the model hub on first use, in
safetensors alone (a pickle could run code), or from a folder.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from tonestack.base.errors import UserError
from tonestack.competition.demo.voices import repeated

import numpy as np

WEIGHTS = "suno/bark-small"
LANGUAGES = ("en", "de", "es", "fr", "it", "pl", "pt", "tr", "hi", "ja", "ko", "ru", "zh")
SPEAKERS = 10  # saved prompts of each language


@dataclass(frozen=True)
class BarkVoice:
    """A person: one saved speaker prompt of a Bark model."""

    prompt: str
    weights: str = WEIGHTS

    def say(self, text: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """See `SyntheticVoice.say`; one reading is 14 seconds at the most, which is Bark's limit."""
        return repeated(lambda words: self._spoken(words, rng), text, seconds, rng)

    def _spoken(self, text: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        import torch

        processor, model = _load(self.weights)
        torch.manual_seed(int(rng.integers(2**63)))
        inputs = processor(text, voice_preset=_known(processor, self.prompt))
        there = {key: value.to(model.device) for key, value in inputs.items()}  # the prompt is a batch in the batch
        with torch.inference_mode():
            samples = model.generate(**there, do_sample=True)
        return samples[0].float().cpu().numpy(), int(model.generation_config.sample_rate)


def missing() -> str | None:
    """The missing package, None if installed (weights are loaded for the first clip)."""
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        return "Bark needs transformers: .venv/bin/python -m pip install transformers (or give voice=formant)"
    return None


def voice(seed: int, weights: str = WEIGHTS) -> BarkVoice:
    """The saved prompts in turn: ten English speakers, then ten of every other language."""
    language, speaker = divmod(seed % (len(LANGUAGES) * SPEAKERS), SPEAKERS)
    return BarkVoice(f"v2/{LANGUAGES[language]}_speaker_{speaker}", weights)


@cache
def _load(weights: str) -> tuple[Any, Any]:
    """Processor and model, loaded once per process."""
    lacking = missing()
    if lacking:
        raise UserError(f"voice=bark: {lacking}")
    import torch
    from transformers import BarkModel, BarkProcessor  # type: ignore[import-not-found]

    try:
        processor = BarkProcessor.from_pretrained(weights)
        model = BarkModel.from_pretrained(weights, use_safetensors=True).eval()
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"voice=bark: the weights '{weights}' cannot be had ({first}); give weights=FOLDER, or voice=formant"
        ) from None
    return processor, model.to("cuda" if torch.cuda.is_available() else "cpu")


def _known(processor: Any, prompt: str) -> str:
    """The prompt, if the model has it."""
    known = processor.available_voice_presets
    if prompt not in known:
        raise UserError(f"voice=bark: the model has no speaker prompt '{prompt}'; it has {len(known)}")
    return prompt
