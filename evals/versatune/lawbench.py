"""Scores of replies to LawBench's subtasks, by the metric that a row names. Needs neither lm-eval nor torch.

After the evaluation functions of open-compass/LawBench, commits 034cd62 and 41c7367; README.md says what differs.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

LONGEST = math.log(216)  # LawBench's distance of a reply without a term
_DIGITS = {character: number % 10 for number, character in enumerate("零一二三四五六七八九〇")} | {"两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
_NUMERAL = re.compile(f"[{''.join(_DIGITS)}{''.join(_UNITS)}]+")


def score(
    metric: str, reply: str, gold: Sequence[str], choices: Sequence[str] = (), question: str = ""
) -> dict[str, float]:
    """`score`, 0 to 1, and `abstained`, 1 if the reply holds no answer of the kind.

        >>> score("choice", "[正确答案]B<eoa>", ["B"], ["A", "B", "C", "D"])
        {'score': 1.0, 'abstained': 0.0}

    Args:
        metric, gold, choices, question: of the row (builders/domain_benchmarks/lawbench.py).
    """
    value = METRICS[metric](reply, gold, choices, question)
    return {"score": float(value or 0), "abstained": float(value is None)}


def choice(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """1 if the right choice is the only one that the reply names."""
    named = labels_in(reply, choices)
    return float(named == set(gold)) if named else None


def labels(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """F1 of the set of labels that the reply names."""
    named = labels_in(reply, choices)
    return f_score(len(named & set(gold)), len(named), len(set(gold))) if named else None


def articles(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """F1 of the set of articles: the first number of each part between 、 without its paragraphs (第…款)."""
    parts = (arabic(re.sub("第[^第条]*?款", "", part)) for part in reply.split("、"))
    named = {int(match[0]) for part in parts if (match := re.search(r"\d+", part))}
    right = {int(number) for number in gold}
    return f_score(len(named & right), len(named), len(right)) if named else None


def months(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """1 - |log(1 + months) - log(1 + gold)| / log 216, at least 0."""
    text = arabic(reply)
    both = re.search(r"(\d+)年零?(\d+)个月", text)
    if both:
        term = 12 * int(both[1]) + int(both[2])
    elif match := re.search(r"(\d+)个月", text) or re.search(r"(\d+)月", text):
        term = int(match[1])
    elif match := re.search(r"(\d+)年", text):
        term = 12 * int(match[1])
    else:
        return None
    return max(0.0, 1 - abs(math.log1p(term) - math.log1p(int(gold[0]))) / LONGEST)


def amount(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """1 if the amount is one of the numbers in the reply."""
    numbers = [float(number) for number in re.findall(r"\d+\.?\d*", re.sub(r"(?<=\d)[,，](?=\d{3})", "", reply))]
    return float(float(gold[0]) in numbers) if numbers else None


def characters(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """F1 of the bags of characters, letters in lower case, without punctuation and blanks."""
    return bag_f1(reply, "".join(gold)) if bag(reply) else None


def triggers(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """F1 of words in their order, each counted by the F1 of its characters."""
    named = [part for part in re.split("[;；]", reply.strip()) if part.strip()]
    hits = sum(bag_f1(one, other) for one, other in zip(named, gold, strict=False))
    return f_score(hits, len(named), len(gold)) if named else None


def entities(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """F1 of types of entities, each counted by the F1 of its value's characters."""
    right = dict(part.split(":", 1) for part in gold)
    named = {}
    for kind in choices:
        for match in re.finditer(rf"{re.escape(kind)}[:：]([^\n 　;；]+)", reply):
            if match[1] not in ("无", "未提及"):
                named[kind] = match[1]
    if not right:
        return float(not named)
    hits = sum(bag_f1(value, right[kind]) for kind, value in named.items() if kind in right)
    return f_score(hits, len(named), len(right)) if named else None


def edits(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """F0.5 of the changed stretches of characters, in which precision counts double."""
    sentence = reply.strip()
    if not sentence:
        return None
    named, right = _edits(question, sentence), _edits(question, gold[0])
    if not named and not right:
        return 1.0
    return f_score(len(named & right), len(named), len(right), beta=0.5)


def rouge(reply: str, gold: Sequence[str], choices: Sequence[str], question: str) -> float | None:
    """ROUGE-L's F1 over characters, without blanks."""
    one, other = ("".join(text.split()) for text in (reply, gold[0]))
    return f_score(common_length(one, other), len(one), len(other)) if one else None


Metric = Callable[[str, Sequence[str], Sequence[str], str], float | None]
METRICS: dict[str, Metric] = {
    "choice": choice, "labels": labels, "articles": articles, "months": months, "amount": amount,
    "characters": characters, "triggers": triggers, "entities": entities, "edits": edits, "rouge": rouge,
}  # fmt: skip


def f_score(hits: float, named: int, right: int, beta: float = 1.0) -> float:
    """F-score of `hits` among `named` answers and `right` ones; 0 without hits."""
    return (1 + beta**2) * hits / (named + beta**2 * right) if hits else 0.0


def labels_in(text: str, choices: Sequence[str]) -> set[str]:
    """The choices that a text names; the longest first, so that 合同诈骗 is not 诈骗 too."""
    named = set()
    for label in sorted(choices, key=len, reverse=True):
        if label in text:
            named.add(label)
            text = text.replace(label, "\n")
    return named


def bag(text: str) -> Counter[str]:
    """Letters and digits of a text in lower case, counted."""
    return Counter(character for character in text.lower() if character.isalnum())


def bag_f1(one: str, other: str) -> float:
    """F1 of the letters and digits of two texts."""
    first, second = bag(one), bag(other)
    return f_score((first & second).total(), first.total(), second.total())


def common_length(one: str, other: str) -> int:
    """Length of the longest common subsequence, a word of bits for each column (Hyyrö 2004).

    >>> common_length("abcbdab", "bdcaba")
    4
    """
    places: dict[str, int] = {}
    for number, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << number
    every = rest = (1 << len(one)) - 1
    for character in other:
        match = rest & places.get(character, 0)
        rest = (rest + match | rest - match) & every
    return len(one) - rest.bit_count()


def arabic(text: str) -> str:
    """A text with its Chinese numerals in digits.

    >>> arabic("第二百六十四条, 三年零六个月, 二〇一六")
    '第264条, 3年06个月, 2016'
    """
    return _NUMERAL.sub(lambda match: _number(match[0]), text)


def _number(numeral: str) -> str:
    if not set(numeral) & set(_UNITS):
        return "".join(str(_DIGITS[character]) for character in numeral)
    total = section = digit = 0
    for character in numeral:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character == "万":
            total, section, digit = (total + section + digit) * 10_000, 0, 0
        else:
            section, digit = section + (digit or (1 if character == "十" else 0)) * _UNITS[character], 0
    return str(total + section + digit)


def _edits(source: str, target: str) -> set[tuple[int, int, str]]:
    changes = SequenceMatcher(None, source, target, autojunk=False).get_opcodes()
    return {(start, end, target[low:high]) for tag, start, end, low, high in changes if tag != "equal"}
