"""Images to be named: of a data set's splits, or a folder of files, each with an id and perhaps a true name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...hub_sync.context import Input
from ...hub_sync.errors import DataError, RowRejected, UsageError
from ...hub_sync.files import list_files
from ...inference.media.images import ImageLimits, open_image
from .._lib.data import read_split
from .data import PAIRS, Images, check_columns, config_of, splits_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Pictures(Protocol):
    """Images by number."""

    @property
    def ids(self) -> Sequence[str]:
        """Of each image, all different."""

    @property
    def labels(self) -> Sequence[list[str] | None]:
        """Of each image the names that are right; [] if it shows no landmark, None if nobody has said."""

    def open(self, number: int) -> Any:
        """An image as PIL.Image in RGB. Raises RowRejected."""


@dataclass(frozen=True)
class Files:
    """The image files below a folder, by path; ids are paths within it.

    Attributes:
        others: files with another ending.
    """

    folder: Path
    ids: Sequence[str]
    labels: Sequence[list[str] | None]
    limits: ImageLimits
    others: int

    def open(self, number: int) -> Any:
        path = self.folder / self.ids[number]
        try:
            if path.stat().st_size > self.limits.max_bytes:
                raise RowRejected(f"an image above max_image_mb {self.limits.max_bytes / 1e6:g}")
            return open_image(path.read_bytes(), self.limits)
        except OSError as error:
            raise RowRejected("a file that cannot be read", type(error).__name__) from error


def read_folder(source: str, limits: ImageLimits) -> Files:
    """The images of a folder on this machine. Raises UsageError if there are none."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UsageError(f"source: {source!r} is not a folder here: name one with images, or the input `dataset`")
    paths = [path.relative_to(folder) for path in list_files(folder)]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    images = sorted(path.as_posix() for path in paths if path.suffix.lower() in SUFFIXES)
    if not images:
        raise UsageError(f"source: {folder.name} has no file that ends in {', '.join(SUFFIXES)}")
    return Files(folder, images, [None] * len(images), limits, len(paths) - len(images))


@dataclass(frozen=True)
class Rows:
    """The images of a split."""

    images: Images
    ids: Sequence[str]
    labels: Sequence[list[str] | None]

    def open(self, number: int) -> Any:
        return self.images.open(number)


def read_splits(
    source: Input, config: str | None, splits: Sequence[str], label: str, limits: ImageLimits
) -> dict[str, Rows]:
    """The images of the splits of a data set, of all for []. Rows of one image are one image.

    Args:
        config: null: `pairs`, else the default one.
        label: column of names; null in a row: it shows no landmark. A data set may lack it.

    Raises DataError for an absent split, column or id, or an image with two names.
    """
    name = str(source.ref)
    config = config or config_of(source.path, PAIRS, name)
    there = splits_of(source.path, config, name)
    if missing := [split for split in splits if split not in there]:
        raise DataError(f"{name} has no split {missing[0]!r}; it has {', '.join(there)}")
    return {split: _rows(source, config, split, label, limits) for split in splits or there}


def _rows(source: Input, config: str | None, split: str, label: str, limits: ImageLimits) -> Rows:
    name = f"{source.ref}, split {split}"
    rows = read_split(source.path, split, config)
    check_columns(rows, ("image", "image_id"), name)
    has_label = label in rows.column_names
    columns = [one for one in ("image_id", label, "aliases") if one in rows.column_names]
    places: dict[str, int] = {}
    labels: list[list[str] | None] = []
    first: list[int] = []
    for number, row in enumerate(rows.select_columns(columns)):
        if row["image_id"] is None:
            raise DataError(f"{name}, row {number}: no image_id")
        identity, value = str(row["image_id"]), row.get(label)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise DataError(f"{name}, row {number}: {label} is not a text: {value!r:.80}; null: it shows no landmark")
        names = None if not has_label else [] if value is None else [value, *(row.get("aliases") or [])]
        if identity in places:
            other = labels[places[identity]]
            if (other[0] if other else None) != value:
                raise DataError(f"{name}, row {number}: image {identity!r} has another {label} before")
            continue
        places[identity] = len(first)
        first.append(number)
        labels.append(names)
    if not first:
        raise DataError(f"{name} has no rows")
    chosen = rows.select(first) if len(first) < len(rows) else rows
    return Rows(Images(chosen, name, limits), list(places), labels)
