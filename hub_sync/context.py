"""What a step function receives and what it hands back. It works on local files and never publishes.

builder:  build(config, context) -> datasets.DatasetDict      rows out; the runner writes the Parquet
trainer:  train(config, context) -> None                      model files written below context.output
eval:     evaluate(config, context) -> None                   rows and results written below context.output

All three describe what they made through `context.report`; the card and `provenance.json` are rendered from it,
so every value put there must be JSON.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .refs import ArtifactRef


@dataclass(frozen=True)
class Input:
    """An input artifact, pulled: `ref.revision` is a commit hash and `path` its verified local folder."""

    ref: ArtifactRef
    path: Path


@dataclass
class Report:
    """What a step tells about its result. Everything is JSON: it goes into provenance.json as it is.

    Attributes:
        card: Hub metadata the step knows best (`pretty_name`, `language`, `task_categories`, `tags`, ...), and
            `default_config`, the config to load where none is named.
        summary: one or two paragraphs of Markdown that open the card.
        metrics: figures by name; the unit belongs in the name (`loss`, `accuracy`, `tokens_per_second`).
        tables: `{"title", "columns": [str], "rows": [[...]], "note"?}`, printed in this order.
        curves: `{"title", "x", "y", "series": {name: [[x, y], ...]}, "marks"?: {label: x}}`, plotted in this
            order; a mark is a dashed upright.
        bars: `{"title", "y", "groups": [str], "series": {name: [[value, low, high], ...]}}`, a bar a group and series;
            with `"shape": "radar"` a spoke a group and a line a series.
        sections: `{"title", "body"}` (Markdown), printed after the tables.
        counts: rows read, kept and refused, by reason.
        columns: what the columns of a data set hold, by name.
        chance: value of a metric that guessing gives, by TASK/METRIC.
    """

    card: dict[str, Any] = field(default_factory=dict)
    summary: str = ""
    metrics: dict[str, float | int | None] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)
    sections: list[dict[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> None:
        """Add a table; a note without text is left out."""
        table = {"title": title, "columns": list(columns), "rows": list(rows)}
        self.tables.append(table | ({"note": note} if note else {}))

    def curve(
        self, title: str, x: str, y: str, series: dict[str, list[list[Any]]], marks: Mapping[str, float] | None = None
    ) -> None:
        """Add a plot of curves; none without series. `marks` are places on x by their label."""
        if series:
            plot = {"title": title, "x": x, "y": y, "series": series}
            self.curves.append(plot | ({"marks": dict(marks)} if marks else {}))

    def section(self, title: str, body: str) -> None:
        """Add a section of Markdown."""
        self.sections.append({"title": title, "body": body})


@dataclass
class StepContext:
    """Where a step works.

    Attributes:
        step: the step's name in the recipe.
        workdir: private folder that survives a kill; the same fingerprint gets the same folder again. Shards and
            checkpoints go here.
        output: what is published. Emptied by the runner before the step starts.
        inputs: the pulled inputs by role (`dataset`, `model`, ...).
        report: to be filled by the step.
        recording: folder of the run's recorded requests and answers, shared by its steps; None: record nothing.
        replay: answer from `recording` alone, asking no model.
        resources: closed when the whole run ends; what later steps can share (a served model) is entered here.
    """

    step: str
    workdir: Path
    output: Path
    inputs: Mapping[str, Input] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    recording: Path | None = None
    replay: bool = False
    resources: ExitStack = field(default_factory=ExitStack)
