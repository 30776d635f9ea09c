"""Large files on disk, each under the SHA-256 of its content: `blobs/ab/cd/abcd...`.

A file appears under its final name only when it is complete: written beside, hashed while written, synced, renamed,
and the folder synced. What a crash leaves lies in `tmp/` and is swept at the next start.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from ..files import fsync_path
from .problems import Problem, bad_request, too_large

READ_BYTES = 1 << 20
MAX_FILE_BYTES = 200 * 10**9


def disk_full(error: OSError) -> Problem:
    return Problem(507, f"The hub cannot store this: {error.strerror}")


class BlobWriter(AbstractContextManager["BlobWriter"]):
    """One file on its way in. Use as a context manager: what was not committed is removed."""

    def __init__(self, store: BlobStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self.path = store.tmp / f"in-{secrets.token_hex(8)}"
        self._file = self.path.open("xb", buffering=0)
        self._sha256 = hashlib.sha256()
        self.size = 0

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises Problem 413 beyond the limit, 507 where the disk is full."""
        self.size += len(data)
        if self.size > self._limit:
            raise too_large(f"The upload is larger than the announced {self._limit} bytes")
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise disk_full(error) from error
        self._sha256.update(data)

    def commit(self, sha256: str | None = None, size: int | None = None) -> str:
        """Move the file to its place and return its SHA-256. Raises Problem 400 where it differs from the claim."""
        actual = self._sha256.hexdigest()
        if size is not None and self.size != size:
            raise bad_request(f"Expected {size} bytes, got {self.size}")
        if sha256 is not None and actual != sha256:
            raise bad_request(f"Content does not match its SHA-256: expected {sha256}, got {actual}")
        try:
            os.fsync(self._file.fileno())
            self._store.adopt(self.path, actual)
        except OSError as error:
            raise disk_full(error) from error
        return actual


class BlobStore:
    """The folder of large files. A later driver for object storage keeps these five methods."""

    def __init__(self, root: Path) -> None:
        self.root = root / "blobs"
        self.tmp = root / "tmp"
        self.root.mkdir(parents=True, exist_ok=True)
        self.tmp.mkdir(exist_ok=True)

    def sweep(self) -> int:
        """Remove what interrupted uploads left; call only while no other process serves this root."""
        leftovers = list(self.tmp.iterdir())
        for path in leftovers:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return len(leftovers)

    def path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256[2:4] / sha256

    def size(self, sha256: str) -> int | None:
        """Bytes, or None where the blob is absent."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def writer(self, limit: int = MAX_FILE_BYTES) -> BlobWriter:
        """A writer that takes at most `limit` bytes."""
        return BlobWriter(self, limit)

    def adopt(self, complete: Path, sha256: str) -> None:
        """Rename a complete, synced file of `tmp/` into its place. A blob already there stays: it is the same."""
        target = self.path(sha256)
        if not target.exists():
            for folder in (target.parent.parent, target.parent):
                if not folder.exists():
                    folder.mkdir(exist_ok=True)
                    fsync_path(folder.parent)
            complete.chmod(0o444)
            complete.replace(target)
        fsync_path(target.parent)

    def read(self, sha256: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes [start, stop) in pieces of at most 1 MiB."""
        with self.path(sha256).open("rb", buffering=0) as file:
            file.seek(start)
            left = (1 << 62) if stop is None else stop - start
            while left > 0 and (piece := file.read(min(READ_BYTES, left))):
                left -= len(piece)
                yield piece
