"""What a judged benchmark offers `hubwright score | judge | agree`; a step names it in `StepSpec.benchmark`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cases import Case, Row
from .verdicts import Official, StoredVerdicts, read_stored

Figures = dict[str, dict[str, Any]]  # metric -> {"value", "stderr", "higher_is_better"}
Shown = str | tuple[Sequence[str], Sequence[Sequence[Any]]]  # a line for a terminal, or a table: (columns, rows)
Source = str | Path  # a file, a folder or `org/name@revision`


@dataclass(frozen=True)
class StoredBenchmark:
    """A benchmark whose stored judgements `hubwright score NAME` scores.

    Attributes:
        name: the argument of the command.
        read: the judgements in a file, folder or reference.
        score: (what `read` gives) -> the report, as JSON; by name the arguments of `Benchmark.score`.
        shown: the report for a terminal.
    """

    name: str
    read: Callable[[Source], Any]
    score: Callable[..., dict[str, Any]]
    shown: Callable[[dict[str, Any]], Sequence[Shown]]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that a model judges by checklists, for `hubwright score | judge | agree`.

    Attributes:
        name: the argument of the commands, such as `hubwright score NAME`.
        read_answers: (answers, data set or None) -> cases.
        official: reads the benchmark's own judgement files.
        score: stored verdicts -> the report, as JSON. By name: `dataset` (of labels, items and weights; None: the
            verdicts), `resamples` and `seed` of the 95 % intervals, `failed_answers` ("judged": a failed call's marker
            keeps its verdict; "zero"), `max_failed` (share of failures, 0..1, above which DataError is raised; None:
            any).
        figures: (report, verdict rows) -> what a step publishes in `results.json`.
        shown: the report for a terminal.
    """

    name: str
    read_answers: Callable[[Source, Source | None], Sequence[Case]]
    official: Official
    score: Callable[..., dict[str, Any]]
    figures: Callable[[dict[str, Any], Sequence[Row]], Figures]
    shown: Callable[[dict[str, Any]], Sequence[Shown]]

    def read(self, source: Source) -> StoredVerdicts:
        """The verdicts in a file, folder or reference: ours, or official judgements."""
        return read_stored(source, (self.official,))
