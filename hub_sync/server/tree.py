"""Reading trees by path, listing them, comparing them, and editing them without loading more than is touched."""

from __future__ import annotations

from collections.abc import Iterator

from .objects import EMPTY_TREE, MODE_FILE, MODE_TREE, GitObject, TreeEntry, difference, encode_tree, make_object
from .problems import bad_request, entry_not_found
from .store import Store


def read_entries(store: Store, tree: str) -> dict[str, TreeEntry]:
    """The entries of a tree by name, in git's order; not to be changed."""
    return {} if tree == EMPTY_TREE else store.read_tree(tree)


def find(store: Store, tree: str, segments: list[str]) -> TreeEntry | None:
    """The entry at a path below `tree`, or None."""
    entry: TreeEntry | None = TreeEntry(MODE_TREE, "", tree)
    for name in segments:
        if entry is None or not entry.is_tree:
            return None
        entry = read_entries(store, entry.sha).get(name)
    return entry


def walk(store: Store, tree: str, prefix: str = "", recursive: bool = True) -> Iterator[TreeEntry]:
    """Everything below a tree, named by its path, a folder before its content, in git's order."""
    for entry in read_entries(store, tree).values():
        yield entry._replace(name=prefix + entry.name)
        if recursive and entry.is_tree:
            yield from walk(store, entry.sha, f"{prefix}{entry.name}/")


def listing(store: Store, tree: str, recursive: bool) -> list[TreeEntry]:
    """`walk` as a list that is kept for the next page; not to be changed."""
    return store.listings.get((tree, recursive), lambda: list(walk(store, tree, recursive=recursive)))


def changed_files(
    store: Store, old: str, new: str, prefix: str = ""
) -> Iterator[tuple[str, tuple[str, str] | None, tuple[str, str] | None]]:
    """(path, before, after) of every file that differs; equal sub-trees are not read. None stands for absent."""
    if old == new:
        return
    before, after = read_entries(store, old), read_entries(store, new)
    for name in sorted({*before, *after}):
        a, b = before.get(name), after.get(name)
        if a == b:
            continue
        path = prefix + name
        old_sub = a.sha if a and a.is_tree else EMPTY_TREE
        new_sub = b.sha if b and b.is_tree else EMPTY_TREE
        file_a = (a.mode, a.sha) if a and not a.is_tree else None
        file_b = (b.mode, b.sha) if b and not b.is_tree else None
        if file_a != file_b:
            yield path, file_a, file_b
        yield from changed_files(store, old_sub, new_sub, path + "/")


class TreeEditor:
    """A tree being changed. Sub-trees are read only where a path leads through them."""

    def __init__(self, store: Store, tree: str) -> None:
        self._store = store
        self._original = tree
        self._entries: dict[str, TreeEntry] | None = None
        self._folders: dict[str, TreeEditor] = {}
        self._dirty = False

    def _load(self) -> dict[str, TreeEntry]:
        if self._entries is None:
            self._entries = dict(read_entries(self._store, self._original))
        return self._entries

    def _folder(self, name: str, create: bool) -> TreeEditor | None:
        if name in self._folders:
            return self._folders[name]
        entry = self._load().get(name)
        if not create and (entry is None or not entry.is_tree):
            return None
        if entry is not None and not entry.is_tree:
            raise bad_request(f"{name!r} is a file, not a folder: delete it first")
        self._folders[name] = TreeEditor(self._store, entry.sha if entry else EMPTY_TREE)
        return self._folders[name]

    def _is_empty(self) -> bool:
        names = self._load().keys() - self._folders.keys()
        return not names and all(folder._is_empty() for folder in self._folders.values())

    def set_file(self, segments: list[str], sha: str, mode: str = MODE_FILE) -> None:
        """Put a blob at a path, creating folders. Raises Problem 400 where a file and a folder collide."""
        name, rest = segments[0], segments[1:]
        self._dirty = True
        if rest:
            folder = self._folder(name, create=True)
            assert folder is not None
            folder.set_file(rest, sha, mode)
            return
        folder = self._folder(name, create=False)
        if folder is not None:
            if not folder._is_empty():
                raise bad_request(f"{name!r} is a folder, not a file: delete it first")
            del self._folders[name]
        self._load()[name] = TreeEntry(mode, name, sha)

    def delete(self, segments: list[str], folder: bool) -> None:
        """Remove a folder with all below, or a file; a "file" that is a folder goes as one, as on the Hub. Raises
        Problem 404 where there is none."""
        name, rest = segments[0], segments[1:]
        below = self._folder(name, create=False)
        if rest:
            if below is None:
                raise entry_not_found("A file with this name doesn't exist")
            below.delete(rest, folder)
        elif below is not None and not below._is_empty():
            del self._folders[name]
            self._load().pop(name, None)
        elif folder:
            raise entry_not_found("A folder with this name doesn't exist")
        elif below is not None or name not in self._load():
            raise entry_not_found("A file with this name doesn't exist")
        else:
            del self._load()[name]
        self._dirty = True

    def write(self) -> tuple[str, list[GitObject]]:
        """The hash of the changed tree and the tree objects to store. Empty folders vanish, as in git."""
        if not self._dirty:
            return self._original, []
        objects: list[GitObject] = []
        entries = dict(self._load())
        for name, folder in self._folders.items():
            sha, below = folder.write()
            objects += below
            if sha == EMPTY_TREE:
                entries.pop(name, None)
            else:
                entries[name] = TreeEntry(MODE_TREE, name, sha)
        root = make_object("tree", encode_tree(entries.values()))
        if self._original != EMPTY_TREE:
            before = read_entries(self._store, self._original)
            root = root._replace(base=self._original, difference=difference(before, entries))
        return root.sha, [*objects, root]
