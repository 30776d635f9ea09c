"""Which column of a data set holds images, by names and types alone. Nothing heavy is imported."""

from collections.abc import Mapping
from typing import Any

from ...hub_sync.errors import DataError

IMAGES = ("image", "images")
"""Columns of images, of which a data set has one."""
NO_IMAGES = (
    "{source}: column `{name}` holds {kind}, and no images: make a data set with an Image column of it, as `uses: "
    "rows` with format: images does"
)


def image_column(columns: Any, source_name: str) -> str:
    """The column of images. Raises DataError in one line for none or both."""
    names = [name for name in IMAGES if name in columns]
    if len(names) != 1:
        lack = "both `image` and `images`" if names else "neither `image` nor `images`"
        raise DataError(f"{source_name} has {lack}: its columns are {', '.join(sorted(columns))}")
    return names[0]


def check_image_column(known: Mapping[str, Any], source_name: str) -> None:
    """Raises DataError in one line if no column holds images, by the types in Parquet; None as a type is unknown."""
    from pyarrow import types

    name = image_column(known, source_name)
    kind = known[name]
    if kind is not None and (types.is_list(kind) or types.is_large_list(kind)):
        kind = kind.value_type
    if kind is None or types.is_binary(kind) or types.is_large_binary(kind):
        return
    if not types.is_struct(kind) or not {"bytes", "path"} & {field.name for field in kind}:
        raise DataError(NO_IMAGES.format(source=source_name, name=name, kind=kind))
