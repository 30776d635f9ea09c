"""CC12M's and CC3M's form: lines of a URL and a text with a tab between, in either order, and no header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...hub_sync.errors import DataError, RowRejected, first_line
from .._lib import record_stream
from .._lib.image_pairs import Pair, Pairs, Part
from .._lib.source_files import File
from .._lib.sources import UNPACKING

if TYPE_CHECKING:
    from .build import ImageTextConfig

HTTP = ("http://", "https://")


def parts(config: ImageTextConfig, files: Sequence[File], chosen: Sequence[File], name: str) -> Iterator[Part]:
    """The lines of every chosen file."""
    for file in chosen:
        yield Part(file.name, None, _pairs(file))


def _pairs(file: File) -> Pairs:
    try:
        with file.open() as stream:
            for line in record_stream.text_lines(stream, file.name):
                if line.strip():
                    yield _pair(line)
    except UNPACKING as error:
        raise DataError(f"{file.name}: cannot be unpacked ({first_line(error)}); fetch the file again") from error


def _pair(line: str) -> Pair | RowRejected:
    cells = line.split("\t")
    if len(cells) != 2:
        return RowRejected("a line that is not a URL, a tab and a text", line)
    first, second = cells
    if not first.startswith(HTTP) and second.startswith(HTTP):
        first, second = second, first
    return Pair(text=second, url=first)
