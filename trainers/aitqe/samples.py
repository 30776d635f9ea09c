"""Samples to learn from: a text, its scores, a better text where it is bad, and its twin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ...hub_sync.errors import DataError, RowRejected
from ...inference.media.pair_scores import ASPECTS, HIGH, LOW, OVERALL

COLUMNS = ("id", "raw_text", "scores", "recaption", "twin")
Row = Mapping[str, Any]


def check_columns(names: Collection[str], source_name: str, wanted: Collection[str] = COLUMNS) -> None:
    """Raises DataError in one line for a data set that is not of samples."""
    if missing := [name for name in wanted if name not in names]:
        raise DataError(
            f"{source_name} has no column `{missing[0]}`: samples are built by `uses: aitqe_samples`; its columns are "
            f"{', '.join(sorted(names))}"
        )


def check_ids(ids: Iterable[str], source_name: str) -> None:
    """Raises DataError for an id that is there twice: its twin could not be told."""
    met: set[str] = set()
    for identity in ids:
        if identity in met:
            raise DataError(f"{source_name}: the id {identity!r} is there twice: leave one of the samples out")
        met.add(identity)


def scores_of(row: Row) -> dict[str, int]:
    """The scores of a sample by aspect. Raises RowRejected for one without an overall score, or off the scale."""
    scores = {name: value for name, value in (row["scores"] or {}).items() if value is not None}
    if OVERALL not in scores:
        raise RowRejected("no overall score")
    for name, value in scores.items():
        if name not in ASPECTS:
            raise RowRejected(f"a score of another aspect than {', '.join(ASPECTS)}", name)
        if value != value or int(value) != value or not LOW <= value <= HIGH:
            raise RowRejected(f"a score of {name} that is not a whole number from {LOW} to {HIGH}", value)
    return {name: int(value) for name, value in scores.items()}


def text_of(row: Row) -> str:
    """The text of a sample. Raises RowRejected for none."""
    text = row["raw_text"]
    if not isinstance(text, str) or not text.strip():
        raise RowRejected("no text", text)
    return text


def pairs(rows: Mapping[int, tuple[str, str | None, float]]) -> Iterator[tuple[int, int]]:
    """Numbers of the good and the bad row of each two twins, in the order of the good ones.

        >>> list(pairs({0: ("a", "b", 9), 3: ("b", "a", 2), 4: ("c", "x", 5)}))
        [(0, 3)]

    Args:
        rows: id, twin and overall score by number. The twin with the higher score is the good one; twins with the same
            score, and rows whose twin is not there, are in no pair.
    """
    places = {identity: number for number, (identity, _, _) in rows.items()}
    for number, (_, twin, score) in rows.items():
        other = places.get(twin) if twin is not None else None
        if other is not None and score > rows[other][2]:
            yield number, other
