"""WebDataset's form: tar files in which files with one name before the first dot are one sample (jpg, txt, json)."""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError, RowRejected, UsageError, first_line
from .._lib.image_files import TAR_ERRORS, TAR_SUFFIXES, is_hidden
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File
from .._lib.tables import IMAGE_SUFFIXES, split_of
from .table import pairs_of

if TYPE_CHECKING:
    from .build import ImageTextConfig

_TEXTS = ("txt", "text", "caption")
_MOST = 10_000_000  # bytes of a text or JSON member; our choice
_PACKED = (".tar.gz", ".tar.bz2", ".tar.xz")


def parts(config: ImageTextConfig, files: Sequence[File], chosen: Sequence[File], name: str) -> Iterator[Part]:
    """The samples of every chosen tar file, read from front to back. Raises UsageError if there is none."""
    tars = [f for f in chosen if f.name.lower().endswith((*TAR_SUFFIXES, *_PACKED)) and not is_hidden(f.name)]
    if not tars and len(chosen) == 1:
        tars = list(chosen)
    if not tars:
        raise UsageError(f"source {name}: holds no tar file")
    splits = {file.name: split_of(file.name) if len(tars) > 1 else None for file in tars}
    for file in tars:
        yield Part(file.name, splits[file.name], _pairs(config, file))


def _pairs(config: ImageTextConfig, file: File) -> Pairs:
    most = config.image_limits().max_bytes
    key, members = "", dict[str, Any]()
    try:
        with file.open() as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                folder, name = posixpath.split(posixpath.normpath(member.name))
                stem, _, ending = name.partition(".")
                if not member.isreg() or not stem or not ending:
                    continue
                path, ending = posixpath.join(folder, stem), ending.lower()
                if path != key or ending in members:  # the second: another sample of this name, as of joined files
                    yield from _sample(config, key, members)
                    key, members = path, {}
                is_image = f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES
                content = archive.extractfile(member)
                if content is not None and (is_image or ending == "json" or ending in _TEXTS):
                    members[ending] = content.read((most if is_image else _MOST) + 1)
            yield from _sample(config, key, members)
    except TAR_ERRORS as error:
        raise DataError(f"{file.name}: cannot be read as a tar file ({first_line(error)}); fetch it again") from error


def _sample(config: ImageTextConfig, key: str, members: Mapping[str, bytes]) -> Iterator[Pair | RowRejected]:
    """The pairs of a sample; img2dataset's JSON says what else is known of it."""
    if not members:
        return
    record: dict[str, Any] = {}
    if long := next((n for n in ("json", *_TEXTS) if len(members.get(n, b"")) > _MOST), None):
        yield RowRejected(f"a text or JSON of more than {_MOST} bytes", f"{key}.{long}")
        return
    try:
        if "json" in members:
            record = json.loads(members["json"])
            if not isinstance(record, dict):
                raise RowRejected("JSON of a sample that is not an object", key)
        if (status := record.get("status")) not in (None, "success"):
            raise RowRejected("a sample that its download calls failed", record.get("error_message") or status)
        text = next((members[name].decode("utf-8-sig").strip() for name in _TEXTS if name in members), None)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = error if isinstance(error, RowRejected) else RowRejected("a text or JSON that cannot be read", key)
        yield reason
        return
    images = [name for name in members if f".{name.rpartition('.')[2]}" in IMAGE_SUFFIXES]
    if len(images) > 1:
        yield RowRejected("a sample with several images", f"{key}: {', '.join(images[:3])}")
        return
    more: dict[str, Any] = {"image_id": key} | ({"text": text} if text is not None else {})
    if images:
        more |= {"image": members[images[0]], "name": f"{posixpath.basename(key)}.{images[0]}"}
    # Width and height are of the image after img2dataset has resized it, and are measured again.
    yield from pairs_of(config, {n: v for n, v in record.items() if n not in ("key", "width", "height")}, more)
