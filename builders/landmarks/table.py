"""Tables that name an image and its landmark: CSV, JSON and Parquet, with images beside them, in them, or at URLs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError, RowRejected, UsageError, did_you_mean
from .._lib.image_files import ImageFiles, is_hidden
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File
from .._lib.tables import READERS, Table, read_table, suffix_of
from .config import COLUMN_NAMES
from .folder import open_images, read_source
from .landmark import Landmark, Landmarks
from .names import clean

if TYPE_CHECKING:
    from ...hub_sync.context import StepContext
    from .about import About
    from .config import LandmarksConfig


def parts(config: LandmarksConfig, context: StepContext, landmarks: Landmarks, about: About) -> Iterator[Part]:
    """The rows of every table that the settings name. Raises UsageError if there is none, DataError for a table
    without image or landmark."""
    files, name = read_source(config, context, about)
    tables = [
        file for file in files
        if suffix_of(file.name) in READERS and not is_hidden(file.name) and fnmatchcase(file.name, config.files or "*")
    ]  # fmt: skip
    if not tables:
        which = f" that fits files {config.files!r}" if config.files else ""
        raise UsageError(f"source {name}: no file{which} is CSV, JSON, JSON Lines or Parquet")
    images = open_images(config, files, about)
    about.passed_over -= len(tables)
    for file in tables:
        with file.open() as stream:
            table = read_table(file, stream, None, config.delimiter, {})
            with closing(_pairs(config, file, table, images, landmarks)) as pairs:
                yield Part(file.name, None, pairs)


def columns_of(config: LandmarksConfig, file: File, present: tuple[str, ...]) -> dict[str, str]:
    """What a column holds -> its name, as the settings say, else the first usual name that is there.

    Raises DataError for a column that is not there, and a table without landmark, or image and URL.
    """
    listed = f"it has {', '.join(map(str, present[:20]))}"
    for column in filter(None, config.columns.values()):
        if column not in present:
            raise DataError(
                f"{file.name}: there is no column {column!r}{did_you_mean(column, present, f'; {listed}')}"
            )
    chosen = dict(config.columns)
    for target, names in COLUMN_NAMES.items():
        if target not in chosen:
            free = [name for name in names if name in present and name not in chosen.values()]
            chosen |= {target: free[0]} if free else {}
    at = {target: column for target, column in chosen.items() if column is not None}
    for target, also in (("landmark", ()), ("image", ("url",))):
        if not any(name in at for name in (target, *also)):
            raise DataError(
                f"{file.name}: no column is known to hold the {' or '.join((target, *also))}; {listed}; write "
                f"`columns: {{{target}: NAME}}`"
            )
    return at


def _pairs(config: LandmarksConfig, file: File, table: Table, images: ImageFiles, landmarks: Landmarks) -> Pairs:
    at: dict[str, str] | None = columns_of(config, file, table.columns) if table.columns else None
    for record in table.records:
        if not isinstance(record, dict):
            yield record if isinstance(record, RowRejected) else RowRejected("not an object", record)
            continue
        at = columns_of(config, file, tuple(record)) if at is None else at
        try:
            yield _pair({target: record.get(column) for target, column in at.items()}, table.folder, images, landmarks)
        except RowRejected as error:
            yield error


def _pair(values: Mapping[str, Any], folder: str, images: ImageFiles, landmarks: Landmarks) -> Pair:
    landmark = _identifier(values.get("landmark"))
    if landmark is None:
        raise RowRejected("an image without a landmark", values.get("image") or values.get("url"))
    name = values.get("name")
    if isinstance(name, str) and (name := clean(name)):
        known = landmarks.of(landmark)
        if name != known.name and name not in known.aliases:
            landmarks.add(Landmark(landmark, name=name))
    meta: dict[str, Any] = {"landmark": landmark, "others": [], "title": values.get("title")}
    more: dict[str, Any] = {
        "url": values.get("url"),
        "license": values.get("license"),
        "attribution": values.get("author"),
    }
    image, key = values.get("image"), _identifier(values.get("image_id"))
    path, content = (image.get("path"), image.get("bytes")) if isinstance(image, dict) else (image, image)
    if isinstance(content, bytes):
        shown = PurePosixPath(path).name if isinstance(path, str) else None
        return Pair(image=content, name=shown, image_id=key or shown, meta=meta, **more)
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        more["url"], path = path, None
    if isinstance(path, str) and path:
        place = images.find(path, folder)
        if place is None:
            return Pair(name=path, image_id=key or path, meta=meta | {"missing": True}, **more)
        return images.pair(place, image_id=key or place, meta=meta, **more)
    if not more["url"]:
        raise RowRejected("neither an image nor a URL", image)
    return Pair(image_id=key or more["url"], meta=meta, **more)


def _identifier(value: Any) -> str | None:
    """A value as the text of an identifier: 3.0, as a column with nulls has it, is 3. None for what is none."""
    if isinstance(value, bool) or value is None or value != value:
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return clean(str(value)) or None if isinstance(value, str | int) else None
