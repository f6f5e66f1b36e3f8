"""Settings of the `report` stage: `report:` in a data config."""

from tonestack.base.section import Section

from pydantic import Field


class ReportParams(Section):
    """How much of a competition the pages show; the defaults keep FSDKaggle2018's pages small and quick to make."""

    audit_clips: int = Field(300, ge=1, description="clips of the audit page, the most doubtful ones")
    audit_seconds: float = Field(10.0, gt=0, le=60, description="length of what is heard of them, around the loudest")
    clips: int = Field(1500, ge=0, description="most clips that can be heard on the other page")
    seconds: float = Field(4.0, gt=0, le=60, description="length of what is heard of them, around the loudest")
    map_clips: int = Field(3000, ge=10, description="clips that t-SNE places, drawn at random; PCA places all")
