"""What is known of a landmark, and a table of it by identifier in a file."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from .names import clean, name_of_category, name_of_identifier

KINDS = ("natural", "human-made")
_COLUMNS = "id, name, aliases, category_url, supercategory, hierarchical_label, natural_or_human_made"


@dataclass(frozen=True, slots=True)
class Landmark:
    """A landmark; None for what is not known."""

    id: str
    name: str | None = None
    aliases: tuple[str, ...] = ()
    category_url: str | None = None
    supercategory: str | None = None
    hierarchical_label: str | None = None
    natural_or_human_made: str | None = None

    def completed(self, other: Landmark) -> Landmark:
        """This one with what the other says in addition; of two names the other is an alias."""
        values = {name: getattr(self, name) or getattr(other, name) for name in _COLUMNS.split(", ") if name != "id"}
        names = (*self.aliases, *other.aliases, *filter(None, (other.name,)))
        values["aliases"] = tuple(alias for alias in dict.fromkeys(names) if alias != values["name"])
        return replace(self, **values)


class Landmarks:
    """Landmarks by identifier, in a table of a database, so that memory does not grow with them.

        >>> landmarks = Landmarks(database, names_identifiers=False)
        >>> landmarks.add(Landmark("7", category_url="http://commons.wikimedia.org/wiki/Category:Eiffel_Tower"))
        >>> landmarks.of("7").name
        'Eiffel Tower'

    Args:
        names_identifiers: whether the identifier is the name where none is known.

    Attributes:
        odd: value of natural_or_human_made that is neither -> landmarks; such a value is left out.
    """

    def __init__(self, database: sqlite3.Connection, names_identifiers: bool) -> None:
        self._database, self._names_identifiers = database, names_identifiers
        self.odd: Counter[str] = Counter()
        database.execute(
            "CREATE TABLE landmark (number INTEGER PRIMARY KEY, id TEXT UNIQUE, name TEXT, aliases TEXT, "
            "category_url TEXT, supercategory TEXT, hierarchical_label TEXT, natural_or_human_made TEXT)"
        )
        self.of = lru_cache(4096)(self._of)
        self.number = lru_cache(4096)(self._number)

    def add(self, landmark: Landmark) -> None:
        """Take up what a list says; where two say something, the first counts, and a second name is an alias."""
        if before := self._stored(landmark.id):
            landmark = before.completed(landmark)
        self.of.cache_clear()
        self._database.execute(
            f"INSERT INTO landmark ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[1:]),
            (landmark.id, landmark.name, json.dumps(landmark.aliases), landmark.category_url, landmark.supercategory,
             landmark.hierarchical_label, landmark.natural_or_human_made),
        )  # fmt: skip

    def kind(self, value: Any) -> str | None:
        """natural or human-made, or None; other values are counted."""
        text = clean(str(value or "")).lower().replace(" ", "-").replace("_", "-")
        text = {"man-made": "human-made", "humanmade": "human-made"}.get(text, text)
        if text and text not in KINDS:
            self.odd[str(value)[:60]] += 1
        return text if text in KINDS else None

    def _stored(self, identifier: str) -> Landmark | None:
        row = self._database.execute(f"SELECT {_COLUMNS} FROM landmark WHERE id = ?", (identifier,)).fetchone()
        return None if row is None else Landmark(row[0], row[1], tuple(json.loads(row[2])), *row[3:])

    def _of(self, identifier: str) -> Landmark:
        known = self._stored(identifier) or Landmark(identifier)
        name = known.name or name_of_category(known.category_url)
        if name is None and self._names_identifiers:
            name = name_of_identifier(identifier) or None
        return replace(known, name=name)

    def _number(self, identifier: str) -> int:
        """A number of the landmark, from 1; one that no list has gets the next."""
        self._database.execute("INSERT OR IGNORE INTO landmark (id, aliases) VALUES (?, '[]')", (identifier,))
        return int(self._database.execute("SELECT number FROM landmark WHERE id = ?", (identifier,)).fetchone()[0])

    def identifier(self, number: int) -> str:
        """The identifier of a number."""
        return str(self._database.execute("SELECT id FROM landmark WHERE number = ?", (number,)).fetchone()[0])
