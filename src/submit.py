"""Choose what to submit by nested cross-validation, check it, write it, log it.

Takes  oof/<name>/: single tables, blends and stacks; the competition's sample submission.
Leaves oof/<name>/mean@<revision>/: the equal mean of the blend and the stackers, which goes first among
       candidates that nested cross-validation cannot tell apart;
       oof/<name>/windows@<revision>/: where rows are windows of recordings, the same with each window's neighbours;
       oof/<name>/prior@<revision>/: where verified clips have another mix of classes, the same corrected for it;
       submissions/<name>/submission.csv in exactly the competition's format, a line in log.csv, and choice.json: which
       table was chosen, for predict and bundle.
submit.table=NAME submits that table; submit.upload=true sends the file to Kaggle by the official client.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import blend
from tonestack import cli
from tonestack.base import console
from tonestack.base.errors import UserError, nearest
from tonestack.base.files import write_json
from tonestack.competition import kaggle, submission
from tonestack.config.call import Call
from tonestack.ensemble import made, nested_cv, selection
from tonestack.ensemble.choice import Choice, best_single, made_tables, reference
from tonestack.ensemble.rules import neighbours, prior
from tonestack.ensemble.rules.neighbours import Places
from tonestack.ensemble.rules.prior import PriorRule
from tonestack.ensemble.tables import Tables, made_name, to_join
from tonestack.ensemble.up_to_date import UpToDate, alone
from tonestack.tables import oof

import numpy as np
import pandas as pd

MEAN = "mean"
WINDOWS = "windows"
PRIOR = "prior"
EASIEST = -1  # complexity of the mean: it does not choose between blend and stackers


@alone
def run(call: Call) -> None:
    """Submit what nested CV chooses of single table, blend, stacks and their mean, or the table asked for."""
    made.remove_stale(call)
    if not oof.experiments(call.oof):
        blend.run(call)
    choice = call.submissions / "choice.json"
    last = record(call)
    path = call.submissions / "submission.csv"
    if not last.up_to_date():
        parts = averaged(call, last)
        mean = average(call, parts)
        source = [folder.name for folder in mean] or parts[:1]
        outputs = [choice, *mean, *with_neighbours(call, source), *with_prior(call, source)]
        tables = Tables.of(call, made=True)
        chosen = asked_for(call, tables) if call.data.submit.table else choose(call, tables, last)
        form, table = tables.form, tables.read(chosen.name)
        numbers = {"cv": _number(chosen.cv), "se": _number(chosen.se)}
        write_json(choice, {"table": chosen.name, **numbers, **said(tables, tables.limits(table.oof))})
        if form is None:
            last.say(f"no test set: nothing to submit; cross-validation chooses {chosen.name}")
            last.finish(outputs)
            return
        ids, values = tables.submitted(table.oof, table.test)
        submission.write(path, form, ids, tables.classes, values)
        submission.log(call.submissions / "log.csv", entry(path, chosen))
        last.say(f"{path}: {chosen.name}, nested cv {chosen.cv:.4f} ± {chosen.se:.4f}")
        last.finish([path, *outputs])
    if call.data.submit.upload and call.competition().submission is not None:
        upload(call, path)


def average(call: Call, parts: list[str]) -> list[Path]:
    """Write the equal mean of `parts`, the blend and the stackers, as a table of its own; return its folder, if any.

    Nested scores seldom separate blend and stackers, and a mean of tables with different errors varies less than each
    (Breiman, Stacked regressions, 1996).
    """
    tables = with_oof(call, parts) if len(parts) > 1 else None
    folder = call.oof / made_name(MEAN, parts) if tables else None
    _remove_others(call, MEAN, folder)
    if tables is None or folder is None:
        return []
    whole, part = blend.equal_mean(call, tables), tables.fold
    rows, test = tables.blend(whole, dict.fromkeys(np.unique(part[part >= 0]).tolist(), whole), part)
    weights = dict.fromkeys(parts, 1 / len(parts))
    receipt = {"kind": "blend", "search": MEAN, "complexity": EASIEST, "tables": parts, "weights": weights}
    tables.write(folder.name, rows, test, receipt | {"power": whole.power, "temperatures": None, "seconds": 0.0})
    return [folder]


def with_neighbours(call: Call, source: list[str]) -> list[Path]:
    """Write a table (the mean, or the blend) with each window's neighbours as another; return its folder, if any.

    For rows that are windows of recordings alone. Nested cross-validation chooses the rule, which may be none.
    """
    tables = Tables.of(call, source) if source and not call.task.one_label and call.task.tags else None
    places = Places.of(call.competition(), tables.folds["clip_id"].tolist()) if tables else None
    folder = call.oof / made_name(WINDOWS, source) if places else None
    _remove_others(call, WINDOWS, folder)
    if tables is None or places is None or folder is None or tables.without_oof():
        return []
    part = nested_cv.nesting(tables.fold, tables.groups)
    rule, rows = neighbours.choose(tables.oof(source[0]), places, tables.problem(), tables.scored, part)
    ahead = Places.of(call.competition(), tables.test_ids) if tables.test_ids else None
    test = tables.read(source[0]).test
    if test is not None and ahead is not None:
        test = np.stack([rule(fold, ahead) for fold in test])
    receipt = {"kind": "blend", "search": WINDOWS, "complexity": EASIEST, "tables": source, "rule": rule.settings()}
    receipt |= {"weights": {source[0]: 1.0}, "power": 1.0, "temperatures": None, "seconds": 0.0}
    tables.write(folder.name, rows, test, receipt)
    return [folder]


def with_prior(call: Call, source: list[str]) -> list[Path]:
    """Write a table (the mean, or the blend) corrected for the verified clips' mix of classes; return its folder.

    For clips of one label of which some are verified and some are not. Without a gain there is no such table.
    """
    mixed = call.task.one_label and call.task.tags and call.labels.folds["verified"].nunique() > 1
    tables = with_oof(call, source) if source and mixed else None
    found = prior_of(call, tables) if tables else None
    folder = call.oof / made_name(PRIOR, source) if found and found[0].changes else None
    _remove_others(call, PRIOR, folder)
    if tables is None or found is None or folder is None:
        return []
    rule, nested = found
    test = tables.read(source[0]).test
    factors = dict(zip(tables.classes, rule.factors.tolist(), strict=True))
    receipt = {"kind": "blend", "search": PRIOR, "complexity": EASIEST, "tables": source, "factors": factors}
    receipt |= {"weights": {source[0]: 1.0}, "power": 0.0, "temperatures": None, "seconds": 0.0}
    tables.write(folder.name, nested, None if test is None else rule(test), receipt)
    return [folder]


def with_oof(call: Call, names: list[str]) -> Tables | None:
    """Return some tables; None where they hold no probabilities, or one has no OOF part."""
    tables = Tables.of(call, names)
    return tables if tables.probabilities and not tables.without_oof() else None


def prior_of(call: Call, tables: Tables) -> tuple[PriorRule, np.ndarray]:
    """Return the rule of a table for the verified clips' mix of classes, and its OOF rows (N, C), nested if scored."""
    problem, scored = tables.problem(), tables.scored
    part = nested_cv.nesting(tables.fold, tables.groups)
    rule, rows = prior.choose(problem.tables[0], problem.targets, part[scored], trained(call, tables))
    nested = rule(tables.oof(tables.names[0]))
    nested[scored] = rows
    return rule, nested


