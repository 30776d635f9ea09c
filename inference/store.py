"""Recorded requests with their answers, append-only, checked, safe to kill.

A store is a folder of segments, `*.jsonl`, one per process that wrote to it. A line is one exchange with a CRC-32 over
the rest of the line:

    {"key": SHA-256 of (model, revision, request, draw), "model", "revision", "draw", "request", "reply", "usable",
     "seconds", "crc"}

A record is in the kernel when `append` returns; `flush` makes it survive a power cut. A torn or damaged line is
skipped and counted; its request is asked again. A large segment has an index beside it (record_index.py), which may be
removed. Published, a store is a Parquet file (`export_rows`), which is read as
well.
"""

import json
import logging
import os
import re
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from ..hub_sync.errors import DataError, StorageError
from ..hub_sync.files import fsync_path
from ..hub_sync.text import is_well_formed, utf8
from .record_index import Place, RecordIndex, is_quiet, load, pack, save
from .requests import Reply

logger = logging.getLogger(__name__)

FIELDS = ("text", "outcome", "error", "finish_reason", "prompt_tokens", "completion_tokens", "status")
"""Fields of a Reply in every record; those of `OPTIONAL` only if they hold something. The text is the server's own,
with any thought in it; the outcome is that of the answer in it."""
OPTIONAL = ("reasoning", "tool_calls", "logprobs")


