"""Cleaning methods on the demo, whose true labels are known: accuracy of decisions, and share of the noise gap closed.

`cleaning.py [model=vgg_small] [seeds=3] [train=480] [test=1500] [key=value ...]`. Every method, then the losses that
resist noise on the labels as given, then two pseudo-label rounds from `agree`; always the same network and epochs. The
gap closed is (row - all given labels) / (all true labels - all given labels) in test MAP@3. Further words go to every
training.
Writes bench/results/cleaning.json.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import clean_labels
import make_folds
import pseudo_label
import train
from tonestack.base import parts
from tonestack.base.console import aligned
from tonestack.base.files import write_json
from tonestack.cleaning import revision_files
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.ensemble import scoring
from tonestack.ensemble.tables import Tables
from tonestack.tables.decisions import KEEP, RELABEL
from tonestack.tables.metrics import resolve

RESULTS = Path(__file__).parent / "results"
LOSSES: dict[str, dict[str, Any]] = {
    "masked": {"loss": {"name": "masked"}, "training": {"source_weights": {"given": 0.6}}},
    "gce": {"loss": {"name": "generalised_cross_entropy"}},
}


def main(*words: str) -> None:
    """Clean, train on every revision, score; one row a method, mean and standard error over the demos."""
    own = {"model": "vgg_small", "seeds": "3", "train": "480", "test": "1500"}
    given = dict(word.split("=", 1) for word in words)
    asked = own | {key: value for key, value in given.items() if key in own}
    rest = [word for word in words if word.split("=", 1)[0] not in own]
    rows = [row for seed in range(int(asked["seeds"])) for row in one_demo(asked, seed, rest)]
    table = pd.DataFrame(rows).groupby("method", sort=False).agg(["mean", "sem"])
    shown = {
        column: ["" if np.isnan(mean) else f"{mean:.4f} ± {sem:.4f}" for mean, sem in table[column].to_numpy()]
        for column in table.columns.get_level_values(0).unique()
    }
    print(" ".join(f"{key}={value}" for key, value in asked.items()), *rest)
    print(aligned(pd.DataFrame({"method": table.index, **shown})))
    write_json(RESULTS / "cleaning.json", {**asked, "words": rest, "rows": rows})


def one_demo(asked: dict[str, str], seed: int, rest: list[str]) -> list[dict[str, object]]:
    """Rows of one demo competition: what each method decided and what the model then scored."""
    model, name = asked["model"], f"bench-cleaning-{seed}-{asked['train']}"
    words = [f"reader.seed={seed}", f"reader.n_train={asked['train']}", f"reader.n_test={asked['test']}"]
    words += [f"seed={seed}", f"name={name}", f"root=input/{name}", f"model={model}", "clean.pictures=false"]
    words += [
        "clean.method=auto",
        f"clean.candidates=[{','.join(parts.names('cleaning'))}]",
        f"clean.judge=[clip_forest,{model}]",
    ]
    words += ["clean.settings.self_verification.threshold=0.6", f"pseudo.models=[{model}]", "pseudo.rounds=2"]
    call = Call.from_arguments(["data=demo", "preset=quick", *words, *rest])
    make_folds.run(call)
    decided = call.plain()  # every fold, and none of the settings that were typed for the model
    made = clean_labels.run(decided)
    truth = write_truth(call)
    low, high = test_score(call, "r0"), test_score(call, "truth")

    def line(method: str, score: float, **more: float) -> dict[str, object]:
        return {"method": method, **more, "test": score, "gap closed": (score - low) / (high - low)}

    lines: list[dict[str, object]] = [{"method": "r0", "test": low}, {"method": "truth", "test": high}]
    lines += [line(name, test_score(call, name), **judged(call, name, truth)) for name in made]
    lines += [line(f"r0, {loss} loss", test_score(call, "r0", loss, changed)) for loss, changed in LOSSES.items()]
    last = pseudo_label.make(decided, "agree")[-1]
    return [*lines, line("agree, pseudo-labels twice", test_score(call, last), **judged(call, last, truth))]


def write_truth(call: Call) -> pd.Series:
    """The revision `truth`: every clip with its true label. Evaluation alone reads it."""
    table = call.labels.folds
    known = pd.read_csv(call.root / "truth.csv", dtype=str).set_index("fname")["label"]
    rows = call.labels.revision("r0")
    rows = rows.assign(label=rows["clip_id"].map(known), source="verified")
    revision_files.write(call.folds, "truth", rows, pd.DataFrame(), {"parent": "r0", "method": "the truth"})
    (call.folds / "truth.decisions.csv").unlink()
    return table["clip_id"].map(known)


def judged(call: Call, revision: str, truth: pd.Series) -> dict[str, float]:
    """Precision and recall of "this label is right" and of "wrong", AUC, accuracy of new labels; unverified clips."""
    decided = revision_files.read_decisions(call.folds, revision)
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


def test_score(call: Call, revision: str, variant: str | None = None, changed: dict[str, Any] | None = None) -> float:
    """Test metric of the models trained on a revision, folds combined."""
    overrides = layers.merge([("", call.words.overrides), ("", changed or {})])
    chosen = call.but(revision=revision, variant=variant, overrides=overrides)
    name = train.run(chosen)[0].name
    if call.scoring is None:
        raise ValueError("the demo has no scoring table")
    tables = Tables.of(call, [name])
    wanted = scoring.read(call.scoring, tables.classes, tables.task).assign(usage="Private")
    metric = resolve(tables.metric)
    return scoring.score(metric, tables.test(name), tables.test_ids, wanted, tables.classes, tables.task)["private"]


if __name__ == "__main__":
    main(*sys.argv[1:])
