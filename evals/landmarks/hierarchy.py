"""The granularities of a landmark, and whether answers at several of them agree.

>>> tower = Facts("Eiffel Tower", (), "tower", "structures", "human-made")
>>> hierarchy = Hierarchy([tower, Facts("Matterhorn", (), "mountain", "landforms", "natural")])
>>> hierarchy.is_consistent({"name": "The Eiffel tower", "supercategory": "tower"})
True
>>> hierarchy.is_consistent({"name": "Eiffel Tower", "supercategory": "mountain"})      # a right name, a wrong parent
False
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .text import contains, is_match, is_refusal, words_of, words_of_name

PARENTS = ("supercategory", "hierarchical_label", "natural_or_human_made")
"""From fine to coarse."""
LEVELS = ("name", *PARENTS)
CAPTION = "caption"
ALL_LEVELS = (*LEVELS, CAPTION)


class Facts(NamedTuple):
    """A landmark and its parents; None for what is not known."""

    name: str
    aliases: tuple[str, ...] = ()
    supercategory: str | None = None
    hierarchical_label: str | None = None
    natural_or_human_made: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Facts:
        """Those of a row with such columns, of which all but `name` may be absent."""
        return cls(row["name"], tuple(row.get("aliases") or ()), *(row.get(level) or None for level in PARENTS))

    def value(self, level: str) -> str | None:
        """The answer at a level."""
        return getattr(self, level)


class Hierarchy:
    """All landmarks that there are answers for.

    Args:
        landmarks: each once or more; rows of one landmark may have other aliases.
        words: (level, value, other names of the value), such as its translations.
    """

    def __init__(self, landmarks: Iterable[Facts], words: Iterable[tuple[str, str, Iterable[str]]] = ()) -> None:
        merged: dict[tuple[str | None, ...], set[str]] = {}
        for one in landmarks:
            merged.setdefault((one.name, *one[2:]), set()).update(one.aliases)
        self.landmarks = [Facts(str(key[0]), tuple(sorted(names)), *key[1:]) for key, names in sorted(
            merged.items(), key=lambda item: tuple(map(str, item[0]))
        )]  # fmt: skip
        self.values = {level: sorted({v for one in self.landmarks if (v := one.value(level))}) for level in LEVELS}
        self._names: dict[tuple[str, str], set[str]] = {}
        for level, value, names in words:
            self._names.setdefault((level, value), {value}).update(names)
        self._by_words: dict[tuple[str, ...], list[Facts]] = {}
        for one in self.landmarks:
            for key in dict.fromkeys(map(words_of_name, (one.name, *one.aliases))):
                if key:
                    self._by_words.setdefault(key, []).append(one)
        self._longest = max(map(len, self._by_words), default=0)

    def named(self, reply: str) -> list[Facts]:
        """The landmarks that a reply names: those it equals, else the only one with a name in it; [] if there is
        none or if several are."""
        same = self._by_words.get(words_of_name(reply), ())
        if equal := [one for one in same if is_match(reply, (one.name, *one.aliases))]:
            return equal
        words, within = words_of(reply), dict[Facts, None]()
        end = 0  # a name within a longer one that is in the reply is not a name of its own
        for start in range(len(words)):
            for stop in range(min(len(words), start + self._longest), max(start, end), -1):
                if landmarks := self._by_words.get(words[start:stop]):
                    within |= dict.fromkeys(one for one in landmarks if contains(reply, (one.name, *one.aliases)))
                    end = stop
                    break
        return list(within) if len({one.name for one in within}) == 1 else []

    def value_in(self, level: str, reply: str) -> str | None:
        """The value of a level that a reply gives: the one it equals, else the only one in it; of a value within
        another the longer counts.

        >>> tower = Facts("A", (), "tower"), Facts("B", (), "bell tower")
        >>> Hierarchy(tower).value_in("supercategory", "It is a bell tower")
        'bell tower'
        """
        names = {value: self._names.get((level, value), {value}) for value in self.values[level]}
        if equal := [value for value, own in names.items() if is_match(reply, own)]:
            return equal[0] if len(equal) == 1 else None
        within = {name: value for value, own in names.items() for name in own if contains(reply, [name])}
        longest = {
            value for name, value in within.items()
            if not any(name != other and contains(other, [name]) for other in within)
        }  # fmt: skip
        return longest.pop() if len(longest) == 1 else None

    def is_consistent(self, replies: Mapping[str, str]) -> bool | None:
        """Whether one landmark has all that the replies of an image say, by level; None with fewer than two answers.

        Landmarks are those that the finest answer is of. Refusals are no answers. An answer that is no value of its
        level agrees with nothing. A landmark whose coarser parent is not known agrees with any answer there.
        """
        answered = {level: reply for level, reply in replies.items() if level in LEVELS and not is_refusal(reply)}
        if len(answered) < 2:
            return None
        values = {level: self.value_in(level, reply) for level, reply in answered.items() if level != "name"}
        if None in values.values():
            return False
        if "name" in answered:
            candidates = self.named(answered["name"])
        else:
            finest = next(level for level in PARENTS if level in values)
            candidates = [one for one in self.landmarks if one.value(finest) == values[finest]]
        return any(all(one.value(level) in (None, value) for level, value in values.items()) for one in candidates)

    def shared_level(self, reply: str, truth: Facts) -> str:
        """The finest level at which the landmark that a reply names is the true one's: a level, "none" if they share
        nothing, "refused", or "no such name" for a reply that names no landmark here.

        >>> one, two = Facts("Eiffel Tower", (), "tower"), Facts("Tokyo Tower", (), "tower")
        >>> Hierarchy([one, two]).shared_level("Tokyo Tower", one)
        'supercategory'
        """
        if is_match(reply, (truth.name, *truth.aliases)):
            return "name"
        if is_refusal(reply) and not contains(reply, (truth.name, *truth.aliases)):
            return "refused"
        names = self.named(reply)
        if not names:
            return "no such name"
        if any(one.name == truth.name for one in names):
            return "name"
        for level in PARENTS:
            if truth.value(level) and any(one.value(level) == truth.value(level) for one in names):
                return level
        return "none"


def consistency(replies: Iterable[tuple[str, str, str]], hierarchy: Hierarchy) -> float:
    """Share of the images whose answers agree with one another, of those with two answers or more; NaN without any.

    Args:
        replies: (image, level, reply).
    """
    images: dict[str, dict[str, str]] = {}
    for image, level, reply in replies:
        images.setdefault(image, {})[level] = reply
    checked = [one for one in map(hierarchy.is_consistent, images.values()) if one is not None]
    return sum(checked) / len(checked) if checked else float("nan")
