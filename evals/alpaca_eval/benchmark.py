"""AlpacaEval for `hubwright score alpaca_eval ANNOTATIONS.json`."""

from typing import Any

from ...hub_sync.errors import DataError, UsageError
from .._lib.judging.benchmark import Shown, Source, StoredBenchmark
from .._lib.judging.preferences import shown as shown_rates
from .._lib.judging.preferences import win_rates
from .annotations import Annotations, read_annotations


def score(
    stored: Annotations, *, dataset: Source | None = None, resamples: int = 1000, seed: int = 1234,
    failed_answers: str = "judged", max_failed: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The report of `preferences.win_rates`, with the names of model, baseline and judges.

    Args:
        failed_answers: "judged" alone; annotations do not say which answers failed.

    Raises DataError where no annotation has a preference, or more than `max_failed` have none.
    """
    if dataset is not None or failed_answers != "judged":
        raise UsageError("alpaca_eval has no labels and no marks of failed answers: leave out what asks for them")
    report = win_rates(stored.comparisons, resamples, seed)
    counts = report["counts"]
    if not counts["scored"]:
        raise DataError(f"none of {counts['comparisons']} annotations has a preference: judge them again")
    if max_failed is not None and counts["failed"] > max_failed * counts["comparisons"]:
        raise DataError(
            f"{counts['failed']} of {counts['comparisons']} annotations have no preference, more than max_failed "
            f"{max_failed:.1%}: judge them again or raise --max-failed"
        )
    settings = {"resamples": resamples, "seed": seed, "level": 0.95}
    about = {"model": stored.model, "baseline": stored.baseline, "judges": list(stored.judges)}
    return {**report, **about, "settings": settings}


def shown(report: dict[str, Any]) -> list[Shown]:
    """The report for a terminal."""
    return [
        f"{report['model']} against {report['baseline']}, AlpacaEval (not length-controlled)",
        *shown_rates(report),
    ]


ALPACA_EVAL = StoredBenchmark("alpaca_eval", read_annotations, score, shown)
