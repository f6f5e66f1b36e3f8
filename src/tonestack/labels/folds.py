"""Folds: stratified by label (or labels) × verified, grouped by source, official folds honoured."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.base.files import fingerprint, read_csv, read_json, write_csv, write_json
from tonestack.labels import stratify
from tonestack.settings.data_config import FoldParams
from tonestack.tables import label_grammar

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ["clip_id", "label", "verified", "group", "fold"]
PAIRS = 10_000_000  # of groups of one label that may change places; beyond, so many clips are even by themselves


ListsOf = Callable[[pd.Series], pd.Series]


def assign(train: pd.DataFrame, params: FoldParams, origin: str, lists_of: ListsOf | None = None) -> pd.DataFrame:
    """Assign every training clip to a fold: the table of `folds/<name>/r0.csv`.

    train: a reader's table (`clip_id, label, verified, group, fold`; fold -1 where there is none).
    origin names the settings in errors. Official folds are kept as they are. lists_of: the single labels of every
    clip, for clips with several; one without any has a stratum of `label_grammar.strata`.
    """
    table = train[COLUMNS].reset_index(drop=True).copy()
    official = table["fold"].to_numpy() >= 0
    if official.all():
        return table
    if official.any() and set(table.loc[official, "fold"]) == {0}:
        return table  # a fixed split: fold 0 validates, the others (-1) are only ever trained on
    if official.any():
        raise UserError(
            f"{origin}: {int((~official).sum())} clips have no official fold, first {_first(table, ~official)}"
        )
    single = table["label"] if lists_of is None else lists_of(table["label"]).explode()
    classes = single if lists_of is None else single[single.map(label_grammar.is_class)]
    stay = np.zeros(len(table), dtype=bool)
    if params.small_classes == "keep":
        stay = always_trained(table, classes, params.n)
        classes = classes[~stay[classes.index]]
    if stay.all():
        raise UserError(f"{origin}: every clip has a class that one group alone has; give folds.small_classes=warn")
    check_class_sizes(classes, params, origin)
    try:
        table["fold"] = split(table, params) if lists_of is None else split_several(table, single, params)
    except ValueError as error:  # more folds than any class has clips, or than there are groups
        raise UserError(f"{origin}: {str(error).rstrip('.')}; give a smaller folds.n") from None
    table.loc[stay, "fold"] = -1  # last, so that the others lie as they would without it
    warn_of_single_folds(classes, table["fold"], origin)
    return table


def always_trained(table: pd.DataFrame, classes: pd.Series, n_folds: int) -> np.ndarray:
    """Mask (N,) of the clips that stay in training in every fold, whole groups of them.

    Groups that alone have a class: held out, it would be a class that its model has never heard. Where some clips are
    verified, groups of others that have a class in fewer groups than folds, too: they are not scored on anyway.

    classes: one row per class of a clip, indexed as the clips are.
    """
    group, verified = named_groups(table["group"]), table["verified"].astype(bool)
    pairs = pd.DataFrame({"group": group.reindex(classes.index), "class": classes})
    groups = pairs.groupby("class")["group"].transform("nunique")
    unscored = ~verified.reindex(pairs.index) & bool(verified.any())
    rare = pairs.loc[(groups == 1) | ((groups < n_folds) & unscored), "group"]
    result: np.ndarray = group.isin(rare).to_numpy()
    return result


def check_class_sizes(labels: pd.Series, params: FoldParams, origin: str) -> None:
    """Refuse (or warn of) a class with fewer clips than folds: it would be absent from some fold's score."""
    counts = Counter(labels)
    small = sorted((n, label) for label, n in counts.items() if n < params.n)
    if not small:
        return
    listed = ", ".join(f"'{label}' has {n}" for n, label in small[:5])
    message = f"{origin}: {len(small)} classes have fewer clips than the {params.n} folds: {listed}"
    if params.small_classes == "refuse":
        fewer = f"folds.n={small[0][0]} or " if small[0][0] > 1 else ""
        raise UserError(f"{message}; give {fewer}folds.small_classes=warn (kept with the folds)")
    warnings.warn(message, stacklevel=2)


