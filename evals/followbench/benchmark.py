"""FollowBench for `hubwright score | judge | agree` and the step `followbench_judge`."""

from collections.abc import Sequence
from typing import Any

from ...hub_sync.errors import DataError, UsageError
from .._lib.judging.benchmark import Benchmark, Figures, Shown, Source
from .._lib.judging.cases import Row
from .._lib.judging.verdicts import StoredVerdicts
from . import scorer
from .items import official_rows, read_cases


def score_stored(stored: StoredVerdicts, *, dataset: Source | None = None, **settings: Any) -> dict[str, Any]:
    """The report of `scorer.score` on stored verdicts, or on stored answers by the rules alone."""
    if dataset is not None:
        raise UsageError("verdicts on FollowBench have their levels with them: leave out --dataset")
    if missing := [name for name in ("example", "level", "category", "language") if name not in stored.cases[0][0]]:
        raise DataError(f"the verdicts are not on FollowBench: column {missing[0]!r} is absent")
    return scorer.score(stored.cases, stored.expected, **settings)


def figures(report: dict[str, Any], rows: Sequence[Row]) -> Figures:
    """HSR, SSR and CSL, of all, by level and of the part that rules decide."""
    named = {name: report[name] for name in scorer.FIGURES}
    named |= {f"{name}_{level}": one[name] for level, one in report["levels"].items() for name in ("hsr", "ssr")}
    named |= {f"{name}_rules": (report["rules"] or {}).get(name) for name in ("hsr", "csl")}
    named |= {
        f"{name}_ci_{end}": value
        for name, ends in report["intervals"].items()
        for end, value in zip(("low", "high"), ends, strict=True)
    }
    return {name: {"value": value, "stderr": None, "higher_is_better": True} for name, value in named.items()}


def shown(report: dict[str, Any]) -> list[Shown]:
    """The report for a terminal."""

    def cells(name: str, one: dict[str, Any]) -> list[str]:
        return [name, *("–" if one.get(key) is None else f"{one[key]:.3f}" for key in scorer.FIGURES), str(one["n"])]

    rows = [cells("all", report)]
    rows += [cells(name, report[name]) for name in ("rules", "judged") if report[name]]
    rows += [cells(name, one) for table in ("languages", "categories") for name, one in report[table].items()]
    rows += [cells(f"level {level}", one) for level, one in report["levels"].items()]
    counts = report["counts"]
    return [
        (["", "HSR", "SSR", "CSL", "n"], rows),
        f"{counts['answers']} answers: {counts['by_rule']} decided by rules, {counts['by_judge']} by a judge, "
        f"{counts['unresolved']} with a constraint without a verdict, {counts['missing']} not scored"
        + (" (a judge has to see them)" if counts["missing"] else ""),
    ]


FOLLOWBENCH = Benchmark("followbench", read_cases, official_rows, score_stored, figures, shown)
