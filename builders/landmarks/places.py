"""Where the images of Google Landmarks v2 lie: as a/b/c/ID.jpg below a folder, flat, or in tar files, by id."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import sqlite3
import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ...hub_sync.errors import first_line
from ...hub_sync.pace import Pace
from .._lib.image_files import TAR_ERRORS, is_hidden
from .._lib.tables import IMAGE_SUFFIXES

ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
SAMPLE = 1000  # ids of image files in folders that are looked up in a list; our choice
_ENDINGS = (".jpg", ".jpeg", ".png")


class BadTar(NamedTuple):
    """A tar file that is not whole: its name, what is wrong, and the images that it gives all the same."""

    name: str
    fault: str
    images: int


class Places:
    """Images by id.

        >>> places = Places(Path("gldv2"), database, most=20_000_000)
        >>> places.find("17660ef415d37059")()
        b'...'

    Args:
        folder: looked through two folders deep for tar files and for trees a/b/c.
        database: for the places in tar files.
        most: bytes of an image; of a larger one so many and one more are read.

    Attributes:
        bad: tar files that are not whole.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection, most: int) -> None:
        self._database, self._most = database, most
        self.bad: list[BadTar] = []
        database.execute("CREATE TABLE place (id TEXT, tar INTEGER, start INTEGER, size INTEGER)")
        folders = folders_of(folder)
        self._tars = [path for one in folders for path in files_of(one, (".tar",))]
        for number, tar in enumerate(Pace("tar files", "files", total=len(self._tars)).over(self._tars)):
            self._index(number, tar)
        database.execute("CREATE INDEX place_id ON place (id)")
        self._trees = [one for one in folders if any(child.is_dir() for child in one.glob("[0-9a-zA-Z]"))]
        self._flat = [one for one in folders if next(_names(one), None) is not None]
        self.in_tars = int(database.execute("SELECT COUNT(*) FROM place").fetchone()[0])

    def __bool__(self) -> bool:
        return bool(self._trees or self._flat or self.in_tars)

    def _index(self, number: int, tar: Path) -> None:
        """Note the members of a tar file that are there as a whole."""
        fault, rows, size = _wrong_md5(tar), [], tar.stat().st_size
        try:
            with tar.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    if member.isreg() and _is_image(Path(member.name)) and member.offset_data + member.size <= size:
                        rows.append((PurePosixPath(member.name).stem, number, member.offset_data, member.size))
                stream.seek(max(0, size - 1024))
                if any(stream.read()):
                    fault = fault or "ends early (without the end mark of a tar file)"
        except TAR_ERRORS as error:
            fault = f"ends early ({first_line(error)})"
        self._database.executemany("INSERT INTO place VALUES (?, ?, ?, ?)", rows)
        if fault:
            self.bad.append(BadTar(tar.name, fault, len(rows)))

    def find(self, identifier: str) -> Callable[[], bytes] | None:
        """What reads an image; None if it is not there."""
        if self.in_tars:
            row = self._database.execute("SELECT tar, start, size FROM place WHERE id = ?", (identifier,)).fetchone()
            if row:
                return partial(_read, self._tars[row[0]], row[1], min(row[2], self._most + 1))
        for path in self._candidates(identifier):
            if path.is_file():
                return partial(_read, path, 0, self._most + 1)
        return None

    def _candidates(self, identifier: str) -> Iterator[Path]:
        for ending in _ENDINGS:
            for tree in self._trees:
                yield tree.joinpath(*identifier[:3], identifier + ending)
            for folder in self._flat:
                yield folder / (identifier + ending)

    def sample(self) -> list[str]:
        """Ids of some image files in folders."""
        trees = itertools.chain.from_iterable(tree.glob("?/?/?/*") for tree in self._trees)
        names = (path.name for path in trees if _is_image(path))
        flat = itertools.chain.from_iterable(map(_names, self._flat))
        return [PurePosixPath(name).stem for name in itertools.islice(itertools.chain(names, flat), SAMPLE)]


def folders_of(folder: Path, depth: int = 2) -> list[Path]:
    """A folder and those in it, two deep, in order. Folders of one letter are of a tree a/b/c, and not looked into."""
    found = [folder]
    if depth:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if len(e.name) > 1 and not is_hidden(e.name) and e.is_dir()]
        for name in sorted(names):
            found += folders_of(folder / name, depth - 1)
    return found


def files_of(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The files of a folder with such endings, in order; of millions of others no name stays in memory."""
    with os.scandir(folder) as entries:
        return sorted(
            folder / e.name for e in entries
            if e.name.lower().endswith(tuple(endings)) and not is_hidden(e.name) and e.is_file()
        )  # fmt: skip


def _names(folder: Path) -> Iterator[str]:
    """Names of the image files in a folder."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if _is_image(Path(entry.name)) and not is_hidden(entry.name))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(start)
        return stream.read(size)


def _wrong_md5(tar: Path) -> str:
    """What is wrong with a tar file whose MD5 sum is in a file beside it, as md5.images_000.txt; "" if nothing is."""
    sums = tar.with_name(f"md5.{tar.stem}.txt")
    if not sums.is_file():
        return ""
    stated = re.search(r"\b[0-9a-f]{32}\b", sums.read_text("utf-8", "replace").lower())
    with tar.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return "" if stated and stated[0] == digest else f"has MD5 {digest}, and {sums.name} states another one"
