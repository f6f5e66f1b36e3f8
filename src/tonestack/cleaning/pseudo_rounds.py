"""Run the pseudo-label rounds: train, predict, select, write the next revision, log the round.

The rules of the selection are in `pseudo_rules`.
"""

from dataclasses import dataclass, replace
from typing import Any

from tonestack.base.console import aligned
from tonestack.base.errors import UserError
from tonestack.base.files import array_hash, file_hash, fingerprint, write_csv
from tonestack.cleaning import label_pictures, multilabel_posterior, pair_models, pseudo_rules, revision_files
from tonestack.cleaning.pair_models import Partition
from tonestack.config.call import Call, Experiment
from tonestack.ensemble.tables import Tables
from tonestack.settings.data_config import PseudoParams
from tonestack.tables import label_grammar, load, oof
from tonestack.tables.decisions import KEEP, LEAVE, RELABEL, TRUSTED, Source
from tonestack.training import learners, queue
from tonestack.training.job import FoldJob, refuse_changed_meaning

import numpy as np
import pandas as pd

COLUMNS = [
    "round",
    "revision",
    "lower",
    "upper",
    "epochs",
    "clips",
    "pseudo train",
    "pseudo test",
    "train",
    "validation",
]


@dataclass(frozen=True)
class Round:
    """A finished round: its experiments and its row of the table."""

    revision: str
    experiments: list[Experiment]
    line: dict[str, Any]


def settings(call: Call) -> PseudoParams:
    """Return the settings of the rounds, the regime's keys filled in."""
    params = pseudo_rules.check(pseudo_rules.resolved(call.data.pseudo))
    if params.train == "weigh" and call.task.one_label:
        raise UserError("pseudo.train=weigh is for clips of several labels; clean.method=agree weighs single ones")
    return params


def experiments(call: Call, params: PseudoParams, revision: str) -> list[Experiment]:
    """Return the models of a round; the variant `-rounds` marks models whose training the rounds change."""
    free = call.but(revision=None)
    names = params.models or call.data.clean.scouts or call.data.clean.judge
    plain = [free.experiment(name, revision) for name in dict.fromkeys(names)]
    return [_changed(experiment, params) for experiment in plain] if params.changes_models else plain


def _changed(experiment: Experiment, params: PseudoParams) -> Experiment:
    training = experiment.config.training
    new: dict[str, Any] = {"epochs": params.epochs} if params.epochs else {}
    new |= {"stop": "early", "patience": params.patience} if params.patience else {}
    config = experiment.config.model_copy(update={"training": training.model_copy(update=new)})
    variant = "-".join(filter(None, [experiment.variant, "rounds"]))
    return replace(experiment, config=config, variant=variant)


def make_rounds(call: Call, base: str) -> list[str]:
    """Run all rounds from revision `base`; write table and plot; return the revisions made."""
    params = settings(call)
    if params.rounds == 0:
        return []
    finished = [_train(call, params, base, 0, None)]
    made = []
    for number in range(1, params.rounds + 1):
        name = f"{params.name}{number}"
        before = finished[-1]
        _write_revision(call, params, base, before, name, number)
        finished.append(_train(call, params, name, number, before))
        made.append(name)
        table = pd.DataFrame([each.line for each in finished], columns=COLUMNS)
        write_csv(call.reports / "pseudo.csv", table)
        label_pictures.rounds(table, call.reports / "pseudo.png")
    print(aligned(table.astype(object).fillna("")))
    return made


def _train(call: Call, params: PseudoParams, revision: str, number: int, before: Round | None) -> Round:
    """Train a round's models unless they are up to date, and score them."""
    chosen = experiments(call, params, revision)
    everything = call.but(fold=None, revision=None)
    made = [replace(job, train_score=True) for job in queue.build(everything, chosen)]
    if params.start == "warm" and before is not None:
        made = [_warm(call, job, before) for job in made]
    todo = [job for job in made if job.finished() is None]
    for experiment in chosen:
        refuse_changed_meaning(call.oof / experiment.name, experiment)
    print(f"pseudo: {revision}: {len(made) - len(todo)} of {len(made)} folds up to date, {len(todo)} to train")
    queue.run_all(everything, todo)
    return Round(revision, chosen, _line(call, params, revision, number, made))


