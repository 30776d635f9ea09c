"""Tables of URLs or images with texts: COYO's, DataComp's, CommonPool's and PD12M's files, data sets of the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, RowRejected, UsageError, did_you_mean
from .._lib.data_files import read_yaml
from .._lib.image_files import ImageFiles, is_hidden, read_inside
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File
from .._lib.tables import READERS, Table, dataset_tables, read_table, split_of, suffix_of

if TYPE_CHECKING:
    from .build import ImageTextConfig

NAMES: dict[str, list[str]] = read_yaml(__file__, "columns.yaml")


def parts(config: ImageTextConfig, files: Sequence[File], chosen: Sequence[File], name: str) -> Iterator[Part]:
    """The rows of every chosen table. Raises UsageError if there is none."""
    tables = [f for f in chosen if suffix_of(f.name) in READERS and not is_hidden(f.name)]
    if not tables and len(chosen) == 1:
        tables = list(chosen)
    if not tables:
        raise UsageError(f"source {name}: no file of it is CSV, JSON, JSON Lines or Parquet")
    return file_parts(config, tables, ImageFiles(files, config.image_limits().max_bytes), set())


def file_parts(config: ImageTextConfig, tables: Sequence[File], images: ImageFiles, used: set[str]) -> Iterator[Part]:
    """The rows of tables; the paths of the images that they name are added to `used`."""
    splits = {file.name: split_of(file.name) if len(tables) > 1 else None for file in tables}
    for file in tables:
        with file.open() as stream:
            table = read_table(file, stream, splits[file.name], config.delimiter, {})
            yield Part(file.name, splits[file.name], _pairs(config, table, images, used))


def input_parts(config: ImageTextConfig, context: StepContext) -> Iterator[Part]:
    """The splits of the input `dataset`."""
    source = context.inputs["dataset"]
    for table in dataset_tables(source, context, config.config, config.split):
        images = ImageFiles((), config.image_limits().max_bytes)
        pairs = _pairs(config, table, images, set(), str(source.path))
        yield Part(table.name, table.split, pairs)


def _pairs(config: ImageTextConfig, table: Table, images: ImageFiles, used: set[str], root: str = "") -> Pairs:
    checked = False
    for record in table.records:
        if isinstance(record, RowRejected) or not isinstance(record, dict):
            yield record if isinstance(record, RowRejected) else RowRejected("not an object", record)
            continue
        if not checked:
            _check_columns(config, table, record)
            checked = True
        try:
            yield from pairs_of(config, record, {}, images, table.folder, used, root)
        except RowRejected as error:
            yield error


def _check_columns(config: ImageTextConfig, table: Table, record: Mapping[str, Any]) -> None:
    """Raise DataError for a table without the columns that are named, or without texts or images."""
    present = table.columns or tuple(record)
    named = [column for column in config.columns.values() if column]
    for column in (*named, *config.keep):
        if column not in present:
            hint = did_you_mean(column, present, f"; it has {', '.join(present[:20])}")
            raise DataError(f"{table.name}: there is no column {column!r}{hint}")
    at = columns_of(tuple(sorted(config.columns.items())), present)
    listed = f"it has {', '.join(map(str, present[:20]))}"
    if "text" not in at:
        raise DataError(f"{table.name}: no column is known to hold the text; {listed}; set `columns: {{text: NAME}}`")
    if "url" not in at and "image" not in at:
        raise DataError(
            f"{table.name}: no column is known to hold the url or the image; {listed}; write `columns: {{url: NAME}}` "
            "or `{image: NAME}`"
        )


@lru_cache(1024)
def columns_of(mapped: tuple[tuple[str, str | None], ...], present: tuple[str, ...]) -> dict[str, str]:
    """Target -> column, as the setting `columns` says, else the first usual name that is there.

    >>> columns_of((), ("URL", "TEXT", "WIDTH"))
    {'text': 'TEXT', 'url': 'URL', 'width': 'WIDTH'}
    """
    chosen = dict(mapped)
    for target, names in NAMES.items():
        if target not in chosen:
            free = [name for name in names if name in present and name not in chosen.values()]
            chosen |= {target: free[0]} if free else {}
    return {target: chosen[target] for target in NAMES if chosen.get(target) is not None}  # type: ignore[misc]


def pairs_of(
    config: ImageTextConfig, record: Mapping[str, Any], more: Mapping[str, Any], images: ImageFiles | None = None,
    folder: str = "", used: set[str] | None = None, root: str = "",
) -> Iterator[Pair]:  # fmt: skip
    """The pairs of a record: one for each of its texts.

    Args:
        more: values in place of the record's.
        images: that the column `image` may name, from the table's `folder`.
        used: gets the paths of those that are named.
        root: folder of a pulled data set, whose images may be files in it.

    Raises RowRejected.
    """
    at = columns_of(tuple(sorted(config.columns.items())), tuple(record))
    values: dict[str, Any] = {target: record.get(column) for target, column in at.items()}
    values = {name: None if value != value else value for name, value in values.items()} | dict(more)  # NaN is null
    image = values.pop("image", None)
    if image is not None and "image" not in more:
        values |= _image(image, images, folder, used, root)
    elif image is not None:
        values["image"] = image
    values["meta"] = {column: record.get(column) for column in config.keep}
    texts = values.pop("text", None)
    for text in texts if isinstance(texts, list) and texts else [texts]:
        yield Pair(text=text, **values)


def _image(value: Any, images: ImageFiles | None, folder: str, used: set[str] | None, root: str) -> dict[str, Any]:
    """`image` and `name`, or `url`, of a cell: bytes, a structure of bytes and path, a path, or an address."""
    path, content = (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (value, None)
    content = value if isinstance(value, bytes) else content
    if isinstance(content, bytes):
        return {"image": content, "name": PurePosixPath(path).name if isinstance(path, str) else None}
    if not isinstance(path, str) or not path:
        raise RowRejected("no image", value)
    if path.startswith(("http://", "https://")):
        return {"url": path}
    if root and images is not None and (inside := read_inside(path, root, images.most)) is not None:
        return {"image": inside, "name": PurePosixPath(path).name}
    place = images.find(path, folder) if images is not None else None
    if place is None or images is None:
        raise RowRejected("no such image file in the source", path)
    if used is not None:
        used.add(place)
    return {"image": images.pair(place).image, "name": PurePosixPath(place).name}
