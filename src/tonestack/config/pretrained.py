"""Pretrained weights that tonestack knows of: configs/weights/<name>.yaml, one file each.

None of them is fetched: their files lie in input/weights/. What is written there about a model's rate, windows and
output completes the frontend `embedding`, so that the name of a file is all that a call has to say.
"""

from pathlib import Path
from typing import Any

from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.section import Section
from tonestack.config import layers
from tonestack.settings.model_config import ModelConfig

from pydantic import Field


class KnownWeights(Section):
    """One model that people have on disk."""

    title: str = Field(description="name, authors and year")
    file: str = Field(description="name of the file or folder in input/weights/")
    source: str = Field(description="where to get it")
    licence: str = Field(description="licence of the weights")
    megabytes: float = Field(gt=0, description="size")
    sample_rate: int = Field(ge=1_000, description="sample rate that it was trained with, Hz")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="published or measured checksum")
    note: str = Field("", description="what else a user should know")
    frontend: dict[str, Any] = Field({}, description="settings of the frontend `embedding`")
    model: str | None = Field(None, description="model config that is fine-tuned from it by network.weights=FILE")


def known() -> dict[str, KnownWeights]:
    """All of them by name."""
    found = {}
    for name in layers.available("weights"):
        place, values = layers.layer("weights", name)
        found[name] = KnownWeights.parse(values, place)
    return found


def laid_out(frontend: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """The settings of a frontend `embedding`, completed by the data config's section and by what is known of its file.

    common: the section `embedding`; it counts for models that name no file of their own. What a model config sets
    itself goes before it, and both go before what is known of the file.
    """
    plain = parts.part_params("frontends", {"name": "embedding"}, "frontend").model_dump(mode="json")
    own = {key: value for key, value in frontend.items() if value != plain.get(key)}
    given = own if own.get("model") else common | own
    model, every = given.get("model"), known()
    made = {"name": "embedding"} | _of(model, every) | given
    if model in every:
        made["model"] = every[model].file
    return {"name": "embedding"} | parts.part_params("frontends", made, "embedding").model_dump(mode="json")


def with_teacher(model: str, settings: ModelConfig, common: dict[str, Any]) -> ModelConfig:
    """The settings of a distilled model with all that its teacher is, the hash of its file included."""
    if getattr(parts.find("models", settings.network["name"]), "LEARNER", "network") != "network":
        raise UserError(f"{model}: training.distil is for networks that learn from labels alone; leave it out")
    training = settings.training
    teacher = laid_out({"name": "embedding"} | training.distil.teacher, common)
    if not teacher["model"]:
        raise UserError(f"{model}: training.distil needs a pretrained model: give embedding.model=FILE")
    if not teacher["content"]:
        there = f"embedding.model={teacher['model']}: no such file, nor in input/weights/"
        raise UserError(f"{model}: training.distil: {there}; see ./run.sh weights")
    distil = training.distil.model_copy(update={"teacher": teacher})
    return settings.model_copy(update={"training": training.model_copy(update={"distil": distil})})


def fixes_frontend(network: dict[str, Any]) -> bool:
    """True if a network starts from published weights that know one frontend alone, whatever the recordings' rate."""
    return bool(network.get("weights")) and getattr(parts.find("models", network["name"]), "OWN_FRONTEND", False)


def _of(model: str | None, every: dict[str, KnownWeights]) -> dict[str, Any]:
    """What is known of a file, by its name or by ours."""
    for name, weights in every.items():
        if (model and model in (name, weights.file)) or Path(model or "").name == weights.file:
            return {"sample_rate": weights.sample_rate} | weights.frontend
    return {}
