"""Settings of a data config: facts about a competition, and choices for all of its models.

configs/data/<name>.yaml is a `DataConfig`; every section below it is a class here.
"""

from typing import Annotated, Any, Literal

from tonestack.base.section import Section

from pydantic import BeforeValidator, Field, PositiveFloat

Bounds = tuple[float, float]
NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
Checksum = Annotated[str, Field(pattern=r"^(md5|sha1|sha256|sha512):[0-9a-f]+$")]


class AudioParams(Section):
    """How recordings are decoded."""

    trim_db: float | None = Field(
        None, gt=0, description="cut leading and trailing samples quieter than this many dB below the clip's peak"
    )
    peak_normalise: bool = Field(False, description="divide by the clip's peak; digital silence stays as it is")
    bad_files: Literal["error", "skip"] = Field(
        "error", description="unusable training clips: an error, or left out; test clips are never an error"
    )
    max_channels: int = Field(64, ge=1, le=1024, description="files with more channels are refused")
    max_seconds: float = Field(6 * 3600.0, gt=0, description="longer files are refused")
    decode_minutes: float = Field(10.0, gt=0, description="a file that takes longer to decode is refused")

    def settings(self) -> dict[str, object]:
        """Return the settings that decoded samples depend on."""
        return self.model_dump(exclude={"bad_files", "decode_minutes"})


class FoldParams(Section):
    """Settings of the split of the training clips into folds."""

    n: int = Field(5, ge=2, le=100, description="number of folds")
    seed: int = Field(0, ge=0, description="seed of the split")
    repeats: int = Field(1, ge=1, le=100, description="cross-validations, each on folds of its own (`repeat`)")
    small_classes: Literal["refuse", "warn", "keep"] = Field(
        "refuse",
        description="classes with fewer clips than folds: refused, split with a warning, or kept in training always",
    )


class CleanParams(Section):
    """Settings of the `clean_labels` stage and of the choice of a revision."""

    method: str = Field("auto", description="name of a cleaning method, auto (the best of `candidates`) or none")
    candidates: tuple[str, ...] = Field(
        ("agree", "confident", "label_spreading"), description="methods that `auto` compares"
    )
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="parameters by method")
    groups: Annotated[str, BeforeValidator(str)] = Field("2", description="scheme of the data config's groups, or 1")
    judge: tuple[str, ...] = Field(("clip_forest",), min_length=1, description="model configs of the pair models")
    scouts: tuple[str, ...] = Field((), description="models that compare revisions; none named: the pair models")
    name: str | None = Field(None, pattern=NAME, description="name of the revision; left out: the method's")
    rounds: int = Field(1, ge=1, description="rounds of one method; each uses the models of all rounds before")
    embedding: str = Field("statistics", description="statistics, penultimate or autoencoder")
    embedder: str = Field("clip_forest", description="model whose frontend (and network) the embedding uses")
    leave_weight: float = Field(0.0, ge=0, description="weight of clips that stay unverified; 0: not trained on")
    relabel_weight: float = Field(1.0, ge=0, description="weight of relabelled clips")
    pictures: bool = Field(True, description="t-SNE of the clips before and after")


