"""Lay models of whole clips out for recordings that are shorter than their crops.

A crop of five seconds at one frame per 40 ms has ten frames of a spoken digit and repeats them a dozen times. Crop and
hop shrink together with the longest recording, down to a hop of 10 ms: as many frames, and as many minutes, tell more.
A window of the Fourier transform that is far longer than the hop shrinks, too.
"""

import math
from functools import cache
from typing import Any

from tonestack.config import band
from tonestack.features import headers
from tonestack.settings.model_config import ModelConfig
from tonestack.tables.competition import TIMES, Competition

import numpy as np

LOOKED_AT = 64  # training clips whose headers say their length
LONG = 0.95  # of them are no longer than what counts as the longest: networks hear an odd long one in several crops
KNOWN = 0.8  # of them that must say it; broken files do not
LEAST_HOP = 0.01  # s
HOPS = 3.2  # of a window, at least
MOST = 0.9  # of a crop; longer clips fill it well enough


def longest(competition: Competition) -> float | None:
    """Seconds of the longest among some training clips, evenly chosen, but for a few; None where many do not say."""
    clips = competition.train.reindex(columns=["path", *TIMES])
    clips = clips.iloc[:: max(1, len(clips) // LOOKED_AT)]
    pieces = clips["end"] - clips["start"].fillna(0)
    found = [
        headers.seconds(competition.root / path) if piece != piece else piece
        for path, piece in zip(clips["path"], pieces, strict=True)
    ]
    known = [length for length in found if length]
    return float(np.quantile(known, LONG, method="higher")) if len(known) > KNOWN * len(found) else None


def fitted(settings: ModelConfig, seconds: float, typed: dict[str, Any]) -> ModelConfig:
    """The settings for clips of at most `seconds`; as they are without `crop.fit`, and where one was typed."""
    frontend, crop = settings.frontend, settings.crop
    hop, rate = frontend.get("hop_length"), frontend.get("sample_rate")
    given = "seconds" in typed.get("crop", {}) or not {"hop_length", "n_fft"}.isdisjoint(typed.get("frontend", {}))
    if given or not (crop.fit and hop and rate) or seconds > MOST * crop.seconds:
        return settings
    made = max(min(hop, round(LEAST_HOP * rate)), round(hop * seconds / crop.seconds))
    shorter = crop.model_copy(update={"seconds": crop.seconds * made / hop})
    _say(f"{seconds:.3g} s: models of whole clips see {shorter.seconds:.3g} s, a frame per {1000 * made / rate:.3g} ms")
    return settings.model_copy(update={"frontend": _finer(frontend, made), "crop": shorter})


def _finer(frontend: dict[str, Any], hop: int) -> dict[str, Any]:
    """The frontend with a shorter hop, and with a shorter window and no more bands than that allows."""
    made = frontend | {"hop_length": hop}
    if not frontend.get("n_fft"):
        return made
    window = min(frontend["n_fft"], 2 ** math.ceil(math.log2(HOPS * hop)))
    return band.with_fewer_bands(made | {"n_fft": window}) or made


@cache
def _say(what: str) -> None:
    """Print, once per process, what was laid out."""
    print(f"the recordings last up to {what}")
