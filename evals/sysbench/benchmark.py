"""SysBench for `hubwright score | judge | agree` and the step `sysbench_judge`."""

from collections.abc import Sequence
from typing import Any

from ...hub_sync.errors import DataError, UsageError
from .._lib.judging.benchmark import Benchmark, Figures, Shown, Source
from .._lib.judging.cases import Row
from .._lib.judging.verdicts import StoredVerdicts
from . import scorer
from .items import read_cases
from .workbook import official_rows


def score_stored(stored: StoredVerdicts, *, dataset: Source | None = None, **settings: Any) -> dict[str, Any]:
    """The report of `scorer.score` on stored verdicts. Raises DataError for verdicts on another benchmark."""
    if dataset is not None:
        raise UsageError("verdicts on SysBench have their criteria with them: leave out --dataset")
    if missing := [
        name for name in ("session", "turn", "kinds", "aligned", "related") if name not in stored.cases[0][0]
    ]:
        raise DataError(f"the verdicts are not on SysBench: column {missing[0]!r} is absent")
    return scorer.score(stored.cases, stored.expected, **settings)


def shown(report: dict[str, Any]) -> list[Shown]:
    """The report for a terminal."""

    def cells(name: str, one: dict[str, Any]) -> list[str]:
        return [name, *(f"{one[figure]:.4f}" for figure in scorer.FIGURES)]

    rows = [cells("all", report)]
    rows.append(["at most", *(f"{report['bounds'][figure][1]:.4f}" for figure in scorer.FIGURES)])
    rows += [cells(name, one) for name, one in report["sessions"].items()]
    rows += [[name, f"{one['csr']:.4f}", f"{one['isr']:.4f}", "–"] for name, one in report["alignment"].items()]
    lines: list[Shown] = [(["", "CSR", "ISR", "SSR"], rows)]
    kinds = [[kind, f"{one['csr']:.4f}", one["met"], one["n"]] for kind, one in report["kinds"].items()]
    lines.append((["kind", "CSR", "met", "n"], kinds))
    lines.append(
        (["turn", "satisfied", "n"], [[turn, one["satisfied"], one["n"]] for turn, one in report["turns"].items()])
    )
    lines += [
        f"{one['id']}, criterion {one['criterion']}: {one['word']!r} is neither yes nor no"
        for one in report["unresolved"]
    ]
    if available := report["available"]:
        lines.append(
            f"turns that the published rows count as satisfied: {available['turns']} ({available['isr']:.2%})"
        )
    if rules := report["rules"]:
        lines.append(
            f"a rule on lengths would reach {rules['criteria']} criteria and change {rules['changed']}: CSR "
            f"{rules['csr']:.4f}, ISR {rules['isr']:.4f}, SSR {rules['ssr']:.4f}"
        )
    counts = report["counts"]
    return [
        *lines,
        f"{counts['turns']} turns of {counts['dialogues']} dialogues: {counts['scored']} scored, {counts['failed']} "
        f"failed, {counts['missing']} missing; {counts['turns_satisfied']} satisfied; {counts['criteria_met']} of "
        f"{counts['criteria']} criteria met, {counts['criteria_unresolved']} without a verdict",
    ]


def figures(report: dict[str, Any], rows: Sequence[Row]) -> Figures:
    """CSR, ISR and SSR, of all, by kind, and of the parts."""
    named = {name: report[name] for name in scorer.FIGURES}
    named |= {f"csr_{kind}": one["csr"] for kind, one in report["kinds"].items()}
    for table in ("alignment", "sessions"):
        for part, one in report[table].items():
            named |= {f"{name}_{part}": one[name] for name in scorer.FIGURES if name in one}
    named |= {
        f"{name}_ci_{end}": value
        for name, ends in report["intervals"].items()
        for end, value in zip(("low", "high"), ends, strict=True)
    }
    return {name: {"value": value, "stderr": None, "higher_is_better": True} for name, value in named.items()}


SYSBENCH = Benchmark("sysbench", read_cases, official_rows, score_stored, figures, shown)
