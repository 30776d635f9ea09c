"""The part of FollowBench that rules decide: which rows, and whether an answer keeps all constraints of its level.

The rules are those of the authors' program, on the answer without white space around it. A row's source decides:

    E2E, text_editing                      the answer is the target
    CONLL2003                              the answer is in the list that the target is
    WIKIEVENTS                             every line of the answer is a line of the target
    BBH_logical, BBH_time, gsm_8k          the last letter in brackets, date or amount is the target
    self_made_space                        the target is in the answer
    cnn_dailymail, xsum, samsum, gigaword, arxiv, and two rows of the category format
                                           a list of checks; level n has the first n of them

Two published checks of English format rows do not check what they state: of row 30 words that end in "-ly" never fail,
since the hyphen is part of it; of row 22 no answer keeps levels 4 and 5, since the number before a full stop is a
sentence of one word where more than 20 are asked for.
"""

import ast
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[str], bool]
LANGUAGES = ("en", "zh")
_STOPS = {"en": "[.!?]", "zh": "[。！？]"}
_MARKS = {"en": string.punctuation, "zh": string.punctuation + "，。：’“”"}
_LAST = {
    "BBH_logical": {"en": r"\([A-Z]\)", "zh": r"\([A-Z]\)"},
    "BBH_time": {"en": r"\d{2}/\d{2}/\d{4}", "zh": r"\d{2}/\d{2}/\d{4}"},
    "gsm_8k": {"en": r"\$\d+", "zh": r"\d+美元"},
}
BY_TARGET = ("E2E", "text_editing", "CONLL2003", "WIKIEVENTS", "self_made_space", *_LAST)


def has_rule(row: Mapping[str, Any]) -> bool:
    """True for a row that a rule decides: of level 1 to 5, by its source, or one of the format rows 22 and 30."""
    if not 1 <= row["level"] <= 5:
        return False
    return row["category"] == "example" or row["source"] in BY_TARGET or _checks(row) is not None


def satisfies(row: Mapping[str, Any], answer: str) -> bool:
    """Whether an answer keeps all constraints of a row for which `has_rule` is true.

    Args:
        row: {"language": en or zh, "category", "example_id", "source", "level", "target"}.
    """
    text, target, source = answer.strip(), row["target"], row["source"]
    if row["category"] == "example":
        return matches(target, text)
    if source in _LAST:
        found = re.findall(_LAST[source][row["language"]], text)
        return bool(found) and found[-1] == target
    if source == "CONLL2003":
        return text in ast.literal_eval(target)
    if source == "WIKIEVENTS":
        return set(text.split("\n")) <= set(target.split("\n"))
    if source == "self_made_space":
        return target in text
    if source in BY_TARGET:
        return bool(text == target)
    checks = _checks(row)
    assert checks is not None, "has_rule"
    return all(check(text) for check in checks[: row["level"]])


def matches(template: str, answer: str) -> bool:
    """Whether an answer has the form of an example row's template, with any text in place of its answer.

    Example: "{instruction}\\nBOT: {answer}" and "BOT: sports" give True.
    """
    form = template.replace("{instruction}\n", "").replace("{{", "{").replace("}}", "}")
    return re.fullmatch(".*".join(map(re.escape, form.split("{answer}"))), answer) is not None


def sentences(text: str, language: str) -> list[str]:
    """The pieces between full stops, question and exclamation marks that are not empty."""
    return [one for one in re.split(_STOPS[language], text) if one]


def _checks(row: Mapping[str, Any]) -> Sequence[Check] | None:
    table = _ENGLISH if row["language"] == "en" else _CHINESE
    if row["category"] == "format":
        name = f"format {row['example_id']}"
        return table.get(f"{name}, level {row['level']}", table.get(name))
    return table.get(row["source"])


def _words(text: str) -> int:
    return len(text.split(" "))


def _has(word: str) -> Check:
    return lambda text: re.search(rf"\b{re.escape(word)}\b", text) is not None


def _contains(word: str) -> Check:
    return lambda text: word in text


def _lacks(check: Check) -> Check:
    return lambda text: not check(text)


def _starts(word: str) -> Check:
    return lambda text: text.startswith(word)


def _number_of_sentences(count: int, language: str) -> Check:
    return lambda text: len(sentences(text, language)) == count


def _in_sentence(place: int, check: Check, language: str) -> Check:
    """The sentence at a place, from 1; False if there are fewer."""

    def checked(text: str) -> bool:
        parts = sentences(text, language)
        return len(parts) >= place and check(parts[place - 1])

    return checked


def _all(*checks: Check) -> Check:
    return lambda text: all(check(text) for check in checks)


def _without_marks(language: str) -> Check:
    return lambda text: not any(mark in text for mark in _MARKS[language])


