"""A column of images that stays where it is: one row is decoded when it is asked for, within limits."""

import os
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, LargeList, List, Value

from ...hub_sync.errors import DataError, RowRejected
from ...inference.media.images import ImageLimits, open_image
from .image_columns import NO_IMAGES, image_column

AT = "image_at"
"""Column of rows: number of the column of images, and of the row in it; empty for a row without images."""


class ImageColumn:
    """Images of the rows of a split, by number of the row.

    Args:
        rows: with the column.
        name: of the column: one image per row, or a list.
        limits: of an image.
        folder: of the data set: files that rows name lie below it.
        source_name: the data set's name in messages.

    Attributes:
        several: it holds lists.

    Raises DataError in one line for a column that holds no images.
    """

    def __init__(self, rows: Dataset, name: str, limits: ImageLimits, folder: Path, source_name: str) -> None:
        self._name, self._limits, self._folder = name, limits, Path(os.path.normpath(folder.absolute()))
        feature = rows.features[name]
        self.several = several = isinstance(feature, List | LargeList)
        kind = feature.feature if several else feature
        if isinstance(kind, Image):
            plain = Image(decode=False)
            rows = rows.cast_column(name, List(plain) if several else plain)
        elif not (isinstance(kind, dict) and {"bytes", "path"} & kind.keys()) and kind not in (
            Value("binary"), Value("large_binary")
        ):  # fmt: skip
            raise DataError(
                NO_IMAGES.format(source=source_name, name=name, kind=f"{getattr(kind, 'dtype', kind)!s:.60}")
            )
        self._rows = rows.select_columns([name])

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, number: int) -> list[Any]:
        """The images of a row as PIL.Image, RGB. Raises RowRejected."""
        return [open_image(content, self._limits) for content in self.contents(number)]

    def contents(self, number: int) -> list[bytes]:
        """The files of the images of a row. Raises RowRejected."""
        value = self._rows[number][self._name]
        values = value if isinstance(value, list) else [] if value is None else [value]
        return [self._content(one) for one in values]

    def _content(self, value: Any) -> bytes:
        if value is None:
            raise RowRejected("null within a list of images")
        content = value if isinstance(value, bytes) else value.get("bytes")
        if content is not None:
            return bytes(content)
        path = value.get("path")
        if not path:
            raise RowRejected("an image with neither bytes nor path")
        # What a row names is below the data set's folder, not anywhere on this machine.
        place = Path(os.path.normpath(self._folder / path))
        if not place.is_relative_to(self._folder):
            raise RowRejected("an image is a path outside of the data set", path)
        if not place.is_file():
            raise RowRejected("an image is a path to a file that the data set lacks", path)
        if place.stat().st_size > self._limits.max_bytes:
            raise RowRejected(f"an image above max_image_mb {self._limits.max_bytes / 1e6:g}", path)
        return place.read_bytes()


def take_images(
    splits: dict[str, Dataset], limits: ImageLimits, folder: Path, source_name: str
) -> tuple[dict[str, Dataset], list[ImageColumn]]:
    """The splits without their images but with `AT`, and the columns of images in the order of the splits."""
    rest, columns = {}, []
    for number, (role, split) in enumerate(splits.items()):
        name = image_column(split.column_names, source_name)
        columns.append(ImageColumn(split, name, limits, folder, source_name))
        at = [[number, row] for row in range(len(split))]
        rest[role] = split.remove_columns([name]).add_column(AT, at)
    return rest, columns