def _warm(call: Call, job: FoldJob, before: Round) -> FoldJob:
    """Start from the weights of the same model and fold in the round before (trained without that fold)."""
    earlier = next(e for e in before.experiments if e.model == job.experiment.model)
    path = call.oof / earlier.name / f"fold{job.fold}.safetensors"
    if learners.name_of(job.experiment.config.network) != "network":  # trees grow anew
        return job
    return replace(job, initial=path, inputs=job.inputs | {"initial": file_hash(path)})


def _line(call: Call, params: PseudoParams, revision: str, number: int, made: list[FoldJob]) -> dict[str, Any]:
    receipts = [read for job in made if (read := job.finished())]
    scores = [r["train_metrics"][call.data.metric] for r in receipts if "train_metrics" in r]
    rows = call.labels.revision(revision)
    holdouts = max(rows["holdout"].nunique(), 1)
    count = rows["source"].value_counts()
    bounds = [pseudo_rules.bound(b, number, params.rounds) if number else np.nan for b in (params.lower, params.upper)]
    return {
        "round": number,
        "revision": revision,
        "lower": round(bounds[0], 4),
        "upper": round(bounds[1], 4),
        "epochs": round(float(np.mean([r["epochs"] for r in receipts])), 1),
        "clips": round(np.mean([len(job.labels.clip_ids) for job in made])),
        "pseudo train": round(count.get(Source.PSEUDO, 0) / holdouts),
        "pseudo test": round(count.get(Source.PSEUDO_TEST, 0) / holdouts),
        "train": round(float(np.mean(scores)), 4) if scores else np.nan,
        "validation": round(validation(call, [job.experiment.name for job in made]), 4),
    }


def validation(call: Call, names: list[str]) -> float:
    """Return the metric of the geometric mean of tables, on verified clips with their given labels."""
    problem = Tables.of(call, tuple(dict.fromkeys(names))).problem()
    mean = oof.combine_folds(problem.tables, "geometric", problem.normalise)
    return float(problem.metric(problem.decided(mean), problem.targets))


# ------------------------------------------------------------------------------------------------- the next revision


def _write_revision(call: Call, params: PseudoParams, base: str, before: Round, name: str, number: int) -> None:
    """Write the round's revision from the predictions of the round before."""
    table = call.labels.folds
    tests = test_probabilities(call, before, table) if params.test else None
    trains = pair_models.predictions(call, before.experiments) if params.train != "off" else None
    inputs = {
        "settings": fingerprint([params.model_dump(), number]),
        "base": revision_files.of_rows(call.labels.revision(base)),
        "evidence": fingerprint([array_hash(tests), array_hash(trains)]),
    }
    if revision_files.up_to_date(call.folds, name, inputs):
        print(f"pseudo: {name} up to date")
        return
    rows = select(call, params, base, number, table, tests, trains)
    receipt = {"parent": before.revision, "method": "pseudo", "base": base, "settings": params.model_dump()}
    decided = _decisions(call, rows, table, base, name)
    revision_files.write(call.folds, name, rows, decided, receipt | {"inputs": inputs})


def test_probabilities(call: Call, before: Round, table: pd.DataFrame) -> np.ndarray | None:
    """Return predictions (K, M, C) of the test clips for every holdout, geometric means over the models.

    Rows are NaN if the holdout's model was trained on the clip: the other models have seen that holdout's labels.
    """
    competition = call.competition()
    ids = competition.test["clip_id"].tolist()
    if not ids:
        return None
    folders = [call.oof / experiment.name for experiment in before.experiments]
    loaded = [load.load(f, table, ids, competition.classes, parts=("test",), taught=False) for f in folders]
    folds_of = zip(*(t.test for t in loaded if t.test is not None), strict=True)
    return np.stack([oof.combine_folds(np.stack(each), "geometric", call.task.one_label) for each in folds_of])


