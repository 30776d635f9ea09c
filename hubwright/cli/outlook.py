"""What a dry run tells of the steps to come, as cells, lines and JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..disk import gigabytes, lacking
from ..hub_sync.pace import duration
from ..preflight import Outlook
from .tables import print_table


def outlook_json(outlook: Outlook) -> dict[str, Any]:
    """The outlook as JSON; errors and warnings as lines."""
    return {
        "inputs": outlook.inputs,
        "disk": asdict(outlook.disk) if outlook.disk else None,
        "estimate": asdict(outlook.estimate) if outlook.estimate else None,
        "warnings": outlook.warnings,
        "errors": [str(fault) for fault in outlook.faults],
    }


def outlook_cells(outlook: Outlook | None) -> list[str]:
    """What a step fetches and writes, and how long it takes; empty for a step that is published."""
    if outlook is None or outlook.disk is None:
        return ["", "", ""]
    sizes = [gigabytes(n) if n else "?" if n is None else "" for n in (outlook.disk.fetch, outlook.disk.write)]
    return [*sizes, duration(outlook.estimate.seconds) if outlook.estimate else "-"]


def print_outlooks(outlooks: Mapping[str, Outlook], runs: Path) -> None:
    """The inputs of the steps to come at their commits, what the figures are based on, and warnings.

    Args:
        runs: folder of work in progress, whose disk is looked at.
    """
    rows = [(name, role, ref) for name, outlook in outlooks.items() for role, ref in outlook.inputs.items()]
    if rows:
        print()
        print_table(("step", "input", "is read at"), rows)
    needs = [outlook.disk for outlook in outlooks.values() if outlook.disk]
    lines = [f"{name}: {one.estimate.basis}" for name, one in outlooks.items() if one.estimate]
    if any(need.write is None for need in needs):
        lines.append("?: nothing tells before the step works how much it writes")
    if any(outlook.estimate is None for outlook in outlooks.values()):
        lines.append("-: no earlier result of the step tells how long it takes")
    lines += [f"warning: step {name}: {text}" for name, one in outlooks.items() for text in one.warnings]
    if warning := lacking(needs, runs):
        lines.append(f"warning: {warning}")
    if lines:
        print("\n".join(["", *lines]))
