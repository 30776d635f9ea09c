"""Small worlds with state, whose tools can be called for real: what the gold-path generator builds on.

A world is a module with

- `TOOLS`: functions with types and docstrings. A type says what kind of thing a value is (`Annotated[str, "city"]`);
  a result of one kind can be an argument of the same kind. Parameters have a kind, or are a Literal or a bool.
- `fill(state, rng)`: makes its part of the state;
- `GIVEN`: the kinds a user may state: kind -> table of the state, or the values themselves;
- `NAMED`: how a user speaks of a value of a kind ("flight {}");
- `ASK`: tool -> ways to ask for it, with a place for each parameter;
- `CARRIED`, where there is such a case: the same where an amount and its currency are handed on together;
- `CALLED`: "tool.field" -> how the field is spoken of later, shortly and in full; kinds without are never handed on;
- `TELL`: tool -> ways to tell a result, with places for the result's fields, and for arguments it does not name;
- `TESTS`: tool -> (field, comparison, values, words), what later steps may depend on;
- `CHANGES`: every tool that changes the state -> how to see whether it did (`shared.Look`), None if nothing shows it.

In `ASK`, `CALLED` and `TELL` one part of `[this|that]` is chosen each time.

All worlds share one state: a contact's city has weather, and a flight's price can be converted. They also run as the
top-level package `worlds` in the sandbox, so they import the standard library and one another alone.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from . import calendars, dining, library, money, parcels, people, shared, shop, tickets, travel, weather
from .shared import STATE

# Parcels and tickets are about the orders that the shop fills in before them.
WORLDS: tuple[ModuleType, ...] = (
    travel, weather, shop, calendars, money, library, dining, people, parcels, tickets,
)  # fmt: skip


def begin(seed: int) -> None:
    """A new state of all worlds."""
    shared.begin(seed, [world.fill for world in WORLDS])


def pools() -> dict[str, list[Any]]:
    """What a user may state, by kind, in the state as it is."""
    found = {}
    for world in (shared, *WORLDS):
        for kind, place in world.GIVEN.items():
            found[kind] = list(STATE[place]) if isinstance(place, str) else list(place)
    return found


# The sandbox calls tools by their names in this module.
globals().update({tool.__name__: tool for world in WORLDS for tool in world.TOOLS})
