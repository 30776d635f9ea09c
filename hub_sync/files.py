"""Hashes, atomic writes and exclusive locks: the few file operations everything durable is built on."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from .errors import ConflictError
from .text import utf8, well_formed

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".dill"})
"""Endings of files that may hold a pickle, which runs code when it is loaded."""
_BLOCK = 1 << 20


def cache_dir() -> Path:
    """Where wheels, models and engines are kept (all can be made again): HUBWRIGHT_CACHE or ~/.cache/hubwright."""
    chosen = os.environ.get("HUBWRIGHT_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "hubwright"


class FileEntry(TypedDict):
    """One line of a manifest: POSIX path relative to the folder, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the same value gives the same bytes in every process."""
    return utf8(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content in hex, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_blob_sha1(path: Path) -> str:
    """The id git gives this content as a blob: what the Hub reports for files outside LFS."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def list_files(folder: Path) -> list[Path]:
    """Every regular file below `folder`, sorted by its POSIX path, so that no result depends on the disk's order."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def manifest(folder: Path, exclude: frozenset[str] = frozenset()) -> list[FileEntry]:
    """Path, size and SHA-256 of every file below `folder` whose relative path is not in `exclude`."""
    entries: list[FileEntry] = []
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        if name not in exclude:
            entries.append({"path": name, "size": path.stat().st_size, "sha256": sha256_file(path)})
    return entries


def fsync_path(path: Path) -> None:
    """Write a closed file, or a folder's names, through to the disk: what is renamed then survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: temporary file beside it, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = utf8(well_formed(content)) if isinstance(content, str) else content
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


@contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Hold `path` for one process; a second one gets a ConflictError that names the holder's pid. The lock is the
    kernel's (flock), so one left by a killed process is free at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise ConflictError(
                f"{what} is in use by process {holder}; wait for it to end, or stop it and run this again"
            ) from None
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
        yield
