"""The published score of FB-Bench from verdicts, its slices, its interval, and an account of what failed.

Per sample, with the data set's weights (never the judge's echo of them):

    Error Correction       s = sum of the weights of the items met                    in [0, 1]
    Response Maintenance   s = 1 if any item is met, else 0

Aggregate ("type" mode, the published one): the mean of s over each (scenario, task) cell; the scenario's score is the
plain mean over its tasks, Overall the plain mean over all cells that have rows. Each is rounded to 4 decimals as a
fraction and then given in 0..100, hence to 2 decimals, as in the published workbook.

What is ours and not the paper's: `strict` (exhaustive checklists count with their first item alone), the bootstrap
intervals, the bounds, and the accounting.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ...hub_sync.errors import DataError
from .._lib.statistics import bootstrap_sums, interval
from .samples import EC, RM, Sample
from .verdicts import Judged

KEYS = {EC: "error_correction", RM: "response_maintenance"}
FIGURES = {KEYS[EC]: (EC,), KEYS[RM]: (RM,), "overall": (EC, RM)}  # by the scenarios that it is over
Scored = tuple[Sample, float]


def sample_score(sample: Sample, verdicts: Sequence[bool | None], *, strict: bool = False) -> float:
    """The score of one answer in [0, 1]; an item without a verdict counts as not met."""
    if len(verdicts) != len(sample.items):
        raise DataError(f"sample {sample.id}: {len(verdicts)} verdicts for {len(sample.items)} items")
    if sample.scenario == RM:
        counted = verdicts[:1] if strict and sample.exhaustive else verdicts
        return float(any(counted))
    return math.fsum(weight or 0.0 for weight, met in zip(sample.weights, verdicts, strict=True) if met)


def judged_score(
    judged: Judged, *, strict: bool = False, failed_answers: Literal["judged", "zero"] = "judged"
) -> float | None:
    """The score of a judged sample; None without a usable verdict.

    A refusal of the judge and a missing answer are 0. An answer that is the marker of a failed call keeps the judge's
    verdict, as published, unless `failed_answers` is "zero".
    """
    if judged.state == "failed":
        return None
    if judged.state in ("refused", "not_judged") or (judged.answer == "failed" and failed_answers == "zero"):
        return 0.0
    return sample_score(judged.sample, judged.verdicts, strict=strict)


def _cells(scored: Iterable[Scored]) -> dict[tuple[str, str], list[float]]:
    """The scores in [0, 1] of each (scenario, task) that has rows."""
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for sample, value in scored:
        cells[sample.scenario, sample.task].append(value)
    return cells


def _mean(values: Sequence[float]) -> float:
    # Exactly rounded sums: a mean does not depend on the order of the rows, and the ties at the 4th decimal that the
    # published tables hold (0.69375, 0.66375) fall as they do there; plain summation misses 3 of 621 cells.
    return math.fsum(values) / len(values)


def percent(fraction: float | None) -> float | None:
    """A fraction rounded to 4 decimals, in 0..100; None stays None."""
    return None if fraction is None else round(round(fraction, 4) * 100, 2)


def macro(scored: Iterable[Scored]) -> dict[str, float | None]:
    """The published figures in 0..100: error_correction, response_maintenance, overall; None where no row counts."""
    return _averages((cell[0], _mean(values)) for cell, values in _cells(scored).items())


def item_mean(scored: Sequence[Scored]) -> dict[str, float | None]:
    """The plain mean over rows ("item" mode; not the published score, up to 9 points away from it)."""
    return _averages((sample.scenario, value) for sample, value in scored)


def _averages(values: Iterable[tuple[str, float]]) -> dict[str, float | None]:
    """The mean of the values of each figure's scenarios in 0..100."""
    rows = list(values)
    chosen = {name: [v for scenario, v in rows if scenario in scenarios] for name, scenarios in FIGURES.items()}
    return {name: percent(_mean(some)) if some else None for name, some in chosen.items()}


def bootstrap(scored: Sequence[Scored], *, resamples: int, seed: int) -> dict[str, dict[str, float]]:
    """Percentile intervals of the macro scores in 0..100: {figure: {low, high, sd}}.

    Rows are drawn with replacement within each (scenario, task) cell, because the design fixes the cell sizes.
    """
    rng = np.random.default_rng(seed)
    means: dict[tuple[str, str], np.ndarray] = {}
    for cell, scores in sorted(_cells(scored).items()):
        values = np.sort(np.asarray(scores, dtype=np.float64))  # independent of the order of the file
        means[cell] = bootstrap_sums(values[:, None], resamples, rng)[:, 0] / len(values)
    intervals = {}
    for name, scenarios in FIGURES.items():
        chosen = [draw for cell, draw in means.items() if cell[0] in scenarios]
        if chosen:
            figure = np.mean(chosen, axis=0) * 100
            low, high = interval(figure)
            sd = float(figure.std(ddof=1)) if resamples > 1 else 0.0
            intervals[name] = {"low": round(low, 2), "high": round(high, 2), "sd": round(sd, 4)}
    return intervals


