"""A model's thought and its answer, told apart: the one place that knows the tags of a thought.

Reasoning models write a thought before the answer, between calls, or both. A draft in it is no answer. Whatever reads
a model's text reads `answer_of` it; a thought that is never closed leaves no answer. `Reply.text` is an answer
already.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

TAGS = ("<think>", "<thinking>", "<thought>", "[THINK]")
_QUOTES = "`'\"“‘「"
_NAMING = f" \t(*_|{_QUOTES}"  # characters before a tag that a sentence names
_NEXT_LINE = re.compile(r"[ \t]*\n\s*\S")
_LINE = 2000  # characters of a line that are looked at for quotes around a tag
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)
_CALL = re.compile(r"<tool_call>(?:(?!</?tool_call>).)*</tool_call>", re.DOTALL)


@dataclass(frozen=True)
class SplitText:
    """A model's text in two: the `answer` without thoughts, "" if one is never `closed`, and the `reasoning`."""

    answer: str
    reasoning: str = ""
    closed: bool = True


@dataclass(frozen=True)
class _Tag:
    start: int
    end: int
    name: str
    opens: bool


def reasoning_tags(further: Sequence[str] = ()) -> tuple[str, ...]:
    """The default opening tags and further ones.

    Args:
        further: opening tags such as `<reflection>` or `[REASON]`, whose closing ones have a slash behind the first
            character, or an opening and a closing tag with a blank between, `<|begin|> <|end|>`.

    Raises ValueError for other texts.
    """
    for tag in further:
        _pair(tag)
    return tuple(dict.fromkeys([*TAGS, *further]))


def _pair(tag: str) -> tuple[str, str]:
    parts = tag.split()
    if len(parts) == 2:
        return parts[0], parts[1]
    if len(parts) != 1 or len(tag) < 3 or tag[0].isalnum() or tag[-1].isalnum() or tag != parts[0]:
        raise ValueError(
            f"reasoning tag {tag!r} is not an opening tag such as <think>, nor an opening and a closing one with a "
            "blank between"
        )
    return tag, f"{tag[0]}/{tag[1:]}"


@cache
def _pattern(tags: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, tuple[str, bool]]]:
    """(any tag, what each is: its name and whether it opens)."""
    kinds: dict[str, tuple[str, bool]] = {}
    for tag in tags:
        opening, closing = _pair(tag)
        kinds |= {opening.lower(): (opening, True), closing.lower(): (opening, False)}
    longest = sorted(kinds, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest)) or r"(?!)", re.IGNORECASE | re.ASCII), kinds


def split_reasoning(text: str, tags: tuple[str, ...] = TAGS) -> SplitText:
    """A model's text as answer and reasoning.

    A thought is what stands between an opening tag that begins a line, or follows another thought, and the next
    closing one of its name, or, where the chat template had opened it, all before a closing tag; the last such tag
    counts. A tag in quotes, a text of JSON, a tool call or a fence of the answer, an opening one in the middle of a
    line, and a closing one in the middle of a sentence, is only named and stays. A text without a thought is
    unchanged; of another one the blanks before the answer go.

        >>> split_reasoning("<think>No: f(1).</think>\\nf(2)")
        SplitText(answer='f(2)', reasoning='No: f(1).', closed=True)
    """
    pattern, kinds = _pattern(tags)
    lower = text.lower()
    if not any(tag in lower for tag in kinds):  # most texts, at a hundredth of the work
        return SplitText(text)
    found = [_Tag(one.start(), one.end(), *kinds[one.group().lower()]) for one in pattern.finditer(text)]
    if not found:
        return SplitText(text)
    spans = sorted([*_fences(text, found), *(one.span() for one in _CALL.finditer(text))])
    named = False
    closing: dict[str, list[int]] = {}  # by name, the numbers of its closing tags
    for number, tag in enumerate(found):
        if not tag.opens:
            closing.setdefault(tag.name, []).append(number)
    answer: list[tuple[int, str]] = []  # (place in the text, part)
    thoughts: list[tuple[int, str]] = []
    start = number = 0
    while number < len(found):
        tag = found[number]
        number += 1
        end = _next(closing, tag, number) if tag.opens else None
        before = (start, text[start : tag.start])
        if _within(tag, spans) or _quoted(text, tag) or (tag.opens and not _begins(text, tag, start)):
            named = True
            if end is not None and "\n" not in text[tag.end : found[end].start]:
                number = end + 1  # its closing tag is named as well
        elif not tag.opens and not _closes(text, tag, start, strictly=named):
            named = True
        elif not tag.opens:  # all before it was thought
            thoughts += [*answer, before]
            answer, start = [], tag.end
        elif end is not None:
            answer.append(before)
            thoughts.append((tag.end, text[tag.end : found[end].start]))
            start, number = found[end].end, end + 1
        elif not before[1].rpartition("\n")[2].strip():
            return SplitText("", _joined([*thoughts, *answer, before, (tag.end, text[tag.end :])]), closed=False)
    if not start:
        return SplitText(text)
    return SplitText("".join([part for _, part in answer] + [text[start:]]).lstrip(), _joined(thoughts))


