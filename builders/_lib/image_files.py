"""The image files of a source by name: beside a table, in a zip archive, or in tar files, which are never unpacked."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ...hub_sync.errors import DataError, RowRejected, first_line
from .image_pairs import Pair
from .source_files import File
from .tables import IMAGE_SUFFIXES

TAR_SUFFIXES = (".tar", ".tgz")
SEVERAL = "several image files of this name"
TAR_ERRORS = (tarfile.TarError, EOFError, OSError)


class _Place(NamedTuple):
    """Where an image lies in a tar file."""

    tar: File
    offset: int
    size: int


class ImageFiles:
    """Images of a source, by their paths in it.

    Args:
        files: of the source; those that are neither images nor tar files are passed over.
        most: bytes of an image; of a larger one so many and one more are read.

    Attributes:
        replaced: paths of members of a tar file of which a later one has the same path.
        others: members of tar files that are no images.

    Raises DataError for a tar file that cannot be read at any place.
    """

    def __init__(self, files: Sequence[File], most: int) -> None:
        self.most = most
        self.replaced: list[str] = []
        self.others = 0
        self._places: dict[str, File | _Place] = {}
        self._twice: set[str] = set()
        self._by_name: dict[str, list[str]] | None = None
        for file in files:
            if is_hidden(file.name):
                continue
            if PurePosixPath(file.name).suffix.lower() in IMAGE_SUFFIXES:
                self._add(file.name, file)
            elif file.name.lower().endswith(TAR_SUFFIXES):
                self._index(file)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def _index(self, tar: File) -> None:
        try:
            with tar.open() as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    if not member.isreg() or is_hidden(member.name):
                        continue
                    if PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES:
                        self._add(posixpath.normpath(member.name), _Place(tar, member.offset_data, member.size))
                    else:
                        self.others += 1
        except TAR_ERRORS as error:
            raise DataError(
                f"{tar.name}: cannot be read as a plain tar file ({first_line(error)}); fetch it again, or unpack it"
            ) from error

    def _add(self, path: str, place: File | _Place) -> None:
        """Take up an image. Of two members of one tar file the later stands, as tar itself has it."""
        before = self._places.get(path)
        if before is not None and not (
            isinstance(before, _Place) and isinstance(place, _Place) and before.tar is place.tar
        ):
            self._twice.add(path)
        elif before is not None:
            self.replaced.append(path)
        self._places[path] = place

    def find(self, name: str, folder: str = "") -> str | None:
        """The path of an image that a table names: beside the table, in the source, or the only file whose path ends
        as the name does, one of them being the whole end of the other: `b/1.jpg` is `a/b/1.jpg`, and never `c/1.jpg`.

        Raises RowRejected for a name that several files have.
        """
        path_name = posixpath.normpath(name.replace("\\", "/"))
        for path in (posixpath.normpath(posixpath.join(folder, path_name)), path_name):
            if path in self._twice:
                raise RowRejected(SEVERAL, name)
            if path in self._places:
                return path
        if self._by_name is None:
            self._by_name = {}
            for path in self._places:
                self._by_name.setdefault(posixpath.basename(path), []).append(path)
        same_name = self._by_name.get(posixpath.basename(path_name), [])
        matches = [
            path for path in same_name if f"/{path}".endswith(f"/{path_name}") or path_name.endswith(f"/{path}")
        ]
        if len(matches) > 1 or self._twice.intersection(matches):
            raise RowRejected(SEVERAL, name)
        return matches[0] if matches else None

    def read(self, path: str) -> bytes:
        """The content of an image, at most `most` + 1 bytes. Raises RowRejected for what the archive does not give, or
        gives twice."""
        if path in self._twice:
            raise RowRejected(SEVERAL, path)
        place = self._places[path]
        try:
            if isinstance(place, _Place):
                with place.tar.open() as stream:
                    stream.seek(place.offset)
                    return stream.read(min(place.size, self.most + 1))
            with place.open() as stream:
                return stream.read(self.most + 1)
        except Exception as error:  # zipfile raises everything from BadZipFile to NotImplementedError
            if isinstance(error, OSError) and error.errno:
                raise  # the disk's fault and not the file's
            raise RowRejected("an image that the archive does not give", first_line(error)) from error

    def pair(self, name: str, folder: str = "", **more: object) -> Pair:
        """A pair with the image of this name. Raises RowRejected where there is none."""
        path = self.find(name, folder)
        if path is None:
            raise RowRejected("no such image file in the source", name)
        return Pair(image=partial(self.read, path), name=posixpath.basename(path), **more)  # type: ignore[arg-type]


def is_hidden(name: str) -> bool:
    """Whether a file or one of its folders is hidden, as macOS's own files in archives are."""
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(name).parts)


def read_inside(path: str, folder: str, most: int) -> bytes | None:
    """At most `most` + 1 bytes of a file at a path that a pulled data set names; None unless it lies in that folder.

    Links of the hub's cache lead out of it, so that paths are compared as they are written.
    """
    full = Path(os.path.normpath(path))
    if not full.is_relative_to(os.path.normpath(folder)) or not full.is_file():
        return None
    with full.open("rb") as stream:
        return stream.read(most + 1)
