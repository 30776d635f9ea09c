"""CFBench for `hubwright score | judge | agree` and the step `cfbench_judge`."""

from collections.abc import Sequence
from typing import Any

from .._lib.judging.benchmark import Benchmark, Figures, Shown, Source
from .._lib.judging.cases import Row
from .._lib.judging.verdicts import StoredVerdicts
from . import scorer
from .items import official_rows, read_cases


def score_stored(stored: StoredVerdicts, *, dataset: Source | None = None, **settings: Any) -> dict[str, Any]:
    """The report of `scorer.score` on stored verdicts. Raises DataError for verdicts on another benchmark."""
    from ...hub_sync.errors import DataError, UsageError

    if dataset is not None:
        raise UsageError("verdicts on CFBench have their criteria with them: leave out --dataset")
    if missing := [name for name in ("split", "priorities", "kinds") if name not in stored.cases[0][0]]:
        raise DataError(f"the verdicts are not on CFBench: column {missing[0]!r} is absent")
    return scorer.score(stored.cases, stored.expected, **settings)


def figures(report: dict[str, Any], rows: Sequence[Row]) -> Figures:
    """CSR, ISR and PSR, of all and of each split."""
    named = {name: report[name] for name in scorer.FIGURES}
    named |= {f"{name}_{split}": one[name] for split, one in report["splits"].items() for name in scorer.FIGURES}
    result: Figures = {name: {"value": v, "stderr": None, "higher_is_better": True} for name, v in named.items()}
    for name, (low, high) in report["intervals"].items():
        for end, value in (("_ci_low", low), ("_ci_high", high)):
            result[name + end] = {"value": value, "stderr": None, "higher_is_better": True}
    return result


def shown(report: dict[str, Any]) -> list[Shown]:
    """The report for a terminal."""

    def cells(name: str, one: dict[str, Any]) -> list[str]:
        return [name, *(f"{one[figure]:.3f}" for figure in scorer.FIGURES)]

    rows = [cells("all", report)]
    rows += [cells(split, one) for split, one in report["splits"].items()]
    rows.append(["at most", *(f"{report['bounds'][figure][1]:.3f}" for figure in scorer.FIGURES)])
    if theirs := report["published"]:
        rows.append(cells("as published", theirs))
    counts = report["counts"]
    lines: list[Shown] = [(["", "CSR", "ISR", "PSR"], rows)]
    lines.append((["kind", "CSR", "n"], [[k, f"{one['csr']:.3f}", one["n"]] for k, one in report["kinds"].items()]))
    lines += [
        f"{one['id']}: the published parser reads CSR {one['published'][0]:g}; {one['met']} of {one['criteria']} "
        f"criteria are met, {one['unresolved']} unresolved"
        for one in report["items"]
    ]
    return [
        *lines,
        f"{counts['answers']} answers: {counts['scored']} scored, {counts['unresolved']} with a criterion without a "
        f"verdict, {counts['missing']} missing",
    ]


CFBENCH = Benchmark("cfbench", read_cases, official_rows, score_stored, figures, shown)
