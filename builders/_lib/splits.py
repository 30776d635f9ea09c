"""Train and test without leakage: related conversations stay on one side.

Conversations that offer the same set of functions, or that open with the same question (numbers aside), are one
group; a group goes to one side as a whole, by a hash. What still resembles a train conversation, measured by shingles,
is then taken out of the test split and counted.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ...hub_sync.text import utf8

SHINGLE = 5  # words, or Chinese characters
NEAR = 0.5  # Jaccard similarity from which two conversations count as nearly identical

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


def words(text: str, fold_digits: bool = True) -> list[str]:
    """Lower-case words, and Chinese characters one by one; every digit becomes 0 unless told otherwise."""
    text = text.casefold()
    return _WORD.findall(re.sub(r"\d", "0", text) if fold_digits else text)


def group_keys(row: dict[str, Any]) -> list[str]:
    """What ties a conversation to others: its functions, and its first question."""
    keys = []
    if row["tools"]:
        keys.append("tools:" + ",".join(sorted(t["function"]["name"] for t in row["tools"])))
    first = next((m["content"] for m in row["messages"] if m["role"] == "user"), "")
    keys.append("user:" + " ".join(words(first)))
    return keys


def groups(rows: list[dict[str, Any]]) -> list[str]:
    """The group of each row: the least key that it is tied to, directly or through others."""
    keys = [group_keys(row) for row in rows]
    group = connected_components((first, key) for first, *others in keys for key in (first, *others))
    return [group[first] for first, *_ in keys]


def connected_components(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The group of each key: the least key that it is tied to, directly or through others (union-find)."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {key: root(key) for key in list(parent)}


def is_test(group: str, fraction: float, seed: int) -> bool:
    """Side of a group: a hash of its name and the seed, below `fraction` for the test split."""
    return unit_hash(f"{seed}:{group}") < fraction


def unit_hash(text: str) -> float:
    """A number of [0, 1) that follows from the text alone: the first 64 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(utf8(text)).digest()[:8], "big") / 2**64


def shingles(row: dict[str, Any]) -> set[int]:
    """Hashes of the runs of SHINGLE words in all turns; calls have no text and do not count.

    They are Python's own, which differ from process to process, and are compared within one.
    """
    text = words(" ".join(m["content"] for m in row["messages"]))
    if len(text) < SHINGLE:
        return {hash(tuple(text))}
    return set(map(hash, zip(*(text[start:] for start in range(SHINGLE)), strict=False)))


def near_train(test: list[dict[str, Any]], train: list[dict[str, Any]]) -> list[float]:
    """For each test row, its highest Jaccard similarity to any train row, 0 to 1."""
    return highest_similarity([shingles(row) for row in test], [shingles(row) for row in train])


def highest_similarity(some: Sequence[set[int]], others: Iterable[set[int]]) -> list[float]:
    """For each of `some`, its highest Jaccard similarity to any of `others`, 0 to 1.

    Work grows with the number of shared shingles, not with the number of pairs.
    """
    index: dict[int, list[int]] = defaultdict(list)
    wanted: set[int] = set().union(*some)
    sizes = []
    for number, marks in enumerate(others):
        sizes.append(len(marks))
        for mark in marks & wanted:  # of most conversations few or none
            index[mark].append(number)
    nearest = []
    for marks in some:
        shared = Counter(number for mark in marks for number in index.get(mark, ()))
        nearest.append(max((n / (len(marks) + sizes[number] - n) for number, n in shared.items()), default=0.0))
    return nearest
