"""What the three benchmarks' rows share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import RowRejected

if TYPE_CHECKING:
    from datasets import Features


def features(**own: Any) -> Features:
    """The shared columns and a benchmark's own."""
    from datasets import Features, List, Value

    text = Value("string")
    shared = {
        "id": text, "messages": List({"role": text, "content": text}),
        "criteria": List({"text": text, "kind": text, "priority": text}), "reference": text,
    }  # fmt: skip
    return Features({**shared, **own})


def text_of(record: Any, name: str) -> str:
    """A field that has to be text with something in it. Raises RowRejected."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise RowRejected(f"no {name}", f"{name} is {value!r:.60}, not text")
    return value


def number_of(record: Any, name: str) -> int:
    """A field that has to be a whole number. Raises RowRejected."""
    value = record.get(name) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip().isdecimal():
        raise RowRejected(f"no {name}", f"{name} is {value!r:.60}, not a whole number")
    return int(value)


def one_of(record: Any, name: str, words: dict[Any, Any]) -> Any:
    """What `words` says of a field's value. Raises RowRejected for another value."""
    value = record.get(name)
    if not isinstance(value, str | bool | int) or value not in words:
        raise RowRejected(f"unknown {name}", f"{name} is {value!r:.60}, not one of {', '.join(map(str, words))}")
    return words[value]
