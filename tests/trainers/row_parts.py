"""Rows and readers of trained rows that tests of several data forms share."""

from __future__ import annotations

from typing import Any

ASK, ANSWER = {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Seven."}
WRONG = {"role": "assistant", "content": "Blue."}
SYSTEM = {"role": "system", "content": "Be short."}
ROOMY: dict[str, Any] = {"chat_template": "chatml_tools", "max_length": 4000}


def structs(rows: list[dict[str, Any]]) -> Any:
    """Rows as most data sets on the Hub hold them: Arrow structs with the keys of all rows."""
    import datasets
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    return datasets.Dataset(table.replace_schema_metadata(None))


def learnt(trainer: Any, row: dict[str, Any]) -> list[str]:
    """The supervised stretches of a row as text."""
    runs: list[list[int]] = [[]]
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        if label == -100:
            runs += [[]] if runs[-1] else []
        else:
            runs[-1].append(token)
    return [trainer.processing_class.decode(run) for run in runs if run]


def ids(trainer: Any) -> list[list[int]]:
    return [list(row) for row in trainer.train_dataset["input_ids"]]


def conversation_of(name: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return [ASK, {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": name, "content": "7"}, ANSWER]  # fmt: skip


# Structs of Arrow
