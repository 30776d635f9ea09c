"""Sharded safetensors written in place, a few rows at a time, by several threads, and taken up again after a kill.

Shapes and dtypes are known beforehand, so every file gets its header and its full size first and blocks go where they
belong. A tensor that is on the disk is noted in a journal; what is not noted is made again. The files have their names
when all of them are whole.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from ...hub_sync.errors import StorageError
from ...hub_sync.files import canonical_json, fsync_path, write_atomic
from .checkpoint import INDEX, SINGLE, Kind
from .numbers import Bytes

_JOURNAL, _PART = "journal.jsonl", ".part"


def shard(kinds: Mapping[str, Kind], most: int) -> dict[str, list[str]]:
    """File name -> its tensors, in order, each file of at most `most` bytes unless one tensor is larger."""
    files: list[list[str]] = [[]]
    size = 0
    for name, kind in kinds.items():
        if files[-1] and size + kind.bytes > most:
            files.append([])
            size = 0
        files[-1].append(name)
        size += kind.bytes
    if len(files) == 1:
        return {SINGLE: files[0]}
    return {f"model-{n:05d}-of-{len(files):05d}.safetensors": part for n, part in enumerate(files, 1)}


class Writer:
    """Writes the tensors of `kinds` below `folder`.

    Args:
        plan: what the output follows from, as JSON; a folder that was begun with another plan is begun anew.

    Attributes:
        done: tensors that an earlier process has written.

    Raises StorageError where the files do not fit on the disk; nothing is written then.
    """

    def __init__(self, folder: Path, kinds: Mapping[str, Kind], shard_bytes: int, plan: object) -> None:
        self.folder, self.kinds = folder, dict(kinds)
        self.files = shard(kinds, shard_bytes)
        self._places: dict[str, tuple[int, int]] = {}  # tensor -> file descriptor, offset
        self._open: list[int] = []
        self._notes: BinaryIO | None = None
        self._lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = folder / _JOURNAL
        begun = canonical_json({"plan": plan, "files": self.files}).decode()
        lines = self._noted()
        if not lines or lines[0] != begun:
            for path in folder.iterdir():
                path.unlink()
            lines = [begun]
        self.done = {json.loads(line) for line in lines[1:]}
        for file, names in self.files.items():
            if (folder / file).exists():  # a kill came while the files were given their names
                (folder / file).replace(folder / f"{file}{_PART}")
            self._begin(folder / f"{file}{_PART}", names)
        if lines == [begun]:
            write_atomic(self.journal, begun + "\n")
        self._notes = self.journal.open("ab")

    def _noted(self) -> list[str]:
        """The whole lines of the journal; a line that a kill has cut off is removed."""
        if not self.journal.is_file():
            return []
        text = self.journal.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            write_atomic(self.journal, whole)
        return whole.decode().splitlines()

    def _begin(self, path: Path, names: list[str]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in names:
            kind = self.kinds[name]
            start, end = end, end + kind.bytes
            header[name] = {"dtype": kind.dtype, "shape": list(kind.shape), "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._open.append(descriptor)
        try:
            os.posix_fallocate(descriptor, 0, 8 + len(text) + end)
        except OSError as error:
            need = sum(kind.bytes for kind in self.kinds.values())
            self.close()
            for other in self.folder.iterdir():
                other.unlink()
            raise StorageError(f"{path}: {error.strerror}: the merged model needs {need / 1e9:.2f} GB") from error
        os.pwrite(descriptor, len(text).to_bytes(8, "little") + text, 0)
        for name in names:
            offset = header[name]["data_offsets"][0]  # type: ignore[index]
            self._places[name] = (descriptor, 8 + len(text) + offset)

    def write(self, name: str, first: int, block: Bytes) -> None:
        """Bytes of a tensor, from its byte `first` on."""
        descriptor, offset = self._places[name]
        left, offset = memoryview(block), offset + first  # type: ignore[arg-type]
        while left:
            written = os.pwrite(descriptor, left, offset)
            left, offset = left[written:], offset + written

    def finish(self, name: str) -> None:
        """Note that the tensor is whole, once it is on the disk."""
        os.fdatasync(self._places[name][0])
        with self._lock:
            assert self._notes is not None, "nothing is written after close"
            self._notes.write(json.dumps(name, ensure_ascii=False).encode() + b"\n")
            self._notes.flush()
            os.fsync(self._notes.fileno())

    def seal(self) -> None:
        """Give the files their names, write the index and remove the journal: now the folder is a model's."""
        self.close()
        for file in self.files:
            (self.folder / f"{file}{_PART}").replace(self.folder / file)
        if len(self.files) > 1:
            total = sum(kind.bytes for kind in self.kinds.values())
            where = {name: file for file, names in self.files.items() for name in names}
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
            write_atomic(self.folder / INDEX, json.dumps(index, indent=2) + "\n")
        self.journal.unlink()
        fsync_path(self.folder)

    def close(self) -> None:
        """Close the files; what is written stays."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        if self._notes:
            self._notes.close()
