"""Blend prediction tables; nested cross-validation scores every search and chooses one.

Takes  oof/<name>/<experiment>/, ours or of any other framework, folds/<name>/r0.csv and the competition's csv.
Leaves submissions/<name>/blend.csv, blend.json (weights, scores), diversity.csv and error_correlation.csv, and
       oof/<name>/blend@<revision>/: a prediction table like any other, its OOF part nested.
       Scores of trials are fused by logistic regression; reports/<name>/det.png has their error rates.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import make_folds
import train
from tonestack import cli
from tonestack.base import console
from tonestack.base.files import write_csv, write_json
from tonestack.competition import submission
from tonestack.config.call import Call
from tonestack.ensemble import diversity, leaderboard, made, nested_cv, plausibility, selection
from tonestack.ensemble.blends import Blend, equal
from tonestack.ensemble.nested_cv import Candidate
from tonestack.ensemble.tables import Tables, made_name, to_join
from tonestack.ensemble.trials import det
from tonestack.ensemble.trials.fusion import Fusion
from tonestack.ensemble.up_to_date import UpToDate, alone
from tonestack.tables import oof

import numpy as np
import pandas as pd


@alone
def run(call: Call) -> None:
    """Score every search and write the blend that nested CV chooses."""
    started = time.monotonic()
    upstream(call)
    tables = joined(call)
    last = record(call, tables)
    if last.up_to_date():
        return
    whole: Blend | Fusion
    by_fold: dict[int, Blend | Fusion] | None
    unscored = tables.without_oof()
    for name in tables.names:
        for note in tables.facts(name).notes:
            last.say(f"note: {note}")
    for note in plausibility.notes(tables):
        last.say(f"note: {note}")
    if unscored:
        last.say(f"equal weights only, no CV score: {', '.join(unscored)} came without OOF predictions")
        whole, by_fold = equal_mean(call, tables), None
        found: dict[str, object] = {"search": "equal", "complexity": 0}
        part = tables.fold
    else:
        choice, part = search(call, tables, last)
        whole, by_fold, found, scores = choice.blend, choice.by_fold, choice.summary, choice.scores
    rows, test = tables.blend(whole, by_fold, part)
    if rows is not None and tables.level:
        rows[tables.scored] = scores  # joined at one level
    receipt: dict[str, object] = {
        "kind": "blend",
        **found,
        "tables": list(tables.names),
        "weights": dict(zip(tables.names, whole.weights.tolist(), strict=True)),
        "power": whole.power,
        **own(whole),
    }
    last.finish(ship(call, tables, rows, test, receipt | {"seconds": time.monotonic() - started}, last))
    leaderboard.update(call)


def joined(call: Call) -> Tables:
    """Return the tables that blend joins."""
    return Tables.of(call, inputs(call))


def inputs(call: Call) -> tuple[str, ...]:
    """Return the tables to blend, as `to_join` says; with `blend.made` all, and made ones that rest on no blend."""
    if call.data.blend.tables or not call.data.blend.made:
        return to_join(call, call.data.blend.tables)
    every = oof.experiments(call.oof, made=True)
    blends = {name for name in every if name.startswith("blend@") and oof.kind_of(call.oof / name) == "blend"}
    return tuple(name for name in every if name not in blends and not blends & made.made_of(call, name))


def own(whole: Blend | Fusion) -> dict[str, object]:
    """Return the receipt's keys of one kind of blend."""
    if isinstance(whole, Fusion):
        return {"bias": whole.bias}
    return {"temperatures": None if whole.temperatures is None else whole.temperatures.tolist()}


def record(call: Call, tables: Tables) -> UpToDate:
    """Return the record of blend."""
    return UpToDate(call, "blend", tables.names, call.data.blend.model_dump())


def equal_mean(call: Call, tables: Tables) -> Blend | Fusion:
    """Return the blend of tables without a CV score."""
    if not tables.probabilities:
        return Fusion(equal(len(tables.names)))
    power = 0.0 if call.data.fold_mean == "geometric" else 1.0
    return Blend(equal(len(tables.names)), power, normalise=tables.normalise)


def upstream(call: Call) -> None:
    """Make missing inputs of blend and stack (folds, tables if there is none); remove made tables that are stale."""
    make_folds.run(call, quiet=True)
    made.remove_stale(call)
    for line in oof.unread(call.oof):
        print(f"note: {line}")
    if not oof.experiments(call.oof):
        train.run(call)


@dataclass(frozen=True)
class BlendChoice:
    """The chosen blend, the blends of its OOF rows by fold, the receipt's keys of the choice, and its scored rows."""

    blend: Blend | Fusion
    by_fold: dict[int, Blend | Fusion]
    summary: dict[str, object]
    scores: np.ndarray


