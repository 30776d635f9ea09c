"""The skills a drill asks for: small problems with one exact answer, plausible wrong ones and a check.

Every skill is a function `(rng, language) -> Problem`. A problem's `key` is the same in both languages and
for every seed, so that the split (a hash of the key) keeps a problem on one side for ever.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from .words import MISSPELLINGS, MONTHS, NAMES, NOUNS, ORDINALS, UNITS, WEEKDAYS


@dataclass(frozen=True)
class Problem:
    """One question with an exact answer.

    Attributes:
        skill: name of the skill, a key of `SKILLS`.
        key: identity of the underlying problem, without language and wording.
        question: the user's first turn, without the request for the answer's form.
        answer: the only right answer, as it must be printed.
        wrong: plausible wrong answers, distinct from the answer and from one another; one or more.
        check: how the answer is found, a sentence that the corrected response may begin with.
        state: says that a given value is the answer, in one sentence, right or wrong.
        hint: tells how to check, without giving a value.
    """

    skill: str
    key: str
    question: str
    answer: str
    wrong: tuple[str, ...]
    check: str
    hint: str
    state: Callable[[str], str] = field(compare=False)


def _distinct(answer: str, candidates: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(c for c in candidates if c != answer))


def addition(rng: random.Random, language: str) -> Problem:
    """A number from 11 to 89 plus one from 2 to 9; the wrong answers drop a carry or slip by one or two."""
    a, b = rng.randint(11, 89), rng.randint(2, 9)
    near = [a + b + slip for slip in (-10, 10, -1, 1, 2, -2)]
    rng.shuffle(near)
    zh = language == "zh"
    return Problem(
        "addition",
        f"{a}+{b}",
        f"{a} + {b} 等于多少？" if zh else f"What is {a} + {b}?",
        str(a + b),
        _distinct(str(a + b), [str(n) for n in near]),
        f"{a} + {b} = {a + b}{'。' if zh else '.'}",
        "从较大的数往上数。" if zh else "Count up from the larger number.",
        lambda v: f"{a} + {b} = {v}{'。' if zh else '.'}",
    )


def extreme(rng: random.Random, language: str) -> Problem:
    """Largest or smallest of three numbers from 10 to 99 with different tens."""
    numbers = [10 * tens + rng.randint(0, 9) for tens in rng.sample(range(1, 10), 3)]
    largest = rng.random() < 0.5
    order = sorted(numbers, reverse=largest)
    shown, zh = ", ".join(map(str, numbers)), language == "zh"
    word = ("最大" if largest else "最小") if zh else ("largest" if largest else "smallest")
    return Problem(
        "extreme",
        f"{'max' if largest else 'min'}:{','.join(map(str, sorted(numbers)))}",
        f"{shown} 中哪个数{word}？" if zh else f"Which number is the {word}: {shown}?",
        str(order[0]),
        _distinct(str(order[0]), [str(n) for n in order[1:]]),
        (
            f"{'从大到小' if largest else '从小到大'}：{', '.join(map(str, order))}。"
            if zh
            else f"In order: {', '.join(map(str, order))}."
        ),
        "把三个数排个序。" if zh else "Put the three numbers in order.",
        lambda v: f"{word}的数是 {v}。" if zh else f"The {word} number is {v}.",
    )


def conversion(rng: random.Random, language: str) -> Problem:
    """Whole numbers of a unit in a smaller unit; the wrong answers use another factor."""
    unit = rng.choice(UNITS)
    large, small = unit[language]
    factor, n = unit["factor"], rng.randint(2, 12)
    value, zh = n * factor, language == "zh"
    wrong = [str(v) for v in (value + factor, value - factor, value * 10, n + factor)]
    rng.shuffle(wrong)
    return Problem(
        "conversion",
        f"{n} {unit['en'][0]}",
        f"{n} {large}等于多少{small}？" if zh else f"How many {small} are there in {n} {large}?",
        str(value),
        _distinct(str(value), wrong),
        f"{n} x {factor} = {value}{'。' if zh else '.'}",
        f"想想一{large}有多少{small}。" if zh else f"Think how many {small} make one of the {large}.",
        lambda v: f"{n} {large} = {v} {small}{'。' if zh else '.'}",
    )


def calendar(rng: random.Random, language: str) -> Problem:
    """The month or weekday one or two steps after or before a given one."""
    months = rng.random() < 0.6
    names = (MONTHS if months else WEEKDAYS)[language]
    start, steps, after = rng.randrange(len(names)), rng.randint(1, 2), rng.random() < 0.6
    walk = [names[(start + (k if after else -k)) % len(names)] for k in range(steps + 1)]
    wrong = [names[(start + k) % len(names)] for k in (steps + 1, steps - 1, -steps, -steps - 1)]
    rng.shuffle(wrong)
    zh = language == "zh"
    unit = ("个月" if months else "天") if zh else ("month" if months else "day")
    if zh:
        asked = f"{walk[0]}{'之后' if after else '之前'}第 {steps} {unit}"
    else:
        asked = f"{steps} {unit}{'s' if steps > 1 else ''} {'after' if after else 'before'} {walk[0]}"
    return Problem(
        "calendar",
        f"{'month' if months else 'day'}:{start}:{steps if after else -steps}",
        f"{asked}是什么？" if zh else f"Which {unit} is {asked}?",
        walk[-1],
        _distinct(walk[-1], [w for w in wrong if w != walk[0]]),
        ("、".join(walk) + "。") if zh else (", ".join(walk) + "."),
        "一步一步往下数。" if zh else "Go step by step from the first name.",
        lambda v: f"{asked}是{v}。" if zh else f"{asked[0].upper()}{asked[1:]} is {v}.",
    )


def spelling(rng: random.Random, language: str) -> Problem:
    """The right one of two spellings of an English word."""
    right, misspelt = rng.choice(MISSPELLINGS)
    first, second = rng.sample((right, misspelt), 2)
    zh = language == "zh"
    return Problem(
        "spelling",
        right,
        (f"{first} 和 {second}，哪个拼写正确？" if zh else f"Which spelling is correct, {first} or {second}?"),
        right,
        (misspelt,),
        f"词典里写作 {right}。" if zh else f"The dictionary has {right}.",
        "一个字母一个字母地看。" if zh else "Look at it letter by letter.",
        lambda v: f"正确的拼写是 {v}。" if zh else f"The correct spelling is {v}.",
    )


def counting(rng: random.Random, language: str) -> Problem:
    """How many words a list of three to seven nouns has."""
    picked = rng.sample(range(len(NOUNS["en"])), rng.randint(3, 7))
    words, n, zh = [NOUNS[language][i] for i in picked], len(picked), language == "zh"
    wrong = [str(n + slip) for slip in (-1, 1, 2)]
    rng.shuffle(wrong)
    listed = ("、" if zh else ", ").join(words)
    return Problem(
        "counting",
        ",".join(NOUNS["en"][i] for i in picked),
        f"这里有几个词：{listed}？" if zh else f"How many words are in this list: {listed}?",
        str(n),
        _distinct(str(n), wrong),
        ("、" if zh else ", ").join(f"{k} {w}" for k, w in enumerate(words, 1)) + ("。" if zh else "."),
        "一个一个地数。" if zh else "Number the words one by one.",
        lambda v: f"一共有 {v} 个词。" if zh else f"The list has {v} words.",
    )


def position(rng: random.Random, language: str) -> Problem:
    """The second to last-but-one word of a list of four or five nouns."""
    picked = rng.sample(range(len(NOUNS["en"])), rng.randint(4, 5))
    words, k, zh = [NOUNS[language][i] for i in picked], rng.randint(2, len(picked) - 1), False
    zh = language == "zh"
    wrong = [w for i, w in enumerate(words, 1) if i != k]
    rng.shuffle(wrong)
    listed = ("、" if zh else ", ").join(words)
    ordinal = ORDINALS[language][k - 1]
    return Problem(
        "position",
        f"{k}:" + ",".join(NOUNS["en"][i] for i in picked),
        f"{listed}，其中{ordinal}个词是什么？" if zh else f"What is the {ordinal} word of: {listed}?",
        words[k - 1],
        tuple(wrong),
        ("、" if zh else ", ").join(f"{i} {w}" for i, w in enumerate(words[:k], 1)) + ("。" if zh else "."),
        "从头开始数。" if zh else "Number the words from the start.",
        lambda v: f"{ordinal}个词是{v}。" if zh else f"The {ordinal} word is {v}.",
    )


def lookup(rng: random.Random, language: str) -> Problem:
    """Which of three or four numbers belongs to a name; the wrong answers are the others' numbers."""
    people = rng.sample(range(len(NAMES["en"])), rng.randint(3, 4))
    values, k = rng.sample(range(11, 90), len(people)), rng.randrange(len(people))
    names, zh = [NAMES[language][i] for i in people], language == "zh"
    listed = ("，" if zh else ", ").join(f"{n}{'' if zh else ' '}{v}" for n, v in zip(names, values, strict=True))
    wrong = [str(v) for i, v in enumerate(values) if i != k]
    rng.shuffle(wrong)
    return Problem(
        "lookup",
        f"{k}:" + ",".join(f"{NAMES['en'][i]} {v}" for i, v in zip(people, values, strict=True)),
        f"年龄：{listed}。{names[k]}几岁？" if zh else f"Ages: {listed}. How old is {names[k]}?",
        str(values[k]),
        tuple(wrong),
        f"表里写着{names[k]}{values[k]}。" if zh else f"The list has {names[k]} {values[k]}.",
        "再看一遍表。" if zh else "Read the list again.",
        lambda v: f"{names[k]} {v} 岁。" if zh else f"{names[k]} is {v}.",
    )


SKILLS: dict[str, Callable[[random.Random, str], Problem]] = {
    f.__name__: f for f in (addition, extreme, conversion, calendar, spelling, counting, position, lookup)
}
