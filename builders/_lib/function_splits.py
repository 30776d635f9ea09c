"""Splits of executed call graphs: a rule on names of functions alone, which no seed and no number of rows can move.

    train           neither of the below
    test            held-out SETS: the functions planned, and those offered, are in this split together; each of them
                    is in train rows as well, beside others
    test_functions  held-out FUNCTIONS: no row of another split plans or offers one of them

A row that would mix them (a held-out function among others, planned and offered sets of different splits) is in none.
"""

import json
from collections.abc import Mapping, Set
from typing import Any

from .splits import unit_hash

TRAIN, TEST, FUNCTIONS = "train", "test", "test_functions"


def is_test(tools: Set[str], share: float) -> bool:
    """Whether a set of functions belongs to the split `test`, by a hash of the names."""
    return unit_hash(",".join(sorted(tools))) < share


def is_held_out(tool: str, share: float) -> bool:
    """Whether a function belongs to the split `test_functions`, by a hash of its name.

    Another hash than that of a set of one function, or `test` would have no single function left.
    """
    return unit_hash(f"tool {tool}") < share


def split_of(planned: Set[str], offered: Set[str], share: float, function_share: float) -> str:
    """The split of a row, "" for a row that would mix splits.

    Args:
        planned, offered: names of functions; where none is offered, the planned ones decide.
        share: of all sets of functions, those of `test`; 0 where there is no such split.
        function_share: of all functions, those of `test_functions`; 0 where there is no such split.
    """
    names = planned | offered
    held_out = {name for name in names if is_held_out(name, function_share)}
    if held_out:
        return FUNCTIONS if held_out == names else ""
    sides = {is_test(tools, share) for tools in (planned, offered) if tools}
    return "" if len(sides) > 1 else TEST if sides == {True} else TRAIN


def functions_of(row: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The functions that a row plans, and those that it offers.

    Raises ValueError, LookupError, TypeError or RecursionError for columns that hold something else.
    """
    nodes = json.loads(row["plan"])["nodes"] if row["plan"] else ()
    return frozenset(node["tool"] for node in nodes), frozenset(tool["function"]["name"] for tool in row["tools"])
