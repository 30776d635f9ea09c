"""A number for each row, in a file."""

from pathlib import Path

import numpy as np


class DiskArray:
    """64-bit numbers that are appended one by one, and read as an array whose memory the system may take back.

        >>> numbers = DiskArray(context.workdir / "numbers")
        >>> numbers.append(7)
        >>> numbers.values()
        array([7], dtype=uint64)

    Args:
        path: the file; that of an earlier run is replaced.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._file = path.open("wb")

    def append(self, number: int) -> None:
        """Add a number from 0 to 2**64 - 1."""
        self._file.write(number.to_bytes(8, "little"))

    def values(self) -> np.ndarray:
        """(numbers,) uint64, in the order of `append`; read only."""
        self._file.flush()
        if not self._file.tell():  # an empty file cannot be mapped
            return np.empty(0, np.uint64)
        return np.asarray(np.memmap(self._file.name, "<u8", "r"))
