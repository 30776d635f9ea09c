"""Numbers in texts of many languages: what they may mean, whether an answer is right, and wrong ones beside it."""

import hashlib
import re
import string
import unicodedata
from fractions import Fraction

from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8

_IN_TEXT = re.compile(r"\d+(?:[.,]\d+)*")
# (form, what groups thousands, what begins the decimals). Bengali and Telugu group by two before the last three.
_FORMS = (
    (re.compile(r"\d+"), "", ""),
    (re.compile(r"\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?"), ",", "."),
    (re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?"), ".", ","),
    (re.compile(r"\d*\.\d+"), "", "."),
    (re.compile(r"\d+,\d+"), "", ","),
)
_PLAIN = re.compile(r"(-?)(\d+)(?:\.(\d+))?")
_LONGEST = 100  # characters; Python refuses to convert some thousands
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Our choices: how many numbers of a question are combined, and steps beside the answer.
_OPERANDS, _STEPS = 6, (1, 2, 3, 5, 10)


def ascii_digits(text: str) -> str:
    """The text with the decimal digits of every script as 0-9."""
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def readings(text: str) -> tuple[Fraction, ...]:
    """Every value that a written number may have; none where it is no number.

    Some texts have two: `1.000` is a thousand in German and one in English. A dollar sign, blanks around it and dots
    or commas behind it do not count.
    """
    bare = ascii_digits(text).replace("\N{MINUS SIGN}", "-").strip().replace("$", "").rstrip(".,")
    sign = -1 if bare.startswith("-") else 1
    bare = bare.removeprefix("-")
    if len(bare) > _LONGEST:
        return ()
    values: list[Fraction] = []
    for form, thousands, decimals in _FORMS:
        if form.fullmatch(bare):
            digits = bare.replace(thousands, "") if thousands else bare
            value = sign * Fraction(digits.replace(decimals, ".") if decimals else digits)
            if value not in values:
                values.append(value)
    return tuple(values)


def plain(answer: str) -> str:
    """A gold answer as it is written here: no needless decimals, so that 8.0 is 8.

    Raises DataError where it is not digits with at most one decimal point.
    """
    match = _PLAIN.fullmatch(ascii_digits(answer.strip()))
    if match is None:
        raise DataError(f"the answer {answer!r} is not a number as text (digits, one decimal point at most)")
    sign, whole, decimals = match[1], match[2].lstrip("0") or "0", (match[3] or "").rstrip("0")
    digits = f"{whole}.{decimals}" if decimals else whole
    return digits if digits == "0" else sign + digits


def exact_match(extracted: str, gold: str) -> float:
    """Upstream's comparison of what was extracted: case and punctuation do not count, neither does the script.

    So 1,000 is 1000, but 1.5 is 15 as well, -3 is 3, and 5.00 is not 5; `number_match` is the other way round.
    """
    one, other = (ascii_digits(text).lower().translate(_NO_PUNCTUATION) for text in (extracted, gold))
    return float(one == other)


def number_match(extracted: str, gold: str) -> float:
    """Whether what was extracted may be read as the gold number (our choice)."""
    return float(Fraction(plain(gold)) in readings(extracted))


def in_question(question: str) -> list[Fraction]:
    """The numbers of a question in its order, each once, by its likeliest reading; numerals in words are missed."""
    numbers: list[Fraction] = []
    for match in _IN_TEXT.finditer(question):
        values = readings(match[0])
        if values and values[0] not in numbers:
            numbers.append(values[0])
    return numbers


def distractors(question: str, answer: str) -> list[str]:
    """Three wrong answers to a word problem (our choice; MGSM and MSVAMP have none).

    Up to two are results of other operations on the question's numbers (sum, difference, product or quotient of two,
    the sum of all); the others stand near the answer, in steps of its last digit that is not 0. All have the answer's
    sign and decimals and, if possible, its number of digits, since a text of fewer tokens is likelier; none is in the
    question, whose numbers a model that copies would take. How many are smaller is drawn, so that the answer's rank
    tells nothing. Hashes of question and answer decide: the same at every run.
    """
    gold = plain(answer)
    places = len(gold.partition(".")[2])
    unit = 10**places
    right = int(Fraction(gold) * unit)
    size = abs(right)

    numbers = in_question(question)
    multiples = {abs(value * unit) for value in numbers}

    def telling(value: int) -> bool:
        return value in multiples or len(str(value)) != len(str(size))

    def order(value: int) -> bytes:
        return hashlib.sha256(utf8(f"{question}\n{gold}\n{value}")).digest()

    results = {int(value * unit) for value in _results(numbers) if (value * unit).denominator == 1}
    step = 10 ** (len(str(size)) - len(str(size).rstrip("0"))) if size else 1
    smaller = min(order(-1)[0] % 4, max(size - 1, 0))
    chosen: list[int] = []
    for side, count in ((-1, smaller), (1, 3 - smaller)):
        candidates = sorted((v for v in results if (v - size) * side > 0 and v and not telling(v)), key=order)[
            : max(count - 1, 1)
        ]
        near = sorted((size + side * factor * step for factor in _STEPS), key=order)
        # The answer's neighbours are what is left of a small answer.
        pool = dict.fromkeys([*candidates, *near, *(size + side * factor for factor in (1, 2, 3))])
        chosen += [value for value in sorted(pool, key=telling) if value > 0][:count]
    return [_written(value, places, negative=right < 0) for value in chosen]


def _results(numbers: list[Fraction]) -> set[Fraction]:
    used = numbers[:_OPERANDS]
    results = {sum(used, Fraction())}
    for place, a in enumerate(used):
        for b in used[place + 1 :]:
            results |= {a + b, abs(a - b), a * b} | {x / y for x, y in ((a, b), (b, a)) if y}
    return results


def _written(value: int, places: int, *, negative: bool) -> str:
    digits = str(value).rjust(places + 1, "0")
    whole = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"-{whole}" if negative else whole
