"""Run one cleaning method, holdout by holdout, and write its label revision."""

from dataclasses import replace
from typing import Any

from tonestack.base import parts
from tonestack.base.console import aligned
from tonestack.base.errors import UserError, nearest
from tonestack.base.files import array_hash, fingerprint, write_csv
from tonestack.cleaning import embeddings, label_pictures, pair_models, revision_files, revision_tables
from tonestack.cleaning.methods import Evidence, group_index
from tonestack.cleaning.pair_models import Partition
from tonestack.config.call import Call, Experiment
from tonestack.settings.data_config import CleanParams
from tonestack.tables.decisions import Source, Verdict

import numpy as np
import pandas as pd

Holdouts = dict[int, tuple[np.ndarray, Verdict]]  # by holdout: its clips' rows in the folds table, their verdicts


def methods(call: Call) -> tuple[str, ...]:
    """Return the methods of this call: none, the one named, or all candidates."""
    params = call.data.clean
    if params.method == "none":
        return ()
    names = params.candidates if params.method == "auto" else (params.method,)
    if params.name and len(names) > 1:
        raise UserError(f"clean.name={params.name}: {len(names)} methods cannot share it; give one by clean.method=")
    for name in names:
        parts.find("cleaning", name)
    return names


def params_of(call: Call, method: str) -> Any:
    """Return a method's validated parameters."""
    unknown = set(call.data.clean.settings) - set(parts.names("cleaning"))
    if unknown:
        name = sorted(unknown)[0]
        raise UserError(f"clean.settings: no method is called '{name}'{nearest(name, parts.names('cleaning'))}")
    given = {"name": method} | call.data.clean.settings.get(method, {})
    return parts.part_params("cleaning", given, f"clean.settings.{method}")


def scheme(call: Call) -> dict[str, list[str]]:
    """Return the groups of classes that `clean.groups` names; empty for one group."""
    name, known = call.data.clean.groups, call.data.groups
    if name == "1" or not known:
        return {}
    if name not in known:
        raise UserError(f"clean.groups={name}: the data config has no such scheme{nearest(name, ['1', *known])}")
    return known[name]


def frontends(call: Call) -> list[dict[str, Any]]:
    """Return the frontends that the methods of this call need."""
    needs = {parts.find("cleaning", name).NEEDS for name in methods(call)}
    models = list(call.data.clean.judge) if "probabilities" in needs else []
    models += [embeddings.model_of(call)] if "embedding" in needs else []
    return [spec for name in dict.fromkeys(models) for spec in call.experiment(name).config.frontends]


def make(call: Call, method: str, parent: str = "r0") -> str:
    """Write the revision of one method, round after round; return the last one's name."""
    rounds, called = call.data.clean.rounds, call.data.clean.name or method
    parents = [parent]
    for number in range(1, rounds + 1):
        parents.append(called if rounds == 1 else f"{called}{number}")
        _round(call, method, parents[-1], parents[:-1])
    return parents[-1]


def _round(call: Call, method: str, name: str, parents: list[str]) -> None:
    """Run one round: models of all earlier revisions predict the clips; its revision replaces the last."""
    params, parent = params_of(call, method), parents[-1]
    table = call.labels.corrected_folds
    needs = parts.find("cleaning", method).NEEDS
    experiments = [one for revision in parents for one in pair_experiments(call, revision)]
    probabilities = pair_models.predictions(call, experiments) if needs == "probabilities" else None
    vectors = embeddings.by_holdout(call, parent) if needs == "embedding" else None
    promoted = promoted_before(call, parent)
    inputs = _inputs(call, method, params, table, probabilities, vectors)
    inputs |= {"parent": fingerprint([parent, {k: sorted(clips) for k, clips in promoted.items()}])}
    if revision_files.up_to_date(call.folds, name, inputs):
        print(f"clean: {name} up to date")
        return
    verdicts = decide(call, method, params, table, probabilities, vectors, promoted)
    receipt = {"parent": parent, "method": method, "settings": params.model_dump(), "inputs": inputs}
    decided = write(call, name, table, verdicts, receipt, method)
    show(call, name, decided, table, vectors, probabilities)


