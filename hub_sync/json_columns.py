"""Rows with values of any form as data sets that read back equal: the one place where such columns are written.

Arrow gives one type to all values of a column: in a struct the arguments `{"city": "Rome"}` and `{"bill": 2}` come
back with each other's keys as null, and `{"a": 1}` beside `{"a": "x"}` ends in an error. Columns of datasets' `Json`
type hold JSON text instead. datasets' own encoder keeps ten decimals (1e-12 becomes 0.0) and takes the text "5" for a
number, so values are encoded here before it sees them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from .errors import DataError
from .text import is_well_formed

if TYPE_CHECKING:
    from datasets import Dataset, Features

Row = Mapping[str, Any]
Encoder = Callable[[Any, str | None], Any]
_ENCODE = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
DEEPEST = 64  # levels of JSON that every reader takes
LEAST, MOST = -(2**63), 2**64 - 1  # integers that datasets' reader gives back as integers


def unstorable(value: Any, depth: int = 0) -> str:
    """Why a JSON value would not be read back equal, else "". Returns text_not_unicode, number_out_of_range,
    nested_too_deeply or not_json."""
    if depth == 0 and _is_plain(value):
        return ""
    if depth > DEEPEST:
        return "nested_too_deeply"
    if isinstance(value, str):
        return "" if is_well_formed(value) else "text_not_unicode"
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "" if LEAST <= value <= MOST else "number_out_of_range"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "number_out_of_range"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return "not_json"
        return next((why for part in (*value, *value.values()) if (why := unstorable(part, depth + 1))), "")
    if isinstance(value, list | tuple):
        return next((why for part in value if (why := unstorable(part, depth + 1))), "")
    return "not_json"


def _is_plain(value: Any) -> bool:
    """Whether a quick look shows that a value is storable. orjson takes no key but text, no half of a surrogate pair
    and no integer beyond 64 bits; NaN, which it writes as null, and deep nesting need a closer look."""
    strict = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
    try:
        text = orjson.dumps(value, option=strict)
    except TypeError:
        return False
    return b"null" not in text and text.count(b"[") + text.count(b"{") <= DEEPEST


def make_dataset(rows: Iterable[Row], features: Features | None = None) -> Dataset:
    """The rows as a data set. Columns that `features` does not name get the type of `infer_features`; if there are
    any, the columns are in the order of the rows, else in that of `features`.

    Raises DataError, naming row and column, for a value that would not be read back equal.
    """
    from datasets import Dataset, Features

    rows = list(rows)
    whole = dict(features or {})
    names = list(dict.fromkeys(name for row in rows for name in row))
    if missing := [name for name in names if name not in whole]:
        typed = infer_features(rows, missing) | whole
        whole = {name: typed[name] for name in dict.fromkeys([*names, *whole])}
    whole = Features(whole)
    encode = row_encoder(whole)
    return Dataset.from_list([encode(row, number) for number, row in enumerate(rows)], features=whole)


def encode_row(row: Row, features: Mapping[str, Any], number: int = 0) -> dict[str, Any]:
    """The row as `Dataset.from_list` or a generator of rows takes it: values of Json columns are JSON text.

    Raises DataError for a value that would not be read back equal; `number` of the row is for the message.
    """
    return row_encoder(features)(row, number)


def row_encoder(features: Mapping[str, Any]) -> Callable[[Row, int], dict[str, Any]]:
    """`encode_row` for many rows of the same features: called with a row and its number."""
    encoders = {name: _encoder(feature) for name, feature in features.items()}
    encoded = [name for name, encoder in encoders.items() if encoder is not None]

    def encode(row: Row, number: int) -> dict[str, Any]:
        checked = _is_plain([row.get(name) for name in encoded])  # mostly so, and once is cheaper than value by value
        return {
            name: row.get(name)
            if encoder is None
            else encoder(row.get(name), None if checked else f"row {number}, column {name}")
            for name, encoder in encoders.items()
        }

    return encode


def infer_features(rows: Sequence[Row], names: Iterable[str]) -> Features:
    """Features of columns: Arrow's own type where values are plain or lists of plain ones, Json where objects occur or
    the types are mixed, `List(Json())` for lists of objects."""
    import pyarrow
    from datasets import Features, Json, List
    from datasets.features.features import generate_from_arrow_type

    features: dict[str, Any] = {}
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        if any(values) and all(isinstance(v, list) and all(isinstance(part, Mapping) for part in v) for v in values):
            features[name] = List(Json())
            continue
        features[name] = Json()
        if not any(map(_has_object, values)):
            with suppress(pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
                features[name] = generate_from_arrow_type(pyarrow.array(values).type)
    return Features(features)


def _has_object(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_has_object, value)))


def _encoder(feature: Any) -> Encoder | None:
    """What encodes a value of a column, called with the value and its place for errors (None: it is known to be
    storable); None: nothing has to."""
    from datasets import Json, List

    if isinstance(feature, Json):
        return _to_json
    if isinstance(feature, List) and (inner := _encoder(feature.feature)):
        return lambda value, where: (
            [inner(part, where) for part in value] if isinstance(value, list | tuple) else value
        )
    fields = {key: _encoder(part) for key, part in feature.items()} if isinstance(feature, Mapping) else {}
    if any(fields.values()):
        return lambda value, where: (
            {key: part(value.get(key), where) if part else value.get(key) for key, part in fields.items()}
            if isinstance(value, Mapping)
            else value
        )
    return None


def _to_json(value: Any, where: str | None) -> str | None:
    if value is None:
        return None
    why = unstorable(value) if where else ""
    try:
        if not why:
            return _ENCODE(value)
    except TypeError:
        why = "not_json"
    raise DataError(f"{where}: {value!r:.80} cannot be stored ({why}); leave the row out or give it as text")
