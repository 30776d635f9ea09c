"""Tables of landmarks that people write: YAML or CSV with names, aliases and kinds."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...hub_sync.errors import DataError, RowRejected, did_you_mean, first_line
from .._lib.source_files import File
from .._lib.sources import Source, decode, read_source
from .._lib.tables import read_table
from .landmark import KINDS, Landmark, Landmarks
from .names import clean

FIELDS = (
    "landmark", "name", "aliases", "supercategory", "hierarchical_label", "natural_or_human_made", "category_url",
)  # fmt: skip
_SINGLE = ("name", "supercategory", "hierarchical_label", "category_url")


def read_hierarchy(source: Source | str, timeout: float, landmarks: Landmarks) -> tuple[str, list[str]]:
    """(origin for the card, identifiers) of a table whose landmarks are added.

    Raises DataError in one line that names the row for a value that is of the wrong kind, or a landmark that is there
    twice.
    """
    if isinstance(source, str):
        name, content = "hierarchy.yaml", Path(__file__).with_name("hierarchy.yaml").read_bytes()
        origin = "`hierarchy.yaml` of this builder: the hierarchy of 15 landmarks, by us"
    else:
        name, content, origin = read_source(source, timeout)
    identifiers: dict[str, int] = {}
    for number, record in enumerate(_records(name, content), 1):
        landmark = _landmark(f"{name}: landmark {number}", record, landmarks)
        if landmark.id in identifiers:
            raise DataError(
                f"{name}: landmarks {identifiers[landmark.id]} and {number} are both {landmark.id!r}; keep one"
            )
        identifiers[landmark.id] = number
        landmarks.add(landmark)
    if not identifiers:
        raise DataError(f"{name}: has no landmarks; write a list of entries with landmark and name")
    return origin, list(identifiers)


def _records(name: str, content: bytes) -> Iterator[Any]:
    if not name.lower().endswith((".yaml", ".yml")):
        file = File(name, lambda: io.BytesIO(content))
        for record in read_table(file, file.open(), None, None, {}).records:
            if isinstance(record, RowRejected):
                raise DataError(f"{name}: {record.reason}: {record.detail}; mend the line")
            yield record
        return
    try:
        value = yaml.safe_load(decode(name, content))
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{name}: is not YAML ({first_line(error)}); mend that line") from error
    if isinstance(value, Mapping):  # {id: {name: ...}}
        value = [{"landmark": key, **entry} if isinstance(entry, Mapping) else entry for key, entry in value.items()]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DataError(f"{name}: is not a list of landmarks; write entries that begin with `- landmark: ID`")
    yield from value


def _landmark(where: str, record: Any, landmarks: Landmarks) -> Landmark:
    if not isinstance(record, Mapping):
        raise DataError(f"{where} is not an entry with fields: {str(record)[:60]!r}; write `landmark: ID`")
    if unknown := next((field for field in record if field not in FIELDS), None):
        raise DataError(f"{where}: {unknown!r} is unknown{did_you_mean(str(unknown), FIELDS)}")
    identifier = record.get("landmark")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or not str(identifier).strip():
        raise DataError(f"{where}: its landmark {identifier!r} is neither text nor a whole number")
    if odd := next((f for f in _SINGLE if not isinstance(record.get(f), str | None)), None):
        raise DataError(f"{where}: its {odd} {str(record[odd])[:60]!r} is not text; quote it")
    aliases = record.get("aliases") or []
    aliases = aliases.split("|") if isinstance(aliases, str) else aliases
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise DataError(f"{where}: its aliases {str(aliases)[:60]!r} are not a list of texts")
    kind = record.get("natural_or_human_made")
    if kind is not None and landmarks.kind(kind) is None:
        raise DataError(f"{where}: natural_or_human_made {str(kind)[:60]!r} is neither {KINDS[0]} nor {KINDS[1]}")
    single = {field: clean(record.get(field) or "") or None for field in _SINGLE}
    known = [alias for alias in map(clean, aliases) if alias and alias != single["name"]]
    return Landmark(
        str(identifier).strip(), aliases=tuple(dict.fromkeys(known)), natural_or_human_made=landmarks.kind(kind),
        **single,
    )  # fmt: skip