class PseudoParams(Section):
    """Settings of the `pseudo_label` stage. Bounds are (first round, last round), linear in between."""

    regime: str | None = Field(None, description="configs/pseudo/<regime>.yaml; keys set here override it")
    name: str = Field("pseudo", pattern=NAME, description="name of the revisions, before the round's number")
    rounds: int = Field(2, ge=0, description="number of rounds; 0: none")
    lower: Bounds = Field(
        (0.35, 0.65), description="least probability that becomes a label, in the first and the last round"
    )
    upper: Bounds = Field(
        (0.99, 0.99), description="largest probability that becomes a label, in the first and the last round"
    )
    train: Literal["off", "keep", "replace", "weigh"] = Field(
        "off",
        description="unverified clips: off, keep (where the given label is the prediction), replace it, "
        "weigh it against the prediction (clips of several labels)",
    )
    test: bool = Field(True, description="pseudo-label test clips")
    cross_fit: bool = Field(
        True, description="rounds hear of a test clip only from models that did not train on its pseudo-label"
    )
    weight: float = Field(1.0, gt=0, description="weight of pseudo-labelled training clips")
    test_weight: float = Field(0.5, gt=0, description="weight of pseudo-labelled test clips")
    soft: bool = Field(False, description="labels are probabilities, not the likeliest class")
    models: tuple[str, ...] = Field((), description="trained in every round; none named: the scouts")
    start: Literal["scratch", "warm"] = Field("scratch", description="warm: from the weights of the round before")
    epochs: int | None = Field(None, ge=1, description="epochs of a round; left out: the models' own")
    patience: int | None = Field(None, ge=1, description="patience of early stopping on an inner split; left out: none")

    @property
    def changes_models(self) -> bool:
        """True if the rounds' models differ from the plain experiments of the same name."""
        return self.start == "warm" or self.epochs is not None or self.patience is not None


class StudentParams(Section):
    """Settings of the `student` stage: rounds in which networks learn from soft labels of a pool of recordings.

    Values by round: the last one counts for all later rounds.
    """

    rounds: int = Field(2, ge=0, description="most rounds; 0: none")
    name: str = Field("student", pattern=NAME, description="name of the revisions, before the round's number")
    window: float = Field(5.0, gt=0, description="length of the pool's pieces, s")
    share: float = Field(1.0, gt=0, le=1, description="share of labelled crops that are mixed with a piece of the pool")
    power: tuple[float, ...] = Field(
        (1.0, 1.54, 1.82, 1.67),
        min_length=1,
        description="by round: power that the teachers' probabilities are taken to",
    )
    cut: float = Field(0.05, ge=0, lt=1, description="smaller probabilities of a class count as 0")
    least: float = Field(0.0, ge=0, lt=1, description="pieces whose likeliest class is less likely are left out")
    draw: Literal["confident", "even"] = Field(
        "confident", description="pieces are drawn by the sum of their classes' probabilities, or evenly"
    )
    teachers: Literal["all", "others"] = Field(
        "all", description="each model learns from all models of the round before, or from the others alone"
    )
    models: tuple[str, ...] = Field((), description="models of the rounds; none named: those of this call")
    drop_path: float | None = Field(
        None, ge=0, lt=1, description="drop path of networks that have it, in rounds alone; left out: their own"
    )

    @staticmethod
    def of_round(values: tuple[float, ...], number: int) -> float:
        """The value of a round, counted from 1."""
        return values[min(number, len(values)) - 1]


class BlendParams(Section):
    """Settings of the `blend` stage."""

    tables: tuple[str, ...] = Field((), description="experiments to blend; none named: all there are")
    made: bool = Field(False, description="also take made tables, those of a blend aside")
    searches: tuple[str, ...] = Field(
        ("single", "geometric", "arithmetic", "log_loss", "greedy", "cmaes"), description="blend searches tried"
    )
    power: float = Field(0.0, ge=-5, le=5, description="exponent p of the searched power means; 0: geometric mean")
    trials: int = Field(300, ge=1, description="trials of each Optuna search")
    batch: int = Field(50, ge=1, description="candidates asked, scored and told at once")
    greedy_steps: int = Field(50, ge=1, description="steps of the greedy search")
    class_shrinkage: float = Field(0.1, ge=0, description="pull of per-class weights towards the shared ones")
    bootstrap: int = Field(1000, ge=50, description="resamples behind every interval")


class ThresholdParams(Section):
    """Thresholds of metrics of predicted labels (F1, recall and specificity, Matthews), found on OOF rows."""

    kind: Literal["half", "shared", "per_class"] = Field(
        "shared", description="one half for all classes, one threshold found for all, or one for each class"
    )
    least: int = Field(10, ge=1, description="positive clips that a class needs for a threshold of its own")


