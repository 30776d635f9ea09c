"""In which split and fold each image is: by landmark and by image, and images that look the same together.

All of it is done by a database in files, whose sorts take no memory that grows with the rows.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...hub_sync.text import utf8
from .._lib.disk_array import DiskArray
from .._lib.near_images import near_groups
from .._lib.splits import unit_hash
from .config import SPLITS
from .convert import Row

if TYPE_CHECKING:
    from .config import LandmarksConfig
    from .landmark import Landmarks

OTHER_LANDMARK = "looks like an image of another landmark"
SAME_LANDMARK = "looks like another image of its landmark"
_PART = 1 << 16
_SIGNED = 1 << 63


class Sides:
    """Rows are added one by one; `decide` is called when all are there.

    Args:
        folder: for one number of each row.
        database: for the others.

    Attributes:
        left_out: reason -> rows, after `decide`.
        alone: landmarks with one image, which is in train.
    """

    def __init__(self, config: LandmarksConfig, folder: Path, database: sqlite3.Connection) -> None:
        self._config, self._database = config, database
        self._hashes = DiskArray(folder / "phashes")
        self._waiting: list[tuple[int, int, int]] = []
        self._rows = 0
        self.left_out: Counter[str] = Counter()
        self.alone = 0
        database.execute("CREATE TABLE used (row INTEGER PRIMARY KEY, landmark INTEGER, look INTEGER)")

    def __len__(self) -> int:
        return self._rows

    def add(self, row: Row) -> None:
        """Take up the next row."""
        key = int.from_bytes(hashlib.blake2b(utf8(row.key), digest_size=8).digest()) - _SIGNED
        self._waiting.append((self._rows, row.landmark, key))
        self._hashes.append(row.phash)
        self._rows += 1
        if len(self._waiting) == _PART:
            self._store()

    def _store(self) -> None:
        self._database.executemany("INSERT INTO used VALUES (?, ?, ?)", self._waiting)
        self._waiting.clear()

    def decide(self, landmarks: Landmarks) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """(split -> bool (rows,) of the splits that have rows, fold of each row int32 (rows,))."""
        self._store()
        ask = self._database.execute
        self._looks()
        ask("CREATE TABLE look AS SELECT look, MIN(row) AS first, landmark FROM used GROUP BY look")
        ask("CREATE UNIQUE INDEX look_look ON look (look)")
        self._choose_unseen(landmarks)
        ask("CREATE TABLE side (look INTEGER PRIMARY KEY, side INTEGER, fold INTEGER)")
        self._database.executemany("INSERT INTO side VALUES (?, ?, ?)", self._sides())
        sides, folds = np.full(self._rows, 255, np.uint8), np.zeros(self._rows, np.int32)
        query = (
            "SELECT used.row, side.side, side.fold, used.landmark = look.landmark, used.row = look.first FROM used "
            "JOIN look ON look.look = used.look JOIN side ON side.look = used.look ORDER BY used.row"
        )
        for row, side, fold, own, first in ask(query):
            if not own:
                self.left_out[OTHER_LANDMARK] += 1
            elif not first and self._config.deduplicate == "near":
                self.left_out[SAME_LANDMARK] += 1
            else:
                sides[row], folds[row] = side, fold
        masks = {name: sides == number for number, name in enumerate(SPLITS)}
        return {name: mask for name, mask in masks.items() if mask.any()}, folds

    def _looks(self) -> None:
        """Give rows whose perceptual hashes are near, directly or through others, one look."""
        hashes = self._hashes.values()
        groups = near_groups(hashes, self._config.phash_distance)
        for start in range(0, self._rows, _PART):
            part = groups[start : start + _PART]
            places = np.flatnonzero(part)
            values = (part[places] ^ np.uint64(_SIGNED)).view(np.int64).tolist()
            changed = zip(values, (places + start).tolist(), strict=True)
            self._database.executemany("UPDATE used SET look = ? WHERE row = ?", changed)

    def _choose_unseen(self, landmarks: Landmarks) -> None:
        """Mark a share of the landmarks that have images, by a hash of their identifiers."""
        ask = self._database.execute
        ask("CREATE TABLE unseen (landmark INTEGER PRIMARY KEY)")
        total = int(ask("SELECT COUNT(DISTINCT landmark) FROM look WHERE landmark > 0").fetchone()[0])
        number = min(round(self._config.unseen * total), max(0, total - 1))
        if not self._config.unseen or self._config.part == "test":
            return
        seed = self._config.seed
        self._database.create_function(
            "place_of", 1, lambda one: unit_hash(f"{seed}:unseen:{landmarks.identifier(one)}"), deterministic=True
        )
        ask(
            "INSERT INTO unseen SELECT landmark FROM (SELECT DISTINCT landmark FROM look WHERE landmark > 0) "
            "ORDER BY place_of(landmark) LIMIT ?",
            (max(1, number) if total > 1 else 0,),
        )

    def _sides(self) -> Iterator[tuple[int, int, int]]:
        """(look, number of its split, fold) of every look, landmark by landmark."""
        seed, folds = self._config.seed, self._config.folds
        self._database.create_function("drawn", 1, lambda look: unit_hash(f"{seed}:{look}"), deterministic=True)
        query = (
            "SELECT look.look, look.landmark, unseen.landmark IS NOT NULL, "
            "ROW_NUMBER() OVER (PARTITION BY look.landmark ORDER BY drawn(look.look), look.look), "
            "COUNT(*) OVER (PARTITION BY look.landmark) "
            "FROM look LEFT JOIN unseen ON unseen.landmark = look.landmark"
        )
        for look, _, is_unseen, place, count in self._database.execute(query):
            fold = int(unit_hash(f"{seed}:fold:{look}") * folds)
            self.alone += count == 1 and not is_unseen
            yield look, self._side(place, count, bool(is_unseen)), fold

    def _side(self, place: int, count: int, is_unseen: bool) -> int:
        """Number of the split of the image in this place, from 1, of so many of its landmark.

        Of two images one is in test, of three one in validation, if these splits are asked for.
        """
        if self._config.part == "test":
            return SPLITS.index("test")
        if is_unseen:
            return SPLITS.index("unseen")
        test = max(round(self._config.test * count), 1) if self._config.test and count > 1 else 0
        left = count - test
        validation = max(round(self._config.validation * count), 1) if self._config.validation and left > 1 else 0
        validation = min(validation, left - 1)
        if place <= test:
            return SPLITS.index("test")
        return SPLITS.index("validation" if place <= test + validation else "train")

    def counts(self) -> Iterator[tuple[int, int, bool]]:
        """(number of a landmark, images, whether it is unseen), after `decide`."""
        count = "COUNT(DISTINCT used.look)" if self._config.deduplicate == "near" else "COUNT(*)"
        yield from self._database.execute(
            f"SELECT look.landmark, {count}, unseen.landmark IS NOT NULL "
            "FROM used JOIN look ON look.look = used.look AND look.landmark = used.landmark "
            "LEFT JOIN unseen ON unseen.landmark = look.landmark WHERE look.landmark > 0 GROUP BY look.landmark"
        )
