"""The texts of a data set of `image_text`, image by image, in blocks that fit into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .neighbours import Neighbours

NEEDED = ("id", "image", "url", "text", "license", "sha256", "phash")
_BATCH = 1000


@dataclass
class Block:
    """Some images with all their texts.

    Attributes:
        rows: numbers of the rows in the data set; the other lists go with them.
        images: a number for each image; images that look the same have one.
    """

    rows: list[int]
    ids: list[str]
    texts: list[str]
    images: list[int]

    @cached_property
    def neighbours(self) -> Neighbours:
        """The texts of the other images."""
        return Neighbours(self.texts, self.images)

    def others(self, place: int) -> list[str]:
        """The further texts of the image at this place."""
        return [self.texts[other] for other in self._by_image[self.images[place]] if other != place]

    @cached_property
    def _by_image(self) -> dict[int, list[int]]:
        places: dict[int, list[int]] = {}
        for place, image in enumerate(self.images):
            places.setdefault(image, []).append(place)
        return places


class Captions:
    """The texts of one split.

    Args:
        rows: of `image_text`; images undecoded.
        where: the split, for errors.
        require_image: rows without pixels are passed over.

    Attributes:
        passed: rows that were passed over.

    Raises DataError for rows of another step. Memory is about 40 bytes per row.
    """

    def __init__(self, rows: Any, where: str, require_image: bool) -> None:
        missing = [name for name in NEEDED if name not in rows.column_names]
        if missing:
            raise DataError(f"{where}: has no column {missing[0]!r}; give a data set of `uses: image_text`")
        self.rows, self._texts = rows, rows.select_columns(["id", "text"])
        keys, there = self._keys(require_image)
        _, first, image = np.unique(keys, return_index=True, return_inverse=True)
        firsts = first[image]
        order = np.argsort(firsts, kind="stable")
        self._order = order[there[order]]
        self._images = firsts
        self.passed = len(keys) - len(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def _keys(self, require_image: bool) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) uint64, equal for images that look the same; (rows,) bool, whether the row is used."""
        import pyarrow.compute as pc

        keys, there = np.empty(len(self.rows), np.uint64), np.ones(len(self.rows), bool)
        names = ["sha256", "phash", "url", "image"] if require_image else ["sha256", "phash", "url"]
        start = 0
        for batch in self.rows.select_columns(names).with_format("arrow").iter(_BATCH):
            columns = [batch[name].to_pylist() for name in ("phash", "sha256", "url")]
            for number, values in enumerate(zip(*columns, strict=True), start):
                name = next((value for value in values if value), "")
                keys[number] = int.from_bytes(hashlib.blake2b(utf8(name), digest_size=8).digest())
            if require_image:
                content = pc.is_valid(pc.struct_field(batch["image"], "bytes"))
                there[start : start + len(batch)] = content.to_numpy(zero_copy_only=False)
            start += len(batch)
        return keys, there

    def blocks(self, size: int) -> Iterator[Block]:
        """Blocks of about so many texts; the texts of an image are in one."""
        start = 0
        while start < len(self._order):
            end = min(len(self._order), start + size)
            while end < len(self._order) and self._images[self._order[end]] == self._images[self._order[end - 1]]:
                end += 1
            numbers = self._order[start:end].tolist()
            columns = self._texts[numbers]
            images = self._images[numbers].tolist()
            yield Block(numbers, list(columns["id"]), list(columns["text"]), images)
            start = end