def warn_of_single_folds(labels: pd.Series, fold: pd.Series, origin: str) -> None:
    """Warn of classes whose groups leave all clips in one fold: the model of that fold never sees them."""
    spread = fold.reindex(labels.index).groupby(labels.to_numpy()).nunique()
    single = spread.index[spread == 1]
    if len(single):
        message = f"{origin}: all clips of {len(single)} classes lie in one fold, first '{single[0]}'; group by less"
        warnings.warn(message, stacklevel=2)


def warn_of_split_groups(joined: pd.DataFrame, table: pd.DataFrame, origin: str) -> None:
    """Warn of recordings in several folds of a given folds table: their scores are too high.

    joined: clips with the groups that hold the same recording; table: the same clips with their folds.
    """
    fold = joined["clip_id"].map(table.set_index("clip_id")["fold"])
    count = fold.groupby(joined["group"].where(joined["group"] != "", joined["clip_id"])).nunique()
    split = count.index[count > 1]
    if len(split):
        clips = joined.loc[joined["group"] == split[0], "clip_id"]
        message = f"{origin}: {len(split)} recordings lie in several folds, first {' = '.join(clips[:3])}"
        warnings.warn(f"{message}; the scores of cross-validation are flattered", stacklevel=2)


def stratum(labels: pd.Series, verified: pd.Series, n_folds: int) -> np.ndarray:
    """Stratum of each clip: label × verified; one too small to split is merged with the label's other one."""
    both = pd.Series(labels.astype(str).to_numpy() + np.where(verified, "\t1", "\t0"), dtype=str)
    sizes = both.map(both.value_counts()).astype(int)
    smallest = sizes.groupby(labels.to_numpy()).transform("min")
    return np.where(smallest < n_folds, labels.astype(str).to_numpy(), both.to_numpy())


def split(table: pd.DataFrame, params: FoldParams) -> np.ndarray:
    """Fold of each clip (N,) of one label; clips of one group stay together."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # a second; most calls find folds made

    strata, named = stratum(table["label"], table["verified"], params.n), named_groups(table["group"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # small classes have been checked already
        if named.nunique() == len(named):
            halves = StratifiedKFold(params.n, shuffle=True, random_state=params.seed).split(strata, strata)
        else:
            grouped = StratifiedGroupKFold(params.n, shuffle=True, random_state=params.seed)
            halves = grouped.split(strata, strata, groups=named)
        fold = np.full(len(strata), -1)
        for k, (_, held_out) in enumerate(halves):
            fold[held_out] = k
    merged = table["label"].astype(str).to_numpy() == strata
    return spread_verified(fold, table["label"].where(merged, ""), table["verified"], named, params.n)


def spread_verified(
    fold: np.ndarray, labels: pd.Series, verified: pd.Series, groups: pd.Series, n_folds: int
) -> np.ndarray:
    """Return folds (N,) in which the verified clips of a label do not meet if that can be avoided.

    labels: '' where verified and unverified clips were stratified apart already. Whole groups of one label and of
    equal size change places, so that the sizes of folds and of labels in them stay.
    """
    fold, code = fold.copy(), pd.factorize(groups)[0]
    frame = pd.DataFrame({"label": labels.to_numpy(), "verified": verified.to_numpy(dtype=int), "group": code})
    units = frame.groupby("group").agg(
        label=("label", "first"), kinds=("label", "nunique"), size=("label", "size"), known=("verified", "sum")
    )
    place = pd.Series(fold).groupby(code).first().to_numpy(copy=True)
    label_of = units["label"].where(units["kinds"] == 1, "")
    for label in sorted(set(label_of) - {""}):
        own = np.flatnonzero(label_of == label)
        held = np.bincount(fold[labels == label], verified[labels == label].to_numpy(dtype=float), n_folds)
        _even_out(place, own, units["size"].to_numpy()[own], units["known"].to_numpy()[own], held)
    return place[code]


def _even_out(place: np.ndarray, own: np.ndarray, size: np.ndarray, known: np.ndarray, held: np.ndarray) -> None:
    """Let pairs of groups `own` change places (in place) while that makes the folds' counts `held` more even."""
    giving, taking = np.flatnonzero(known > 0), np.flatnonzero(known < known.max(initial=0))
    if not 0 < len(giving) * len(taking) <= PAIRS:
        return
    more, alike = known[giving, None] - known[taking], size[giving, None] == size[taking]
    while True:
        one, two = place[own[giving]], place[own[taking]]
        gain = np.where(alike & (more > 0), more * (held[one][:, None] - held[two] - more), 0)
        row, column = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[row, column] <= 0:  # half of what the sum of squares falls by
            return
        held[one[row]] -= more[row, column]
        held[two[column]] += more[row, column]
        place[own[giving[row]]], place[own[taking[column]]] = two[column], one[row]