def pair_experiments(call: Call, revision: str) -> list[Experiment]:
    """Return the pair models' experiments on a revision."""
    free = call.but(revision=None)
    return [free.experiment(name, revision) for name in call.data.clean.judge]


def promoted_before(call: Call, parent: str) -> dict[int, set[str]]:
    """Return the clips whose given label the parent revision has promoted, by holdout."""
    if parent == "r0":
        return {}
    rows = call.labels.revision(parent)
    rows = rows[rows["source"] == Source.PROMOTED]
    return {int(k): set(rows.loc[rows["holdout"] == k, "clip_id"]) for k in rows["holdout"].unique()}


def decide(
    call: Call,
    method: str,
    params: Any,
    table: pd.DataFrame,
    probabilities: np.ndarray | None,
    vectors: np.ndarray | None,
    promoted: dict[int, set[str]],
) -> Holdouts:
    """Run the method once per holdout, on that holdout's training clips alone."""
    classes, partition = call.competition().classes, Partition.of(table)
    given = pd.Index(list(classes)).get_indexer(pd.Index(table["label"]))
    every = Evidence(
        given, table["verified"].to_numpy(), np.zeros(len(table), bool), group_index(classes, scheme(call))
    )
    verdicts: Holdouts = {}
    for i, k in enumerate(partition.holdouts):
        asked = np.flatnonzero(partition.fold != k)
        before = table["clip_id"].isin(promoted.get(k, set())).to_numpy()[asked]
        evidence = replace(
            every,
            given=given[asked],
            verified=every.verified[asked],
            promoted=before & ~every.verified[asked],
            probabilities=None if probabilities is None else probabilities[i, asked],
            embedding=None if vectors is None else vectors[i, asked],
        )
        verdicts[k] = asked, parts.find("cleaning", method).decide(evidence, params)
    return verdicts


def write(
    call: Call, name: str, table: pd.DataFrame, verdicts: Holdouts, receipt: dict[str, Any], method: str
) -> pd.DataFrame:
    """Write the revision's files; return its decisions."""
    classes = call.competition().classes
    params = call.data.clean
    rows = [revision_tables.rows_of(table, k, asked, made, classes, params) for k, (asked, made) in verdicts.items()]
    decided = revision_tables.decisions(table, verdicts, classes, method)
    revision_files.write(call.folds, name, pd.concat(rows, ignore_index=True), decided, receipt)
    return decided


def show(
    call: Call,
    name: str,
    decided: pd.DataFrame,
    table: pd.DataFrame,
    vectors: np.ndarray | None,
    probabilities: np.ndarray | None,
) -> None:
    """Print and write the counts by group, as in the NTU report; draw the clips before and after."""
    counts = revision_tables.group_table(decided, scheme(call))
    write_csv(call.reports / f"clean-{name}.csv", counts)
    print(f"clean: {name}")
    print(aligned(counts))
    if call.data.clean.pictures:
        x = vectors[0] if vectors is not None else _mean_of_holdouts(probabilities)
        label_pictures.before_and_after(x, decided, scheme(call), call.reports / f"tsne-{name}")


def _mean_of_holdouts(probabilities: np.ndarray | None) -> np.ndarray:
    """Return square roots (N, C) of the mean of (K, N, C): their distances are Hellinger distances."""
    if probabilities is None:
        raise ValueError("neither an embedding nor probabilities to draw")
    root: np.ndarray = np.sqrt(np.nanmean(probabilities, axis=0))
    return root


def _inputs(call: Call, method: str, params: Any, table: pd.DataFrame, *arrays: np.ndarray | None) -> dict[str, str]:
    """Return the fingerprints that tell if a revision is up to date."""
    settings: CleanParams = call.data.clean
    said = [method, params.model_dump(), scheme(call), settings.leave_weight, settings.relabel_weight]
    return {
        "settings": fingerprint(said),
        "clips": fingerprint(table.astype(str).to_numpy().tolist()),
        "evidence": fingerprint([array_hash(a) for a in arrays]),
    }