def trained(call: Call, tables: Tables) -> np.ndarray:
    """Return the shares (C,) of the classes, by weight, in the label revision that the tables' models learned from."""
    revision = made_name("", tables.names).removeprefix("@")
    there = (call.folds / f"{revision}.csv").is_file()
    rows = call.labels.revision(revision if there else "r0")
    weights = rows.groupby("label")["weight"].sum().reindex(list(tables.classes)).fillna(0).to_numpy() + 1
    result: np.ndarray = weights / weights.sum()
    return result


def _remove_others(call: Call, kind: str, kept: Path | None) -> None:
    """Remove the tables of a kind that an earlier call wrote of other tables."""
    for name in [name for name in made.of(call) if _is_own(call, name, kind)]:
        if call.oof / name != kept:
            oof.remove(call.oof / name)


def averaged(call: Call, last: UpToDate) -> list[str]:
    """Return the tables that blend and stack write in a call of these words, where they are of the tables there now.

    Older ones of other tables or revisions would count twice what they share with the newer.
    """
    blended, stacked = blend.inputs(call), to_join(call, call.data.stack.tables)
    wanted = {made_name("blend", blended): blended}
    wanted |= {made_name(f"stack-{name}", stacked): stacked for name in call.data.stack.stackers}
    there = [name for name in wanted if name in made.of(call)]
    older = [name for name in there if set(made.sources(call.oof / name)) != set(wanted[name])]
    if older:
        last.say(f"mean: without {', '.join(older)}, made of other tables than blend and stack would take now")
    return [name for name in there if name not in older]


def _is_own(call: Call, name: str, *kinds: str) -> bool:
    """True if a table was made here (mean, windows, prior), not an experiment or foreign table of that name."""
    return name.partition("@")[0] in kinds and oof.kind_of(call.oof / name) in oof.MADE


def averages(call: Call, names: Sequence[str]) -> list[str]:
    """Those of some tables that average blend and stackers: the mean, and what is made of it."""
    made_here = [name for name in names if _is_own(call, name, MEAN, WINDOWS, PRIOR)]
    return made_here if any(name.startswith(f"{MEAN}@") for name in made_here) else []