def search(call: Call, tables: Tables, last: UpToDate) -> tuple[BlendChoice, np.ndarray]:
    """Print the nested candidates of all searches; return the choice, and the parts (N,) of the nesting."""
    problem, params = tables.problem(), call.data.blend
    part = nested_cv.nesting(tables.fold, tables.groups)
    names = params.searches if problem.count > 1 or not tables.probabilities else ("single",)
    candidates = nested_cv.evaluate(problem, part[tables.scored], names, params, call.seed, call.cache / "blend")
    found = selection.select(
        candidates,
        problem.metric,
        problem.targets,
        part[tables.scored],
        tables.normalise,
        problem.groups,
        problem.thresholds,
        level=tables.level,
    )
    chosen = found.chosen
    clips = f"{len(problem.targets)} {'verified clips' if tables.probabilities else 'trials'}"
    if len(problem.targets) < scorable(tables):
        clips = f"a random {len(problem.targets):,} of {scorable(tables):,} verified clips (memory)"
    looked_at = len(nested_cv.searched(problem))
    clips += f" (weights by a random {looked_at:,} of them)" if looked_at < len(problem.targets) else ""
    last.say(f"{problem.count} tables, {clips}, {problem.metric.name}, nested CV:")
    last.say(console.aligned(pd.DataFrame([line(c, c is chosen, found.loss[c.name]) for c in candidates])))
    decided = problem.decided(found.scores)
    cv, se = nested_cv.score(problem.metric, decided, problem.targets, params.bootstrap, problem.groups)
    last.say(f"the choice among them, nested too: {cv:.4f} ± {se:.4f}")
    if chosen.name != "single" and chosen.gain.low <= 0:
        last.say(f"warning: the gain of '{chosen.name}' over the best single table is inside the noise")
    if tables.probabilities:
        write_csv(call.submissions / "diversity.csv", diversity.per_model(problem, chosen.blend.weights))
        correlation = diversity.error_correlation(problem).rename_axis("experiment").reset_index()
        write_csv(call.submissions / "error_correlation.csv", correlation)
    else:
        scores = dict(zip(problem.names, problem.tables, strict=True)) | {chosen.name: chosen.scores}
        last.say(str(det.draw(call.reports / "det.png", scores, problem.targets)))
    by_name = {candidate.name: candidate for candidate in candidates}
    by_fold = {k: by_name[name].by_fold[k] for k, name in found.by_part.items()}
    return BlendChoice(chosen.blend, by_fold, summary(chosen, cv, se), found.scores), part


def line(candidate: Candidate, chosen: bool, loss: float) -> dict[str, str]:
    """Return one row of the printed table."""
    gain = candidate.gain
    noise = "" if gain.low > 0 or candidate.name == "single" else "inside the noise" if gain.high >= 0 else "worse"
    return {
        "blend": f"{'*' if chosen else ' '} {candidate.name}",
        "nested cv ± se": f"{candidate.cv:.4f} ± {candidate.se:.4f}",
        "log loss": f"{loss:.4f}",
        "against best single [95 %]": str(gain),
        "": noise,
    }


def summary(chosen: Candidate, cv: float, se: float) -> dict[str, object]:
    """Return the receipt's keys of the choice; cv and se are those of the choice, nested itself."""
    gain = chosen.gain
    paired = {"gain": gain.value, "se": gain.se, "low": gain.low, "high": gain.high}
    return {
        "search": chosen.name,
        "complexity": chosen.complexity,
        "cv": cv,
        "cv_se": se,
        "paired": paired,
    }


def scorable(tables: Tables) -> int:
    """Count the verified clips with a fold."""
    return int((tables.folds["verified"].to_numpy(dtype=bool) & (tables.fold >= 0)).sum())


def ship(
    call: Call,
    tables: Tables,
    rows: np.ndarray | None,
    test: np.ndarray | None,
    receipt: dict[str, object],
    last: UpToDate,
) -> list[Path]:
    """Write the blend's table, its weights and, where there is a test set, its submission file; return them."""
    folder = call.oof / made_name("blend", tables.names)
    outputs = [call.submissions / "blend.json"]
    if rows is not None or test is not None:
        tables.write(folder.name, rows, test, receipt)
        outputs.append(folder)
    write_json(call.submissions / "blend.json", receipt)
    form = tables.form
    if form is not None and (test is not None or tables.whole):
        outputs.append(call.submissions / "blend.csv")
        ids, values = tables.submitted(rows, test)
        submission.write(outputs[-1], form, ids, tables.classes, values)
    last.say(", ".join(map(str, outputs[1:])))
    return outputs


if __name__ == "__main__":
    cli.main(run, __doc__)
