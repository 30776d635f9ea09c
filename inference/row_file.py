"""Rows on the disk, read by number or slice: input of a stage that takes 8 bytes of memory per row."""

import json
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

from .shards import Row, stored


class RowFile(Sequence[Row]):
    """Rows of JSON in a file without a name, which goes with the object or the process.

        >>> RowFile(context.workdir, ({"n": n} for n in range(100_000)))[99_999]
        {'n': 99999}

    Args:
        folder: where there is room.
    """

    def __init__(self, folder: Path, rows: Iterable[Row]) -> None:
        self._ends = array("Q", [0])
        with stored(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
            for row in rows:
                self._ends.append(self._ends[-1] + self._file.write(json.dumps(row).encode("ascii")))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        number = range(len(self))[place]
        self._file.seek(self._ends[number])
        return json.loads(self._file.read(self._ends[number + 1] - self._ends[number]))