def slices(scored: Sequence[Scored]) -> dict[str, Any]:
    """The published tables: per task, per deficiency (Error Correction), per kind of feedback and scenario.

    A row with several labels counts in each. Every slice is the macro score of its rows, with their number `n`.
    """

    def by_label(scenario: str, labels: Callable[[Sample], tuple[str, ...]]) -> dict[str, dict[str, Any]]:
        groups: dict[str, list[Scored]] = defaultdict(list)
        for sample, value in scored:
            if sample.scenario == scenario:
                for label in labels(sample):
                    groups[label].append((sample, value))
        key = KEYS[scenario]
        return {label: {"score": macro(group)[key], "n": len(group)} for label, group in sorted(groups.items())}

    tasks: dict[str, Any] = {}
    for task in sorted({sample.task for sample, _ in scored}):
        rows = [(sample, value) for sample, value in scored if sample.task == task]
        sizes = Counter(sample.scenario for sample, _ in rows)
        tasks[task] = {**macro(rows), "n": {key: sizes[scenario] for scenario, key in KEYS.items()}}
    feedback = {key: by_label(scenario, lambda sample: sample.feedback) for scenario, key in KEYS.items()}
    return {"tasks": tasks, "deficiencies": by_label(EC, lambda sample: sample.deficiencies), "feedback": feedback}


def score(
    judged: Sequence[Judged],
    *,
    expected: int | None = None,
    resamples: int = 1000,
    seed: int = 1234,
    failed_answers: Literal["judged", "zero"] = "judged",
    max_failed: float | None = None,
) -> dict[str, Any]:
    """The report on a set of verdicts, one entry per sample, as JSON.

    Args:
        expected: number of samples there should be; missing ones count as failed verdicts.
        resamples: bootstrap resamples; 0 gives no intervals.
        failed_answers: see `judged_score`.
        max_failed: share of samples, 0..1, whose answer or verdict may have failed; above it no score is given.

    Returns keys `error_correction`, `response_maintenance`, `overall` (0..100, None without rows), `strict`,
    `item_mean`, `bounds` (samples without a verdict counted as 0 and as 1), `intervals`, `tasks`, `deficiencies`,
    `feedback`, `counts`, `coverage` (share of samples that the score rests on), `judges` (names), `settings`.

    Raises DataError where nothing was judged, or more than `max_failed` failed.
    """
    if not judged:
        raise DataError("there is no verdict to score")
    counts = account(judged, expected)
    total = counts["samples"]
    failed = counts["answers_failed"] + counts["verdicts_failed"] + counts["verdicts_missing"]
    if max_failed is not None and failed > max_failed * total:
        raise DataError(
            f"{failed} of {total} samples failed ({failed / total:.1%}), more than max_failed {max_failed:.1%}: "
            f"{counts['answers_failed']} answers, {counts['verdicts_failed']} verdicts, "
            f"{counts['verdicts_missing']} missing; run the stage again or raise --max-failed"
        )
    scored = _scored(judged, failed_answers=failed_answers)
    if not scored:
        raise DataError(f"none of {total} samples has a usable verdict; judge them again")
    strict = _scored(judged, strict=True, failed_answers=failed_answers)
    bounds = [macro(_scored(judged, failed_answers=failed_answers, unscored=value))["overall"] for value in (0.0, 1.0)]
    return {
        **macro(scored),
        "strict": {
            **macro(strict),
            "intervals": bootstrap(strict, resamples=resamples, seed=seed) if resamples else {},
            "exhaustive_checklists": sum(one.sample.exhaustive for one in judged),
        },
        "item_mean": item_mean(scored),
        "bounds": {"overall_low": bounds[0], "overall_high": bounds[1]},
        "intervals": bootstrap(scored, resamples=resamples, seed=seed) if resamples else {},
        **slices(scored),
        "counts": counts,
        "coverage": round(len(scored) / total, 6),
        "judges": sorted({one.judge for one in judged if one.judge}),
        "settings": {"resamples": resamples, "seed": seed, "level": 0.95, "failed_answers": failed_answers},
    }


def account(judged: Sequence[Judged], expected: int | None = None) -> dict[str, int]:
    """How many samples ended how. The `answers_*` columns sum to `samples` less `verdicts_missing`, the `verdicts_*`
    columns to `samples`; `wrong`, `partly_right` and `right` split those that have a score."""
    answers = Counter(one.answer for one in judged)
    states = Counter(one.state for one in judged)
    values = [value for one in judged if (value := judged_score(one)) is not None]
    total = max(expected or 0, len(judged))
    return {
        "samples": total,
        **{f"answers_{name}": answers[name] for name in ("ok", "empty", "refused", "failed")},
        **{f"verdicts_{name}": states[name] for name in ("complete", "partial", "refused", "failed", "not_judged")},
        "verdicts_missing": total - len(judged),
        "wrong": sum(value < 1e-6 for value in values),
        "partly_right": sum(1e-6 <= value < 1 - 1e-6 for value in values),
        "right": sum(value >= 1 - 1e-6 for value in values),
    }


def _scored(
    judged: Iterable[Judged],
    *,
    strict: bool = False,
    failed_answers: Literal["judged", "zero"] = "judged",
    unscored: float | None = None,
) -> list[Scored]:
    values = ((one, judged_score(one, strict=strict, failed_answers=failed_answers)) for one in judged)
    filled = ((one, unscored if value is None else value) for one, value in values)
    return [(one.sample, value) for one, value in filled if value is not None]


def check_against(judged: Sequence[Judged], samples: Mapping[str, Sample]) -> list[Judged]:
    """The verdicts with labels, items and weights of the data set. Raises DataError if a sample does not fit it."""
    for one in judged:
        name, sample = one.sample.id, samples.get(one.sample.id)
        if sample is None:
            raise DataError(f"sample {name} of the verdicts is not in the data set; give the one they were made on")
        if len(sample.items) != len(one.verdicts):
            items = f"{len(one.verdicts)} verdicts, but the data set has {len(sample.items)} items"
            raise DataError(f"sample {name}: {items}")
    return [replace(one, sample=samples[one.sample.id]) for one in judged]
