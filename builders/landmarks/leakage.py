"""The check that no image and no landmark is where it must not be: of the finished rows, by other code than the one
that divides them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...hub_sync.errors import DataError
from .._lib.disk_array import DiskArray
from .._lib.near_images import near_groups

COLUMNS = ("image_id", "landmark_id", "sha256", "phash", "fold")
LOOKS = ("looks in several splits", "looks in several folds", "looks of several landmarks")
_ACROSS = (
    "SELECT COUNT(*) FROM "
    "(SELECT 1 FROM published WHERE {key} IS NOT NULL GROUP BY {key} HAVING COUNT(DISTINCT {of}) > 1)"
)
_PART = 1 << 14


def leakage(database: sqlite3.Connection, splits: Mapping[str, Any], distance: int, folder: Path) -> dict[str, int]:
    """What is in several splits or folds, by kind.

    Args:
        database: for a table of the rows.
        splits: split -> rows of config pairs.
        distance: bits in which perceptual hashes that look the same differ at most.
        folder: for a file.
    """
    ask = database.execute
    ask("CREATE TABLE published (image_id TEXT, landmark TEXT, sha256 TEXT, fold INTEGER, side TEXT, look INTEGER)")
    groups = near_groups(_looks(splits, folder / "looks"), distance)
    database.executemany("INSERT INTO published VALUES (?, ?, ?, ?, ?, ?)", _rows(splits, groups))
    across = {
        "image ids in several splits": ("image_id", "side"), "image files in several splits": ("sha256", "side"),
        LOOKS[0]: ("look", "side"), LOOKS[1]: ("look", "fold"), LOOKS[2]: ("look", "landmark"),
    }  # fmt: skip
    counts = {name: int(ask(_ACROSS.format(key=key, of=of)).fetchone()[0]) for name, (key, of) in across.items()}
    counts["unseen landmarks in another split"] = _both(database, "side = 'unseen'", "side <> 'unseen'", "IN")
    if "train" in splits:
        held = "side IN ('validation', 'test')"
        counts["landmarks of validation and test that train lacks"] = _both(database, held, "side = 'train'", "NOT IN")
    return counts


def check_leakage(counts: Mapping[str, int], step: str) -> None:
    """Raise DataError for an image or landmark in several splits. Looks beyond what `near_groups` finds in bounded
    time are left to the report."""
    faults = [f"{name}: {number}" for name, number in counts.items() if number and name not in LOOKS]
    if faults:
        raise DataError(f"step {step}: the splits leak ({', '.join(faults)}): a fault of this builder, report it")


def _both(database: sqlite3.Connection, one: str, other: str, how: str) -> int:
    query = (
        f"SELECT COUNT(DISTINCT landmark) FROM published WHERE landmark IS NOT NULL AND {one} "
        f"AND landmark {how} (SELECT landmark FROM published WHERE landmark IS NOT NULL AND {other})"
    )
    return int(database.execute(query).fetchone()[0])


def _batches(rows: Any, columns: tuple[str, ...]) -> Iterator[dict[str, list[Any]]]:
    for batch in rows.select_columns(list(columns)).with_format("arrow").iter(batch_size=_PART):
        yield batch.to_pydict()


def _looks(splits: Mapping[str, Any], path: Path) -> np.ndarray:
    """(rows,) uint64, perceptual hashes of all rows in a file; 0 for none."""
    hashes = DiskArray(path)
    for rows in splits.values():
        for part in _batches(rows, ("phash",)):
            for one in part["phash"]:
                hashes.append(int(one or "0", 16))
    return hashes.values()


def _rows(splits: Mapping[str, Any], groups: np.ndarray) -> Iterator[tuple[Any, ...]]:
    start = 0
    for name, rows in splits.items():
        for part in _batches(rows, COLUMNS):
            ids = part["image_id"]
            looks = (int(one) - (1 << 63) if one else None for one in groups[start : start + len(ids)].tolist())
            start += len(ids)
            for values in zip(ids, part["landmark_id"], part["sha256"], part["fold"], looks, strict=True):
                yield *values[:4], name, values[4]
