"""AlpacaEval's annotations: a JSON array, or JSON lines, of objects with two outputs and a preference.

{"instruction": "...", "output_1": of the baseline, "generator_1": "...", "output_2": of the model,
 "generator_2": "...", "preference": 1.0 (the baseline's is better) to 2.0 (the model's is), "dataset": "..."}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...hub_sync.errors import DataError
from .._lib.data import locate, read_records
from .._lib.judging.preferences import Comparison

NEEDED = ("output_1", "output_2", "generator_1", "generator_2", "preference")


@dataclass(frozen=True)
class Annotations:
    """The comparisons of one model with one baseline."""

    model: str
    baseline: str
    judges: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def read_annotations(source: str | Path) -> Annotations:
    """The annotations in a file, in a folder with one such file, or in `org/name@revision`.

    Raises DataError in one line that names the file, the row and the value.
    """
    path, name = locate(str(source))
    if path.is_dir():
        files = sorted(path.glob("*annotations.json")) or sorted(path.glob("*.json")) or sorted(path.glob("*.jsonl"))
        if len(files) != 1:
            raise DataError(f"{name}: holds {len(files)} files of annotations; name one of them")
        path = files[0]
    rows = [(f"{path.name}: row {number}", row) for number, row in read_records(path)]
    if not rows:
        raise DataError(f"{path.name}: holds no annotation")
    comparisons = tuple(_comparison(row, number, where) for number, (where, row) in enumerate(rows))
    pairs = {(str(row["generator_1"]), str(row["generator_2"])) for _, row in rows}
    if len(pairs) > 1:
        shown = ", ".join(f"{model} against {baseline}" for baseline, model in sorted(pairs)[:3])
        raise DataError(f"{path.name}: holds {len(pairs)} pairs of models ({shown}): score one at a time")
    seen: dict[Any, str] = {}
    for where, row in rows:
        key = row.get("instruction"), row.get("dataset"), row["output_1"], row["output_2"]
        if key[0] is not None and key in seen:
            raise DataError(f"{where} is the same comparison as that of {seen[key]}: keep one of them")
        seen[key] = where.rpartition(": ")[2]
    ((baseline, model),) = pairs
    judges = tuple(sorted({str(row["annotator"]) for _, row in rows if row.get("annotator")}))
    return Annotations(model, baseline, judges, comparisons)


def _comparison(row: Mapping[str, Any], number: int, where: str) -> Comparison:
    if missing := [name for name in NEEDED if name not in row]:
        raise DataError(
            f"{where} has no {missing[0]!r}: AlpacaEval's annotations have {', '.join(NEEDED)}; it has "
            f"{', '.join(sorted(row)[:8])}"
        )
    for name in ("output_1", "output_2"):
        if not isinstance(row[name], str):
            raise DataError(f"{where}: {name} is {row[name]!r:.60}, not text")
    return Comparison(
        str(number), _preference(row["preference"], where), len(row["output_2"]), len(row["output_1"]),
        str(row.get("dataset") or ""),
    )  # fmt: skip


def _preference(value: Any, where: str) -> float | None:
    """0 to 1; None for null or NaN. A preference of 0 is the draw of AlpacaEval's first version."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value == 0 or 1 <= value <= 2):
        raise DataError(f"{where}: preference is {value!r:.60}, not a number from 1 (the baseline) to 2 (the model)")
    return 0.5 if value == 0 else float(value) - 1
