"""The skills a drill asks for: small problems with one exact answer, plausible wrong ones and a check.

Every skill is a function `(rng, language) -> Problem`. A problem's `key` is the same in both languages and
for every seed, so that the split (a hash of the key) keeps a problem on one side forever. Texts and word lists
are in skills.yaml.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._lib.data_files import read_yaml

DATA = read_yaml(__file__, "skills.yaml")
MISSPELLINGS = [pair.split("/") for pair in DATA["misspellings"].split()]


@dataclass(frozen=True)
class Problem:
    """One question with an exact answer.

    Attributes:
        skill: name of the skill, a key of `SKILLS`.
        key: identity of the underlying problem, without language and wording.
        language: "en" or "zh".
        answer: the only right answer, as it must be printed.
        wrong: plausible wrong answers, distinct from the answer and from one another; one or more.
        values: what the skill's texts have places for.
    """

    skill: str
    key: str
    language: str
    answer: str
    wrong: tuple[str, ...]
    values: Mapping[str, Any]

    def text(self, part: str, value: str = "") -> str:
        """The skill's text `question`, `check` or `hint`; of `state`: that `value` is the answer."""
        template: str = DATA[self.skill][self.language][part]
        return template.format(**self.values, answer=self.answer, value=value)


def _distinct(answer: str, candidates: Sequence[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(c for c in map(str, candidates) if c != answer))


def addition(rng: random.Random, language: str) -> Problem:
    """A number from 11 to 89 plus one from 2 to 9; the wrong answers drop a carry or slip by one or two."""
    a, b = rng.randint(11, 89), rng.randint(2, 9)
    near = [a + b + slip for slip in (-10, 10, -1, 1, 2, -2)]
    rng.shuffle(near)
    answer = str(a + b)
    return Problem("addition", f"{a}+{b}", language, answer, _distinct(answer, near), {"a": a, "b": b})


def extreme(rng: random.Random, language: str) -> Problem:
    """Largest or smallest of three numbers from 10 to 99 with different tens."""
    numbers = [10 * tens + rng.randint(0, 9) for tens in rng.sample(range(1, 10), 3)]
    largest = rng.random() < 0.5
    order = sorted(numbers, reverse=largest)
    values = {
        "word": DATA["extreme"][language]["largest" if largest else "smallest"],
        "shown": ", ".join(map(str, numbers)),
        "sorting": "从大到小" if largest else "从小到大",
        "order": ", ".join(map(str, order)),
    }
    key = f"{'max' if largest else 'min'}:{','.join(map(str, sorted(numbers)))}"
    return Problem("extreme", key, language, str(order[0]), _distinct(str(order[0]), order[1:]), values)


def conversion(rng: random.Random, language: str) -> Problem:
    """Whole numbers of a unit in a smaller unit; the wrong answers use another factor."""
    unit = rng.choice(DATA["units"])
    large, small = unit[language]
    factor, n = unit["factor"], rng.randint(2, 12)
    value = n * factor
    wrong = [value + factor, value - factor, value * 10, n + factor]
    rng.shuffle(wrong)
    values = {"n": n, "factor": factor, "large": large, "small": small}
    return Problem("conversion", f"{n} {unit['en'][0]}", language, str(value), _distinct(str(value), wrong), values)


def calendar(rng: random.Random, language: str) -> Problem:
    """The month or weekday one or two steps after or before a given one."""
    kind = "month" if rng.random() < 0.6 else "day"
    names = DATA["months" if kind == "month" else "weekdays"][language]
    start, steps, after = rng.randrange(len(names)), rng.randint(1, 2), rng.random() < 0.6
    walk = [names[(start + (k if after else -k)) % len(names)] for k in range(steps + 1)]
    wrong = [names[(start + k) % len(names)] for k in (steps + 1, steps - 1, -steps, -steps - 1)]
    rng.shuffle(wrong)
    unit = DATA["calendar"][language][kind]
    if language == "zh":
        place = f"{walk[0]}{'之后' if after else '之前'}第 {steps} {unit}"
    else:
        place = f"{steps} {unit}{'s' if steps > 1 else ''} {'after' if after else 'before'} {walk[0]}"
    values = {"unit": unit, "place": place, "Place": place[0].upper() + place[1:], "walk": _listed(walk, language)}
    key = f"{kind}:{start}:{steps if after else -steps}"
    return Problem(
        "calendar", key, language, walk[-1], _distinct(walk[-1], [w for w in wrong if w != walk[0]]), values
    )


def spelling(rng: random.Random, language: str) -> Problem:
    """The right one of two spellings of an English word."""
    right, misspelt = rng.choice(MISSPELLINGS)
    first, second = rng.sample((right, misspelt), 2)
    return Problem("spelling", right, language, right, (misspelt,), {"first": first, "second": second})


def counting(rng: random.Random, language: str) -> Problem:
    """How many words a list of three to seven nouns has."""
    picked = rng.sample(range(len(DATA["nouns"]["en"])), rng.randint(3, 7))
    words, answer = _nouns(picked, language), str(len(picked))
    wrong = [len(picked) + slip for slip in (-1, 1, 2)]
    rng.shuffle(wrong)
    values = {"listed": _listed(words, language), "numbered": _numbered(words, language)}
    key = ",".join(_nouns(picked, "en"))
    return Problem("counting", key, language, answer, _distinct(answer, wrong), values)


def position(rng: random.Random, language: str) -> Problem:
    """The second to last-but-one word of a list of four or five nouns."""
    picked = rng.sample(range(len(DATA["nouns"]["en"])), rng.randint(4, 5))
    words, k = _nouns(picked, language), rng.randint(2, len(picked) - 1)
    wrong = [w for i, w in enumerate(words, 1) if i != k]
    rng.shuffle(wrong)
    values = {
        "ordinal": DATA["ordinals"][language][k - 1],
        "listed": _listed(words, language),
        "numbered": _numbered(words[:k], language),
    }
    return Problem("position", f"{k}:{','.join(_nouns(picked, 'en'))}", language, words[k - 1], tuple(wrong), values)


def lookup(rng: random.Random, language: str) -> Problem:
    """Which of three or four numbers belongs to a name; the wrong answers are the others' numbers."""
    names, space = DATA["names"], "" if language == "zh" else " "
    people = rng.sample(range(len(names["en"])), rng.randint(3, 4))
    ages, k = rng.sample(range(11, 90), len(people)), rng.randrange(len(people))
    pairs = list(zip(people, ages, strict=True))
    wrong = [str(age) for i, age in enumerate(ages) if i != k]
    rng.shuffle(wrong)
    values = {
        "listed": ("，" if language == "zh" else ", ").join(f"{names[language][i]}{space}{age}" for i, age in pairs),
        "name": names[language][people[k]],
    }
    key = f"{k}:" + ",".join(f"{names['en'][i]} {age}" for i, age in pairs)
    return Problem("lookup", key, language, str(ages[k]), tuple(wrong), values)


def _nouns(numbers: Sequence[int], language: str) -> list[str]:
    return [DATA["nouns"][language][number] for number in numbers]


def _listed(words: Sequence[str], language: str) -> str:
    return ("、" if language == "zh" else ", ").join(words)


def _numbered(words: Sequence[str], language: str) -> str:
    return _listed([f"{number} {word}" for number, word in enumerate(words, 1)], language)


SKILLS: dict[str, Callable[[random.Random, str], Problem]] = {
    f.__name__: f for f in (addition, extreme, conversion, calendar, spelling, counting, position, lookup)
}
