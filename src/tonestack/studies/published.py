"""Studies: the rows of a published table, rerun by the normal pipeline, our numbers beside the published ones.

configs/study/<name>.yaml lists tables of rows. A row is one of
    {id, row, model, set: {key: value}, revision}     an experiment `<model>-<id>@<revision>`; with `data: {...}` on a
                                                       competition of its own, <name>-<id>: the data config so changed
    {id, row, gate: {groups, of: {group: id}, by: id}} per-group models joined by a gate
    {id, row, mean: {of: [id, ...], how: geometric}}   an equal mean of rows
    {row, same: id}                                    a row of another table again
`document` is the published number to compare with. The prediction tables lie in oof/<name>-<study>/.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tonestack.base.errors import UserError
from tonestack.base.files import write_text
from tonestack.base.section import Section
from tonestack.config import layers
from tonestack.config.call import Call, Experiment
from tonestack.config.layers import CONFIGS
from tonestack.ensemble import gate, nested_cv, scoring
from tonestack.ensemble.blends import Blend, equal
from tonestack.ensemble.tables import Tables
from tonestack.studies.tuning import merged
from tonestack.tables.metrics import resolve
from tonestack.training import queue
from tonestack.training.job import FoldJob, refuse_changed_meaning

import numpy as np
import pandas as pd
from pydantic import Field


class GateRow(Section):
    """A gate: the grouping of the data config, the row of every group's model, and the row that gates."""

    groups: str = Field(description="grouping of the data config")
    of: dict[str, str] = Field(description="row of every group's model")
    by: str = Field(description="row whose model chooses the group")


class MeanRow(Section):
    """An equal mean of rows; rows that could not be made are left out and listed."""

    of: tuple[str, ...] = Field(description="rows averaged")
    how: Literal["arithmetic", "geometric"] = Field("geometric", description="arithmetic or geometric mean")


class StudyRow(Section):
    """One row of a table; without `row` it is made for other rows and not shown."""

    id: str = Field("", description="name that other rows use")
    row: str = Field("", description="text of the line; left out: made for others, not shown")
    document: float | tuple[float, ...] | None = Field(None, description="published score or scores")
    model: str | None = Field(None, description="model config")
    set: dict[str, Any] = Field({}, description="changes of the model config")
    data: dict[str, Any] = Field({}, description="changes of the data config")
    revision: str | None = Field(None, description="label revision; with {group}: one per group of `groups`")
    groups: str | None = Field(None, description="the grouping that `revision` belongs to")
    gate: GateRow | None = Field(None, description="a group model per clip, chosen by another row")
    mean: MeanRow | None = Field(None, description="mean of other rows")
    same: str | None = Field(None, description="row that has the same setting")


class TableConfig(Section):
    """One table of a study."""

    title: str = Field(description="heading of the table")
    rows: tuple[StudyRow, ...] = Field(description="its lines")


class LabelStep(Section):
    """Label revisions that rows need: made by a stage from the parent revision, before all training."""

    stage: Literal["clean_labels", "pseudo_label"] = Field(description="stage that makes the revision")
    parent: str = Field("r0", description="revision it starts from")
    set: dict[str, Any] = Field({}, description="changes of the stage's settings")


class StudyConfig(Section):
    """configs/study/<name>.yaml."""

    title: str = Field(description="heading of the page")
    about: str = Field("", description="text below the heading")
    labels: tuple[LabelStep, ...] = Field((), description="revisions made before anything is trained")
    tables: tuple[TableConfig, ...] = Field(description="tables of the study")


def load(name: str) -> StudyConfig:
    """Read a study; its ids must be known and unique."""
    source, values = layers.layer("study", name)
    study = StudyConfig.parse(values, source)
    known: list[str] = []
    for row in (row for table in study.tables for row in table.rows):
        needed = [row.same] if row.same else [*(row.mean.of if row.mean else ())]
        needed += [*row.gate.of.values(), row.gate.by] if row.gate else []
        for other in needed:
            if other not in known:
                raise UserError(f"{source}: row '{row.row or row.id}' needs '{other}', which is not above it")
        if row.id in known:
            raise UserError(f"{source}: id '{row.id}' is given twice")
        if sum(part is not None for part in (row.model, row.gate, row.mean, row.same)) != 1:
            raise UserError(f"{source}: row '{row.row or row.id}' needs exactly one of model, gate, mean, same")
        known += [row.id] if row.id else []
    return study


