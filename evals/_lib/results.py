"""The figures of an evaluation: `results.json`, and tables for its card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ENDS = ("_ci_low", "_ci_high")
_COLUMNS = ("metric", "value", "standard error", "95 % low", "95 % high", "chance baseline")


def write_json(value: Any, path: Path) -> None:
    """Write indented JSON. Raises ValueError for NaN."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def figure_table(title: str, metrics: Mapping[str, Mapping[str, Any]], note: str) -> dict[str, Any]:
    """A table of metrics with their standard errors and intervals; columns without any figure are left out.

    Args:
        metrics: metric -> value, stderr, and chance if it is known; NAME_ci_low and NAME_ci_high are the ends of
            NAME's interval.
    """
    rows = [
        [
            name,
            entry["value"],
            entry["stderr"],
            *(metrics.get(name + end, {}).get("value") for end in ENDS),
            entry.get("chance"),
        ]
        for name, entry in metrics.items()
        if not name.endswith(ENDS)
    ]
    used = [n for n in range(len(_COLUMNS)) if n < 2 or any(row[n] is not None for row in rows)]
    shown = [[row[n] for n in used] for row in rows]
    return {"title": title, "columns": [_COLUMNS[n] for n in used], "rows": shown, "note": note}
