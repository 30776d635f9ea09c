"""Phrases around the calls of a plan (phrases.yaml), and how one is chosen."""

import random
import re
from collections import Counter

from .._lib.data_files import read_yaml

PHRASES: dict[str, list[str]] = read_yaml(__file__, "phrases.yaml")
REPEATED = 6  # words of a phrase that no turn says twice

_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")


def vary(text: str, rng: random.Random) -> str:
    """The text with one part chosen of each `[this|that]`, from the inside out."""
    while _CHOICE.search(text):
        text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), text)
    return text


def repeats(text: str, length: int = REPEATED) -> bool:
    """Whether a phrase of `length` words, parted by blanks, stands in a text twice, case aside."""
    words = text.lower().split()
    counts = Counter(tuple(words[n : n + length]) for n in range(len(words) - length + 1))
    return any(count > 1 for count in counts.values())
