"""Settings of a data config: facts about a competition, and choices for all of its models.

configs/data/<name>.yaml is a `DataConfig`; every section below it is a class here.
"""

from typing import Annotated, Any, Literal

from tonestack.base.section import Section

from pydantic import BeforeValidator, Field

Bounds = tuple[float, float]
NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
Checksum = Annotated[str, Field(pattern=r"^(md5|sha1|sha256|sha512):[0-9a-f]+$")]


class AudioParams(Section):
    """Settings of decoding.

    trim_db: cut leading and trailing samples quieter than this many dB under the clip's peak.
    peak_normalise: divide by the clip's peak (digital silence stays as it is).
    bad_files: unusable training clips are an error or are left out; test clips are never an error.
    max_channels, max_seconds: larger files are refused as bad.
    decode_minutes: time limit per file; the decoder is taken to hang after it.
    """

    trim_db: float | None = Field(None, gt=0)
    peak_normalise: bool = False
    bad_files: Literal["error", "skip"] = "error"
    max_channels: int = Field(64, ge=1, le=1024)
    max_seconds: float = Field(6 * 3600.0, gt=0)
    decode_minutes: float = Field(10.0, gt=0)

    def settings(self) -> dict[str, object]:
        """Return the settings that decoded samples depend on."""
        return self.model_dump(exclude={"bad_files", "decode_minutes"})


class FoldParams(Section):
    """Settings of the split of the training clips into folds."""

    n: int = Field(5, ge=2, le=100)
    seed: int = Field(0, ge=0)
    repeats: int = Field(1, ge=1, le=100, description="cross-validations, each on folds of its own (`repeat`)")
    small_classes: Literal["refuse", "warn"] = "refuse"


class CleanParams(Section):
    """Settings of the `clean_labels` stage and of the label loop."""

    method: str = Field("auto", description="a method's name, auto (the best of `candidates`) or none")
    candidates: tuple[str, ...] = ("agree", "confident", "label_spreading")
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="parameters by method")
    groups: Annotated[str, BeforeValidator(str)] = Field("2", description="scheme of the data config's groups, or 1")
    judge: tuple[str, ...] = Field(
        ("clip_forest",), min_length=1, description="pair models: model configs that predict clips"
    )
    scouts: tuple[str, ...] = Field((), description="models that compare revisions; none named: those of `judge`")
    name: str | None = Field(None, pattern=NAME, description="of the revision; left out: the method's")
    rounds: int = Field(1, ge=1, description="of one method; each uses predictions by models of all rounds before")
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
    cross_fit: bool = Field(True, description="predict test clips only by models not trained on them")
    weight: float = Field(1.0, gt=0, description="of pseudo-labelled training clips")
    test_weight: float = Field(0.5, gt=0)
    soft: bool = Field(False, description="labels are probabilities, not the likeliest class")
    models: tuple[str, ...] = Field((), description="trained in every round; none named: the scouts")
    start: Literal["scratch", "warm"] = Field("scratch", description="warm: from the weights of the round before")
    epochs: int | None = Field(None, ge=1, description="of a round; left out: the models' own")
    patience: int | None = Field(None, ge=1, description="early stopping on an inner split; left out: none")

    @property
    def changes_models(self) -> bool:
        """True if the rounds' models differ from the plain experiments of the same name."""
        return self.start == "warm" or self.epochs is not None or self.patience is not None


class BlendParams(Section):
    """Settings of the `blend` stage."""

    tables: tuple[str, ...] = ()  # experiments to blend; none named: all there are
    made: bool = False  # also take tables that blend and stack have made
    searches: tuple[str, ...] = ("single", "geometric", "arithmetic", "log_loss", "greedy", "cmaes")
    power: float = Field(default=0.0, ge=-5, le=5)  # p of the searched power means
    trials: int = Field(default=300, ge=1)  # of each Optuna search
    batch: int = Field(default=50, ge=1)  # candidates asked, scored and told at once
    greedy_steps: int = Field(default=50, ge=1)
    class_shrinkage: float = Field(default=0.1, ge=0)  # pull of per-class weights towards the shared ones
    bootstrap: int = Field(default=1000, ge=50)  # resamples behind every interval


class StackParams(Section):
    """Settings of the `stack` stage."""

    tables: tuple[str, ...] = ()  # experiments to stack; none named: all there are
    stackers: tuple[str, ...] = ("logistic", "lightgbm")
    unverified_weight: float = Field(default=0.3, ge=0, le=1)  # of clips whose label nobody checked
    clip_statistics: bool = True  # use statistics of the clips' spectrograms where prepared features are there
    rounds: int = Field(default=60, ge=1)
    patience: int = Field(default=8, ge=1)  # rounds without a better inner log loss
    learning_rate: float = Field(default=0.05, gt=0)
    leaves: int = Field(default=6, ge=2)
    min_clips: int = Field(default=20, ge=1)  # in a leaf
    feature_fraction: float = Field(default=0.2, gt=0, le=1)
    l2_leaves: float = Field(default=5.0, ge=0)
    l2_logistic: float = Field(default=1.0, gt=0)  # strongest penalty per clip on squared weights that is tried
    jobs: int = Field(default=2, ge=1)  # folds fitted at once, each on one thread


