"""What a benchmark offers that a model judges by checklists; a step names it in `StepSpec.benchmark`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cases import Case, Row
from .verdicts import Official

Figures = dict[str, dict[str, Any]]  # metric -> {"value", "stderr", "higher_is_better"}
Source = str | Path  # a file, a folder or `org/name@revision`


@dataclass(frozen=True)
class Benchmark:
    """A benchmark for `hubwright score | judge | agree`.

    Attributes:
        name: the argument of the commands, such as `hubwright score NAME`.
        read_answers: (answers, data set or None) -> cases.
        official: reads the benchmark's own judgement files.
        score: stored verdicts -> the report, as JSON. By name: `dataset` (where labels, items and weights are taken
            from; None: from the verdicts), `resamples` of the 95 % intervals and their `seed`, `failed_answers`
            ("judged": the marker of a failed call keeps its verdict; "zero": it scores 0), and `max_failed` (share of
            failed answers and verdicts, 0..1, above which DataError is raised; None: any).
        figures: (report, verdict rows) -> what a step publishes in `results.json`.
        table: the report for a terminal.
    """

    name: str
    read_answers: Callable[[Source, Source | None], Sequence[Case]]
    official: Official
    score: Callable[..., dict[str, Any]]
    figures: Callable[[dict[str, Any], Sequence[Row]], Figures]
    table: Callable[[dict[str, Any]], str]
