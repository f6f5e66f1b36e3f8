"""Cleaning methods on the demo, where the truth is known: decisions against it, and the noise gap that they close.

`cleaning.py [model] [seeds] [train clips] [test clips]`. The gap closed is (cleaned - all given labels) / (all true
labels - all given labels) in test MAP@3, for one model and its settings. Writes bench/results/cleaning.json.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import clean_labels
import make_folds
import train
from tonestack import folds, labels, parts, revisions, scoring
from tonestack.cleaning import KEEP, RELABEL
from tonestack.ensemble.tables import Tables
from tonestack.files import write_json
from tonestack.leaderboard import aligned
from tonestack.metrics import resolve
from tonestack.run import Run

RESULTS = Path(__file__).parent / "results"


def main(model: str = "clip_forest", seeds: str = "3", n_train: str = "480", n_test: str = "1500") -> None:
    """Clean, train on every revision, score; one row a method, mean and standard error over the demos."""
    rows = [row for seed in range(int(seeds)) for row in one_demo(model, seed, n_train, n_test)]
    table = pd.DataFrame(rows).groupby("method", sort=False).agg(["mean", "sem"])
    shown = {
        column: ["" if np.isnan(mean) else f"{mean:.4f} ± {sem:.4f}" for mean, sem in table[column].to_numpy()]
        for column in table.columns.get_level_values(0).unique()
    }
    print(f"{model}, {n_train} clips, {n_test} test clips, {seeds} seeds")
    print(aligned(pd.DataFrame({"method": table.index, **shown})))
    write_json(RESULTS / "cleaning.json", {"model": model, "train": n_train, "test": n_test, "rows": rows})


def one_demo(model: str, seed: int, n_train: str, n_test: str) -> list[dict[str, object]]:
    """Rows of one demo competition: what each method decided and what the model then scored."""
    name = f"bench-cleaning-{seed}-{n_train}"
    words = [f"reader.seed={seed}", f"reader.n_train={n_train}", f"reader.n_test={n_test}", f"seed={seed}"]
    words += [
        f"name={name}",
        f"root=input/{name}",
        "clean.pictures=false",
        "clean.settings.self_verification.threshold=0.6",
    ]
    candidates = ",".join(parts.names("cleaning"))
    run = Run.from_arguments(["data=demo", "preset=fast", f"model={model}", f"clean.candidates=[{candidates}]", *words])
    make_folds.run(run)
    made = clean_labels.run(run)
    truth = write_truth(run)
    score = {r: test_score(run, model, r) for r in ("r0", "truth", *made)}
    gap = score["truth"] - score["r0"]
    lines: list[dict[str, object]] = [{"method": r, "test": score[r]} for r in ("r0", "truth")]
    for revision in made:
        closed = (score[revision] - score["r0"]) / gap if gap else np.nan
        lines.append(
            {"method": revision, **judged(run, revision, truth), "test": score[revision], "gap closed": closed}
        )
    return lines


def write_truth(run: Run) -> pd.Series:
    """The revision `truth`: every clip with its true label. Evaluation alone reads it."""
    table = folds.read(run.folds)
    known = pd.read_csv(run.root / "truth.csv", dtype=str).set_index("fname")["label"]
    rows = labels.read_revision(run.folds, "r0")
    rows = rows.assign(label=rows["clip_id"].map(known), source="verified")
    revisions.write(run.folds, "truth", rows, pd.DataFrame(), {"parent": "r0", "method": "the truth"})
    (run.folds / "truth.decisions.csv").unlink()
    return table["clip_id"].map(known)


def judged(run: Run, revision: str, truth: pd.Series) -> dict[str, float]:
    """Precision and recall of "this label is right" and of "wrong", AUC, accuracy of new labels; unverified clips."""
    decided = revisions.read_decisions(run.folds, revision)
    if decided is None:
        raise ValueError(f"{revision} has no decisions")
    doubtful = (decided["verified"] == 0).to_numpy()
    right = (decided["given_label"] == truth).to_numpy()[doubtful]
    kept = (decided["decision"] == KEEP).to_numpy()[doubtful]
    new = doubtful & (decided["decision"] == RELABEL).to_numpy()
    return {
        "precision": float(right[kept].mean()) if kept.any() else np.nan,
        "right kept": float(kept[right].mean()),
        "wrong found": float((~kept[~right]).mean()),
        "auc": float(roc_auc_score(right, decided.iloc[doubtful, -1])),
        "relabelled right": float((decided["proposed_label"] == truth)[new].mean()) if new.any() else np.nan,
    }


def test_score(run: Run, model: str, revision: str) -> float:
    """Test metric of the model trained on a revision, folds combined."""
    chosen = run.but(revision=revision, model=(model,))
    name = train.run(chosen)[0].name
    tables = Tables.of(run, [name])
    if run.scoring is None:
        raise ValueError("the demo has no scoring table")
    wanted = scoring.read(run.scoring, tables.classes, tables.task)
    every = wanted.assign(usage="Private")
    return scoring.score(
        resolve(tables.metric), tables.test(name), tables.test_ids, every, tables.classes, tables.task
    )["private"]


if __name__ == "__main__":
    main(*sys.argv[1:])
