"""COCO's form: a JSON file with lists of images, captions (`annotations`) and licences, and the images beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError, RowRejected, UsageError
from .._lib import record_stream
from .._lib.image_files import ImageFiles, is_hidden
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File
from .._lib.tables import split_of, suffix_of

if TYPE_CHECKING:
    from .build import ImageTextConfig


def parts(config: ImageTextConfig, files: Sequence[File], chosen: Sequence[File], name: str) -> Iterator[Part]:
    """The captions of every chosen JSON file, with their images: from a file of that name, else by URL alone.

    In memory are about 0.5 kB for each image of a file. Raises UsageError if no file is JSON, DataError for one that
    is not of this form.
    """
    annotations = [f for f in chosen if suffix_of(f.name) == ".json" and not is_hidden(f.name)]
    if not annotations:
        raise UsageError(f"source {name}: no JSON file fits `files`")
    images = ImageFiles(files, config.image_limits().max_bytes)
    splits = {file.name: split_of(PurePosixPath(file.name).name) for file in annotations}
    for file in annotations:
        yield Part(file.name, splits[file.name] if len(annotations) > 1 else None, _pairs(file, images))


def _pairs(file: File, images: ImageFiles) -> Pairs:
    known: dict[Any, dict[str, Any]] = {}
    twice: set[Any] = set()
    licences: dict[Any, str] = {}
    nameless = 0
    with file.open() as stream:
        for key, item in record_stream.list_members(stream, file.name, ("images", "licenses")):
            if isinstance(item, dict) and key == "images":
                number = _key(item.get("id"))
                if number is None:
                    nameless += 1
                elif number in known and known[number] != item:
                    twice.add(number)
                else:
                    known[number] = item
            elif isinstance(item, dict):
                licences[_key(item.get("id"))] = item.get("url") or item.get("name") or ""
    if not known and not nameless:
        raise DataError(f"{file.name}: holds no list `images`, as COCO's form has; use `format: table`")
    captioned: set[Any] = set()
    folder = PurePosixPath(file.name).parent.as_posix()
    with file.open() as stream:
        for _, item in record_stream.list_members(stream, file.name, ("annotations",)):
            number = _key(item.get("image_id")) if isinstance(item, dict) else None
            if number is None or number not in known:
                yield RowRejected("a caption of an image that the file does not list", item)
                continue
            captioned.add(number)
            if number in twice:
                yield RowRejected("a caption of an image id that several images have", number)
                continue
            yield _pair(item, known[number], licences, images, folder)
    for _ in range(nameless):
        yield RowRejected("an image whose id is neither text nor a whole number")
    for number, image in known.items():
        if number not in captioned:
            yield RowRejected("an image without a text", image.get("file_name"))


def _key(value: Any) -> Any:
    """An id that can be looked up, None for a list or object."""
    return value if isinstance(value, str | int) else None


def _pair(
    item: dict[str, Any], image: dict[str, Any], licences: dict[Any, str], images: ImageFiles, folder: str
) -> Pair | RowRejected:
    url = image.get("coco_url") or image.get("flickr_url") or image.get("url")
    more: dict[str, Any] = {
        "text": item.get("caption"), "url": url, "image_id": str(image.get("id")),
        "license": licences.get(_key(image.get("license"))), "attribution": image.get("flickr_url") or None,
        "width": image.get("width"), "height": image.get("height"),
    }  # fmt: skip
    name = image.get("file_name")
    try:
        if isinstance(name, str) and images.find(name, folder) is not None:
            return images.pair(name, folder, **more)
    except RowRejected as error:
        return error
    return Pair(**more) if url else RowRejected("no such image file in the source", name)