def _one_mark(language: str) -> Check:
    return lambda text: sum(character in _MARKS[language] for character in text) == 1


def _size(text: str, language: str) -> int:
    return len(text.split()) if language == "en" else len(text)


def _sentences_between(low: int, high: int | None, language: str) -> Check:
    """All sentences have more than `low` and, with `high`, fewer than `high` words, or characters in Chinese."""
    return lambda text: all(
        low < _size(one, language) and (high is None or _size(one, language) < high)
        for one in sentences(text, language)
    )


def _paragraphs(text: str) -> list[str]:
    return text.split("\n\n")


def _format_22(language: str, end: str = "") -> list[Check]:
    """Three paragraphs, of fewer than three sentences each, of more than 20 words, numbered; with an end, which is a
    fourth paragraph."""

    def short(text: str) -> bool:
        return all(len(sentences(one, language)) < 3 for one in _paragraphs(text)[:3])

    def numbered(text: str) -> bool:
        return all(re.match(r"\d+\.", one.lstrip()) for one in _paragraphs(text) if one.strip())

    count = 4 if end else 3
    return [
        lambda text: len(_paragraphs(text)) == count,
        short,
        _sentences_between(20, None, language),
        numbered,
        lambda text: text.endswith(end),
    ]


def _format_30() -> list[Check]:
    def parts(text: str) -> list[str]:
        return re.split(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?)\s", text)

    def points(text: str) -> list[str]:
        return [one for one in parts(text) if any(f"{number}." in one for number in range(1, 6))]

    return [
        lambda text: "**" in text,
        lambda text: len(re.findall(r"\*\*[\d].+?:", text)) == 5,
        lambda text: all(len(one.split(".")) < 3 for one in points(text)),
        lambda text: all(10 <= len(one.split()) <= 15 for one in parts(text)),
        lambda text: not any(word.endswith("-ly") for word in text.split()),
    ]


_ENGLISH: dict[str, list[Check]] = {
    "cnn_dailymail": [
        _number_of_sentences(3, "en"),
        _sentences_between(-1, 15, "en"),
        _all(*(_in_sentence(n, _has(word), "en") for n, word in enumerate(("Potter", "actor", "films"), 1))),
        _lacks(_in_sentence(2, _has("lavish"), "en")),
        _in_sentence(3, lambda text: re.search(r"\b(has|have)\s+\w+", text) is not None, "en"),
    ],
    "xsum": [
        _number_of_sentences(1, "en"),
        lambda text: _words(text) < 20,
        _lacks(_has("Newton Stewart")),
        lambda text: re.search(r"\b(am|is|are)\s+\w+ing\b", text) is not None,
        _has("operation"),
    ],
    "samsum": [
        _number_of_sentences(1, "en"),
        lambda text: _words(text) < 15,
        _has("stuff"),
        lambda text: "procrast" not in text.lower(),
        _one_mark("en"),
    ],
    "gigaword": [lambda text: _words(text) == 8, _without_marks("en"), str.islower, _lacks(_has("bus")), _has("in")],
    "arxiv": [
        _number_of_sentences(1, "en"),
        lambda text: _words(text) <= 20,
        _starts("We"),
        _has("activations"),
        _lacks(_has("transformer")),
    ],
    "format 22": _format_22("en"),
    "format 22, level 5": _format_22("en", "Those are suggestions"),
    "format 30": _format_30(),
}
_CHINESE: dict[str, list[Check]] = {
    "cnn_dailymail": [
        _number_of_sentences(3, "zh"),
        _sentences_between(-1, 15, "zh"),
        _all(*(_in_sentence(n, _contains(word), "zh") for n, word in enumerate(("波特", "演员", "电影"), 1))),
        _lacks(_in_sentence(2, _contains("奢侈"), "zh")),
        _in_sentence(3, _contains("了"), "zh"),
    ],
    "xsum": [
        _number_of_sentences(1, "zh"),
        lambda text: len(text) < 20,
        _lacks(_contains("牛顿斯图尔特")),
        _contains("在"),
        _contains("操作"),
    ],
    "samsum": [
        _number_of_sentences(1, "zh"),
        lambda text: len(text) < 15,
        _contains("琐碎的"),
        _lacks(_contains("拖沓的")),
        _one_mark("zh"),
    ],
    "gigaword": [
        lambda text: len(text) == 8,
        _without_marks("zh"),
        lambda text: not any(character.isnumeric() for character in text),
        _lacks(_contains("公交车")),
        _contains("在"),
    ],
    "arxiv": [
        _number_of_sentences(1, "zh"),
        lambda text: len(text) <= 20,
        _starts("我们"),
        _contains("激活"),
        _lacks(_contains("transformer")),
    ],
    "format 22": _format_22("zh"),
    "format 22, level 5": _format_22("zh", "这些是建议"),
}