@dataclass(frozen=True)
class Study:
    """A study on one competition."""

    call: Call
    name: str
    settings: StudyConfig

    @property
    def folder(self) -> Path:
        """The folder of its prediction tables."""
        return self.call.oof.with_name(f"{self.call.name}-{self.name}")

    @cached_property
    def by_id(self) -> dict[str, StudyRow]:
        """All rows with an id, by id."""
        return {row.id: row for table in self.settings.tables for row in table.rows if row.id}

    def changed(self, settings: dict[str, Any], **words: Any) -> Call:
        """Return the study's call with a row's settings; typed overrides take precedence."""
        overrides = layers.merge([("", merged({}, settings)), ("", self.call.words.overrides)])
        return self.call.but(overrides=overrides, **words)

    def competitions(self) -> list[Call]:
        """Return the calls on the study's own competition and on those of its rows."""
        return [self.call, *(self.competition(row) for row in self.by_id.values() if row.data)]

    def competition(self, row: StudyRow) -> Call:
        """Return the call on the competition of a row."""
        if not row.data:
            return self.call
        changed = layers.merge([("", row.data), ("", self.call.words.overrides)])
        return self.call.but(name=f"{self.call.name}-{row.id}", overrides=changed)

    def experiments(self) -> dict[str, Experiment]:
        """Return the experiments of all rows whose label revision exists; group revisions are written first."""
        found = {}
        for row in self.by_id.values():
            if row.model is None:
                continue
            if row.groups:
                classes = self.call.competition().classes
                groups = gate.checked(self.call.data.groups, row.groups, classes)
                gate.write_revisions(self.call.labels, row.groups, groups, classes)
            if self.missing_revision(row) is None:
                found[row.id] = self._experiment(row, row.model)
        return found

    def _experiment(self, row: StudyRow, model: str) -> Experiment:
        revision = row.revision or "r0"
        return replace(self.changed(row.set).experiment(model, revision), variant=row.id, revision=revision)

    def missing_revision(self, row: StudyRow) -> str | None:
        """Return the revision that a row needs if it does not exist."""
        there = row.revision in (None, "r0") or (self.call.folds / f"{row.revision}.csv").is_file()
        return None if there else row.revision

    def jobs(self, experiments: dict[str, Experiment]) -> list[FoldJob]:
        """Return the fold jobs that are not up to date, with files in the study's folder."""
        todo = []
        for key, experiment in experiments.items():
            folder = self.folder / experiment.name
            refuse_changed_meaning(folder, experiment)
            call = self.competition(self.by_id[key])
            todo += [replace(job, folder=folder) for job in queue.build(call, [experiment])]
        return [job for job in todo if job.finished() is None]

    def tables(self, names: list[str], call: Call | None = None) -> Tables:
        """Return prediction tables of the study, of its own competition or of a row's."""
        return replace(Tables.of(call or self.call, names), folder=self.folder)

    def join(self, experiments: dict[str, Experiment]) -> tuple[dict[str, str], dict[str, str]]:
        """Make the gates and means; return the names of the tables, and why rows have none, both by id."""
        made = {key: experiment.name for key, experiment in experiments.items()}
        lacking: dict[str, str] = {}
        for key, row in self.by_id.items():
            if row.model and key not in made:
                lacking[key] = f"needs the label revision '{row.revision}', which is not there"
            elif row.gate:
                self._gate(key, row.gate, made, lacking)
            elif row.mean:
                self._mean(key, row.mean, made, lacking)
        return made, lacking

    def _gate(self, key: str, row: GateRow, made: dict[str, str], lacking: dict[str, str]) -> None:
        needed = [*row.of.values(), row.by]
        if any(other not in made for other in needed):
            lacking[key] = "a model that it joins is missing"
            return
        groups = gate.checked(self.call.data.groups, row.groups, self.call.competition().classes)
        made[key] = f"gate-{key}@r0"
        by_group = {group: made[other] for group, other in row.of.items()}
        gate.write_joined(self.tables([made[o] for o in needed]), made[key], made[row.by], by_group, groups)

    def _mean(self, key: str, row: MeanRow, made: dict[str, str], lacking: dict[str, str]) -> None:
        there = [other for other in row.of if other in made]
        if len(there) < 2:
            lacking[key] = "fewer than two of its rows are there"
            return
        tables = self.tables([made[other] for other in there])
        how = 0.0 if row.how == "geometric" else 1.0
        blend = Blend(equal(len(there)), how, normalise=tables.normalise)
        fold = nested_cv.nesting(tables.fold, tables.groups)
        rows, test = tables.blend(blend, {int(k): blend for k in np.unique(fold[fold >= 0])}, fold)
        made[key] = f"mean-{key}@r0"
        receipt = {"kind": "blend", "search": row.how, "tables": list(tables.names)}
        tables.write(made[key], rows, test, receipt | {"without": [o for o in row.of if o not in made]})

    def scores(self, made: dict[str, str]) -> dict[str, dict[str, float]]:
        """Return CV, its standard error and the test scores of every table, by id."""
        return {key: self._scores_of(self.competition(self.by_id[key]), name) for key, name in made.items()}

    def _scores_of(self, call: Call, name: str) -> dict[str, float]:
        metric, tables = resolve(call.data.metric), self.tables([name], call)
        problem = tables.problem()
        rows, groups = problem.decided(problem.tables[0]), problem.groups
        cv, se = nested_cv.score(metric, rows, problem.targets, call.data.blend.bootstrap, groups)
        found = {"cv": cv, "se": se}
        found |= {name: problem.value(name, problem.tables[0]) for name in call.data.more_metrics}
        if call.scoring is not None and tables.test_folds():
            labels = scoring.read(call.scoring, call.rows.labels, call.task, scoring.Headings.of(call))
            found |= scoring.score(metric, tables.decided(name), tables.test_ids, labels, tables.labels, tables.task)
        return found

    def render(self, made: dict[str, str], lacking: dict[str, str], scores: dict[str, dict[str, float]]) -> str:
        """Return the study as markdown."""
        metric, more = self.call.data.metric, self.call.data.more_metrics
        lines = [f"# {self.settings.title}", "", self.settings.about.strip(), ""]
        data = f"Data: {self.call.name}, preset {self.call.data.preset}, {metric}"
        lines += [f"{data}; CV on verified clips ± its standard error.", ""]
        for table in self.settings.tables:
            header = ["document", "CV", *(f"CV {m}" for m in more), "Public", "Private"]
            lines += [f"## {table.title}", "", f"| | {' | '.join(header)} |", "|---" * (len(header) + 1) + "|"]
            for row in (row for row in table.rows if row.row):
                key = row.same or row.id
                lines.append(f"| {row.row} | {_published(row.document)} | {_cells(key, scores, lacking, more)} |")
            lines.append("")
        return "\n".join(lines)


def _cells(key: str, scores: dict[str, dict[str, float]], lacking: dict[str, str], more: tuple[str, ...]) -> str:
    if key in lacking:
        return f"not run: {lacking[key]} |" + " |" * (1 + len(more))
    found = scores[key]
    others = [_number(found.get(name)) for name in (*more, "public", "private")]
    return " | ".join([f"{found['cv']:.4f} ± {found['se']:.4f}", *others])


def _published(value: float | tuple[float, ...] | None) -> str:
    """Return the published number, or the numbers of the metric and of further ones."""
    values = value if isinstance(value, tuple) else (value,)
    return " / ".join(_number(v, 3 if len(values) == 1 else 4) for v in values)


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.{digits}f}"


def write(study: Study, text: str) -> Path:
    """Write the markdown below reports/; return its path."""
    path = study.call.reports / f"study-{study.name}.md"
    write_text(path, text)
    return path


def available() -> list[str]:
    """Return the names of all studies."""
    return sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