def said(tables: Tables, limits: np.ndarray | None) -> dict[str, object]:
    """Return the thresholds (C,) by class, for choice.json; nothing where the table decides at one half."""
    if limits is None:
        return {}
    return {"thresholds": dict(zip(tables.classes, limits.round(6).tolist(), strict=True))}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)


def record(call: Call) -> UpToDate:
    """Return the record of submit."""
    names = tuple(n for n in oof.experiments(call.oof, made=True) if not _is_own(call, n, MEAN, WINDOWS, PRIOR))
    stacked = call.data.stack.model_dump(include={"tables", "stackers"})
    joined = [blend.inputs(call), to_join(call, call.data.stack.tables)]  # they differ by the revision asked for
    settings = [call.data.submit.table, call.data.blend.model_dump(), stacked, joined, "choice.json"]
    return UpToDate(call, "submit", names, settings)


def entry(path: Path, chosen: Choice) -> dict[str, str]:
    """Return a submission's row of log.csv."""
    return {
        "file": path.name,
        "table": chosen.name,
        "from": " ".join(chosen.sources),
        "weights": json.dumps(chosen.weights),
        "cv": "" if np.isnan(chosen.cv) else f"{chosen.cv:.5f}",
        "se": "" if np.isnan(chosen.se) else f"{chosen.se:.5f}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "uploaded": "",
    }


def upload(call: Call, path: Path) -> None:
    """Send the file to Kaggle by the official client, and note it in the log."""
    competition = call.data.download.kaggle if call.data.download else None
    if not competition:
        raise UserError(f"submit.upload: configs/data/{call.words.data}.yaml names no competition (download.kaggle)")
    last = submission.read_log(call.submissions / "log.csv").iloc[-1].to_dict()
    message = call.data.submit.message or f"{last['table']} cv {last['cv']}"
    answer = kaggle.submit(competition, path, message)
    kept = {str(k): v for k, v in last.items() if k != "when"}
    submission.log(call.submissions / "log.csv", kept | {"uploaded": answer})
    print(f"{path}: uploaded to {competition} ({answer})")


def asked_for(call: Call, tables: Tables) -> Choice:
    """Return the table of `submit.table=`, for any cross-validation score."""
    name = str(call.data.submit.table)
    if name not in tables.names:
        raise UserError(f"submit.table={name}: no such table in {call.oof}{nearest(name, tables.names)}")
    one = Tables.of(call, [name])
    if one.without_oof():
        return Choice.unscored(name)
    found, problem = made_tables(one, one.problem(), call), one.problem()
    if found:
        return found[0]
    rows = problem.decided(problem.tables[0])
    cv, se = nested_cv.score(problem.metric, rows, problem.targets, call.data.blend.bootstrap, problem.groups)
    return Choice(name, 0, problem.tables[0], cv, se, (name,), {name: 1.0})


def choose(call: Call, tables: Tables, last: UpToDate) -> Choice:
    """Return the choice of nested cross-validation; print all candidates."""
    unscored = tables.without_oof()
    scored = [n for n in tables.names if n not in unscored]
    if not scored:
        blends = [n for n in unscored if oof.kind_of(call.oof / n) in oof.MADE] or unscored
        if len(blends) > 1:
            raise UserError("no table has an OOF part, so none can be chosen; run blend for their equal mean")
        last.say("no table has an OOF part: nothing to choose by")
        return Choice.unscored(blends[0])
    sub = tables if not unscored else Tables.of(call, scored)
    problem, part = sub.problem(), nested_cv.nesting(sub.fold, sub.groups)[sub.scored]
    candidates = [best_single(sub, problem, part, call), *made_tables(sub, problem, call)]
    how = sub.normalise, problem.groups, problem.thresholds, averages(call, [c.name for c in candidates])
    found = selection.select(candidates, problem.metric, problem.targets, part, *how, level=sub.level)
    lines, best = [], reference(sub, problem, call)
    for c in candidates:
        against = problem.decided(c.scores), best, problem.targets, call.data.blend.bootstrap
        gain = nested_cv.paired(problem.metric, *against, groups=problem.groups)
        shown = {"table": f"{'*' if c is found.chosen else ' '} {c.name}", "nested cv ± se": f"{c.cv:.4f} ± {c.se:.4f}"}
        lines.append(shown | {"log loss": f"{found.loss[c.name]:.4f}", "against best single [95 %]": str(gain)})
    last.say(console.aligned(pd.DataFrame(lines)))
    decided = problem.decided(found.scores)
    cv, se = nested_cv.score(problem.metric, decided, problem.targets, call.data.blend.bootstrap, problem.groups)
    last.say(f"the choice among them, nested too: {cv:.4f} ± {se:.4f}")
    return replace(found.chosen, cv=cv, se=se)


if __name__ == "__main__":
    cli.main(run, __doc__)