class RecordingStore(AbstractContextManager["RecordingStore"]):
    """`with RecordingStore(folder) as store: store.append(...); store.find(key)`.

    Attributes:
        damaged: skipped lines whose checksum did not fit, torn last lines included.
        conflicts: keys with several usable answers that differ, from processes that asked the same at the same time:
            give each row its own `draw` or `seed` where answers are sampled. `find` gives the last in the order of
            the segments' names.
    """

    def __init__(self, folder: Path, *, readonly: bool = False) -> None:
        self.folder = folder
        self.readonly = readonly
        self.damaged = 0
        self._index = RecordIndex()
        self._paths: list[Path] = []  # of the segments, by number
        self._own = bytearray()  # packed records of the segment that is being written
        self._rows: dict[str, dict[str, Any]] = {}
        self._read: dict[Path, int] = {}  # bytes of each segment that are in the index
        self._descriptor: int | None = None
        self._segment = folder
        self._end = 0
        if readonly and not folder.is_dir():
            raise DataError(f"{folder}: no recording there")
        self.refresh()
        for path in sorted(folder.rglob("*.parquet")) if folder.is_dir() else []:
            self._load(path)

    @property
    def conflicts(self) -> set[str]:
        return self._index.conflicts

    def __len__(self) -> int:
        return len(self._index) + len(self._rows)

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> None:
        """Take in what other processes have recorded since."""
        for path in sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else []:
            if path != self._segment:
                self._scan(path)

    def find(self, key: str, *, any_outcome: bool = False) -> Reply | None:
        """The recorded reply to a request, or None. Unusable ones only with `any_outcome`, as a replay needs."""
        place = self._index.get(bytes.fromhex(key))
        if place is not None and not (place.usable or any_outcome):
            return None
        record = self._record(key)
        if record is None:
            if place is not None:  # damaged since the index was made
                self.damaged += 1
                self._index.drop(bytes.fromhex(key))
            return None
        if not (record["usable"] or any_outcome):
            return None
        lists = {name: tuple(record["reply"].get(name, ())) for name in ("tool_calls", "logprobs")}
        return Reply(**{**record["reply"], **lists}, recorded=True)

    def append(
        self, key: str, reply: Reply, *, model: str, revision: str, draw: int, request: Mapping[str, Any], usable: bool
    ) -> None:
        """Record one exchange. Raises StorageError where it cannot be written; what was written before stays."""
        if self.readonly:
            return
        record: dict[str, Any] = {
            "key": key,
            "model": model,
            "revision": revision,
            "draw": draw,
            "request": request,
            "reply": _fields(reply),
            "usable": usable,
            "seconds": round(reply.seconds, 4),
        }
        line = _encode(record)
        try:
            descriptor = self._open()
            written = os.write(descriptor, line)
        except OSError as error:
            self._abandon()
            raise StorageError(f"recording in {self.folder}: {error.strerror or error}") from error
        if written != len(line):
            self._abandon()
            raise StorageError(f"recording in {self.folder}: the disk is full")
        name, digest = bytes.fromhex(key), _digest(record["reply"])
        self._own += pack(name, self._end, len(line), usable, digest)
        self._index.put(name, Place(self._number(self._segment), self._end, len(line), usable, digest))
        self._end += len(line)
        self._read[self._segment] = self._end

    def flush(self) -> None:
        """Write through to the disk what was appended."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Flush and close the segment; appending afterwards begins another."""
        if self._descriptor is not None:
            try:
                os.fsync(self._descriptor)
                save(self._segment, self._own)
            except OSError as error:
                raise StorageError(f"recording in {self.folder}: {error.strerror or error}") from error
            finally:
                self._abandon()

    def records(self) -> Iterator[dict[str, Any]]:
        """One record per key, in the order of the keys: the one that `find` gives."""
        keys = sorted({*(key.hex() for key in self._index), *self._rows})
        records = map(self._record, keys)
        return (record for record in records if record is not None)

    def _record(self, key: str) -> dict[str, Any] | None:
        place = self._index.get(bytes.fromhex(key))
        if place is None:
            return self._rows.get(key)
        with self._paths[place.segment].open("rb") as stream:
            stream.seek(place.offset)
            record = _decode(stream.read(place.length))
        return record if record is not None and record["key"] == key else None

    def _open(self) -> int:
        if self._descriptor is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Sorted by time, so that of two answers to one request the later one is found.
            name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            self._segment, self._end, self._own = self.folder / name, 0, bytearray()
            self._descriptor = os.open(self._segment, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fsync_path(self.folder)
        return self._descriptor

    def _abandon(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _number(self, path: Path) -> int:
        if not self._paths or self._paths[-1] != path:
            self._paths.append(path)
        return len(self._paths) - 1

    def _scan(self, path: Path) -> None:
        offset, size = self._read.get(path, 0), path.stat().st_size
        if path in self._read and size == offset:
            return
        saved = None if offset else load(path)
        records, damaged = bytearray(saved or b""), self.damaged
        if saved is None:
            with path.open("rb") as stream:
                stream.seek(offset)
                size = self._scan_lines(path, stream, records, offset)
            if not offset and self.damaged == damaged and not self.readonly and is_quiet(path):
                save(path, bytes(records))
        self._index.extend(self._number(path), bytes(records))
        self._read[path] = size

    def _scan_lines(self, path: Path, stream: BinaryIO, records: bytearray, offset: int) -> int:
        """The offset behind the last whole line."""
        for line in stream:
            record = _decode(line)
            if record is not None:
                key = bytes.fromhex(record["key"])
                records += pack(key, offset, len(line), bool(record["usable"]), _digest(record["reply"]))
            elif not line.endswith(b"\n"):
                # The end was torn by a kill, or is just being written: looked at again by a refresh.
                self.damaged += path not in self._read
                break
            else:
                self.damaged += 1
            offset += len(line)
        return offset

    def _load(self, path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        try:
            rows = pyarrow.parquet.read_table(path).to_pylist()
            for row in rows:
                record = {**row, "request": json.loads(row["request"]), "reply": json.loads(row["reply"])}
                self._rows[row["key"]] = record
        except (pyarrow.ArrowException, KeyError, ValueError, OSError) as error:
            raise DataError(f"{path.name}: is not a recording ({type(error).__name__})") from error


def export_rows(store: RecordingStore) -> Iterator[dict[str, Any]]:
    """The store as rows for a data set, sorted by key: JSON values as text, wall times left out.

    The same answers give the same rows, in whatever order and by however many processes they were recorded. Warns of
    requests with several usable answers (`RecordingStore.conflicts`).
    """
    if store.conflicts:
        logger.warning(
            "%d of %d requests have several answers, as several workers asked them at once; the last is taken",
            len(store.conflicts),
            len(store),
        )
    for record in store.records():
        row = {name: record[name] for name in ("key", "model", "revision", "draw", "usable")}
        for name in ("request", "reply"):
            row[name] = _text(record[name])
        yield row


def _fields(reply: Reply) -> dict[str, Any]:
    # Field by field: `asdict` copies everything deeply, under the profiler half the time of an append.
    optional = {name: value for name in OPTIONAL if (value := getattr(reply, name))}
    fields = {name: getattr(reply, name) for name in FIELDS}
    return fields | {name: value if isinstance(value, str) else list(value) for name, value in optional.items()}


def _text(value: Any) -> str:
    """JSON that any UTF-8 column takes: lone surrogates, where there are any, escaped."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if is_well_formed(text) else json.dumps(value, sort_keys=True)


def _encode(record: dict[str, Any]) -> bytes:
    body = utf8(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def _decode(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None where the line is torn or its checksum does not fit."""
    body, separator, crc = line.rpartition(b',"crc":"')
    if not separator or crc != b'%08x"}\n' % zlib.crc32(body + b"}"):
        return None
    try:
        record = json.loads(body + b"}")
    except ValueError:
        return None
    whole = isinstance(record, dict) and {"key", "reply", "usable"} <= record.keys()
    return record if whole and re.fullmatch("[0-9a-f]{64}", str(record["key"])) else None


def _digest(reply: Mapping[str, Any]) -> int:
    """CRC-32 of text and calls: what tells two replies apart."""
    content = [reply.get("text"), reply.get("tool_calls") or []]
    return zlib.crc32(json.dumps(content, sort_keys=True).encode("ascii"))
