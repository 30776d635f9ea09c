"""FB-Bench's score from a judge's verdicts, for `evaluate.load`. Needs `pip install hubwright`."""

from typing import Any

import datasets
import evaluate

from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.samples import Sample
from hubwright.evals.fbbench.verdicts import Judged, VerdictState

NAME = "fb_bench"  # of the Space, and so of this file there
TITLE = "FB-Bench score"
SUMMARY = "the published macro scores of FB-Bench (arXiv:2410.09412) from a judge's checklist verdicts"
EXAMPLE = """\
evaluate.load("ORG/fb_bench").compute(
    predictions=[["yes", "no"]],
    references=[
        {
            "bench_type": "Error Correction",
            "task_type": "Coding",
            "items": ["runs", "explains"],
            "weights": [0.7, 0.3],
        }
    ],
)
"""
_CITATION = "FB-Bench, arXiv:2410.09412"
_DESCRIPTION = """The published macro scores of FB-Bench, 0 to 100, from checklist verdicts: the mean over the rows of
each (scenario, task) cell, then over tasks and scenarios."""
_INPUTS = """
Args:
    predictions: for each answer the judge's verdicts in checklist order: "yes", "no", "unparsable". An answer with
        an unparsable verdict has no score; one with no verdicts at all counts 0 (there was nothing to judge).
    references: for each answer its row: bench_type, task_type, items (texts) and weights (of Error Correction; an
        empty list for Response Maintenance, where any item met is full marks).
    resamples: bootstrap resamples of the 95 % intervals (default 0: none).
Returns:
    overall, error_correction, response_maintenance, their *_strict variants, coverage (share of the answers scored),
    with resamples also NAME_ci_low and NAME_ci_high. None where no row counts.
"""
_WORDS = {"yes": True, "no": False}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class FBBench(evaluate.Metric):
    """The scorer of `hubwright score fbbench`."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        reference = {
            "bench_type": text,
            "task_type": text,
            "items": datasets.Sequence(text),
            "weights": datasets.Sequence(datasets.Value("float64")),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.Sequence(text), "references": reference}),
        )

    def _compute(self, predictions: Any, references: Any, resamples: int = 0, seed: int = 1234) -> dict[str, Any]:
        judged = [_judged(n, said, row) for n, (said, row) in enumerate(zip(predictions, references, strict=True))]
        report = scorer.score(judged, resamples=resamples, seed=seed)
        names = ("overall", "error_correction", "response_maintenance")
        figures = {name: report[name] for name in names}
        figures |= {f"{name}_strict": report["strict"][name] for name in ("overall", "response_maintenance")}
        for name, interval in report["intervals"].items():
            figures |= {f"{name}_ci_low": interval["low"], f"{name}_ci_high": interval["high"]}
        return {**figures, "coverage": report["coverage"]}


def _judged(number: int, said: Any, row: Any) -> Judged:
    items = tuple(row["items"])
    weights = tuple(row["weights"]) or (None,) * len(items)
    sample = Sample(str(number), row["bench_type"], row["task_type"], (), (), items, weights)
    verdicts = tuple(_WORDS.get(word) for word in said) or (None,) * len(items)
    state: VerdictState = "not_judged" if not said else "failed" if None in verdicts else "complete"
    return Judged(sample, verdicts, state, answer="ok" if said else "empty")