def split_several(table: pd.DataFrame, single: pd.Series, params: FoldParams) -> np.ndarray:
    """Fold of each clip (N,) of several labels, balanced in label × verified; clips of one group stay together.

    single: one row per label, indexed as the clips are.
    """
    verified = table["verified"].reindex(single.index).to_numpy()
    codes = pd.factorize(single.astype(str).to_numpy() + np.where(verified, "\t1", "\t0"), sort=True)[0]
    labels = np.zeros((len(table), codes.max() + 1), dtype=bool)
    labels[single.index, codes] = True
    return stratify.assign(labels, named_groups(table["group"]).to_numpy(), params.n, params.seed)


def named_groups(groups: pd.Series) -> pd.Series:
    """A name for every clip's group; a clip without a group is a group of its own."""
    return groups.where(groups != "", "\0" + groups.index.astype(str))


def join_duplicates(groups: pd.Series, *recordings: pd.Series) -> pd.Series:
    """Merge groups that share a recording, so that no recording lies in two folds.

    groups, recordings (hashes of the audio, files that several clips are pieces of): (N,), text, '' where unknown.
    Returns the groups, named by their first member.
    """
    n = len(groups)
    edges: list[tuple[int, int]] = []
    for keys in (groups, *recordings):
        known = keys.to_numpy() != ""
        codes = pd.factorize(keys.to_numpy()[known])[0]
        edges += [(int(row), n + int(code)) for row, code in zip(np.flatnonzero(known), codes, strict=True)]
        n += int(codes.max(initial=-1)) + 1
    if not edges:
        return groups
    rows, columns = np.array(edges).T
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(n, n))
    component = pd.Series(connected_components(graph, directed=False)[1][: len(groups)], index=groups.index)
    several = component.map(component.value_counts()) > 1
    first = groups.where(groups != "", "same-" + component.astype(str)).groupby(component).transform("first")
    return groups.where(~several, first)


def write(folder: Path, table: pd.DataFrame, receipt: dict[str, object]) -> None:
    """Write r0.json and, last, r0.csv: a table without its json counts as given by the user (see `is_given`)."""
    out, sum_of = table.assign(verified=table["verified"].astype(int)), {"checksum": content(table)}
    (folder / "r0.csv").unlink(missing_ok=True)
    write_json(folder / "r0.json", {"revision": "r0", "parent": None, "method": "given labels"} | receipt | sum_of)
    write_csv(folder / "r0.csv", out)


