"""Which fault each text gets: all kinds about equally often, as far as texts allow."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from .captions import Block
from .generators import Damaged, NotApplicable, damage
from .samples import DAMAGES, Row, twins


class Draw:
    """Faults of one split, drawn one text after another.

    Args:
        kinds: that may be drawn.
        raw_share: share of texts that become bad alt-texts; the others get a fluent and wrong twin.

    Attributes:
        used: kind -> samples with it.
        not_applicable: kind -> texts for which it was tried in vain.
    """

    def __init__(self, kinds: Sequence[str], raw_share: float, seed: int) -> None:
        self._groups = {name: [kind for kind in kinds if DAMAGES[kind] == name] for name in ("contrast", "raw")}
        self._raw_share, self._seed = raw_share, seed
        self.used: Counter[str] = Counter()
        self.not_applicable: Counter[str] = Counter()

    def pairs(self, block: Block, place: int, count: int, group: str | None = None) -> Iterator[tuple[Row, Row]]:
        """Up to `count` twins (good, bad) of the text at this place, each with another kind of damage.

        Args:
            group: contrast or raw; None: by `raw_share`.
        """
        drawn: set[str] = set()
        for number in range(count):
            rng = random.Random(f"{self._seed}:{block.ids[place]}:{number}")  # noqa: S311
            wanted = "raw" if rng.random() < self._raw_share else "contrast"
            kinds = self._groups[group or wanted]
            if not kinds and group is None:
                kinds = self._groups["raw" if wanted == "contrast" else "contrast"]
            result = self._first(block, place, [kind for kind in kinds if kind not in drawn], rng)
            if result is None:
                return
            kind, damaged = result
            drawn.add(kind)
            self.used[kind] += 1
            caption, others = block.texts[place], block.others(place)
            better = rng.choice(others) if others else caption
            yield twins(str(block.images[place]), caption, better, kind, damaged)

    def _first(self, block: Block, place: int, kinds: Sequence[str], rng: random.Random) -> tuple[str, Damaged] | None:
        """The least used kind that applies to the text, with what it makes of it."""
        for kind in sorted(kinds, key=lambda kind: (self.used[kind], rng.random())):
            try:
                return kind, _damaged(kind, block, place, rng)
            except NotApplicable:
                self.not_applicable[kind] += 1
        return None


def _damaged(kind: str, block: Block, place: int, rng: random.Random) -> Damaged:
    others = block.others(place)
    if kind == "random_caption":
        return block.neighbours.random(place, rng, others)
    if kind == "neighbour_caption":
        return block.neighbours.nearest(place, others)
    return damage(kind, block.texts[place], rng, others)
