"""The state that all worlds share, and the kinds of things in it."""

import random
from typing import Annotated, Any

City = Annotated[str, "city"]
Day = Annotated[str, "day"]
Person = Annotated[str, "person"]
Amount = Annotated[float, "amount"]
Currency = Annotated[str, "currency"]

STATE: dict[str, Any] = {}
CITIES = {
    "Oslo": "NOK", "Lisbon": "EUR", "Kyoto": "JPY", "Toronto": "CAD", "Nairobi": "KES", "Prague": "CZK", "Lima": "PEN",
    "Perth": "AUD", "Dublin": "EUR", "Bergen": "NOK", "Porto": "EUR", "Osaka": "JPY",
}  # fmt: skip
DAYS = [f"2026-0{month}-{day:02d}" for month in (3, 4, 5) for day in (2, 5, 9, 14, 18, 23, 27)]
FIRST = ("Ana", "Ben", "Chidi", "Dana", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena")
LAST = ("Silva", "Okafor", "Novak", "Tanaka", "Moreau", "Larsen", "Castro", "Reid")

# Kinds a user may state in every world: a table of the state, or the values themselves.
GIVEN: dict[str, Any] = {"city": "cities", "day": "days", "person": "persons", "currency": "currencies"}


class NotFound(Exception):
    """A tool's error if there is no such thing."""


def begin(seed: int, fills: list[Any]) -> None:
    """A new state, all of it from the seed."""
    STATE.clear()
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    STATE["cities"], STATE["days"], STATE["currencies"] = list(CITIES), DAYS, sorted(set(CITIES.values()))
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    STATE["persons"], STATE["numbers"] = rng.sample(names, 24), []
    for fill in fills:
        fill(STATE, rng)


def one(table: str, key: str) -> dict[str, Any]:
    """A row of a table of the state. Raises NotFound in one line."""
    rows = STATE[table]
    if key not in rows:
        raise NotFound(f"there is no {key!r} among the {table.replace('_', ' ')}")
    found: dict[str, Any] = rows[key]
    return found


def pick(row: dict[str, Any], *names: str) -> Any:
    """These fields of a row, in this order."""
    return {name: row[name] for name in names}


def number(prefix: str, rng: random.Random) -> str:
    """An identifier that no other has."""
    while True:
        name = f"{prefix}{rng.randrange(1000, 10000)}"
        if name not in STATE["numbers"]:
            STATE["numbers"].append(name)
            return name


def next_number(prefix: str) -> str:
    """The identifier of something that a tool creates, numbered in order: equal calls give equal ones."""
    name = f"{prefix}{10_000 + len(STATE['numbers'])}"
    STATE["numbers"].append(name)
    return name
