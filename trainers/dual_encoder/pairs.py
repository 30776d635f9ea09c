"""Pairs of images and texts, each image and each text once, every row accounted for."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.fingerprint import Hasher

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected
from .._lib.images import AT, ImageColumn
from .config import DualEncoderConfig

_READ = Features(
    {"image": Value("string"), "texts": List(Value("string")), "reason": Value("string"), "detail": Value("string")}
)
_VERSION = 1  # of what is cached


@dataclass(frozen=True)
class Pairs:
    """The pairs of a split.

    Attributes:
        column: of images.
        rows: of each distinct image, the first row that has it.
        texts: distinct, in the order of the rows.
        pairs: int64 (pairs, 2): image and text by number.
    """

    column: ImageColumn
    rows: list[int]
    texts: list[str]
    pairs: np.ndarray

    def matches(self) -> np.ndarray:
        """bool (images, texts): which text is of which image."""
        matches = np.zeros((len(self.rows), len(self.texts)), bool)
        matches[self.pairs[:, 0], self.pairs[:, 1]] = True
        return matches

    def image(self, number: int) -> Any:
        """An image as PIL.Image, RGB."""
        return self.column.read(self.rows[number])[0]


@dataclass(frozen=True)
class Read:
    """Reads and checks a row: what `datasets.map` calls."""

    columns: list[ImageColumn]

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        column, number = row[AT]
        try:
            contents = self.columns[column].contents(number)
            if len(contents) != 1:
                raise RowRejected("a row without an image" if not contents else "a row with several images")
            texts = texts_of(row["text"])
            self.columns[column].read(number)
        except RowRejected as error:
            return {"image": "", "texts": [], "reason": error.reason, "detail": str(error)}
        return {"image": hashlib.sha256(contents[0]).hexdigest(), "texts": texts, "reason": "", "detail": ""}


def texts_of(value: Any) -> list[str]:
    """The texts of a row, blanks around them removed. Raises RowRejected."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise RowRejected("text is neither text nor a list of texts", value)
    texts = [" ".join(text.split()) for text in texts]
    if not texts or not all(texts):
        raise RowRejected("text is empty")
    return texts


def prepare(
    dataset: Dataset,
    split: str,
    columns: list[ImageColumn],
    config: DualEncoderConfig,
    context: StepContext,
    name: str,
) -> Pairs:
    """The pairs of a split, its rows counted in the report. Raises DataError if too many cannot be used.

    Args:
        dataset: with the columns `text` and `AT`.
        name: the data set's in messages.
    """
    key = Hasher.hash([_VERSION, dataset._fingerprint, config.image_limits()])
    rows = dataset.map(
        Read(columns), remove_columns=dataset.column_names, features=_READ, new_fingerprint=key,
        desc=f"Reading {split} rows",
    )  # fmt: skip
    counts: Counter[str] = Counter(rows_read=len(rows))
    images: dict[str, int] = {}
    texts: dict[str, int] = {}
    first_rows, pairs, first = [], [], ""
    for number, row in enumerate(rows):
        if row["reason"]:
            counts[f"rows_refused: {row['reason']}"] += 1
            first = first or f"row {number}: {row['detail']}"
            continue
        counts["rows_used"] += 1
        if row["image"] not in images:
            images[row["image"]] = len(images)
            first_rows.append(number)
        pairs += [(images[row["image"]], texts.setdefault(text, len(texts))) for text in row["texts"]]
    distinct = list(dict.fromkeys(pairs))
    counts |= Counter(
        images=len(images), texts=len(texts), pairs=len(distinct), pairs_twice=len(pairs) - len(distinct)
    )
    names = [
        "rows_read",
        *sorted(n for n in counts if ":" in n),
        "rows_used",
        "images",
        "texts",
        "pairs",
        "pairs_twice",
    ]
    context.report.counts |= {f"{split}_{n}": counts[n] for n in names}
    refused = counts["rows_read"] - counts["rows_used"]
    if refused > config.max_refused_share * len(rows) or len(distinct) < 2:
        raise DataError(
            f"{name}: {refused} of {len(rows)} rows of the {split} split cannot be used, and {len(distinct)} pairs "
            f"are left (max_refused_share {config.max_refused_share})"
            + (f"; {first}: repair these rows, or raise it" if first else ": a contrast needs two")
        )
    column = columns[dataset[0][AT][0]]
    return Pairs(column, first_rows, list(texts), np.array(distinct, np.int64))