def answer_of(text: str, tags: tuple[str, ...] = TAGS) -> str:
    """The answer in a model's text, without its thoughts; "" where there is none."""
    return split_reasoning(text, tags).answer


def opened_by(prompt: object, tags: tuple[str, ...] = TAGS) -> str:
    """The opening tag that a prompt ends with, as chat templates of reasoning models write it, or "".

    Put before the reply, it lets `split_reasoning` tell a thought that was cut off from an answer.
    """
    if not isinstance(prompt, str):
        return ""
    tail = prompt[-200:].rstrip().lower()
    return next((opening for tag in tags if tail.endswith((opening := _pair(tag)[0]).lower())), "")


def _next(closing: dict[str, list[int]], tag: _Tag, number: int) -> int | None:
    numbers = closing.get(tag.name, [])
    place = bisect_right(numbers, number - 1)
    return numbers[place] if place < len(numbers) else None


def _begins(text: str, tag: _Tag, start: int) -> bool:
    """True for an opening tag that begins its line, follows the thought that ends at `start`, or a word."""
    before = text[max(text.rfind("\n", 0, tag.start) + 1, start) : tag.start]
    return not before.strip() or before[-1] not in _NAMING


def _closes(text: str, tag: _Tag, start: int, *, strictly: bool) -> bool:
    """True for a closing tag without an opening one that ends a thought and is not named in a sentence.

    It does at the beginning of a line; if no tag was named before it (`strictly`), also behind the last word of a
    sentence, or at the end of a line that another follows.
    """
    before = text[max(text.rfind("\n", 0, tag.start) + 1, start) : tag.start]
    if not before.strip():
        return True
    if strictly:
        return False
    return before[-1] not in _NAMING or bool(_NEXT_LINE.match(text, tag.end))


def _quoted(text: str, tag: _Tag) -> bool:
    """True for a tag that is only named: an opening one behind a quote, a closing one between two, any in quotes."""
    before = text[tag.start - 1 : tag.start] in tuple(_QUOTES)
    if before and (tag.opens or text[tag.end : tag.end + 1] in tuple("`'\"”’」")):
        return True
    line = text[max(text.rfind("\n", 0, tag.start) + 1, tag.start - _LINE) : tag.start]
    rest = text[tag.end : tag.end + _LINE].partition("\n")[0]
    return any(len(re.findall(rf"(?<!\\){mark}", line)) % 2 and mark in rest for mark in '"`')


def _fences(text: str, tags: Sequence[_Tag]) -> list[tuple[int, int]]:
    """(start, end) of closed code fences without those that hold a closing tag alone (begun in a thought)."""
    spans: list[tuple[int, int]] = []
    begun, mark = None, ""
    for line in _FENCE.finditer(text):
        if begun is None:
            begun, mark = line.start(), line.group(1)
        elif not line.group(2).strip() and line.group(1).startswith(mark):
            spans.append((begun, line.end()))
            begun = None
    whole = []
    place = 0
    for start, end in spans:
        while place < len(tags) and tags[place].start < start:
            place += 1
        if place < len(tags) and (tags[place].opens or tags[place].start >= end):
            whole.append((start, end))
    return whole


def _within(tag: _Tag, spans: Sequence[tuple[int, int]]) -> bool:
    """True for a tag within one of these spans, which are in order and do not overlap by much."""
    place = bisect_right(spans, (tag.start, len(spans) + tag.end)) - 1
    return place >= 0 and spans[place][0] <= tag.start < spans[place][1]


def _joined(thoughts: Sequence[tuple[int, str]]) -> str:
    return "\n\n".join(part for _, one in sorted(thoughts) if (part := one.strip()))
