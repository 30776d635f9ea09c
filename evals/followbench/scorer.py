"""FollowBench's figures from verdicts on answers to instructions of one to five constraints.

    HSR   share of the answers that keep all constraints           by level, and averaged over the levels
    SSR   share of the constraints that an answer keeps            the same; of a rule 0 or 1
    CSL   levels from the first on whose answers keep all constraints, 0 to 5, averaged over the instructions

An instruction counts towards CSL if its five levels have verdicts. A constraint without a verdict counts as not kept,
and `bounds` have both ends.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...hub_sync.errors import DataError
from .._lib.judging.cases import Row
from .._lib.judging.verdicts import check_failed, with_failed_answers
from .._lib.statistics import bootstrap_sums, interval

LEVELS = 5
FIGURES = ("hsr", "ssr", "csl")


def score(
    cases: Sequence[Sequence[Row]], expected: int, *, resamples: int = 1000, seed: int = 1234,
    failed_answers: str = "judged", max_failed: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The report on verdict rows by answer, as JSON: HSR, SSR, CSL; `levels`, `categories`, `languages`, `rules` and
    `judged` (the same of either part), `bounds`, `intervals` (instructions drawn), `counts`.

    Raises DataError where nothing was judged, or more than `max_failed` of the judged answers have no verdict on some
    constraint.
    """
    if not cases:
        raise DataError("there is no verdict to score")
    cases = with_failed_answers(cases, failed_answers)
    unresolved = [case for case in cases if any(row["verdict"] == "unparsable" for row in case)]
    check_failed(cases, len(unresolved), len(cases), max_failed)
    result = _figures(cases)
    high = _figures(cases, unknown=True)
    result["bounds"] = {name: [result[name], high[name]] for name in FIGURES}
    result["intervals"] = _intervals(cases, resamples, seed) if resamples else {}
    for name, column in (("categories", "category"), ("languages", "language")):
        values = sorted({case[0][column] for case in cases})
        result[name] = {value: _figures([case for case in cases if case[0][column] == value]) for value in values}
    parts = {
        "rules": [c for c in cases if c[0]["method"] == "rule"],
        "judged": [c for c in cases if c[0]["method"] != "rule"],
    }
    result |= {name: _figures(some) if some else None for name, some in parts.items()}
    result["counts"] = {
        "answers": expected, "scored": len(cases), "unresolved": len(unresolved), "missing": expected - len(cases),
        "by_rule": len(parts["rules"]), "by_judge": len(parts["judged"]),
    }  # fmt: skip
    result["settings"] = {"resamples": resamples, "seed": seed, "level": 0.95}
    return result


def _kept(case: Sequence[Row], unknown: bool) -> list[bool]:
    return [row["verdict"] == "yes" or (unknown and row["verdict"] == "unparsable") for row in case]


def _figures(cases: Sequence[Sequence[Row]], unknown: bool = False) -> dict[str, Any]:
    sums = _sums(cases, unknown).sum(0)
    hsr, ssr, csl = _ratios(sums[None])
    levels = {
        str(level + 1): {
            "hsr": _ratio(sums[level], sums[10 + level]), "ssr": _ratio(sums[5 + level], sums[10 + level]),
            "n": int(sums[10 + level]),
        }
        for level in range(LEVELS)
    }  # fmt: skip
    return {
        "hsr": float(hsr[0]),
        "ssr": float(ssr[0]),
        "csl": None if math.isnan(csl[0]) else float(csl[0]),
        "levels": levels,
        "n": len(cases),
    }


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _sums(cases: Sequence[Sequence[Row]], unknown: bool = False) -> np.ndarray:
    """(instructions, 17): by level answers that keep all, shares kept, answers; levels kept from the first on, 1 if
    all five levels are there."""
    examples: dict[str, dict[int, list[bool]]] = defaultdict(dict)
    for case in cases:
        levels = examples[case[0]["example"]]
        if case[0]["level"] in levels:
            raise DataError(
                f"{case[0]['id']}: level {case[0]['level']} of {case[0]['example']} has two answers: keep one"
            )
        levels[case[0]["level"]] = _kept(case, unknown)
    sums = np.zeros((len(examples), 17))
    for place, (_, levels) in enumerate(sorted(examples.items())):
        for level, met in levels.items():
            sums[place, level - 1] = all(met)
            sums[place, 4 + level] = sum(met) / len(met)
            sums[place, 9 + level] = 1
        if len(levels) == LEVELS:
            run = next((n for n in range(LEVELS) if not all(levels[n + 1])), LEVELS)
            sums[place, 15:] = run, 1
    return sums


def _ratios(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(HSR, SSR, CSL) of sums (draws, 17)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        hsr = np.nanmean(sums[:, :5] / sums[:, 10:15], axis=1)
        ssr = np.nanmean(sums[:, 5:10] / sums[:, 10:15], axis=1)
        return hsr, ssr, sums[:, 15] / sums[:, 16]


def _intervals(cases: Sequence[Sequence[Row]], resamples: int, seed: int) -> dict[str, list[float]]:
    ratios = _ratios(bootstrap_sums(_sums(cases), resamples, seed))
    ends = {name: list(interval(values)) for name, values in zip(FIGURES, ratios, strict=True)}
    return {name: pair for name, pair in ends.items() if not math.isnan(pair[0])}