def select(
    call: Call,
    params: PseudoParams,
    base: str,
    number: int,
    table: pd.DataFrame,
    tests: np.ndarray | None,
    trains: np.ndarray | None,
) -> pd.DataFrame:
    """Return the revision's rows: the base's trusted rows, and predictions within this round's bounds, by holdout."""
    competition, partition = call.competition(), Partition.of(table)
    trusted = call.labels.revision(base)
    if params.train != "off":  # the others are decided anew
        trusted = trusted[trusted["source"].isin(TRUSTED)]
    if tests is not None:
        trusted = trusted[trusted["source"] != Source.PSEUDO_TEST]
    low, high = (pseudo_rules.bound(b, number, params.rounds) for b in (params.lower, params.upper))
    classes, task = competition.classes, call.data.task
    given = label_grammar.truth(call.task.targets(table["label"], classes))  # (N, C), UNKNOWN where nobody knows
    verified = table["verified"].to_numpy()
    pieces = [trusted]
    for i, k in enumerate(partition.holdouts):
        if trains is not None:
            known = table["clip_id"].isin(trusted.loc[trusted["holdout"] == k, "clip_id"]).to_numpy()
            predicted, inside = trains[i], np.flatnonzero(partition.fold != k)
            if params.train == "weigh":
                predicted = predicted.copy()
                predicted[inside] = multilabel_posterior.posterior(predicted[inside], given[inside], verified[inside])
            asked = inside[~known[inside] & ~verified[inside]]
            fit = pseudo_rules.chosen(
                predicted[asked], low, high, given[asked] == 1 if params.train == "keep" else None
            )
            ids, p = table["clip_id"].iloc[asked[fit]].tolist(), predicted[asked[fit]]
            pieces.append(pseudo_rules.rows_of(ids, p, k, Source.PSEUDO, params.weight, classes, task))
        if tests is not None:
            fit = pseudo_rules.chosen(tests[i], low, high)
            if params.cross_fit:
                fit &= pseudo_rules.teaching(competition.test["clip_id"].tolist(), i, len(partition.holdouts), number)
            ids = competition.test["clip_id"][fit].tolist()
            pieces.append(
                pseudo_rules.rows_of(ids, tests[i, fit], k, Source.PSEUDO_TEST, params.test_weight, classes, task)
            )
    return pseudo_rules.hardened(pieces, classes, params.soft, task)


def _decisions(call: Call, rows: pd.DataFrame, table: pd.DataFrame, base: str, name: str) -> pd.DataFrame:
    """Return the base's decisions; unverified clips that most holdouts now train on are kept or relabelled."""
    decided = revision_files.read_decisions(call.folds, base)
    if decided is None:
        decided = revision_files.given_decisions(table)
        decided["decision"] = np.where(decided["verified"] == 1, KEEP, LEAVE)
    used = rows[rows["source"] == Source.PSEUDO]
    holdouts = rows["holdout"].nunique()
    votes = used.groupby(["clip_id", "label"]).size().reset_index(name="votes")
    best = votes.sort_values(["votes", "label"], ascending=[False, True]).drop_duplicates("clip_id")
    best = best[best["votes"] * 2 > holdouts - 1].set_index("clip_id")
    label = decided["clip_id"].map(best["label"])
    now = label.notna() & (decided["verified"] == 0)
    kept = now & (label == decided["given_label"])
    decision = decided["decision"].mask(now, RELABEL).mask(kept, KEEP)
    return decided.assign(proposed_label=decided["proposed_label"].mask(now, label), decision=decision)
