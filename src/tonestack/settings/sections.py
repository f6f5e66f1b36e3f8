"""Settings of label work in a data config: `clean:` and `pseudo:`."""

from typing import Annotated, Any, Literal

from tonestack.base.section import Section

from pydantic import BeforeValidator, Field

Bounds = tuple[float, float]
NAME = r"^[A-Za-z][A-Za-z0-9_]*$"


class CleanParams(Section):
    """Settings of the `clean_labels` stage and of the label loop."""

    method: str = Field("auto", description="a method's name, auto (the best of `candidates`) or none")
    candidates: tuple[str, ...] = ("agree", "confident", "label_spreading")
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="parameters by method")
    groups: Annotated[str, BeforeValidator(str)] = Field("2", description="scheme of the data config's groups, or 1")
    judge: tuple[str, ...] = Field(("clip_forest",), min_length=1, description="model configs that judge clips")
    scouts: tuple[str, ...] = Field((), description="models that compare revisions; none named: the judges")
    name: str | None = Field(None, pattern=NAME, description="of the revision; left out: the method's")
    rounds: int = Field(1, ge=1, description="of one method; each is judged by models of all rounds before")
    embedding: str = Field("statistics", description="statistics, penultimate or autoencoder")
    embedder: str = Field("clip_forest", description="model whose frontend (and network) the embedding uses")
    leave_weight: float = Field(0.0, ge=0, description="weight of clips that stay unverified; 0: not trained on")
    relabel_weight: float = Field(1.0, ge=0, description="weight of relabelled clips")
    pictures: bool = Field(True, description="t-SNE of the clips before and after")


class PseudoParams(Section):
    """Settings of the `pseudo_label` stage. Bounds are (first round, last round), linear in between."""

    regime: str | None = Field(None, description="configs/pseudo/<regime>.yaml; keys given here go before it")
    name: str = Field("pseudo", pattern=NAME, description="of the revisions, before the round's number")
    rounds: int = Field(2, ge=0, description="0: none")
    lower: Bounds = (0.35, 0.65)
    upper: Bounds = (0.99, 0.99)
    train: Literal["off", "keep", "replace", "weigh"] = Field(
        "off",
        description="unverified clips: off, keep (where the given label is the prediction), replace it, "
        "weigh it against the prediction (clips of several labels)",
    )
    test: bool = True
    cross_fit: bool = Field(True, description="test clips are predicted by models that they have not taught alone")
    weight: float = Field(1.0, gt=0, description="of pseudo-labelled training clips")
    test_weight: float = Field(0.5, gt=0)
    soft: bool = Field(False, description="labels are probabilities, not the likeliest class")
    models: tuple[str, ...] = Field((), description="trained in every round; none named: the scouts")
    start: Literal["scratch", "warm"] = Field("scratch", description="warm: from the weights of the round before")
    epochs: int | None = Field(None, ge=1, description="of a round; left out: the models' own")
    patience: int | None = Field(None, ge=1, description="early stopping on an inner split; left out: none")

    @property
    def changes_models(self) -> bool:
        """Whether the rounds' models differ from the plain experiments of the same name."""
        return self.start == "warm" or self.epochs is not None or self.patience is not None
