"""Wrong options of multiple choice, drawn by hash: the same for every model, whatever else the data hold.

>>> draw("image 7", "a", ["a", "b", "c", "d", "e"], 3) == draw("image 7", "a", ["e", "d", "c", "b", "a"], 3)
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ...hub_sync.text import utf8
from .hierarchy import Facts


def draw(key: str, own: str, candidates: Iterable[str], number: int, seed: int = 0) -> list[str]:
    """Up to `number` of the candidates but `own`, those with the smallest hash."""
    others = sorted({one for one in candidates if one != own}, key=lambda one: _place(seed, key, one))
    return others[:number]


def _place(seed: int, key: str, text: str) -> bytes:
    return hashlib.sha256(utf8(f"{seed}\0{key}\0{text}")).digest()


def name_options(key: str, truth: Facts, landmarks: Iterable[Facts], number: int, seed: int) -> tuple[list[str], int]:
    """(names of wrong landmarks, how many of them have the true one's supercategory).

    Those of the same supercategory come first; if there are too few, others fill up.
    """
    everything = [one for one in landmarks if one.name != truth.name]
    same = {one.name for one in everything if truth.supercategory and one.supercategory == truth.supercategory}
    near = draw(key, truth.name, same, number, seed)
    far = draw(key, truth.name, {one.name for one in everything} - same, number - len(near), seed)
    return near + far, len(near)


def shuffled(key: str, options: Iterable[str], seed: int = 0) -> list[str]:
    """The options in an order by hash."""
    return sorted(set(options), key=lambda one: _place(seed, f"order of {key}", one))
