"""Rows through a function that needs minutes for a shard of them; a finished shard survives a kill."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...inference import shards

Row = dict[str, Any]


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
        path = shards.shard_path(folder, index, identity, some)
        results: Sequence[Any] | None = shards.read_shard(path, len(some))
        if results is None:
            results = list(work(some, index))
            path.parent.mkdir(parents=True, exist_ok=True)
            shards.write_shard(path, results)
        yield from results
