"""FB-Bench's score from a judge's verdicts, for `evaluate.load`. Needs `pip install hubwright`."""

from typing import Any

import datasets

from hubwright.evals._lib import metric_module
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.samples import Sample
from hubwright.evals.fbbench.verdicts import Judged, VerdictState

NAME = "fb_bench"  # of the Space, and so of this file there
TITLE = "FB-Bench score"
SUMMARY = "the published macro scores of FB-Bench (arXiv:2410.09412) from a judge's checklist verdicts"
EXAMPLE = """\
row = {"bench_type": "Error Correction", "task_type": "Coding", "items": ["runs", "explains"], "weights": [0.7, 0.3]}
evaluate.load("ORG/fb_bench").compute(predictions=[["yes", "no"]], references=[row])
"""
_WORDS = {"yes": True, "no": False}
_LIST = datasets.Sequence(metric_module.TEXT)
_ROW = {
    "bench_type": metric_module.TEXT, "task_type": metric_module.TEXT,
    "items": _LIST, "weights": datasets.Sequence(datasets.Value("float64")),
}  # fmt: skip


class FBBench(metric_module.ScorerMetric):
    """The published macro scores of FB-Bench, 0 to 100, from checklist verdicts: the mean over the rows of each
    (scenario, task) cell, then over tasks and scenarios.

    Args:
        predictions: for each answer the judge's verdicts in checklist order: "yes", "no", "unparsable". An answer with
            an unparsable verdict has no score; one with no verdicts at all counts 0 (there was nothing to judge).
        references: for each answer its row: bench_type, task_type, items (texts) and weights (of Error Correction; an
            empty list for Response Maintenance, where any item met is full marks).
        resamples: bootstrap resamples of the 95 % intervals (default 0: none).
    Returns:
        overall, error_correction, response_maintenance, their *_strict variants, coverage (share of the answers
        scored), with resamples also NAME_ci_low and NAME_ci_high. None where no row counts.
    """

    PREDICTION = _LIST
    REFERENCE = _ROW
    CITATION = "FB-Bench, arXiv:2410.09412"

    def _compute(self, predictions: Any, references: Any, resamples: int = 0, seed: int = 1234) -> dict[str, Any]:
        rows = zip(predictions, references, strict=True)
        judged = [_judged(number, words, row) for number, (words, row) in enumerate(rows)]
        report = scorer.score(judged, resamples=resamples, seed=seed)
        figures = {name: report[name] for name in ("overall", "error_correction", "response_maintenance")}
        figures |= {f"{name}_strict": report["strict"][name] for name in ("overall", "response_maintenance")}
        for name, interval in report["intervals"].items():
            figures |= {f"{name}_ci_low": interval["low"], f"{name}_ci_high": interval["high"]}
        return {**figures, "coverage": report["coverage"]}


def _judged(number: int, words: Any, row: Any) -> Judged:
    items = tuple(row["items"])
    weights = tuple(row["weights"]) or (None,) * len(items)
    sample = Sample(str(number), row["bench_type"], row["task_type"], (), (), items, weights)
    verdicts = tuple(_WORDS.get(word) for word in words) or (None,) * len(items)
    state: VerdictState = "not_judged" if not words else "failed" if None in verdicts else "complete"
    return Judged(sample, verdicts, state, answer="ok" if words else "empty")
