"""Train and test without leakage: related conversations stay on one side.

Conversations that offer the same set of functions, or that open with the same question (numbers aside), are one
group; a group goes to one side as a whole, by a hash.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from ...hub_sync.text import utf8
from .near_duplicates import words


def group_keys(row: dict[str, Any]) -> list[str]:
    """What ties a conversation to others: its functions, and its first question."""
    keys = []
    if row["tools"]:
        keys.append("tools:" + ",".join(sorted(t["function"]["name"] for t in row["tools"])))
    first = next((m["content"] for m in row["messages"] if m["role"] == "user"), "")
    keys.append("user:" + " ".join(words(first)))
    return keys


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
