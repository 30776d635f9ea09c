"""A set of hashes in a memory-mapped file: which rows were there already, in constant memory."""

import hashlib
import mmap
from pathlib import Path

from ...hub_sync.text import utf8

_WIDTH = 16  # bytes of a hash
_EMPTY = bytes(_WIDTH)


class DiskSet:
    """Keys that were added, at 32 to 64 bytes each on disk.

        >>> keys = DiskSet(context.workdir / "keys")
        >>> keys.add("a"), keys.add("a")
        (True, False)

    An open-addressing table of 128-bit BLAKE2b hashes. Two different keys count as one with probability below 1e-26
    for a million keys. SQLite needs two to three times the CPU for this.

    Args:
        path: the file; that of an earlier run is replaced.
        slots: size at first, a power of two; doubled when half full. Empty places take no disk.
    """

    def __init__(self, path: Path, slots: int = 1 << 20) -> None:
        self._path, self._slots, self._count = path, slots, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._table = self._new_table()

    def __len__(self) -> int:
        return self._count

    def add(self, key: str) -> bool:
        """Add a key; whether it was new."""
        if not self._insert(_digest(key)):
            return False
        self._count += 1
        if 2 * self._count > self._slots:
            self._grow()
        return True

    def __contains__(self, key: str) -> bool:
        digest = _digest(key)
        start = self._slot(digest)
        return self._table[start : start + _WIDTH] == digest

    def _slot(self, digest: bytes) -> int:
        """Offset of the hash, or of the empty place where it belongs."""
        table, last = self._table, self._slots * _WIDTH
        start = (int.from_bytes(digest[:8]) & (self._slots - 1)) * _WIDTH
        while (found := table[start : start + _WIDTH]) != digest and found != _EMPTY:
            start = (start + _WIDTH) % last
        return start

    def _insert(self, digest: bytes) -> bool:
        start = self._slot(digest)
        if self._table[start : start + _WIDTH] == digest:
            return False
        self._table[start : start + _WIDTH] = digest
        return True

    def _grow(self) -> None:
        old, size = self._table, self._slots * _WIDTH
        self._slots *= 2
        self._table = self._new_table()
        for start in range(0, size, _WIDTH):
            if (digest := old[start : start + _WIDTH]) != _EMPTY:
                self._insert(digest)
        old.close()

    def _new_table(self) -> mmap.mmap:
        self._path.unlink(missing_ok=True)
        with self._path.open("wb+") as stream:
            stream.truncate(self._slots * _WIDTH)
            return mmap.mmap(stream.fileno(), 0)


def _digest(key: str) -> bytes:
    return hashlib.blake2b(utf8(key), digest_size=_WIDTH).digest()
