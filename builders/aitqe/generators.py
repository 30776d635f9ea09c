"""Captions with one known fault, made from good ones: the same seed gives the same fault.

    damaged, detail = damage("colour", "A red bus.", Random(0), others=[])
    damaged, detail                       # ("A blue bus.", "red -> blue")

A fault that another caption of the image says to be right is none: words that it holds are not put in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .._lib.data_files import read_yaml

WORDS: dict[str, Any] = read_yaml(__file__, "words.yaml")
SHORTEST = 4  # words of a caption that is cut off or shuffled
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'-]+(?: [A-Z][\w'-]+)+")
_QUOTED = re.compile(r'"([^"]{2,60})"')
_SOUNDS_LIKE_VOWEL = re.compile(r"[aeio]|u(?!n[aeiou]|s[aeiou])", re.IGNORECASE)


class NotApplicable(Exception):
    """A caption that a kind of damage has nothing to do with, or that it would leave as it is."""


class Damaged(NamedTuple):
    """A caption with a fault, and what the fault is, in a few words ("" if the kind says it all)."""

    text: str
    detail: str


def damage(kind: str, caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    """A caption with the fault of this kind.

    Args:
        kind: a key of `GENERATORS`.
        rng: decides among the possible faults.
        others: further captions of the image.

    Raises NotApplicable where there is no such fault, or the result says the same as one of the captions.
    """
    result = GENERATORS[kind](caption, rng, others)
    if same(result.text, [caption, *others]):
        raise NotApplicable(kind)
    return result


def same(text: str, captions: Iterable[str]) -> bool:
    """Whether a text has the words of one of the captions, in their order; marks and capitals aside."""
    words = key(text)
    return any(words == key(caption) for caption in captions)


def key(text: str) -> str:
    """The words of a text, by which two are the same."""
    return " ".join(_WORD.findall(text.casefold()))


def _vocabulary(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text.casefold())}


def _exchange(
    caption: str, rng: random.Random, others: Sequence[str], choices: Callable[[str], Sequence[str]],
    skip: Callable[[re.Match[str]], bool] = lambda match: False,
) -> Damaged:  # fmt: skip
    """The caption with one word in place of another.

    Args:
        choices: what may stand for a word, in lower case.
        skip: whether a word stays.
    """
    present = _vocabulary([caption, *others])
    places = []
    for match in _WORD.finditer(caption):
        possible = [word for word in choices(match[0].casefold()) if word.casefold() not in present]
        if possible and not skip(match):
            places.append((match, possible))
    if not places:
        raise NotApplicable("no such word")
    match, possible = rng.choice(places)
    word = rng.choice(possible)
    new = word.upper() if match[0].isupper() and len(match[0]) > 1 else word.title() if match[0][0].isupper() else word
    return Damaged(_put(caption, match.start(), match.end(), new), f"{match[0]} -> {new}")


def _put(caption: str, start: int, end: int, new: str) -> str:
    """A text in place of a part of the caption, its indefinite article made to fit."""
    before = caption[:start]
    if article := re.search(r"\b(an?)(\s+)$", before, re.IGNORECASE):
        fitting = "an" if _SOUNDS_LIKE_VOWEL.match(new) else "a"
        fitting = fitting.capitalize() if article[1][0].isupper() else fitting
        before = before[: article.start()] + fitting + article[2]
    return before + new + caption[end:]


def _colour(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    alike = {"grey": "gray", "gray": "grey"}

    def choices(word: str) -> list[str]:
        if word not in WORDS["colours"]:
            return []
        return [one for one in WORDS["colours"] if one != alike.get(word) and one != "gray"]

    def skip(match: re.Match[str]) -> bool:
        around = caption[max(0, match.start() - 10) : match.end() + 10].casefold()
        return "black and white" in around or "black-and-white" in around

    return _exchange(caption, rng, others, choices, skip)


def _count(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    def choices(word: str) -> list[str]:
        if word in WORDS["numbers"]:
            return list(WORDS["numbers"])
        digits = word.isascii() and word.isdigit() and 2 <= int(word) <= 20
        return [str(number) for number in range(2, 21)] if digits else []

    def skip(match: re.Match[str]) -> bool:
        beside = caption[max(0, match.start() - 1) : match.start()] + caption[match.end() : match.end() + 1]
        return any(mark in beside for mark in ":.,/%#$€£-") and match[0].isdigit()

    return _exchange(caption, rng, others, choices, skip)


_ANTONYMS = {one: other for pair in WORDS["attributes"] for one, other in (pair, pair[::-1])} | WORDS["instead"]


def _attribute(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    return _exchange(caption, rng, others, lambda word: [_ANTONYMS[word]] if word in _ANTONYMS else [])


def _by_word() -> dict[str, list[str]]:
    """Word -> the others of its class, in its number."""
    table: dict[str, list[str]] = {}
    for members in WORDS["entities"].values():
        for number in (0, 1):
            for member in members:
                table.setdefault(member[number], [other[number] for other in members if other is not member])
    return table


_ENTITIES = _by_word()


def _entity(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    if match := _NAME.search(caption):
        possible = [name for name in WORDS["names"] if name not in caption]
        new = rng.choice(possible)
        return Damaged(_put(caption, match.start(), match.end(), new), f"{match[0]} -> {new}")
    present = _vocabulary([caption, *others])

    def choices(word: str) -> list[str]:
        # Neither the singular nor the plural of it may be in a caption of the image.
        return [one for one in _ENTITIES.get(word, []) if not present & _both_numbers(one)]

    return _exchange(caption, rng, others, choices)


def _both_numbers(word: str) -> set[str]:
    return next(({*pair} for group in WORDS["entities"].values() for pair in group if word in pair), {word})


def _wrong_text(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    present = " ".join([caption, *others]).casefold()
    sign = rng.choice([text for text in WORDS["signs"] if text.casefold() not in present])
    if quoted := _QUOTED.search(caption):
        return Damaged(caption[: quoted.start(1)] + sign + caption[quoted.end(1) :], f'"{quoted[1]}" -> "{sign}"')
    sentence = caption.rstrip()
    sentence += "" if sentence.endswith((".", "!", "?")) else "."
    return Damaged(rng.choice(WORDS["sign_forms"]).format(caption=sentence, text=sign), f'"{sign}"')


def _truncation(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    words = caption.split()
    if len(words) < SHORTEST:
        raise NotApplicable("too short")
    kept = words[: rng.randint(2, max(2, int(len(words) * 0.6)))]
    last = kept[-1].rstrip(".,;!?")
    if len(last) > 4 and rng.random() < 0.5:
        last = last[: rng.randint(2, len(last) - 2)]
    text = " ".join([*kept[:-1], last])
    return Damaged(text + rng.choice(["", "...", " …"]), "")


def _shuffle(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    words = caption.rstrip(" .!?").split()
    if len({word.casefold() for word in words}) < SHORTEST:
        raise NotApplicable("too short")
    rng.shuffle(words)
    return Damaged(" ".join(words), "")


def _generic(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    return Damaged(rng.choice(WORDS["generic"]), "")


def _slug(caption: str, rng: random.Random) -> list[str]:
    words = [word for word in _WORD.findall(caption.casefold()) if word.isascii() and len(word) > 2]
    return words[: rng.randint(1, 3)]


def _url(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    name = "-".join([*_slug(caption, rng), str(rng.randint(100, 99999))])
    year, month = rng.randint(2009, 2024), rng.randint(1, 12)
    path = rng.choice([f"wp-content/uploads/{year}/{month:02d}/{name}", f"images/{rng.randint(1, 999)}/{name}", name])
    return Damaged(f"https://{rng.choice(WORDS['hosts'])}/{path}.{rng.choice(WORDS['endings'])}", "")


def _file_name(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    number, ending = rng.randint(1, 9999), rng.choice(WORDS["endings"])
    plain = f"{rng.choice(WORDS['prefixes'])}_{number:04d}"
    return Damaged(f"{rng.choice([plain, '_'.join([*_slug(caption, rng), str(number)])])}.{ending}", "")


def _keywords(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    words = [word for word in _WORD.findall(caption.casefold()) if len(word) > 3]
    if not words:
        raise NotApplicable("no longer words")
    chosen = rng.sample(words, min(len(words), rng.randint(1, 3))) + rng.sample(WORDS["keywords"], rng.randint(3, 5))
    rng.shuffle(chosen)
    return Damaged(rng.choice([", ", " | ", " "]).join(chosen), "")


def _repetition(caption: str, rng: random.Random, others: Sequence[str]) -> Damaged:
    words = caption.rstrip(" .!?").split()
    if not words:
        raise NotApplicable("no words")
    size = rng.randint(1, min(3, len(words)))
    start = rng.randrange(len(words) - size + 1)
    part = words[start : start + size]
    times = rng.randint(3, 5)
    return Damaged(" ".join(words[:start] + part * times + words[start + size :]), " ".join(part))


GENERATORS: dict[str, Callable[[str, random.Random, Sequence[str]], Damaged]] = {
    "attribute": _attribute, "colour": _colour, "count": _count, "entity": _entity, "wrong_text": _wrong_text,
    "truncation": _truncation, "shuffle": _shuffle, "generic": _generic, "url": _url, "file_name": _file_name,
    "keywords": _keywords, "repetition": _repetition,
}  # fmt: skip
"""Kind of damage -> what makes it from a caption alone; captions of other images are `neighbours.py`'s."""
