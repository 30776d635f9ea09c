"""Requests with the calls that serve them, as rows that offer functions among others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from .retrieval import offer

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
Faults = Iterable[tuple[str, str]]
Candidates = Annotated[
    int,
    Field(
        ge=1,
        description="Functions a row offers, its own among them; a row that needs as many gets no others. Our choice.",
    ),
]
"""A builder's setting."""

DESCRIPTIONS = {
    "calls": "the calls that serve the request in order (JSON): name and arguments",
    "gold_tools": "the functions that are called (JSON), in OpenAI's form with responses",
    "tools": "the functions on offer (JSON), those that are called among them",
    "n_calls": "calls that serve the request",
    "nested": "whether an argument names the result of an earlier call",
    "faults": "what does not fit in the source's calls, each as `kind: where`",
    "scorable": "whether there is a call and all functions that are called are defined",
}
"""What the columns hold that such rows share."""


def to_json(value: Any) -> str:
    """JSON text; Arrow would merge the arguments of different functions."""
    return json.dumps(value, ensure_ascii=False)


def offered_tools(
    name: str, calls: Sequence[Mapping[str, Any]], tools: Mapping[str, Row], ranked: Sequence[str], candidates: int
) -> Row:
    """The columns gold_tools and tools: the functions that a row calls, and those among the ones nearest to it.

    Args:
        name: the row's id, from which the order is drawn.
        calls: `{"name", ...}` of each.
        tools: name -> definition.
        ranked: names of the functions nearest to the request.
        candidates: functions to offer.
    """
    needed = [one for one in dict.fromkeys(call["name"] for call in calls) if one in tools]
    names = {"gold_tools": needed, "tools": offer(needed, ranked, candidates, name)}
    return {
        column: to_json([{"type": "function", "function": tools[one]} for one in chosen])
        for column, chosen in names.items()
    }


def call_columns(calls: Sequence[Any], faults: Faults) -> Row:
    """The columns faults ("kind: where") and scorable: all functions that are called are defined."""
    pairs = list(faults)
    return {
        "faults": [f"{kind}: {where}" for kind, where in pairs],
        "scorable": bool(calls) and not any(kind == "unknown_tool" for kind, _ in pairs),
    }


def features(columns: Sequence[str]) -> Features:
    """Arrow features of the named columns: text, except of n_calls, nested, faults and scorable."""
    from datasets import Features, List, Value

    others = {
        "n_calls": Value("int32"), "nested": Value("bool"), "faults": List(Value("string")), "scorable": Value("bool"),
    }  # fmt: skip
    return Features({name: others.get(name, Value("string")) for name in columns})


def fault_counts(rows: Iterable[Row]) -> dict[str, int]:
    """Kind of fault -> faults of all rows, by name."""
    return dict(sorted(Counter(fault.partition(":")[0] for row in rows for fault in row["faults"]).items()))
