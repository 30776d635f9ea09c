"""The byte formats of Xet uploads: xorbs (compressed chunks in a row), shards (file recipes), and their hashes.

Chunk hash: BLAKE3 keyed with DATA_KEY over the raw chunk. Xorb hash: a tree over (chunk hash, length), grouped where
a hash is divisible by four; each node is BLAKE3 keyed with NODE_KEY over lines `hash : length`. Hashes are written in
hex as four little-endian 64-bit words. All integers are little-endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import lz4.frame
from blake3 import blake3

DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")

XORB_MAX_BYTES = 64 << 20
CHUNK_MAX_BYTES = 128 << 10
# A chunk that does not compress is stored raw; a frame adds a few bytes to a chunk at most.
CHUNK_MAX_STORED = CHUNK_MAX_BYTES + 1024
SHARD_MAX_BYTES = 64 << 20
FOOTER_MARK = b"XETBLOB"

_ENTRY = struct.Struct("<32sIIQ")
_SEGMENT = struct.Struct("<32sIIII")
_INDEX = struct.Struct("<32sII")
_BOOKEND = b"\xff" * 32
_HAS_VERIFICATION, _HAS_METADATA = 1 << 31, 1 << 30
_NONE, _LZ4, _BG4_LZ4 = 0, 1, 2


class FormatError(ValueError):
    """The bytes are no valid xorb or shard."""


class Chunk(NamedTuple):
    """A chunk of a xorb: its hash, where its 8-byte header starts, and its raw length in bytes."""

    hash: bytes
    offset: int
    length: int


class Segment(NamedTuple):
    """A run of chunks [start, stop) of a xorb that makes `length` bytes of a file."""

    xorb: str
    length: int
    start: int
    stop: int


@dataclass(frozen=True)
class FileRecipe:
    """How to rebuild one file. `sha256` is what its content must hash to; None where the client did not say."""

    segments: tuple[Segment, ...]
    sha256: str | None

    @property
    def size(self) -> int:
        return sum(segment.length for segment in self.segments)


def hash_to_hex(value: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", value))


def chunk_hash(data: bytes | bytearray) -> bytes:
    return blake3(data, key=DATA_KEY).digest()


def _merge(nodes: list[tuple[bytes, int]]) -> tuple[bytes, int]:
    lines = "".join(f"{hash_to_hex(value)} : {size}\n" for value, size in nodes)
    return blake3(lines.encode(), key=NODE_KEY).digest(), sum(size for _, size in nodes)


def tree_hash(nodes: list[tuple[bytes, int]]) -> bytes:
    """The root over (hash, length in bytes) pairs. Groups have 2 to 9 members."""
    if not nodes:
        return bytes(32)
    while len(nodes) > 1:
        merged, at = [], 0
        while at < len(nodes):
            stop = min(at + 9, len(nodes))
            for i in range(at + 2, stop):
                if nodes[i][0][24] % 4 == 0:  # the last word modulo 4 is its lowest byte modulo 4
                    stop = i + 1
                    break
            merged.append(_merge(nodes[at:stop]))
            at = stop
        nodes = merged
    return nodes[0][0]


def _ungroup(data: bytes | bytearray) -> bytearray:
    """Undo byte grouping: the bytes 0, 4, 8, ... come first, then 1, 5, 9, ..."""
    out = bytearray(len(data))
    at = 0
    for lane in range(4):
        count = (len(data) - lane + 3) // 4
        out[lane::4] = data[at : at + count]
        at += count
    return out


def read_chunk(xorb: bytes | memoryview, offset: int) -> tuple[bytes | bytearray, int]:
    """(raw chunk, offset of the next header). Raises FormatError; never yields more than 128 KiB."""
    header = bytes(xorb[offset : offset + 8])
    if len(header) < 8 or header[0] != 0:
        raise FormatError(f"no chunk header at byte {offset}")
    stored, scheme, length = int.from_bytes(header[1:4], "little"), header[4], int.from_bytes(header[5:8], "little")
    if not 0 < length <= CHUNK_MAX_BYTES or not 0 < stored <= CHUNK_MAX_STORED:
        raise FormatError(f"chunk at byte {offset} has an impossible length")
    stop = offset + 8 + stored
    body = bytes(xorb[offset + 8 : stop])
    if len(body) != stored:
        raise FormatError(f"chunk at byte {offset} is cut off")
    data: bytes | bytearray = body
    if scheme in (_LZ4, _BG4_LZ4):
        try:
            data = lz4.frame.LZ4FrameDecompressor().decompress(body, max_length=length + 1)
        except RuntimeError as error:
            raise FormatError(f"chunk at byte {offset}: {error}") from None
        if scheme == _BG4_LZ4:
            data = _ungroup(data)
    elif scheme != _NONE:
        raise FormatError(f"chunk at byte {offset} has the unknown compression {scheme}")
    if len(data) != length:
        raise FormatError(f"chunk at byte {offset} has {len(data)} bytes, announced {length}")
    return data, stop


def index_xorb(xorb: bytes | memoryview) -> tuple[str, list[Chunk]]:
    """(hash in hex, chunks) of a serialized xorb, with every chunk unpacked and hashed. Raises FormatError."""
    chunks: list[Chunk] = []
    at = 0
    while at < len(xorb) and bytes(xorb[at : at + 7]) != FOOTER_MARK:
        data, after = read_chunk(xorb, at)
        chunks.append(Chunk(chunk_hash(data), at, len(data)))
        at = after
    if not chunks:
        raise FormatError("a xorb needs at least one chunk")
    return hash_to_hex(tree_hash([(chunk.hash, chunk.length) for chunk in chunks])), chunks


def pack_index(chunks: list[Chunk]) -> bytes:
    return b"".join(_INDEX.pack(chunk.hash, chunk.offset, chunk.length) for chunk in chunks)


def unpack_index(data: bytes) -> list[Chunk]:
    return [Chunk(*row) for row in _INDEX.iter_unpack(data)]


def parse_shard(data: bytes) -> list[FileRecipe]:
    """The files that a shard describes. Raises FormatError."""
    if len(data) < 48 or struct.unpack_from("<Q", data, 32)[0] != 2:
        raise FormatError("no shard header of version 2")
    return list(_files(data, 48))


def _files(data: bytes, at: int) -> Iterator[FileRecipe]:
    while True:
        if at + 48 > len(data):
            raise FormatError("the file section has no end")
        name, flags, count, _ = _ENTRY.unpack_from(data, at)
        at += 48
        if name == _BOOKEND:
            return
        extra = (count if flags & _HAS_VERIFICATION else 0) + (1 if flags & _HAS_METADATA else 0)
        if at + 48 * (count + extra) > len(data):
            raise FormatError("a file entry is cut off")
        segments = []
        for i in range(count):
            xorb, _, length, start, stop = _SEGMENT.unpack_from(data, at + 48 * i)
            segments.append(Segment(hash_to_hex(xorb), length, start, stop))
        at += 48 * (count + extra)
        # The SHA-256 is kept as a hash of the same kind: its hex form is that of four 64-bit words.
        sha256 = hash_to_hex(data[at - 48 : at - 16]) if flags & _HAS_METADATA else None
        yield FileRecipe(tuple(segments), sha256)
