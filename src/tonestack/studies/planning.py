"""The plan of a call of `all`, stage by stage: jobs, reasons to run, estimated time. `timing` measures the times."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tonestack.base import parts
from tonestack.base.console import aligned
from tonestack.base.errors import UserError
from tonestack.base.files import read_json
from tonestack.cleaning import choose, pseudo_rounds, student_rounds
from tonestack.config.call import Call, Experiment
from tonestack.features.prepare import why_stale
from tonestack.labels import revisions
from tonestack.settings.words import parse_folds
from tonestack.studies import timing
from tonestack.studies.timing import Counts
from tonestack.tables import oof
from tonestack.training import queue
from tonestack.training.finished_networks import made_network
from tonestack.training.job import FoldJob, changed_settings, read_receipt, threads_and_jobs

import numpy as np
import pandas as pd

DONE = "up to date"
SERVED = "predicted by the networks of"


@dataclass(frozen=True)
class PlanRow:
    """One row of the plan: stage, what, state or reason to run, jobs, and their estimated seconds.

    seconds: None if unknown.
    """

    stage: str
    what: str
    why: str = DONE
    jobs: int = 0
    seconds: float | None = 0.0


def items(call: Call, records: dict[str, str]) -> list[PlanRow]:
    """Return all stages of `all`, in order, with their estimates.

    records: reason why `make_folds` and each stage on prediction tables would run; empty if up to date.
    """
    records = dict(records)
    experiments = call.experiments(revisions.chosen(call.folds))
    labelling = label_jobs(call)
    every = {e.name: e for e in [*experiments, *(e for e, _, _ in labelling)]}
    with tempfile.TemporaryDirectory() as folder:
        made, cache = features(call, list(every.values()), Path(folder))
        found = [
            *made,
            PlanRow("make_folds", f"{len(call.competition().train)} clips", records.pop("make_folds") or DONE),
        ]
        todo = training(call, experiments)
        found += _timed_jobs(call, labelling, todo, every, cache)
    anew = any(item.why != DONE for item in found)
    return found + after(call, len(experiments), anew, records)


# ------------------------------------------------------------------------------------------------------ features


def features(call: Call, experiments: Sequence[Experiment], folder: Path) -> tuple[list[PlanRow], Path]:
    """Return the `prepare` stage, and a cache with features of at least some clips."""
    competition, specs = call.competition(), [spec for one in experiments for spec in one.config.frontends]
    unique = [spec for i, spec in enumerate(specs) if spec not in specs[:i]]
    stale = why_stale(competition, unique, call.data.audio, call.cache)
    names, clips = [_called(spec, experiments) for spec in unique], len(competition.train) + len(competition.test)
    if not any(stale):
        return [PlanRow("prepare", name) for name in names], call.cache
    few, times = timing.sample(competition)
    seconds = timing.features(call, few, times, [s for s, why in zip(unique, stale, strict=True) if why], folder)
    fresh = [s for s, why in zip(unique, stale, strict=True) if not why]
    if fresh:
        timing.features(call, few, 0.0, fresh, folder)
    count = sum(map(bool, stale))
    lines = [
        PlanRow("prepare", name, why or DONE, clips if why else 0, seconds / count if why else 0.0)
        for name, why in zip(names, stale, strict=True)
    ]
    return lines, folder


def _called(spec: dict[str, object], experiments: Sequence[Experiment]) -> str:
    """Return the name of a frontend and of the models that read it."""
    models = dict.fromkeys(e.model for e in experiments if spec in e.config.frontends)
    return f"{spec['name']} for {', '.join(models)}"


# ----------------------------------------------------------------------------------------------------- fold jobs


def training(call: Call, experiments: Sequence[Experiment]) -> list[tuple[Experiment, int, str]]:
    """Return the `train` stage: every experiment, the number of its folds to train, and why."""
    return [(experiment, *_why(call, experiment)) for experiment in experiments]


def _why(call: Call, experiment: Experiment) -> tuple[int, str]:
    try:
        made = queue.build(call, [experiment])
    except UserError:  # its features or the folds are still to be made
        return _fold_count(call), "not trained yet" if not oof.receipts(
            call.oof / experiment.name
        ) else "its inputs change"
    reasons = [reason for job in made if (reason := why_not(job))]
    return len(reasons), "; ".join(dict.fromkeys(reasons)) or DONE


def why_not(job: FoldJob) -> str:
    """Return the reason why a fold is not up to date; empty if it is."""
    receipt = read_receipt(job.folder, job.fold)
    if receipt is None:
        if made := made_network(job):
            return f"{SERVED} {made.parent.name}"
        begun = job.state_path.is_file() or job.distil_path.is_file()
        return "resumes from its last epoch" if begun else "not trained yet"
    if changed := changed_settings(receipt, job.experiment):
        return f"would be refused: {'; '.join(changed[:2])}; give variant=WORD or name=WORD"
    before = receipt.get("inputs", {})
    changed = sorted(name for name in {*before, *job.inputs} if before.get(name) != job.inputs.get(name))
    return f"{', '.join(changed)} changed" if changed else ""


def _fold_count(call: Call) -> int:
    """Return the number of folds that are trained and predicted."""
    train = call.competition().train
    official = sorted(fold for fold in train["fold"].unique() if fold >= 0)
    there = official or list(range(call.data.folds.n))
    return len(parse_folds(call.words.fold, [int(fold) for fold in there]))


def _counts(call: Call, share: float = 1.0) -> Counts:
    """Count the clips of one fold job: its training clips (times `share`), and those it predicts."""
    n, k = len(call.competition().train), _fold_count(call.but(fold=None))
    held_out = n / max(k, 2)
    return Counts(max(1, round((n - held_out) * share)), round(held_out) + len(call.competition().test))


def label_jobs(call: Call) -> list[tuple[Experiment, int, str]]:
    """Return the label loop: experiments, at most how many fold jobs of each, and their stage."""
    if student_rounds.wanted(call) and call.words.revision is None:
        rounds, first = call.data.student.rounds, call.but(fold=None, revision=None)
        return [(e, rounds * _fold_count(first), "student") for e in student_rounds.students(first, "r0")]
    if not choose.wanted(call):
        return []
    free, params, k = call.plain().but(revision=None), pseudo_rounds.settings(call), _fold_count(call)
    methods = call.data.clean.candidates if call.data.clean.method == "auto" else (call.data.clean.method,)
    asks = [m for m in methods if parts.find("cleaning", m).NEEDS == "probabilities"]
    found = [
        (free.experiment(m, "r0"), k * (k - 1) // 2 if k > 2 else 5 * k, "clean_labels") for m in call.data.clean.judge
    ]
    found = found if asks else []
    found += [(free.experiment(m, "r0"), k * (1 + len(methods)), "clean_labels") for m in choose.scouts(call)]
    models = pseudo_rounds.experiments(free, params, "r0") if params.rounds else []
    each = k + (k * (k - 1) if params.train != "off" else 0)
    found += [(e, k + params.rounds * each, "pseudo_label") for e in models]
    return found


def _timed_jobs(
    call: Call,
    labelling: Sequence[tuple[Experiment, int, str]],
    todo: Sequence[tuple[Experiment, int, str]],
    every: dict[str, Experiment],
    cache: Path,
) -> list[PlanRow]:
    """Return the rows of the label loop and of training, timed together."""
    wanted = {e.name for e, count, _ in [*labelling, *todo] if count}
    counts = dict.fromkeys(sorted(wanted), _counts(call))
    for experiment, _, why in todo:
        if why.startswith(SERVED) and ";" not in why:
            counts[experiment.name] = replace(counts[experiment.name], train=0)
    each = {} if _tabular(call) else timing.fold_jobs(call, {n: (every[n], counts[n]) for n in counts}, cache)
    found = []
    for experiment, count, stage in labelling:
        found.append(_item(call, stage, experiment, count, "at most; the loop decides as it runs", each))
    for experiment, count, why in todo:
        found.append(_item(call, "train", experiment, count, why, each))
    return found


def _tabular(call: Call) -> bool:
    """True if the task's rows are not clips: timing of fits on clips then tells too little."""
    return not call.task.clip_rows


