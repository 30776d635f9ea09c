"""Which column of a table holds what: as the settings say, else by the names that such columns usually have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...hub_sync.errors import RowRejected, did_you_mean

# Names by what a column holds; two of one line in a table are for the settings to choose from.
NAMES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "prompt": ("prompt", "instruction", "question", "query", "user"),
    "input": ("input", "context"),  # Alpaca's and Dolly's: what the instruction is about
    "completion": ("completion", "output", "response", "answer", "assistant"),
    "chosen": ("chosen", "preferred_output"),
    "rejected": ("rejected", "non_preferred_output"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "tools": ("tools", "functions"),
    "text": ("text", "content", "document"),
    "image": ("image", "file_name", "image_path"),
}
CAPTIONS = ("text", "caption")
_PAIR = (("prompt", "completion"), ("input", "system", "history"))
FORMS: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "messages": ((("messages",), ("system", "tools")), _PAIR),
    "prompt_completion": ((("prompt", "completion"), ("input", "system", "tools")),),
    "preference": ((("chosen", "rejected"), ("prompt", "input", "system", "tools")),),
    "text": ((("text",), ()),),
    "images": ((("image",), ("text",)),),
    "questions": ((("messages",), ("system", "tools")), (("prompt",), ("input", "system", "history", "tools"))),
}
"""Format -> (what a table must have, what it may have), the first that fits."""

COLUMNS = {
    "messages": ("messages", "tools"), "prompt_completion": ("prompt", "completion", "tools"),
    "preference": ("prompt", "chosen", "rejected", "tools"), "text": ("text",), "images": ("image", "text"),
    "questions": ("messages", "tools"),
}  # fmt: skip
"""Columns of the rows by format."""


def targets(form: str) -> tuple[str, ...]:
    """What `columns` may map for a format."""
    return tuple(dict.fromkeys(name for required, more in FORMS[form] for name in (*required, *more)))


def find_columns(form: str, mapped: Mapping[str, str | None], present: Sequence[str]) -> dict[str, str]:
    """Target -> path of its column in a table.

        >>> find_columns("messages", {"prompt": "frage"}, ["frage", "answer", "stars"])
        {'prompt': 'frage', 'completion': 'answer'}

    Args:
        mapped: the setting `columns`: target -> column, or path into one such as `meta.text`; None: no column.
        present: the table's columns.

    Raises RowRejected, with the remedy as its detail, for a mapped column that is not there, for a target without a
    column, and for one with several.
    """
    listed = f"it has {', '.join(present[:20])}" if present else "it has none"
    named = {target: path for target, path in mapped.items() if path is not None}
    for path in named.values():
        if not is_there(path, present):
            raise RowRejected(f"there is no column {path!r}", did_you_mean(path, present, listed).removeprefix("; "))
    missing = []
    for required, optional in FORMS[form]:
        if set(named) <= {*required, *optional}:
            chosen = _complete(form, [t for t in (*required, *optional) if t not in mapped], named, present)
            if lacking := [target for target in required if target not in chosen]:
                missing.append(lacking[0])
            else:
                return chosen
    if not missing:
        raise RowRejected(f"columns {', '.join(named)} do not go together in format {form}", "leave one out")
    raise RowRejected(
        f"no column is known to hold the {' or the '.join(missing)}",
        f"{listed}; say which by `columns: {{{missing[-1]}: NAME}}`",
    )


def _complete(form: str, wanted: Sequence[str], named: Mapping[str, str], present: Sequence[str]) -> dict[str, str]:
    """The named columns, and those of the wanted targets that are known by their names."""
    chosen = dict(named)
    for target in wanted:
        free = [name for name in present if name not in chosen.values()]
        names = CAPTIONS if form == "images" and target == "text" else NAMES[target]
        if target == "prompt" and set(names).isdisjoint(free):
            names = ("input",)  # a pair of `input` and `output`
        if target == "input" and chosen.get("prompt") != "instruction":
            continue
        matches = [name for name in names if name in free]
        if len(matches) > 1:
            raise RowRejected(
                f"columns {matches[0]!r} and {matches[1]!r} may both be the {target}",
                f"say which by `columns: {{{target}: {matches[0]}}}`",
            )
        if matches:
            chosen[target] = matches[0]
    return chosen


def is_there(path: str, present: Sequence[str]) -> bool:
    """Whether a column is there, or the one that a path leads into."""
    return path in present or path.partition(".")[0] in present


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or at a path of keys into one; None if there is none.

    >>> value_at({"meta": {"text": "Hi"}, "a.b": 1}, "meta.text"), value_at({"a.b": 1}, "a.b")
    ('Hi', 1)
    """
    if path in record:
        return record[path]
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