class SubmitParams(Section):
    """Settings of the `submit` stage."""

    table: str | None = Field(None, description="table to submit, whatever cross-validation chooses")
    upload: bool = Field(False, description="send the file to Kaggle with the official client")
    message: str | None = Field(None, description="message of the upload; left out: table and score")


class VerifyParams(Section):
    """Settings of the task `verify`: trials drawn where no list gives any, adaptive s-norm, the calibration's prior."""

    trials: int = Field(2000, ge=2, description="trials drawn per fold, half of them of one speaker")
    seed: int = Field(0, ge=0)
    cohort: Literal["clips", "speakers"] = Field("clips", description="s-norm compares with single clips, or means")
    cohort_size: int = Field(1000, ge=2, description="training clips drawn for the cohort, at most")
    top: int = Field(300, ge=2, description="best cohort scores that s-norm uses")
    prior: float = Field(0.5, gt=0, lt=1, description="prior probability that a trial is of one speaker")

    def settings(self) -> dict[str, object]:
        """Return the settings that the tables depend on, beside their rows."""
        return self.model_dump(include={"seed", "cohort", "cohort_size", "top"})


class PredictParams(Section):
    """Treatment of long recordings by `predict`; in seconds."""

    whole: float = Field(60.0, gt=0, description="longest recording that is tagged as one clip")
    window: float = Field(10.0, gt=0, description="pieces that a longer one is cut into")
    shown: int = Field(8, ge=1, description="most tags in the picture of a timeline")


class ShiftParams(Section):
    """Settings of the `shift` stage."""

    folds: int = Field(5, ge=2, description="folds of the cross-validation of the train-or-test classifier")
    rounds: int = Field(60, ge=1, description="trees of the classifier")
    features: int = Field(12, ge=1, description="most important statistics that are shown")
    neighbours: int = Field(5, ge=1, description="clips that each clip is compared with, to find near-duplicates")
    similar: float = Field(0.9, gt=0, le=1, description="least correlation of near-duplicates")


class ReportParams(Section):
    """Size of the pages; the defaults keep FSDKaggle2018's pages small and quick to make."""

    audit_clips: int = Field(300, ge=1, description="clips of the audit page, the most doubtful ones")
    audit_seconds: float = Field(
        10.0, gt=0, le=60, description="length of the excerpt played, around the loudest moment"
    )
    clips: int = Field(1500, ge=0, description="most clips that can be played on the report page")
    seconds: float = Field(4.0, gt=0, le=60, description="length of the excerpt played, around the loudest moment")
    map_clips: int = Field(3000, ge=10, description="clips that t-SNE places, drawn at random; PCA places all")


class DownloadParams(Section):
    """Sources of a competition's files; see `competition/download.py`."""

    source: Literal["zenodo", "kaggle", "urls"] | None = None  # none: the first of these that is given
    zenodo: int | None = Field(None, description="number of the record")
    files: tuple[str, ...] = Field((), description="files of the record; none named: all")
    notice: str = Field("", description="terms of use that the owners ask every user to keep")
    kaggle: str | None = Field(None, description="the competition's name in Kaggle's addresses")
    urls: dict[str, Checksum] = Field(default_factory=dict, description="address: checksum, such as md5:0123...")
    server: str = "https://zenodo.org"
    max_gb: float = Field(100.0, gt=0, description="largest size of an unpacked archive")
    max_ratio: float = Field(100.0, gt=1, description="largest growth of an archive by unpacking")
    keep: bool = Field(False, description="keep archives after unpacking")


class DataConfig(Section):
    """Facts about a competition and choices for all of its models."""

    reader: dict[str, Any]
    root: str
    task: str = "classify"
    metric: str = "map@3"
    more_metrics: tuple[str, ...] = Field((), description="printed beside the metric of every fold and table")
    preset: str = "fast"
    presets: str | None = Field(None, description="folder of presets of its own: configs/preset/<presets>/")
    groups: dict[str, dict[str, list[str]]] = {}
    sample_rate: int | Literal["auto", "any"] = Field(
        "auto",
        description="sample rate of the recordings, to which frontends for higher rates are adapted; auto: from the "
        "headers of some files; any: frontends stay as configured",
    )
    audio: AudioParams = AudioParams()
    folds: FoldParams = FoldParams()
    fold_mean: Literal["geometric", "arithmetic"] = "geometric"
    baseline: str = Field("", description="model config that the others are compared with (`repeat`)")
    blend: BlendParams = BlendParams()
    stack: StackParams = StackParams()
    submit: SubmitParams = SubmitParams()
    predict: PredictParams = PredictParams()
    shift: ShiftParams = ShiftParams()
    download: DownloadParams | None = None
    clean: CleanParams = CleanParams()
    pseudo: PseudoParams = PseudoParams()
    verify: VerifyParams = VerifyParams()
    report: ReportParams = ReportParams()
