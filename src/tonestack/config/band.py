"""Lay spectral frontends out for the band that the recordings have.

A frontend for 32 kHz leaves its upper bands empty where recordings are at 16 or 8 kHz. Its window and hop keep their
seconds, its bands end at half the recordings' rate.
"""

from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.features import headers
from tonestack.tables.competition import Competition

LOOKED_AT = 32  # training clips whose headers say the rate
SAMPLES = ("n_fft", "hop_length", "win_length")  # settings that count samples
BANDS = ("n_mels", "n_bins")  # settings that count bands
BAND_STEP = 8


def native_rate(competition: Competition) -> int | None:
    """The highest sample rate among some training clips, evenly chosen; None where no file can be read."""
    paths = competition.train["path"].drop_duplicates()
    rates = [headers.sample_rate(competition.root / path) for path in paths.iloc[:: max(1, len(paths) // LOOKED_AT)]]
    return max((rate for rate in rates if rate), default=None)


def fitted(frontend: dict[str, Any], rate: int) -> dict[str, Any]:
    """The frontend's settings for recordings at `rate`, or as they are where it looks no higher than they reach."""
    configured = frontend.get("sample_rate") or 0
    if configured <= rate or not any(key in frontend for key in BANDS):
        return frontend
    made = frontend | {"sample_rate": rate}
    made |= {key: max(1, round(frontend[key] * rate / configured)) for key in SAMPLES if frontend.get(key)}
    if frontend.get("fmax"):
        made["fmax"] = min(float(frontend["fmax"]), rate / 2)
    return with_fewer_bands(made) or frontend


def with_fewer_bands(frontend: dict[str, Any]) -> dict[str, Any] | None:
    """The frontend with as many of its mel bands or bins, if any, as its checks allow; None where they allow none."""
    bands = next((key for key in BANDS if key in frontend), None)
    if bands is None:
        return frontend if _valid(frontend) else None
    counts = range(frontend[bands], BAND_STEP, -BAND_STEP)
    return next((made for count in counts if _valid(made := frontend | {bands: count})), None)


def _valid(frontend: dict[str, Any]) -> bool:
    """Whether the frontend's own checks pass: no empty mel band, no bin above half the rate."""
    try:
        parts.part_params("frontends", frontend, "frontend")
    except UserError:
        return False
    return True
