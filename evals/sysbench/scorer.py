"""SysBench's figures, 0 to 1, from verdicts on the turns of dialogues.

    CSR  criteria that are met, of all           ISR  turns of which all criteria are met, of all
    SSR  turns from the first on of which all are met, of five, averaged over the dialogues

A verdict that is neither yes nor no ("not applicable") counts as not met, as in the published tables; `bounds` have
both ends. `available` are the turns that the published rows count, where no verdict is "no". `rules` say what a rule
on lengths would change that the authors' program has, but never applies.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...hub_sync.errors import DataError
from .._lib.judging.cases import Row
from .._lib.judging.verdicts import check_failed, with_failed_answers
from .._lib.statistics import bootstrap_sums, interval
from .workbook import KINDS, TURNS

FIGURES = ("csr", "isr", "ssr")
Turn = Sequence[Row]
Reading = Callable[[Row], bool]


def score(
    cases: Sequence[Turn], expected: int, *, resamples: int = 1000, seed: int = 1234, failed_answers: str = "judged",
    max_failed: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The report on verdict rows by turn, as JSON: CSR, ISR, SSR; `bounds`, `intervals` (whole dialogues drawn),
    `kinds`, `turns`, `alignment`, `sessions`, `unresolved` (rows), `available`, `rules`, `counts`.

    Raises DataError where nothing was judged, or more than `max_failed` of the turns have no usable verdict at all.
    """
    if not cases:
        raise DataError("there is no verdict to score")
    cases = with_failed_answers(cases, failed_answers)
    failed = [case for case in cases if case[0]["state"] == "failed" and case[0]["answer_state"] == "ok"]
    check_failed(cases, len(failed), expected, max_failed)
    result: dict[str, Any] = _figures(cases, met)
    high = _figures(cases, lambda row: met(row) or _unknown(row))
    result["bounds"] = {name: [result[name], high[name]] for name in FIGURES}
    result["intervals"] = _intervals(cases, resamples, seed) if resamples else {}
    result["kinds"] = {
        kind: _kind(cases, kind) for kind in KINDS.values() if any(kind in c[0]["kinds"] for c in cases)
    }
    result["turns"] = {str(n): _share([c for c in cases if c[0]["turn"] == n]) for n in range(1, TURNS + 1)}
    for name, column, words in (
        ("alignment", "aligned", ("misaligned", "aligned")), ("sessions", "related", ("parallel", "related")),
    ):  # fmt: skip
        parts = {words[flag]: [case for case in cases if case[0][column] is bool(flag)] for flag in (1, 0)}
        result[name] = {word: _figures(some, met) | {"n": len(some)} for word, some in parts.items() if some}
    for one in result["alignment"].values():
        del one["ssr"]  # a dialogue has turns of both kinds
    result["unresolved"] = [
        {"id": row["id"], "criterion": row["item"] + 1, "word": row["reason"], "available": row.get("available")}
        for case in cases for row in case if _unknown(row)
    ]  # fmt: skip
    flags = [case[0].get("available") for case in cases]
    result["available"] = (
        None if None in flags else {"turns": flags.count(True), "isr": flags.count(True) / len(flags)}
    )
    result["rules"] = _rules(cases)
    criteria = sum(map(len, cases))
    result["counts"] = {
        "turns": expected, "scored": len(cases) - len(failed), "failed": len(failed), "missing": expected - len(cases),
        "dialogues": len({case[0]["session"] for case in cases}), "criteria": criteria,
        "criteria_met": sum(met(row) for case in cases for row in case),
        "criteria_unresolved": len(result["unresolved"]),
        "turns_satisfied": sum(all(map(met, case)) for case in cases),
    }  # fmt: skip
    result["settings"] = {"resamples": resamples, "seed": seed, "level": 0.95}
    return result


def met(row: Row) -> bool:
    """True for the verdict yes alone."""
    return bool(row["verdict"] == "yes")


def _unknown(row: Row) -> bool:
    return row["verdict"] == "unparsable"


def _figures(cases: Sequence[Turn], reading: Reading) -> dict[str, float]:
    sums = _sums(cases, reading).sum(0)
    ratios = (sums[0] / sums[1], sums[2] / sums[3], sums[4] / (TURNS * sums[5]))
    return {name: float(ratio) for name, ratio in zip(FIGURES, ratios, strict=True)}


def _sums(cases: Sequence[Turn], reading: Reading) -> np.ndarray:
    """(dialogues, 6): criteria met and in all, turns satisfied and in all, turns satisfied from the first on, 1."""
    dialogues: dict[int, dict[int, Turn]] = {}
    for case in cases:
        dialogues.setdefault(case[0]["session"], {})[case[0]["turn"]] = case
    rows = []
    for _, turns in sorted(dialogues.items()):
        satisfied = {number: all(map(reading, case)) for number, case in turns.items()}
        run = next((n for n in range(TURNS) if not satisfied.get(n + 1, False)), TURNS)
        flat = [reading(row) for case in turns.values() for row in case]
        rows.append([sum(flat), len(flat), sum(satisfied.values()), len(satisfied), run, 1])
    return np.array(rows, dtype=np.float64)


def _intervals(cases: Sequence[Turn], resamples: int, seed: int) -> dict[str, list[float]]:
    drawn = bootstrap_sums(_sums(cases, met), resamples, seed)
    ratios = (drawn[:, 0] / drawn[:, 1], drawn[:, 2] / drawn[:, 3], drawn[:, 4] / (TURNS * drawn[:, 5]))
    return {name: list(interval(values)) for name, values in zip(FIGURES, ratios, strict=True)}


def _kind(cases: Sequence[Turn], kind: str) -> dict[str, Any]:
    chosen = [met(row) for case in cases for row, one in zip(case, case[0]["kinds"], strict=True) if one == kind]
    return {"csr": sum(chosen) / len(chosen), "met": sum(chosen), "n": len(chosen)}


def _share(cases: Sequence[Turn]) -> dict[str, Any]:
    satisfied = sum(all(map(met, case)) for case in cases)
    return {"isr": satisfied / len(cases) if cases else None, "satisfied": satisfied, "n": len(cases)}


def _rules(cases: Sequence[Turn]) -> dict[str, Any] | None:
    """The criteria that the rule on lengths reaches, how many verdicts it would change, the figures with it; None if
    these verdicts do not come with what it says."""
    if any("lengths" not in case[0] for case in cases):
        return None
    reached = [(row, case[0]["lengths"][row["item"]]) for case in cases for row in case]
    reached = [(row, says) for row, says in reached if says is not None]
    changed = {(row["id"], row["item"]): says for row, says in reached if says != met(row)}
    with_rule = _figures(cases, lambda row: changed.get((row["id"], row["item"]), met(row)))
    return {"criteria": len(reached), "changed": len(changed), **with_rule}
