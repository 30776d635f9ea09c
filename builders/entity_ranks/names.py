"""The names of a data set's entities, and which of them an image is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.text import utf8
from .._lib.tables import check_images

if TYPE_CHECKING:
    from .build import EntityRanksConfig


class Names:
    """Entities by number, in the order of their ids.

    Attributes:
        names: the different names, sorted.
        place: entity -> number of its name.
    """

    def __init__(self, config: EntityRanksConfig, found: Mapping[Any, tuple[str, Any]]) -> None:
        self._config = config
        self.names = sorted({name for name, _ in found.values()})
        places = {name: place for place, name in enumerate(self.names)}
        self.place = {entity: places[name] for entity, (name, _) in found.items()}
        self._groups: dict[Any, np.ndarray] = {}
        for entity, (_, group) in found.items():
            mask = self._groups.setdefault(group, np.zeros(len(self.names), bool))
            mask[self.place[entity]] = True

    def of(self, row: Mapping[str, Any]) -> tuple[int, np.ndarray]:
        """(number of the true name, bool (names,) of the candidates). Raises RowRejected for a row without a name."""
        entity = row[self._config.entity]
        if entity not in self.place:
            raise RowRejected("no entity, or no name of it", entity)
        group = row[self._config.group] if self._config.group else None
        if self._config.group and group is None:
            raise RowRejected(f"no {self._config.group}")
        candidates = self._groups[group]
        if candidates.sum() < 2:
            raise RowRejected("no other name to compare with", group)
        return self.place[entity], candidates


def read_names(config: EntityRanksConfig, splits: Mapping[str, Any], source_name: str) -> Names:
    """The entities of all splits. Raises DataError for an absent column, an entity with two names, and fewer than two
    names."""
    from datasets import Value

    needed = [config.id, "image", config.entity, config.name, *filter(None, (config.group, config.fold))]
    found: dict[Any, tuple[str, Any]] = {}
    for split, rows in splits.items():
        if missing := next((name for name in needed if name not in rows.column_names), None):
            raise DataError(
                f"{source_name}: split {split} has no column {missing!r}; it has {', '.join(rows.column_names)}"
            )
        check_images(rows.features["image"], source_name)
        if nested := next((n for n in needed if n != "image" and not isinstance(rows.features[n], Value)), None):
            raise DataError(f"{source_name}: column {nested!r} holds lists or records: give each row one value")
        columns = [config.entity, config.name, *filter(None, (config.group,))]
        for number, row in enumerate(rows.select_columns(list(dict.fromkeys(columns)))):
            entity, name = row[config.entity], row[config.name]
            if entity is None or not isinstance(name, str) or not name.strip():
                continue
            value = " ".join(name.split()), row[config.group] if config.group else None
            if found.setdefault(entity, value) != value:
                raise DataError(
                    f"{source_name}: split {split}, row {number}: {config.entity} {entity!r} is {value[0]!r} here and "
                    f"{found[entity][0]!r} before"
                    + (f", or of another {config.group}" if config.group else "")
                    + ": give each entity one name"
                )
    if len({name for name, _ in found.values()}) < 2:
        raise DataError(f"{source_name}: fewer than two names in {config.name!r}: there is nothing to rank among")
    return Names(config, found)


def candidate_hash(config: EntityRanksConfig, names: Names) -> str:
    """SHA-256 of the templates and of the names, in order: what else decides a rank beside image and encoder."""
    digest = hashlib.sha256()
    for text in (*config.templates, *names.names):
        digest.update(utf8(text) + b"\0")
    return digest.hexdigest()