def _item(call: Call, stage: str, experiment: Experiment, count: int, why: str, each: dict[str, float]) -> PlanRow:
    if not count:
        return PlanRow(stage, experiment.name, why)
    one = each.get(experiment.name, _measured(call, experiment))
    slots = threads_and_jobs(call)[1]
    return PlanRow(stage, experiment.name, why, count, None if one is None else one * count / min(slots, count))


def _measured(call: Call, experiment: Experiment) -> float | None:
    """Return the mean seconds of the experiment's finished folds, None without one."""
    found = [float(read_json(path).get("seconds", 0)) for path in oof.receipts(call.oof / experiment.name).values()]
    return float(np.mean(found)) if found else None


# ------------------------------------------------------------------------------------------------ the stages after


def after(call: Call, models: int, anew: bool, records: dict[str, str]) -> list[PlanRow]:
    """Return blend, stack, submit, score and report. anew: their inputs will change; records: why each would run."""
    tables = max(models, len(oof.experiments(call.oof)))
    train, k = call.competition().train, _fold_count(call.but(fold=None))
    why = {stage: "tables change" if anew else reason or DONE for stage, reason in records.items()}
    estimate = {
        "blend": lambda: timing.blend(call, tables, int(train["verified"].sum()), k),
        "stack": lambda: timing.stack(call, tables, len(train), k),
    }
    found = []
    for stage, reason in why.items():
        todo = reason != DONE
        known = todo and stage in estimate and not _tabular(call)
        found.append(PlanRow(stage, "", reason, int(todo), (estimate[stage]() if known else None) if todo else 0.0))
    if call.scoring is not None:
        found.insert(-1, PlanRow("score", "", "always", 1, None))
    return found


def shown(found: Sequence[PlanRow]) -> str:
    """Return the plan as a text table, with its total."""
    lines = [
        {"stage": i.stage, "what": i.what, "jobs": i.jobs or "", "why": i.why, "about": _clock(i.seconds, i.jobs)}
        for i in found
    ]
    known = [i.seconds for i in found if i.seconds is not None]
    unknown = list(dict.fromkeys(i.stage for i in found if i.seconds is None))
    rest = f", and what {', '.join(unknown)} take" if unknown else ""
    return f"{aligned(pd.DataFrame(lines))}\nabout {_clock(sum(known), 1)}{rest}"


def _clock(seconds: float | None, jobs: int) -> str:
    if not jobs:
        return ""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
