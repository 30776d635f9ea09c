"""CFBench's figures, 0 to 1, of one answer and over all, by split.

    CSR  share of the criteria that are met          ISR  1 if all are met, else 0
    PSR  0 if a primary criterion is not met, else 1 if 0.5 + 0.5 * (share of the secondary ones that are met) > 0.8;
         without primary criteria 1 if CSR > 0.8; without secondary ones 1

`published` are the figures of the authors' program: of a reply that it cannot read in full it keeps the criteria that
are met and drops the others, so that CSR is 1; CSR and shares are rounded to two decimals on the way. Otherwise a
criterion without a verdict counts as not met, and `bounds` have both ends.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...hub_sync.errors import DataError
from .._lib.judging.cases import Row
from .._lib.judging.verdicts import check_failed, with_failed_answers
from .._lib.statistics import bootstrap_sums, interval
from .items import SPLITS

FIGURES = ("csr", "isr", "psr")


def item_figures(met: Sequence[bool], priorities: Sequence[str]) -> tuple[float, float, float]:
    """(CSR, ISR, PSR) of one answer. Example: primary met, one of two secondary met give 2/3, 0 and 0."""
    csr = sum(met) / len(met)
    primary = [one for one, priority in zip(met, priorities, strict=True) if priority == "primary"]
    secondary = [one for one, priority in zip(met, priorities, strict=True) if priority == "secondary"]
    if not all(primary):
        psr = 0.0
    elif not primary:
        psr = float(csr > 0.8)
    else:  # 0.5 + 0.5 * share > 0.8, without the rounding of 0.6
        psr = float(not secondary or 5 * sum(secondary) > 3 * len(secondary))
    return csr, float(all(met)), psr


def published_figures(one: Mapping[str, Any], priorities: Sequence[str]) -> tuple[float, float, float]:
    """(CSR, ISR, PSR) of one answer as the authors' program computes them.

    Args:
        one: {"scores", "parsing"} of `items.published_of`.
    """
    scores, parsing = one["scores"], one["parsing"]
    csr = round(float(np.mean(scores)), 2)
    isr = float(csr >= 1)
    if parsing != 1:
        return csr, isr, float(parsing == 0 and csr > 0.8)
    primary = [score for score, priority in zip(scores, priorities, strict=True) if priority == "primary"]
    secondary = [score for score, priority in zip(scores, priorities, strict=True) if priority == "secondary"]
    if 0 in primary:
        return csr, isr, 0.0
    if not primary:
        return csr, isr, float(csr > 0.8)
    return csr, isr, float(not secondary or 0.5 + 0.5 * round(float(np.mean(secondary)), 2) > 0.8)


def score(
    cases: Sequence[Sequence[Row]], expected: int, *, resamples: int = 1000, seed: int = 1234,
    failed_answers: str = "judged", max_failed: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The report on verdict rows by case, as JSON: CSR, ISR, PSR; `bounds`, `intervals`, `splits`, `kinds`,
    `published` (of published judgements), `items` (those that the two parsers read differently), `counts`.

    An answer that is empty or refused meets nothing. Raises DataError where nothing was judged, or more than
    `max_failed` of the answers have no verdict on some criterion.
    """
    if not cases:
        raise DataError("there is no verdict to score")
    cases = with_failed_answers(cases, failed_answers)
    unresolved = [case for case in cases if any(_unknown(row) for row in case)]
    check_failed(cases, len(unresolved), expected, max_failed)
    low, high = (np.array([_figures(case, unknown) for case in cases]) for unknown in (False, True))
    splits = np.array([case[0]["split"] for case in cases])
    result: dict[str, Any] = dict(zip(FIGURES, low.mean(0).tolist(), strict=True))
    result["bounds"] = _table([low.mean(0), high.mean(0)])
    result["intervals"] = _intervals(low, resamples, seed) if resamples else {}
    result["splits"] = {
        name: dict(zip(FIGURES, low[splits == name].mean(0).tolist(), strict=True))
        | {"n": int((splits == name).sum()), "bounds": _table([side[splits == name].mean(0) for side in (low, high)])}
        for name in SPLITS
        if (splits == name).any()
    }
    result["kinds"] = _kinds(cases)
    result["published"], result["items"] = _published(cases)
    states = [case[0]["answer_state"] for case in cases]
    result["counts"] = {
        "answers": expected, "scored": len(cases) - len(unresolved), "unresolved": len(unresolved),
        "missing": expected - len(cases),
        "criteria": sum(map(len, cases)), "criteria_unresolved": sum(_unknown(row) for case in cases for row in case),
        **{f"answers_{name}": states.count(name) for name in ("ok", "empty", "refused", "failed")},
    }  # fmt: skip
    result["settings"] = {"resamples": resamples, "seed": seed, "level": 0.95, "failed_answers": failed_answers}
    return result


def _unknown(row: Row) -> bool:
    return row["verdict"] not in ("yes", "no") and row["answer_state"] == "ok" and row["state"] != "refused"


def _met(case: Sequence[Row], unknown: bool) -> list[bool]:
    return [unknown if _unknown(row) else row["verdict"] == "yes" for row in case]


def _figures(case: Sequence[Row], unknown: bool) -> tuple[float, float, float]:
    return item_figures(_met(case, unknown), case[0]["priorities"])


def _table(ends: Sequence[Any]) -> dict[str, list[float]]:
    return {name: [float(end[place]) for end in ends] for place, name in enumerate(FIGURES)}


def _intervals(values: np.ndarray, resamples: int, seed: int) -> dict[str, list[float]]:
    means = bootstrap_sums(values, resamples, seed) / len(values)
    return {name: list(interval(means[:, place])) for place, name in enumerate(FIGURES)}


def _kinds(cases: Sequence[Sequence[Row]]) -> dict[str, dict[str, Any]]:
    """CSR of the criteria of each kind."""
    counts: dict[str, list[int]] = {}
    for case in cases:
        for kind, met in zip(case[0]["kinds"], _met(case, False), strict=True):
            entry = counts.setdefault(kind, [0, 0])
            entry[0] += met
            entry[1] += 1
    return {kind: {"csr": met / n, "n": n} for kind, (met, n) in sorted(counts.items())}


def _published(cases: Sequence[Sequence[Row]]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """(the authors' figures as they round them, or None for other verdicts; the answers that are read differently)."""
    rows: list[tuple[Sequence[Row], dict[str, Any]]] = [(case, case[0].get("published") or {}) for case in cases]
    if not all(one for _, one in rows):
        return None, []
    values = np.array([published_figures(one, case[0]["priorities"]) for case, one in rows])
    splits = np.array([case[0]["split"] for case in cases])
    result: dict[str, Any] = {n: round(float(v), 2) for n, v in zip(FIGURES, values.mean(0), strict=True)}
    for split in SPLITS:
        here = values[splits == split]
        result[split] = (
            {n: round(float(v), 2) for n, v in zip(FIGURES, here.mean(0), strict=True)} if len(here) else None
        )
    different = []
    for (case, one), theirs in zip(rows, values, strict=True):
        if one["parsing"] != 1:
            low, high = (_figures(case, unknown) for unknown in (False, True))
            different.append({
                "id": case[0]["id"], "parsing": one["parsing"], "published": theirs.tolist(), "low": list(low),
                "high": list(high), "met": sum(_met(case, False)), "criteria": len(case),
                "unresolved": sum(map(_unknown, case)),
            })  # fmt: skip
    return result, different
