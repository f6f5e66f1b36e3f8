"""Baselines that use no audio: the classes' shares, or their shares for each value of columns (the language)."""

from tonestack.base.section import Section

from pydantic import Field

LEARNER = "prior"
FITTED_ONCE = True
KIND = "baseline"  # shown beside the others, never an input of blend and stack
INPUT = "no sound"


class Params(Section):
    """Columns of the clip table that are known; smoothing: clips' worth of the overall shares."""

    columns: tuple[str, ...] = Field((), description="columns of the clip table whose values are used")
    smoothing: float = Field(2.0, gt=0, description="weight of the overall class shares, in clips")
