"""Stored verdicts: files of verdict rows (`cases`), and official judgement files, which a benchmark reads.

A case that was judged twice counts with its last complete set of rows.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....hub_sync.errors import DataError
from ....inference.workbooks import read_sheet
from ..data import locate, read_jsonl, read_records, read_split
from .cases import VERDICTS, Row

STATES = ("complete", "partial", "refused", "failed", "not_judged")
_OURS = {"id", "item", "verdict", "state"}
_NEEDED = (
    "text", "answer_state", "answer_sha256", "p_yes", "mass", "reason", "judge", "judge_revision", "method",
    "language", "prompt_hash",
)  # fmt: skip

Lines = Sequence[tuple[int, Row]]  # line numbers from 1, and the objects there
# Verdict rows of an official judgement file; None if the lines have another form. Given the file's name for errors.
Official = Callable[[Lines, str], list[Row] | None]


@dataclass(frozen=True)
class StoredVerdicts:
    """Verdict rows by case, in the order of the first row of each, and the number of cases that there should be."""

    cases: list[list[Row]]
    expected: int

    @property
    def rows(self) -> list[Row]:
        return [row for case in self.cases for row in case]

    def by_id(self) -> dict[str, list[Row]]:
        return {str(case[0]["id"]): case for case in self.cases}


def read_stored(source: str | Path, official: Sequence[Official] = ()) -> StoredVerdicts:
    """The verdicts in a file (JSON lines, a JSON array, Parquet or a workbook), in a folder with one such file, or in
    `org/name@revision`.

    Raises DataError in one line that names the file and the line.
    """
    path = _verdict_file(locate(str(source))[0])
    if path.suffix == ".parquet":
        lines = [(number, dict(row)) for number, row in enumerate(read_split(path, "train"), 1)]
    elif path.suffix == ".xlsx":
        lines = list(read_sheet(path, path.name))
    elif path.suffix == ".json":
        lines = list(read_records(path))
    else:
        lines = list(read_jsonl(path, torn_tail=_may_be_torn(path)))
    if not lines:
        raise DataError(f"{path.name}: holds no verdict; run `hubwright judge` first")
    for read in official:
        rows = read(lines, path.name)
        if rows is not None:
            return group_rows(list(enumerate(rows, 1)), path.name)
    if set(lines[0][1]) >= _OURS:
        return group_rows(lines, path.name)
    raise DataError(
        f"{path.name}: is neither a verdict file of hubwright nor an official judgement file (line 1 has "
        f"{', '.join(sorted(lines[0][1])[:6])})"
    )


def with_failed_answers(cases: Sequence[Sequence[Row]], failed_answers: str) -> list[Sequence[Row]]:
    """Cases whose failed answers meet nothing if `failed_answers` is "zero"; else as they were judged."""
    if failed_answers != "zero":
        return list(cases)
    return [
        case if case[0]["answer_state"] != "failed" else [row | {"verdict": "no"} for row in case] for case in cases
    ]


def check_failed(cases: Sequence[Sequence[Row]], unresolved: int, expected: int, max_failed: float | None) -> None:
    """Raises DataError where more than `max_failed` of the answers failed, lack a verdict or are missing.

    Args:
        unresolved: cases without a verdict on some item.
        max_failed: share, 0..1; None: any.
    """
    failed, missing = sum(case[0]["answer_state"] == "failed" for case in cases), expected - len(cases)
    if max_failed is not None and failed + unresolved + missing > max_failed * expected:
        lost = f"{failed} failed, {unresolved} without a verdict on some item, {missing} missing"
        raise DataError(
            f"{failed + unresolved + missing} of {expected} answers are unusable ({lost}), more than max_failed "
            f"{max_failed:.1%}: run the stage again, or raise --max-failed"
        )


def _verdict_file(path: Path) -> Path:
    """The verdict file in a folder: its only .jsonl, else its only Parquet file below data/; a file is itself."""
    if path.is_file():
        return path
    files = sorted(path.glob("*.jsonl")) or sorted(path.glob("data/*.parquet"))
    if len(files) != 1:
        raise DataError(f"{path.name}: holds {len(files)} verdict files; name one of them")
    return files[0]


def _may_be_torn(path: Path) -> bool:
    """False for other writers' files, which may well end without a newline."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except OSError:
        return False
    except ValueError:
        return True
    return isinstance(first, dict) and set(first) >= _OURS


def group_rows(rows: Lines, name: str) -> StoredVerdicts:
    """Numbered rows by case, without incomplete cases. Raises DataError for a row that is not a verdict."""
    complete: dict[str, list[Row]] = {}
    pending: dict[str, dict[int, Row]] = {}
    expected = 0
    for number, row in rows:
        try:
            key, item, size = str(row["id"]), int(row["item"]), int(row["items"])
            if row["verdict"] not in VERDICTS or row["state"] not in STATES:
                raise ValueError(f"verdict {row['verdict']!r}, state {row['state']!r}")
            if absent := [column for column in _NEEDED if column not in row]:
                raise KeyError(absent[0])
            weight = None if row["weight"] is None else float(row["weight"])
            group = pending.setdefault(key, {})
            if item in group:  # a new run over this case begins
                group.clear()
            group[item] = row | {"weight": weight, "attempts": int(row["attempts"])}
            if len(group) == size:
                complete[key] = [group[index] for index in range(size)]
                del pending[key]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name}: line {number} is not a verdict ({type(error).__name__}: {error})") from error
        # Of all rows: a file may hold cases that are not complete.
        expected = max(expected, row["answers"] if isinstance(row.get("answers"), int) else 0)
    return StoredVerdicts(list(complete.values()), max(expected, len(complete)))
