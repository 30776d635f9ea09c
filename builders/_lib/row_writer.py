"""Rows of several splits, written to disk as they come: a builder's memory does not grow with its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.json_columns import row_encoder
from ...hub_sync.parquet import size_of

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, DatasetDict, Features
    from datasets.arrow_writer import ArrowWriter

BATCH_ROWS, BATCH_CHARS = 2000, 4_000_000
MOST_BATCHES = 16  # that are joined to one


class RowWriter:
    """Splits in the making.

        >>> writer = RowWriter(context.workdir / "rows", Features({"text": Value("string")}))
        >>> writer.write("train", {"text": "Hello."})
        >>> writer.finish()
        DatasetDict({train: Dataset({features: ['text'], num_rows: 1})})

    Args:
        folder: emptied of an earlier run's files; the rows stay there while the data set is in use.
        features: columns and types; values of `Json` columns are given as objects.

    Attributes:
        counts: split -> rows.
    """

    def __init__(self, folder: Path, features: Features) -> None:
        self.features = features
        self._encode = row_encoder(features)
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._writers: dict[str, ArrowWriter] = {}
        self._rows: dict[str, list[Mapping[str, Any]]] = {}
        self._chars: dict[str, int] = {}

    def write(self, split: str, row: Mapping[str, Any]) -> None:
        """Append a row. Raises DataError for a value of a `Json` column that would not be read back equal."""
        if split not in self._writers:
            self._open(split)
        encoded = self._encode(row, self.counts[split])
        self.counts[split] += 1
        self._rows[split].append(encoded)
        self._chars[split] += sum(map(size_of, encoded.values()))
        if len(self._rows[split]) >= BATCH_ROWS or self._chars[split] >= BATCH_CHARS:
            self._flush(split)

    def finish(self, order: Sequence[str] = ("train", "validation", "test")) -> DatasetDict:
        """The splits that have rows, memory-mapped, in the given order and others after them."""
        from datasets import Dataset, DatasetDict

        for split, writer in self._writers.items():
            self._flush(split)
            writer.finalize()
        splits = sorted(self._writers, key=lambda name: (order.index(name) if name in order else len(order), name))
        return DatasetDict({name: Dataset.from_file(str(self._path(name))) for name in splits})

    def _path(self, split: str) -> Path:
        return self._folder / f"{split}.arrow"

    def _open(self, split: str) -> None:
        from datasets.arrow_writer import ArrowWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        self._path(split).unlink(missing_ok=True)  # an earlier run may still have it mapped
        # Of columns of images datasets writes 100 rows at a time, each with 9 kB of memory while the file is open.
        self._writers[split] = ArrowWriter(
            features=self.features, path=str(self._path(split)), writer_batch_size=BATCH_ROWS
        )
        self._rows[split], self._chars[split] = [], 0

    def _flush(self, split: str) -> None:
        rows = self._rows[split]
        if rows:
            self._writers[split].write_batch({name: [row[name] for row in rows] for name in self.features})
        self._rows[split], self._chars[split] = [], 0


def divide(
    rows: Dataset, folder: Path, parts: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray] | None = None
) -> DatasetDict:
    """Parts of a data set, each in a file of its own: of rows that are selected by number, every reader copies them.

    Args:
        rows: as `RowWriter.finish` returns them.
        folder: for the files.
        parts: name -> (rows,) bool.
        values: column -> (rows,) of its type, in place of what it holds.
    """
    import pyarrow
    from datasets import Dataset, DatasetDict

    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        path, start = folder / f"{name}.arrow", 0
        path.unlink(missing_ok=True)
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, rows.data.schema) as stream:
            waiting: list[pyarrow.RecordBatch] = []
            for batch in rows.data.to_batches():
                stop = start + len(batch)
                for column, numbers in (values or {}).items():
                    field = rows.data.schema.field(column)
                    batch = batch.set_column(
                        batch.schema.get_field_index(column), field, pyarrow.array(numbers[start:stop], field.type)
                    )
                waiting.append(batch.filter(pyarrow.array(chosen[start:stop])))
                start = stop
                # Few large batches: each costs some kB of memory while the file is mapped.
                if sum(part.nbytes for part in waiting) >= BATCH_CHARS or len(waiting) == MOST_BATCHES:
                    stream.write_table(pyarrow.Table.from_batches(waiting).combine_chunks())
                    waiting = []
            if waiting:
                stream.write_table(pyarrow.Table.from_batches(waiting).combine_chunks())
    return DatasetDict({name: Dataset.from_file(str(folder / f"{name}.arrow")) for name in parts})
