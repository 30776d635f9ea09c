"""A worker for shards in other processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hubwright.hub_sync.errors import DataError


class Doubler:
    """Twice each number; writes the first one of a shard into a log.

    Args:
        fail, end: the number over which it raises, or ends its process.
    """

    def __init__(self, log: Path, fail: int | None = None, end: int | None = None) -> None:
        self._log, self._fail, self._end = log, fail, end

    def __call__(self, numbers: Sequence[int]) -> list[dict[str, int]]:
        with self._log.open("a") as file:
            file.write(f"{numbers[0]}\n")
        if self._fail in numbers:
            raise DataError(f"no number {self._fail}")
        if self._end in numbers:
            os._exit(3)
        return [{"n": 2 * number} for number in numbers]


def refuse() -> Doubler:
    """A worker whose model cannot be loaded."""
    raise DataError("no model")
