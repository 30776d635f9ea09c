"""Rows of a data set that is read while it is trained on, with a place that can be gone back to exactly.

datasets says where it stands in a chain of files, batches and packed rows, and goes on from there; here that is noted
with every row handed out, because the loader asks for rows before they are trained on.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

from ...hub_sync.errors import DataError
from .data import shuffled

FILE = "stream.json"


class PackedStream(IterableDataset):
    """Packed rows without end: pass after pass over the files, in an order that follows from seed and pass.

    Args:
        rows: `datasets.IterableDataset` of what `data.pack` gives.
        seed: of the order within blocks.
        block: rows per block.
        ahead: how many rows may have been handed out that are not trained on yet.
    """

    def __init__(self, rows: Any, seed: int, block: int, ahead: int) -> None:
        self._rows, self._seed, self._block = rows, seed, block
        self._from: dict[str, Any] = {"row": 0, "pass": 0, "state": None}
        self._places: deque[dict[str, Any]] = deque(maxlen=ahead + 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number, turn, state = self._from["row"], self._from["pass"], self._from["state"]
        self._places.clear()
        while True:
            rows = shuffled(self._rows, self._seed, turn, self._block)
            if state is not None:
                rows.load_state_dict(state)
            handed_out = 0
            for row in rows:
                handed_out += 1
                number += 1
                self._places.append({"row": number, "pass": turn, "state": rows.state_dict()})
                yield row
            if not handed_out and state is None:
                raise DataError("the train split has no row that could be trained on")
            turn, state = turn + 1, None

    def place(self, row: int) -> dict[str, Any]:
        """Where the stream stood when `row` rows had been handed out since the very beginning."""
        return next(place for place in (self._from, *self._places) if place["row"] == row)

    def save(self, folder: Path, row: int) -> None:
        """Write the place after `row` rows into a checkpoint."""
        (folder / FILE).write_text(json.dumps(self.place(row)), encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Go on where the checkpoint's training stood."""
        self._from = json.loads((folder / FILE).read_text(encoding="utf-8"))
