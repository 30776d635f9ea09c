"""FB-Bench for `hubwright score | judge | agree` and the step `fbbench_judge`."""

import math
from collections.abc import Sequence
from typing import Any

from .._lib.judging.benchmark import Benchmark, Figures, Shown, Source
from .._lib.judging.cases import Case, Row
from .._lib.judging.verdicts import StoredVerdicts
from . import metrics, scorer
from .answers import read_answers, read_dataset
from .verdicts import collect, judged_of, official_rows


def read_cases(answers: Source, dataset: Source | None = None) -> list[Case]:
    """The answers in a file, folder or reference; rows from `dataset` if it is given."""
    return read_answers(answers, read_dataset(dataset) if dataset else None)


def score_stored(stored: StoredVerdicts, *, dataset: Source | None = None, **settings: Any) -> dict[str, Any]:
    """The report of `scorer.score` on stored verdicts; `settings` are its own."""
    judged, expected = judged_of(stored), stored.expected
    if dataset:
        samples = read_dataset(dataset)
        judged, expected = scorer.check_against(judged, samples), len(samples)
    return scorer.score(judged, expected=expected, **settings)


def figures(report: dict[str, Any], rows: Sequence[Row]) -> Figures:
    """The metrics of `metrics.metric_names` by name."""
    result: Figures = {}
    for name in metrics.metric_names(one.sample for one in collect(rows)):
        if not name.endswith("_stderr"):
            stderr = metrics.read_metric(report, f"{name}_stderr") if name in metrics.HEAD else math.nan
            value, better = metrics.read_metric(report, name), metrics.higher_is_better(name)
            result[name] = {"value": _finite(value), "stderr": _finite(stderr), "higher_is_better": better}
    return result


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def shown(report: dict[str, Any]) -> list[Shown]:
    """The report for a terminal: headline, slices, counts."""

    def cell(value: Any) -> str:
        return "–" if value is None else f"{value:.2f}"

    headline = []
    for key in scorer.FIGURES:
        interval = report["intervals"].get(key)
        spread = f"{interval['low']:.2f} – {interval['high']:.2f}" if interval else "–"
        others = [cell(report[kind][key]) for kind in ("strict", "item_mean")]
        headline.append([key.replace("_", " ").title(), cell(report[key]), spread, *others])
    tasks = [
        [task, *(cell(entry[key]) for key in scorer.FIGURES), "+".join(map(str, entry["n"].values()))]
        for task, entry in report["tasks"].items()
    ]
    groups = {
        "deficiency (EC)": report["deficiencies"],
        "feedback (EC)": report["feedback"]["error_correction"],
        "feedback (RM)": report["feedback"]["response_maintenance"],
    }
    counts = report["counts"]
    ends = {key: value for key, value in counts.items() if value and key != "samples"}
    outcomes = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in ends.items())
    exhaustive = report["strict"]["exhaustive_checklists"]
    return [
        (["", "score", "95 % interval", "strict", "row mean"], headline),
        (["task", "EC", "RM", "both", "n"], tasks),
        *(
            ([title, "score", "n"], [[label, cell(entry["score"]), entry["n"]] for label, entry in table.items()])
            for title, table in groups.items()
            if table
        ),
        f"{counts['samples']} samples: {outcomes}; coverage {report['coverage']:.1%}",
        f"strict: {exhaustive} exhaustive checklists count with their first item alone (ours, not the paper's)",
    ]


FBBENCH = Benchmark("fbbench", read_cases, official_rows, score_stored, figures, shown)
