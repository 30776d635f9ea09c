"""Samples of a data set beside the scores that several methods gave them, joined by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...hub_sync.context import Input
from ...hub_sync.errors import DataError
from ...inference.media.pair_scores import ASPECTS
from .._lib.data import read_split

GOOD = ("raw_good", "contrast_good")
KINDS = ("raw_good", "contrast_good", "raw_bad", "contrast_bad")
COLUMNS = ("id", "kind", "damage", "twin", "scores")


@dataclass(frozen=True)
class Samples:
    """Samples in their order.

    Attributes:
        ids, kinds, damages, clusters: of each; a cluster is all that is of one image (`image_id`), else two twins.
        targets: float64 (rows,) by aspect, NaN without a score.
        twins: (pairs, 2) places of the good and the bad one of each two twins.
    """

    ids: list[str]
    kinds: list[str]
    damages: list[str]
    clusters: list[str]
    targets: Mapping[str, np.ndarray[Any, Any]]
    twins: np.ndarray[Any, Any]


def read_samples(source: Input, split: str) -> Samples:
    """The samples of a split. Raises DataError in one line for columns, kinds or ids that are not those of samples."""
    rows, name = read_split(source.path, split), str(source.ref)
    if missing := [column for column in COLUMNS if column not in rows.column_names]:
        raise DataError(f"{name} has no column {missing[0]!r}: samples are built by aitqe_samples")
    plain = list(rows.select_columns([c for c in rows.column_names if c in (*COLUMNS, "image_id")]))
    for number, row in enumerate(plain):
        if row["kind"] not in KINDS:
            raise DataError(f"{name}: row {number}: kind {row['kind']!r} is none of {', '.join(KINDS)}")
    ids = [str(row["id"]) for row in plain]
    if len(set(ids)) < len(ids):
        raise DataError(f"{name}: split {split!r} has an id twice")
    places = {identity: place for place, identity in enumerate(ids)}
    twins = [
        (places[row["twin"]], place)
        for place, row in enumerate(plain)
        if row["kind"] not in GOOD and row["twin"] in places and plain[places[row["twin"]]]["kind"] in GOOD
    ]
    targets = {
        aspect: np.array([(row["scores"] or {}).get(aspect) for row in plain], np.float64) for aspect in ASPECTS
    }
    # Without an image's name two twins are what belongs together.
    clusters = [str(row.get("image_id") or min(row["id"], row["twin"] or row["id"])) for row in plain]
    kinds, damages = [row["kind"] for row in plain], [row["damage"] or "" for row in plain]
    return Samples(ids, kinds, damages, clusters, targets, np.array(twins, int).reshape(-1, 2))


def read_scores(
    source: Input, split: str, ids: Sequence[str], columns: Sequence[str]
) -> dict[str, np.ndarray[Any, Any]]:
    """Column -> float64 (rows,) in the order of `ids`, NaN where there is no score.

    Args:
        columns: to read; empty: every column of numbers.

    Raises DataError for an absent column, for rows that are there twice, and if none of the ids is there.
    """
    rows, name = read_split(source.path, split), str(source.ref)
    numeric = [c for c, kind in rows.features.items() if str(getattr(kind, "dtype", "")).startswith(("float", "int"))]
    if missing := [column for column in columns if column not in numeric]:
        raise DataError(f"{name} has no column of numbers {missing[0]!r}; it has {', '.join(numeric)}")
    if "id" not in rows.column_names:
        raise DataError(f"{name} has no column 'id' to join scores by")
    places = {identity: place for place, identity in enumerate(ids)}
    chosen = list(columns) or [column for column in numeric if column not in ("mass", "id")]
    if not chosen:
        raise DataError(f"{name} has no column of numbers; it has {', '.join(rows.column_names)}")
    values = {column: np.full(len(ids), np.nan) for column in chosen}
    met: set[int] = set()
    for row in rows.select_columns(["id", *chosen]):
        place = places.get(str(row["id"]))
        if place is None:
            continue
        if place in met:
            raise DataError(f"{name}: id {row['id']!r} is there twice")
        met.add(place)
        for column in chosen:
            if row[column] is not None:
                values[column][place] = row[column]
    if len(met) < len(ids):
        lost = next(identity for place, identity in enumerate(ids) if place not in met)
        raise DataError(
            f"{name}: {len(ids) - len(met)} of {len(ids)} samples have no row, id {lost!r} among them: score the same "
            "split of the same data set"
        )
    return values
