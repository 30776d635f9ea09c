"""How far two judges agree on the same checklist items, with intervals that draw whole answers.

Items of one answer depend on one another (one reply decides them all), so the bootstrap resamples answers, not items.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....hub_sync.errors import DataError, UsageError
from ..statistics import bootstrap_sums, interval, kappa
from .benchmark import Shown
from .cases import Row

GROUPS: dict[str, Callable[[Row], str]] = {
    "task": lambda row: str(row.get("task", "")),
    "scenario": lambda row: str(row.get("scenario", "")),
    "position": lambda row: str(int(row["item"]) + 1),
}
_COLUMNS = ("yes_yes", "yes_no", "no_yes", "no_no", "a_unparsable", "b_unparsable", "items")


@dataclass(frozen=True)
class Pair:
    """An item that two judges were asked about; a verdict is True, False or None (unparsable)."""

    row: Row
    a: bool | None
    b: bool | None

    @property
    def answer(self) -> tuple[str, str]:
        return str(self.row["id"]), str(self.row["answer_sha256"])


def pair(a: Iterable[Row], b: Iterable[Row]) -> list[Pair]:
    """Verdict rows of two judges joined by id, item and answer; items that one did not judge are left out.

    Raises DataError if nothing is shared.
    """
    met = {"yes": True, "no": False, "unparsable": None}

    def index(rows: Iterable[Row]) -> dict[tuple[str, int, str], Row]:
        return {(str(r["id"]), int(r["item"]), str(r["answer_sha256"])): r for r in rows if r["verdict"] in met}

    ours, theirs = index(a), index(b)
    pairs = [Pair(row, met[row["verdict"]], met[theirs[k]["verdict"]]) for k, row in ours.items() if k in theirs]
    if not pairs:
        raise DataError("the two judges share no item of any answer: were they given the same answers?")
    return pairs


def compare(
    pairs: Sequence[Pair], *, by: str | None = None, resamples: int = 1000, seed: int = 1234
) -> dict[str, Any]:
    """Figures of agreement over all items, and of each group by `by` (task, scenario, position).

    Returns {"overall": FIGURES, "by": {group: FIGURES}, "scores": ...}. FIGURES: items, answers, confusion counts,
    agreement, flip_rate (1 - agreement: for one judge asked in two ways), kappa, a_yes, b_yes (shares of what both
    could judge) and a_unparsable, b_unparsable (shares of all items), each figure {value, low, high}. `scores`: mean
    score of each judge in 0..1 over the answers that both judged in full, and a - b.
    """
    overall = _figures(pairs, resamples, seed)
    groups = compare_groups(pairs, by, resamples=resamples, seed=seed) if by is not None else {}
    return {"overall": overall, "by": groups, "scores": _scores(pairs, resamples, seed)}


def compare_groups(pairs: Sequence[Pair], by: str, *, resamples: int, seed: int) -> dict[str, Any]:
    """The figures of each group, as in `compare`. Raises UsageError for an unknown grouping."""
    if by not in GROUPS:
        raise UsageError(f"--by {by!r} is unknown: use {', '.join(GROUPS)}")
    groups: dict[str, list[Pair]] = defaultdict(list)
    for one in pairs:
        groups[GROUPS[by](one.row)].append(one)
    names = sorted(groups, key=lambda name: (len(name), name) if by == "position" else (0, name))
    return {name: _figures(groups[name], resamples, seed) for name in names}


def _figures(pairs: Sequence[Pair], resamples: int, seed: int) -> dict[str, Any]:
    order = {answer: n for n, answer in enumerate(sorted({one.answer for one in pairs}))}
    counts = np.zeros((len(order), len(_COLUMNS)))
    for one in pairs:
        line = counts[order[one.answer]]
        if one.a is not None and one.b is not None:
            line[2 * (not one.a) + (not one.b)] += 1
        line[4] += one.a is None
        line[5] += one.b is None
        line[6] += 1
    total = counts.sum(axis=0)
    drawn = bootstrap_sums(counts, resamples, seed)
    result: dict[str, Any] = {"items": int(total[6]), "answers": len(order)}
    result |= {"confusion": {name: int(total[n]) for n, name in enumerate(_COLUMNS[:4])}}
    return result | {name: _estimate(figure(total), figure(drawn)) for name, figure in _FIGURES.items()}


def _share(*columns: int, of: Sequence[int] = (0, 1, 2, 3)) -> Callable[[np.ndarray], np.ndarray]:
    def share(counts: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(counts[..., list(columns)].sum(axis=-1) / counts[..., list(of)].sum(axis=-1))

    return share


_FIGURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "agreement": _share(0, 3),
    "flip_rate": _share(1, 2),
    "kappa": lambda counts: kappa(counts[..., :4]),
    "a_yes": _share(0, 1),
    "b_yes": _share(0, 2),
    "a_unparsable": _share(4, of=(6,)),
    "b_unparsable": _share(5, of=(6,)),
}


def _estimate(value: Any, drawn: np.ndarray) -> dict[str, float | None]:
    low, high = interval(drawn)
    return {"value": _plain(value), "low": _plain(low), "high": _plain(high)}


def _plain(value: Any) -> float | None:
    return round(float(value), 6) if math.isfinite(float(value)) else None


def _by_answer(pairs: Sequence[Pair]) -> dict[tuple[str, str], tuple[float, float]]:
    """(A's score, B's score) of each answer whose items all have verdicts of both; 0..1."""
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for one in pairs:
        groups[one.answer].append(one)
    result = {}
    for answer, group in groups.items():
        if len(group) == group[0].row["items"] and all(p.a is not None and p.b is not None for p in group):
            result[answer] = (_score(group, [p.a for p in group]), _score(group, [p.b for p in group]))
    return result


def _score(group: Sequence[Pair], met: Sequence[bool | None]) -> float:
    """Sum of the weights of the items met; without weights any item met is full marks."""
    weights = [one.row["weight"] for one in group]
    if any(weight is None for weight in weights):
        return float(any(met))
    return math.fsum(weight for weight, yes in zip(weights, met, strict=True) if yes)


def _scores(pairs: Sequence[Pair], resamples: int, seed: int) -> dict[str, Any]:
    scores = _by_answer(pairs)
    if not scores:
        return {"answers": 0}
    values = np.array([scores[answer] for answer in sorted(scores)])
    return {"answers": len(values)} | _contrast(values, ("a", "b", "difference"), resamples, seed)


def _contrast(values: np.ndarray, names: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """The means of two columns and of their difference, by name, each with its interval. `values`: (n, 2)."""
    columns = np.column_stack([values, values[:, 0] - values[:, 1]])
    drawn = bootstrap_sums(columns, resamples, seed) / len(values)
    return {name: _estimate(columns[:, n].mean(), drawn[:, n]) for n, name in enumerate(names)}


def self_preference(
    own: Sequence[Sequence[Pair]], others: Sequence[Sequence[Pair]], *, resamples: int = 1000, seed: int = 1234
) -> dict[str, Any]:
    """Whether judge A favours models of its own family more than reference B does: a difference in differences.

    Args:
        own: pairs (A = the judge, B = the reference) for each model of the judge's family.
        others: the same for each other model.

    Returns `own` and `others`: A's score minus B's, 0..1, a mean over models of means over answers; and `preference`:
    own - others. The bootstrap draws samples, the same ones for all models, among those that every model was judged
    on. Raises DataError if there are none.
    """
    if not own or not others:
        raise UsageError("self-preference needs verdicts on a model of the judge's family and on another one")
    gaps: list[Mapping[str, float]] = [
        {answer[0]: a - b for answer, (a, b) in _by_answer(pairs).items()} for pairs in [*own, *others]
    ]
    shared = sorted(set.intersection(*(set(gap) for gap in gaps)))
    if not shared:
        raise DataError("the models share no sample on which both judges gave all verdicts")
    values = np.array([[gap[name] for gap in gaps] for name in shared])
    means = np.column_stack([values[:, : len(own)].mean(axis=1), values[:, len(own) :].mean(axis=1)])
    return {"samples": len(shared)} | _contrast(means, ("own", "others", "preference"), resamples, seed)


def shown(report: Mapping[str, Any]) -> list[Shown]:
    """The report for a terminal."""
    columns = ["", "items", "answers", "agreement", "kappa", "A yes", "B yes", "A none", "B none"]
    rows = []
    for name, figures in [("all", report["overall"]), *report["by"].items()]:
        shares = (figures[key]["value"] for key in ("a_yes", "b_yes", "a_unparsable", "b_unparsable"))
        spreads = [spread(figures[key]) for key in ("agreement", "kappa")]
        percent = ["–" if share is None else f"{share:.1%}" for share in shares]
        rows.append([name, figures["items"], figures["answers"], *spreads, *percent])
    parts: list[Shown] = [(columns, rows)]
    scores = report["scores"]
    if scores["answers"]:
        means = ", ".join(f"{name} {spread(scores[name])}" for name in ("a", "b", "difference"))
        parts.append(f"mean score of {scores['answers']} answers judged in full by both: {means}")
    if preference := report.get("self_preference"):
        means = ", ".join(f"{name} {spread(preference[name])}" for name in ("own", "others", "preference"))
        parts.append(f"A's score minus B's over {preference['samples']} samples: {means}")
    return parts


def spread(figure: Mapping[str, float | None]) -> str:
    """ "0.812 (0.760, 0.858)"; a dash for what is not defined."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f}, {high:.3f})"
