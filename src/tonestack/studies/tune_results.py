"""The results of a tuning study: the table of trials, its nested score, the best settings as YAML."""

from pathlib import Path

from tonestack.base.files import write_csv, write_text
from tonestack.studies.tune_trials import finished, fold_scores, mean_score
from tonestack.studies.tuning import Tuning, merged

import numpy as np
import optuna
import pandas as pd
import yaml
from optuna.trial import FrozenTrial, TrialState


def nested_score(trials: list[FrozenTrial], sign: float) -> float:
    """Return the nested score of the choice: every fold is scored by the trial that the other folds choose."""
    by_trial = [fold_scores(t) for t in trials]
    widest = max(by_trial, key=len)
    by_trial = [one for one in by_trial if one.keys() == widest.keys()]  # others were tried on some folds alone
    scores = []
    for fold in by_trial[0]:
        if len(widest) == 1:
            return float("nan")
        others = [mean_score([s for key, s in one.items() if key != fold]) for one in by_trial]
        scores.append(by_trial[int(np.argmax(sign * np.array(others)))][fold])
    return mean_score(scores)


def shown(table: pd.DataFrame, rows: int = 10) -> pd.DataFrame:
    """Return the best rows as text, numbers to four digits."""
    return table.head(rows).map(lambda v: f"{v:.4g}" if isinstance(v, float) else str(v))


def table(study: optuna.Study, tuning: Tuning) -> pd.DataFrame:
    """Return one row per trial: number, state, cv, settings, scores by fold; the best first."""
    rows = []
    for trial in finished(study):
        value = (
            tuning.metric.sign * trial.value
            if trial.state == TrialState.COMPLETE and trial.value is not None
            else np.nan
        )
        folds_ = {key: score for key, (score, _) in fold_scores(trial).items()}
        rows.append({"trial": trial.number, "state": trial.state.name.lower(), "cv": value, **trial.params, **folds_})
    frame = pd.DataFrame(rows)
    return frame.sort_values("cv", ascending=not tuning.metric.greater_is_better, na_position="last")


def report(study: optuna.Study, tuning: Tuning) -> list[Path]:
    """Write the trials' table and the best settings, ready to paste; return both files."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    folder = tuning.call.reports / "tune"
    path = folder / f"{tuning.model}.csv"
    write_csv(path, table(study, tuning))
    if not complete:
        return [path]
    best = max(complete, key=lambda t: (t.value or 0.0, -t.number))
    nested = nested_score(complete, tuning.metric.sign)
    shown_best = f"CV {tuning.metric.sign * (best.value or 0.0):.4f}"
    lines = [
        f"# {tuning.model} on {tuning.call.name}: trial {best.number}, the best of {len(complete)} complete trials",
        f"# ({len(finished(study))} in all). {shown_best} is optimistic, as the trial was chosen by it;",
        f"# nested (each fold scored by the trial that the other folds choose): {nested:.4f}.",
        "# As words: " + " ".join(f"'{key}={value}'" for key, value in best.params.items()) + " variant=tuned",
        str(yaml.safe_dump(merged({}, best.params), sort_keys=False)).rstrip(),
    ]
    write_text(path.with_suffix(".yaml"), "\n".join(lines) + "\n")
    return [path, path.with_suffix(".yaml")]
