"""Answers to the rows of the step `constraints`, whatever wrote them.

An `answers` step's data set has the row beside the answer; lm-eval's samples have it in `doc`; lines of `id` and
`answer` need the data set.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ....hub_sync.errors import DataError, UsageError
from ....inference.reasoning import answer_of
from ..data import locate, read_records, read_split
from .benchmark import Source
from .cases import AnswerState, Case, Row, answer_state, outcome_state

Answered = tuple[str, Row, str | None, AnswerState | None]  # where it stands, the row, the answer, its state if known


def read_answered(answers: Source, prefix: str, dataset: Source | None = None) -> Iterator[Answered]:
    """The answers in a file, a folder or a reference, in their order.

    Args:
        prefix: of the benchmark's ids, such as "cf-"; answers to other rows are refused.
        dataset: built rows; they replace those beside the answers.

    Raises DataError in one line for what is no stored answer, UsageError where the data set is needed.
    """
    rows = {str(row["id"]): row for row in read_rows(dataset)} if dataset else {}
    path, name = locate(str(answers))
    found = False
    for where, record in _records(path, name):
        found = True
        row, text, state = answer_in(record, where, bool(rows))
        key = str(row.get("id"))
        if rows and key not in rows:
            raise DataError(f"{where}: row {key} is not in the data set; give the one the answers were made on")
        row = rows.get(key, row)
        if not key.startswith(prefix):
            raise DataError(f"{where}: id {key!r:.40} is of another benchmark; those of this one begin with {prefix}")
        yield where, row, text, state
    if not found:
        raise DataError(f"{name}: holds no answer")


def read_rows(source: Source) -> list[Row]:
    """Rows built by the step `constraints`, from a folder, a Parquet file, JSON or JSON lines."""
    path, name = locate(str(source))
    if path.is_dir() or path.suffix == ".parquet":
        rows = [dict(row) for row in read_split(path, "test")]
    else:
        rows = [row for _, row in read_records(path)]
    if not rows or not {"id", "messages", "criteria"} <= set(rows[0]):
        raise DataError(f"{name}: has no rows with id, messages and criteria; build them by the step `constraints`")
    return rows


def _records(path: Path, name: str) -> Iterator[tuple[str, Row]]:
    if path.is_dir() or path.suffix == ".parquet":
        from_step = path.is_dir() and any(path.glob("data/answers-*.parquet"))  # by an `answers` step
        split = ("answers" if from_step else "samples") if path.is_dir() else "train"
        for number, row in enumerate(read_split(path, split)):
            yield f"{name}: row {number}", dict(row)
    else:
        for number, record in read_records(path):
            yield f"{name}: line {number}", record


def answer_in(
    record: Mapping[str, Any], where: str, has_rows: bool = False
) -> tuple[Row, str | None, AnswerState | None]:
    """(row, answer without its thought, state if known) of a stored answer. Raises DataError, UsageError.

    Args:
        has_rows: whether the rows are known, so that an id will do.
    """
    try:
        if "doc" in record and "filtered_resps" in record:
            return dict(_decoded(record["doc"])), *_text(_decoded(record["filtered_resps"])[0], None, where)
        if "answer" in record and ("criteria" in record or has_rows):
            return dict(record), *_text(record["answer"], outcome_state(record.get("outcome")), where)
    except (TypeError, IndexError, ValueError) as error:
        raise DataError(f"{where}: holds a field that cannot be read ({error})") from error
    if "answer" in record:
        raise UsageError(f"{where}: answers by id need the data set; add --dataset PATH or org/name@revision")
    raise DataError(f"{where}: is not a stored answer; give lm-eval's samples_*.jsonl or id + answer lines")


def _text(value: Any, state: AnswerState | None, where: str) -> tuple[str | None, AnswerState | None]:
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: the answer is {type(value).__name__}, not text")
    return (None if state or value is None else answer_of(value)), state


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def case_of(
    row: Mapping[str, Any],
    where: str,
    answer: Any,
    state: AnswerState | None,
    labels: Row,
    decided: bool | None = None,
) -> Case:
    """An answer to a built row as it is judged. Raises DataError for a row without messages or criteria.

    Args:
        labels: columns of the benchmark's own.
        decided: by a rule; the row then needs no criteria.
    """
    try:
        messages = tuple({"role": str(turn["role"]), "content": str(turn["content"])} for turn in row["messages"])
        items = tuple(str(one["text"]) for one in row["criteria"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: is no row of the step `constraints` ({error!r})") from error
    if decided is not None:
        items = ("all that the row asks, by a rule",)
    if not messages or not items:
        raise DataError(f"{where}: has {len(messages)} turns and {len(items)} criteria, and needs both")
    return Case(
        str(row["id"]), messages, answer, items, (None,) * len(items), {"scenario": "", "task": "", **labels},
        state or answer_state(answer), decided,
    )  # fmt: skip
