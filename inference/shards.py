"""Finished shards on the disk: one file each, named by the hash of all that decides its content, with a checksum.

A line is one row's result, `{"row": {...}}` or `{"error": "...", "final": bool}`, in input order; the last line is
`{"sha256": of all before it}`. A damaged file counts as absent and is made again from the recorded requests.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hub_sync.errors import DataError, StorageError, UsageError
from ..hub_sync.files import write_atomic

Row = dict[str, Any]
IDENTITY = "stage.json"


@dataclass(frozen=True)
class Failure:
    """A row that could not be done; `final`: asking again would end the same."""

    error: str
    final: bool


Outcome = Row | Failure


def canonical(value: Any) -> bytes:
    """Sorted, compact JSON in ASCII. Raises DataError for what is not JSON."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError) as error:
        raise DataError(f"rows and config of a stage are JSON: {error}") from error


def shard_path(folder: Path, index: int, identity: Mapping[str, Any], rows: Sequence[Row]) -> Path:
    digest = hashlib.sha256(canonical([dict(identity), list(rows)])).hexdigest()
    return folder / "shards" / f"{index:06d}-{digest[:32]}.jsonl"


def write_shard(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write a shard whole or not at all. Raises StorageError."""
    lines = (vars(one) if isinstance(one, Failure) else {"row": one} for one in outcomes)
    body = b"".join(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n" for line in lines)
    with stored(path):
        write_atomic(path, body + b'{"sha256":"%s"}\n' % hashlib.sha256(body).hexdigest().encode())


def read_shard(path: Path, size: int) -> list[Outcome] | None:
    """The results of `size` rows, or None where the file is absent, torn or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body, _, last = content[:-1].rpartition(b"\n")
    body += b"\n" if body else b""
    if last + b"\n" != b'{"sha256":"%s"}\n' % hashlib.sha256(body).hexdigest().encode() or content[-1:] != b"\n":
        return None
    lines = [json.loads(line) for line in body.splitlines()]
    if len(lines) != size:
        return None
    return [line["row"] if "row" in line else Failure(line["error"], line["final"]) for line in lines]


def in_shards(
    rows: Sequence[Row], identity: Mapping[str, Any], folder: Path, size: int,
    work: Callable[[Sequence[Row], int], Iterable[Any]],
) -> Iterator[Any]:  # fmt: skip
    """The results of `work` for all rows, `size` of them at a time; what is on disk is not made again.

    Args:
        rows: JSON objects.
        identity: what decides the result beside the rows; JSON.
        folder: of the shards.
        work: gets rows and the number of their shard; gives as many JSON objects, which follow from these arguments
            alone.
    """
    for index, start in enumerate(range(0, len(rows), size)):
        some = rows[start : start + size]
        path = shard_path(folder, index, identity, some)
        results: Sequence[Any] | None = read_shard(path, len(some))
        if results is None:
            results = list(work(some, index))
            write_shard(path, results)
        yield from results


def sweep(folder: Path, keep: set[Path] | None = None) -> None:
    """Remove the temporary files of a killed run and, with `keep`, the shards that are not in it."""
    paths = [*folder.glob(".*.tmp"), *(folder / "shards").glob(".*.tmp")]
    if keep is not None:
        paths += [path for path in (folder / "shards").glob("*.jsonl") if path not in keep]
    for path in paths:
        path.unlink(missing_ok=True)


def claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder this work's own. Raises UsageError if it holds shards of another config or model."""
    path = folder / IDENTITY
    now = json.loads(canonical(dict(identity)))
    if any((folder / "shards").glob("*.jsonl")):
        try:
            before = json.loads(path.read_bytes())
        except (OSError, ValueError):
            before = None
        if not isinstance(before, dict):
            raise UsageError(f"{folder} holds shards, but what of is not told ({IDENTITY}); begin anew with --fresh")
        for key, old, new in _changes(before, now):
            raise UsageError(
                f"{folder} holds shards that were made with another {key} ({_short(old)}, now {_short(new)}); undo "
                "the change to go on with them, or leave them and begin anew beside them with --fresh"
            )
    with stored(path):
        write_atomic(path, canonical(now) + b"\n")


@contextmanager
def stored(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a StorageError of one line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}); what was finished before is kept: make room and "
            "run this again to go on"
        ) from error


def _changes(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _changes(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, old, new


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]}..."
