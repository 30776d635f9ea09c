"""Git's object format: how blobs, trees, commits and tags are encoded and hashed (SHA-1).

The history this server keeps is real git history: the objects below, written as loose objects into a bare
repository, pass `git fsck --full`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..text import utf8, well_formed

Kind = Literal["blob", "tree", "commit", "tag"]

MODE_FILE = "100644"
MODE_TREE = "40000"
MODE_GONE = "0"  # in the difference of two trees: the second has no entry of this name
# Git knows no empty directory; this is the tree of an empty repository.
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n?"
)
POINTER_MAX_BYTES = 200


class TreeEntry(NamedTuple):
    """A file or folder: `mode` as git writes it, `name` a path segment (a path in listings), `sha` 40 hex digits."""

    mode: str
    name: str
    sha: str

    @property
    def is_tree(self) -> bool:
        return self.mode == MODE_TREE


class GitObject(NamedTuple):
    """An object ready to be stored: `data` is the body without git's header. A tree that was made of another one, its
    `base`, may bring the `difference` as well, which is stored instead where it is much smaller."""

    sha: str
    kind: Kind
    data: bytes
    base: str = ""
    difference: bytes = b""


@dataclass(frozen=True)
class Signature:
    """Who and when. `when` is whole seconds since the epoch, UTC."""

    name: str
    email: str
    when: int

    def encode(self) -> str:
        return f"{self.name} <{self.email}> {self.when} +0000"

    @classmethod
    def parse(cls, text: str) -> Signature:
        person, when, _zone = text.rsplit(" ", 2)
        name, _, email = person.rpartition(" <")
        return cls(name, email.rstrip(">"), int(when))


@dataclass(frozen=True)
class Commit:
    """A decoded commit. `message` has no trailing newline."""

    tree: str
    parents: tuple[str, ...]
    author: Signature
    message: str

    @property
    def title(self) -> str:
        return self.message.split("\n", 1)[0]

    @property
    def body(self) -> str:
        return self.message.partition("\n")[2].strip("\n")


def blob_hasher(size: int) -> hashlib._Hash:
    """A running SHA-1 for a blob of `size` bytes that does not fit in memory."""
    return hashlib.sha1(b"blob %d\x00" % size, usedforsecurity=False)


def make_object(kind: Kind, data: bytes) -> GitObject:
    """A body held in memory as an object, with its id."""
    sha = hashlib.sha1(b"%s %d\x00" % (kind.encode(), len(data)) + data, usedforsecurity=False).hexdigest()
    return GitObject(sha, kind, data)


def encode_tree(entries: Iterable[TreeEntry]) -> bytes:
    """Encode a tree in git's order."""
    return b"".join(
        b"%s %s\x00%s" % (e.mode.encode(), e.name.encode(), bytes.fromhex(e.sha)) for e in in_git_order(entries)
    )


def in_git_order(entries: Iterable[TreeEntry]) -> list[TreeEntry]:
    """Entries sorted by bytes, a folder compared as if its name ended in a slash."""
    return sorted(entries, key=lambda e: e.name.encode() + b"/" if e.is_tree else e.name.encode())


def difference(before: dict[str, TreeEntry], after: dict[str, TreeEntry]) -> bytes:
    """What `apply_difference` needs to make the tree `after` of `before`, in the form of a tree."""
    gone = (TreeEntry(MODE_GONE, name, "0" * 40) for name in before.keys() - after.keys())
    return encode_tree([*(entry for name, entry in after.items() if before.get(name) != entry), *gone])


def apply_difference(tree: dict[str, TreeEntry], changes: bytes) -> None:
    """Turn the entries of a tree into those of the next one; their order is not git's any more."""
    for entry in decode_tree(changes):
        if entry.mode == MODE_GONE:
            del tree[entry.name]
        else:
            tree[entry.name] = entry


def decode_tree(data: bytes) -> list[TreeEntry]:
    """The entries of a tree, in the stored order. Raises ValueError where the bytes are no tree."""
    entries = []
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        nul = data.index(b"\x00", space)
        if nul + 21 > len(data):
            raise ValueError("tree ends inside an entry")
        entries.append(
            TreeEntry(data[at:space].decode(), data[space + 1 : nul].decode(), data[nul + 1 : nul + 21].hex())
        )
        at = nul + 21
    return entries


def encode_commit(commit: Commit) -> bytes:
    lines = [f"tree {commit.tree}", *(f"parent {parent}" for parent in commit.parents)]
    who = commit.author.encode()
    lines += [f"author {who}", f"committer {who}"]
    return utf8(well_formed("\n".join(lines) + "\n\n" + commit.message + "\n"))


def decode_commit(data: bytes) -> Commit:
    head, _, message = data.decode().partition("\n\n")
    tree, parents, author = "", [], ""
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key == "author":
            author = value
    return Commit(tree, tuple(parents), Signature.parse(author), message.removesuffix("\n"))


def encode_tag(name: str, target: str, tagger: Signature, message: str) -> bytes:
    """An annotated tag on a commit."""
    head = f"object {target}\ntype commit\ntag {name}\ntagger {tagger.encode()}\n\n"
    return utf8(well_formed(head + message.rstrip("\n") + "\n"))


def encode_pointer(sha256: str, size: int) -> bytes:
    """The text file that stands in git for a large file kept outside it."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def parse_pointer(data: bytes) -> tuple[str, int] | None:
    """(sha256, size in bytes) where a blob's content is exactly an LFS pointer, else None."""
    if len(data) > POINTER_MAX_BYTES:
        return None
    match = _POINTER.fullmatch(data)
    return (match[1].decode(), int(match[2])) if match else None
