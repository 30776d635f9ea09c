"""The requests of a published test set, whatever its columns, to keep them out of what is built."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...hub_sync.context import Input, StepContext
from ...hub_sync.errors import DataError
from ...inference.conversations import ROLES

# Columns that hold what a user asks: text, a list of turns, a list of lists of them, or either as JSON text. The first
# that a file has is read; `text`, MBPP's, is what others name a whole document.
COLUMNS = ("query", "task", "question", "messages", "turns", "input", "prompt", "text")


def decontamination_inputs(context: StepContext, *roles: str) -> list[Input]:
    """A step's inputs `decontaminate_against`, `decontaminate_against_NAME` and those of `roles`."""
    return [
        one
        for role, one in sorted(context.inputs.items())
        if role.startswith("decontaminate_against") or role in roles
    ]


def requests(folder: Path, source_name: str) -> Iterator[tuple[str, str]]:
    """(request, id) of every row of every Parquet file. Raises DataError if no file has a column of requests."""
    import pyarrow.parquet as pq

    any_column = False
    for path in sorted(folder.rglob("*.parquet")):
        with pq.ParquetFile(path) as file:
            column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
            if column is None:
                continue
            any_column = True
            columns = [column, *(["id"] if "id" in file.schema_arrow.names else [])]
            for batch in file.iter_batches(columns=columns):
                for number, row in enumerate(batch.to_pylist()):
                    if text := user_text(row[column]):
                        yield text, str(row.get("id", f"{path.stem}:{number}"))
    if not any_column:
        raise DataError(
            f"{source_name}: no file has a column of requests ({', '.join(COLUMNS)}); give a test set that has one"
        )


def user_text(value: Any) -> str:
    """What the user says in a value of such a column."""
    if isinstance(value, str):
        if value[:1] in "[{":
            try:
                return user_text(json.loads(value))
            except (ValueError, RecursionError):
                return value
        return value
    if isinstance(value, dict):  # a turn, or a part of its content
        role = value.get("role") or value.get("from") or "user"
        words = (value[key] for key in ("content", "value", "text") if value.get(key))
        return user_text(next(words, "")) if ROLES.get(role) == "user" else ""
    if isinstance(value, list):
        return "\n".join(filter(None, map(user_text, value)))
    return ""