class StackParams(Section):
    """Settings of the `stack` stage."""

    tables: tuple[str, ...] = Field((), description="experiments to stack; none named: all there are")
    stackers: tuple[str, ...] = Field(
        ("logistic", "lightgbm"), description="stackers fitted, each into a table of its own"
    )
    unverified_weight: float = Field(0.0, ge=0, le=1, description="weight of clips whose label nobody checked")
    clip_statistics: bool = Field(
        True, description="use statistics of the clips' spectrograms where prepared features are there"
    )
    hour: bool = Field(True, description="use the time of day where the names of soundscapes say it")
    site: Literal["shared", "always", "never"] = Field(
        "shared",
        description="use the site where the names of soundscapes say it: sites that training and test recordings "
        "share, all of training, or none",
    )
    rounds: int = Field(60, ge=1, description="most boosting rounds")
    patience: int = Field(8, ge=1, description="rounds without a better inner log loss before boosting stops")
    learning_rate: float = Field(0.05, gt=0, description="learning rate of the trees")
    leaves: int = Field(6, ge=2, description="leaves per tree")
    min_clips: int = Field(20, ge=1, description="least clips in a leaf")
    feature_fraction: float = Field(0.2, gt=0, le=1, description="share of the inputs that each tree may use")
    l2_leaves: float = Field(5.0, ge=0, description="L2 penalty on the leaves")
    l2_logistic: float = Field(1.0, gt=0, description="strongest L2 penalty per clip that logistic regression tries")
    jobs: int = Field(2, ge=1, description="folds fitted at once, each on one thread")


class SubmitParams(Section):
    """Settings of the `submit` stage."""

    table: str | None = Field(None, description="table to submit, whatever cross-validation chooses")
    upload: bool = Field(False, description="send the file to Kaggle with the official client")
    message: str | None = Field(None, description="text sent with the upload; left out: table and score")


class VerifyParams(Section):
    """Settings of the task `verify`: trials drawn where no list gives any, adaptive s-norm, the calibration's prior."""

    trials: int = Field(2000, ge=2, description="trials drawn per fold; in half of them, both clips are of one speaker")
    seed: int = Field(0, ge=0, description="seed of drawn trials and of the cohort")
    cohort: Literal["clips", "speakers"] = Field(
        "clips", description="s-norm compares with single clips, or with the mean of each speaker"
    )
    cohort_size: int = Field(1000, ge=2, description="training clips drawn for the cohort, at most")
    top: int = Field(300, ge=2, description="best scores of the cohort that s-norm uses")
    prior: float = Field(0.5, gt=0, lt=1, description="prior probability that both clips are of one speaker")

    def settings(self) -> dict[str, object]:
        """Return the settings that the tables depend on, beside their rows."""
        return self.model_dump(include={"seed", "cohort", "cohort_size", "top"})


class PredictParams(Section):
    """Treatment of long recordings by `predict`; in seconds."""

    whole: float = Field(60.0, gt=0, description="longest recording tagged as one clip, s")
    window: float = Field(10.0, gt=0, description="length of the pieces that longer recordings are cut into, s")
    shown: int = Field(8, ge=1, description="most tags in the picture of a timeline")


class BundleParams(Section):
    """Settings of the `bundle` stage."""

    runtime: Literal["torch", "onnxruntime", "openvino"] = Field(
        "torch", description="what computes the networks of a bundle on CPUs; openvino has to be installed"
    )


class ShiftParams(Section):
    """Settings of the `shift` stage."""

    folds: int = Field(5, ge=2, description="folds of the cross-validation of the train-or-test classifier")
    rounds: int = Field(60, ge=1, description="trees of the classifier")
    features: int = Field(12, ge=1, description="statistics shown, those that differ most")
    neighbours: int = Field(5, ge=1, description="clips that each clip is compared with, to find near-duplicates")
    similar: float = Field(0.9, gt=0, le=1, description="least correlation of near-duplicates")


