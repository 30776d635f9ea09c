"""Where the record of each key stands, in 53 bytes of memory per record, and on the disk beside a finished segment."""

import io
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..hub_sync.files import write_atomic

_RECORD = np.dtype([("key", "S32"), ("offset", "<u8"), ("length", "<u4"), ("usable", "?"), ("digest", "<u4")])
_PLACE = np.dtype([("segment", "<u4"), *[(name, _RECORD[name]) for name in ("offset", "length", "usable", "digest")]])
pack = struct.Struct("<32sQI?I").pack
"""A record as `save` takes it: key, offset, length, usable, digest."""
FRESH = 5_000  # records that are kept as Python objects until they are sorted in
LEAST = 1_000  # records of a segment that are worth a file
QUIET = 60.0  # seconds without a write after which a segment that others began is finished


class Place(NamedTuple):
    """A record in a segment: its number, byte offset and length; whether a replay alone may use it; what tells two
    replies apart."""

    segment: int
    offset: int
    length: int
    usable: bool
    digest: int


class RecordIndex:
    """Key (32 bytes) -> the place of its last usable record, or else of its last one.

    Attributes:
        conflicts: keys in hex with several usable records that differ.
    """

    def __init__(self) -> None:
        self.conflicts: set[str] = set()
        self._fresh: dict[bytes, Place] = {}
        self._keys: Any = np.empty(0, "S32")
        self._places: Any = np.empty(0, _PLACE)

    def __len__(self) -> int:
        self._merge()
        return len(self._keys)

    def __iter__(self) -> Iterator[bytes]:
        self._merge()
        return (key.ljust(32, b"\0") for key in self._keys.tolist())

    def get(self, key: bytes) -> Place | None:
        if key in self._fresh:
            return self._fresh[key]
        at = self._at(key)
        return None if at is None else Place(*self._places[at].tolist())

    def put(self, key: bytes, place: Place) -> None:
        """Add a record that was written after all others."""
        old = self.get(key)
        if old is not None and old.usable and place.usable and old.digest != place.digest:
            self.conflicts.add(key.hex())
        if old is None or place.usable or not old.usable:
            self._fresh[key] = place
            if len(self._fresh) >= FRESH:
                self._merge()

    def extend(self, segment: int, records: bytes) -> None:
        """Add packed records of a segment, as `put` would one by one."""
        rows: Any = np.frombuffer(records, _RECORD)
        if len(rows) < LEAST:
            for key, *place in rows.tolist():
                self.put(key.ljust(32, b"\0"), Place(segment, *place))
            return
        places = np.empty(len(rows), _PLACE)
        places["segment"] = segment
        for name in _PLACE.names[1:]:  # type: ignore[index]
            places[name] = rows[name]
        self._merge()
        self._add(rows["key"], places)

    def drop(self, key: bytes) -> None:
        self._fresh.pop(key, None)
        if (at := self._at(key)) is not None:
            self._keys, self._places = np.delete(self._keys, at), np.delete(self._places, at)

    def _at(self, key: bytes) -> int | None:
        at = int(self._keys.searchsorted(np.array(key, "S32"))) if len(self._keys) else 0
        return at if at < len(self._keys) and self._keys[at] == key.rstrip(b"\0") else None

    def _merge(self) -> None:
        """Insert the fresh records, each of which `put` found better than an older one of its key."""
        if self._fresh:
            places = np.array([tuple(place) for place in self._fresh.values()], _PLACE)
            keys, self._fresh = np.array([*self._fresh], "S32"), {}
            order = keys.argsort()
            keys, places = keys[order], places[order]
            at = self._keys.searchsorted(keys)
            old = at < len(self._keys)
            old[old] = self._keys[at[old]] == keys[old]
            self._places[at[old]] = places[old]
            self._keys = np.insert(self._keys, at[~old], keys[~old])
            self._places = np.insert(self._places, at[~old], places[~old])

    def _add(self, keys: Any, places: Any) -> None:
        keys, places = np.concatenate([self._keys, keys]), np.concatenate([self._places, places])
        order = np.lexsort((places["usable"], keys))  # stable: of a key, the last is the last usable one
        keys, places = keys[order], places[order]
        same = keys[1:] == keys[:-1]
        both = places["usable"][1:] & places["usable"][:-1]
        differ = same & both & (places["digest"][1:] != places["digest"][:-1])
        self.conflicts |= {key.ljust(32, b"\0").hex() for key in keys[1:][differ].tolist()}
        last = np.append(~same, True) if len(keys) else same
        self._keys, self._places = keys[last], places[last]


def save(segment: Path, records: bytes | bytearray) -> None:
    """Write the index of a whole segment without damage beside it. What cannot be written is done without."""
    if len(records) < LEAST * _RECORD.itemsize:
        return
    content = io.BytesIO()
    np.save(content, np.frombuffer(records, _RECORD))
    with suppress(OSError):
        write_atomic(_path(segment), content.getvalue())


def load(segment: Path) -> bytes | None:
    """The packed records of a segment; None without an index of its present state."""
    try:
        rows = np.load(_path(segment), allow_pickle=False)
        return bytes(rows.tobytes()) if rows.dtype == _RECORD else None
    except (OSError, ValueError, EOFError):
        return None


def is_quiet(segment: Path) -> bool:
    return time.time() - segment.stat().st_mtime > QUIET


def _path(segment: Path) -> Path:
    """The name tells size and time of the segment, so that an index of another state is not taken."""
    state = segment.stat()
    return segment.with_suffix(f".{state.st_size}-{state.st_mtime_ns}.index")
