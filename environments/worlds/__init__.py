"""Small worlds with state whose tools can be called for real; call graphs are executed over them.

A world is a module with

- `TOOLS`: functions with types and docstrings. A type says what kind of thing a value is (`Annotated[str, "city"]`);
  a result of one kind can be an argument of the same kind. Parameters have a kind, or are a Literal or a bool.
- `fill(state, rng)`: makes its part of the state;
- `GIVEN`: the kinds a user may state: kind -> table of the state, or the values themselves.

The YAML file beside it holds the wording; in `ask`, `called` and `tell` one part of `[this|that]` is chosen each time:

- `named`: kind -> how a user names a value of it ("flight {}"); other values stand as they are;
- `ask`: tool -> requests, with a place for each parameter;
- `carried`: the same if an amount and its currency are passed on together;
- `called`: "tool.field" -> short and full reference to the field; a kind without one is never passed on;
- `tell`: tool -> reports of a result, with places for the result's fields, and for arguments it does not name;
- `tests`: tool -> (field, comparison, values, words), what later steps may depend on;
- `changes`: every tool that changes the state -> how to see whether it did: a tool that changes nothing, its
  parameters from the call's arguments, and words for "nothing has changed", with places for the result's fields and
  for "is" or "was"; null if no tool shows it.

All worlds share one state: a contact's city has weather, and a flight's price can be converted. They also run as the
top-level package `worlds` in the sandbox, so they import the standard library and one another alone.
"""

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
    places = {kind: place for world in (shared, *WORLDS) for kind, place in world.GIVEN.items()}
    return {kind: list(STATE[place] if isinstance(place, str) else place) for kind, place in places.items()}


# The sandbox calls tools by their names in this module.
globals().update({tool.__name__: tool for world in WORLDS for tool in world.TOOLS})
