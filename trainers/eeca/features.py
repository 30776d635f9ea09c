"""What a frozen tower makes of the images, once for each file, however many rows show it."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...hub_sync.errors import RowRejected
from ...hub_sync.text import utf8
from .._lib.images import ImageColumn
from ..dual_encoder.features import filled

logger = logging.getLogger("hubwright.trainers")
BATCH = 16
BLANK = Image.new("RGB", (64, 64))


class FeatureCache:
    """Features of the branches, by number of the column of images and of the row in it.

    Args:
        model: with `tower_states`.
        key: what the features depend on beside the images.
        limit: bytes that they may take; more, and `open` says so.
    """

    def __init__(
        self, model: Any, processor: Any, columns: Sequence[ImageColumn], folder: Path, key: str, limit: float
    ) -> None:
        self._model, self._processor, self._columns, self._folder = model, processor, columns, folder
        self._key, self._limit = key, limit

    def open(self) -> bool:
        """Compute the features, or what of them is not there from an earlier run. False if they take too much."""
        places: dict[bytes, int] = {}
        first: list[tuple[int, int]] = []
        self._slots = [np.full(len(column), -1, np.int64) for column in self._columns]
        for number, column in enumerate(self._columns):
            for row in range(len(column)):
                try:
                    contents = column.contents(row)
                except RowRejected:
                    continue  # the row is refused where rows are read
                if not contents:
                    continue
                digest = hashlib.sha256(contents[0]).digest()
                if digest not in places:
                    places[digest] = len(first)
                    first.append((number, row))
                self._slots[number][row] = places[digest]
        self._shapes = [tuple(one.shape[1:]) for one in self._states([BLANK])]
        width = sum(int(np.prod(shape)) for shape in self._shapes)
        size = 4 * width * len(first)
        if not first or size > self._limit:
            logger.info("features of %d images take %.1f GB, above cache_gb: not cached", len(first), size / 1e9)
            return False
        images = hashlib.sha256(b"".join(places)).hexdigest()
        name = hashlib.sha256(utf8(json.dumps([self._key, images, self._shapes]))).hexdigest()[:32]

        def compute(part: range) -> Any:
            return torch.cat([one.flatten(1) for one in self._states(self._images(first, part))], dim=1)

        path = self._folder / f"{name}.features"
        self._array = filled(path, len(first), width, BATCH, compute, "images")
        return True

    def _images(self, places: Sequence[tuple[int, int]], part: range) -> list[Any]:
        """Images; a blank one for a file that is none, whose rows are refused where rows are read."""
        images = []
        for number, row in places[part.start : part.stop]:
            try:
                images.append(self._columns[number].read(row)[0])
            except RowRejected:
                images.append(BLANK)
        return images

    @torch.no_grad()
    def _states(self, images: Sequence[Any]) -> list[torch.Tensor]:
        pixels = self._processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        model, training = self._model, self._model.training
        model.eval()
        states = model.tower_states(pixels.to(model.device, model.dtype))
        model.train(training)
        return [one for one in states if one is not None]

    def __call__(self, places: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        """float32 (images, tokens, width) of each branch."""
        rows = torch.from_numpy(np.stack([self._array[self._slots[number][row]] for number, row in places]))
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        parts = rows.split(sizes, dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self._shapes, strict=True)]