def read(folder: Path) -> pd.DataFrame:
    """Read `folds/<name>/r0.csv`: `clip_id, label, verified (bool), group, fold`."""
    path = folder / "r0.csv"
    if not path.is_file():
        raise UserError(f"{path}: no folds yet; run make_folds first")
    table = read_csv(path, ["clip_id", "label", "group"], COLUMNS)
    for column, kinds in (("verified", "iub"), ("fold", "iu")):
        if table[column].dtype.kind not in kinds:
            raise UserError(f"{path}: column '{column}' holds more than whole numbers; fix it, or delete the file")
    _check_values(path, table)
    twice = table["clip_id"].duplicated(keep=False)
    if twice.any():
        clip = _first(table, twice.to_numpy())
        first, second = np.flatnonzero(table["clip_id"] == clip)[:2] + 2
        raise UserError(f"{path}: rows {first} and {second}: clip '{clip}' is there twice; keep one")
    table = table.assign(verified=table["verified"].astype(bool))
    if receipt(folder).get("checksum") not in (None, content(table)):
        raise UserError(
            f"{path}: was changed by hand since it was made; delete r0.json to keep it as a table of your own, "
            "or r0.csv to have it made again"
        )
    return table


def _check_values(path: Path, table: pd.DataFrame) -> None:
    """Refuse numbers that are no folds and no flags, and folds of which none can be held out."""
    for column, wrong, wanted in (
        ("verified", ~table["verified"].isin([0, 1]), "0 or 1"),
        ("fold", table["fold"] < -1, "a fold, or -1 for a clip that is only trained on"),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise UserError(
                f"{path}: row {row + 2}: '{column}' is {table[column].iloc[row]}, not {wanted}; fix the row"
            )
    if table["fold"].max() < 0 or table["fold"].nunique() == 1:
        raise UserError(
            f"{path}: every clip has the fold {table['fold'].iloc[0]}, so none can be held out from others; "
            "give two folds or more"
        )


def check_labels(path: Path, table: pd.DataFrame, known: Callable[[str], object]) -> None:
    """Refuse a label of a given folds table, by its row, for which `known` raises `UserError`."""
    for row, text in table["label"].drop_duplicates().items():
        try:
            known(str(text))
        except UserError as error:
            raise UserError(f"{path}: row {int(str(row)) + 2}: {error}") from None


def check_verified(table: pd.DataFrame, origin: str) -> None:
    """Refuse folds without a verified clip: there would be nothing to score on."""
    if len(table) and not table["verified"].any():
        raise UserError(
            f"{origin}: no clip is verified, and scores count verified clips alone; set the column to 1 where labels "
            "are to be trusted, or read no such column (reader.verified)"
        )


def warn_of_two_labels(table: pd.DataFrame, recordings: pd.Series | None, origin: str) -> None:
    """Warn of recordings (hashes of the audio of `table`'s clips, None: unknown) that are there with two labels."""
    if recordings is None:
        return
    heard = table.assign(recording=recordings.to_numpy())
    heard = heard[heard["recording"] != ""]
    several = heard.groupby("recording", sort=False)["label"].nunique()
    twice = several.index[several > 1]
    if len(twice):
        one = heard[heard["recording"] == twice[0]].drop_duplicates("label")[:2]
        pair = " = ".join(f"{clip} ('{label}')" for clip, label in zip(one["clip_id"], one["label"], strict=True))
        message = f"{origin}: {len(twice)} recordings are there with two labels, first {pair}; correct one of them"
        warnings.warn(message, stacklevel=2)


def content(table: pd.DataFrame) -> str:
    """Return the checksum of a folds table, as r0.json has it."""
    return fingerprint(table[COLUMNS].astype(str).to_numpy().tolist())


def is_given(folder: Path) -> bool:
    """True if the user gave r0.csv: it has no receipt."""
    return (folder / "r0.csv").is_file() and not (folder / "r0.json").is_file()


def receipt(folder: Path) -> dict[str, object]:
    """The settings and inputs that r0.csv was made from; empty where there is none."""
    path = folder / "r0.json"
    return dict(read_json(path)) if path.is_file() and (folder / "r0.csv").is_file() else {}


def _first(table: pd.DataFrame, chosen: np.ndarray) -> str:
    return str(table.loc[chosen, "clip_id"].iloc[0])