class ReportParams(Section):
    """Size of the pages; the defaults keep FSDKaggle2018's pages small and quick to make."""

    audit_clips: int = Field(300, ge=1, description="clips of the audit page, the most doubtful ones")
    audit_seconds: float = Field(10.0, gt=0, le=60, description="length of their excerpts, around the loudest point, s")
    clips: int = Field(1500, ge=0, description="most clips with audio on the other page")
    seconds: float = Field(4.0, gt=0, le=60, description="length of their excerpts, around the loudest point, s")
    map_clips: int = Field(3000, ge=10, description="clips that t-SNE places, drawn at random; PCA places all")


class DownloadParams(Section):
    """Where a competition's files come from; see competition/download.py."""

    source: Literal["zenodo", "kaggle", "urls"] | None = Field(
        None, description="where from; left out: the first of these that is given"
    )
    zenodo: int | None = Field(None, description="number of the Zenodo record")
    files: tuple[str, ...] = Field((), description="files taken of the record; none named: all")
    notice: str = Field("", description="conditions of use, printed before the download")
    kaggle: str | None = Field(None, description="the competition's name in Kaggle's addresses")
    urls: dict[str, Checksum] = Field(default_factory=dict, description="address: checksum, such as md5:0123...")
    server: str = Field("https://zenodo.org", description="address of Zenodo")
    max_gb: float = Field(100.0, gt=0, description="largest unpacked size of an archive, GB")
    max_ratio: float = Field(100.0, gt=1, description="largest ratio of unpacked to packed size")
    keep: bool = Field(False, description="keep archives after unpacking")


class DataConfig(Section):
    """Facts about a competition, and choices for all of its models."""

    reader: dict[str, Any] = Field(description="{name: ..., settings}: how the competition's files are read")
    root: str = Field(description="folder of the competition's files")
    task: str = Field("classify", description="task: classify, multilabel, verify or match")
    metric: str = Field("map@3", description="metric that choices are made by")
    more_metrics: tuple[str, ...] = Field((), description="metrics printed beside `metric` for every fold and table")
    preset: str = Field("fast", description="preset that calls take when they name none")
    presets: str | None = Field(None, description="folder of other presets: configs/preset/<presets>/")
    groups: dict[str, dict[str, list[str]]] = Field(
        {}, description="schemes of classes in groups: scheme: {group: [labels]}"
    )
    sample_rate: int | Literal["auto", "any"] = Field(
        "auto",
        description="sample rate of the recordings, Hz; frontends for higher rates are laid out for it; "
        "auto: read from some of the files, any: frontends stay as configured",
    )
    clip_seconds: PositiveFloat | Literal["auto", "any"] = Field(
        "auto",
        description="length of the longest recordings, s, for models with crop.fit; "
        "auto: read from some of the files, any: they stay as configured",
    )
    embedding: dict[str, Any] = Field(
        {}, description="frontend `embedding` of models that name no file: model: FILE or a known name, other settings"
    )
    audio: AudioParams = AudioParams()
    folds: FoldParams = FoldParams()
    fold_mean: Literal["geometric", "arithmetic"] = Field(
        "geometric", description="mean over the folds' predictions of test clips"
    )
    fold_levels: Literal["auto", "even", "kept"] = Field(
        "auto",
        description="even: the OOF rows of a model's folds are brought to one level per class, by what its folds say "
        "of the test rows (of unlabelled recordings where there are few), before blend, stack and scores read them; "
        "auto: where clips may have several labels and the metric is a mean over classes, such as auc",
    )
    baseline: str = Field("", description="model config that the others are compared with (`repeat`)")
    thresholds: ThresholdParams = ThresholdParams()
    blend: BlendParams = BlendParams()
    stack: StackParams = StackParams()
    submit: SubmitParams = SubmitParams()
    predict: PredictParams = PredictParams()
    bundle: BundleParams = BundleParams()
    shift: ShiftParams = ShiftParams()
    download: DownloadParams | None = None
    clean: CleanParams = CleanParams()
    pseudo: PseudoParams = PseudoParams()
    student: StudentParams = StudentParams()
    verify: VerifyParams = VerifyParams()
    report: ReportParams = ReportParams()
