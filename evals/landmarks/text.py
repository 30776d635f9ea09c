"""Names of landmarks in replies: normalised, matched with a name or its aliases, and refusals.

>>> normalise("Category:Musée_du_Louvre"), normalise("The Trinity Church (Boston)"), normalise("Chùa Một Cột")
('musee du louvre', 'trinity church', 'chua mot cot')
>>> normalise("ताज महल"), normalise("紫禁城"), normalise("الأهرامات")
('ताज महल', '紫禁城', 'الأهرامات')

The rules are our choice. Marks are removed from Latin and Greek letters alone: in other scripts they are vowels.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

CACHED = 2**15  # texts whose normal form is remembered: names and replies come back
_CATEGORY = re.compile(r"^\s*category\s*:", re.IGNORECASE)
_NOTE = re.compile(r"\s*\(([^()]*)\)\s*$")
_ARTICLES = frozenset("the a an le la les el los las il lo gli der die das het".split())
_ELIDED = re.compile(r"^[ld]['’ʼ](?=\w)")
_APOSTROPHES = "'’ʼ‘`´"
_PLAIN = str.maketrans({"đ": "d", "ø": "o", "ł": "l", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"})
# Scripts that are written without blanks between words: Thai, Lao, Burmese, Khmer, kana, Chinese characters.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")
_REFUSAL = re.compile(
    r"\b(?:do(?:n't| not) know|(?:can't|cannot|can not|could not|couldn't|unable to|not able to) "
    r"(?:identify|tell|name|recogni[sz]e|determine|say|see)|(?:am|i'm) not (?:sure|certain)|no idea|"
    r"do(?:n't| not) recogni[sz]e|not enough information)\b"
    r"|\b(?:no lo s[eé]|je ne sais pas|weiß (?:es |ich )?nicht|non lo so|não sei|không biết|не знаю)\b"
    r"|不知道|不认识|无法(?:识别|确定|判断)|わかりません|分かりません|모르겠|لا أعرف|لا أعلم|नहीं पता|नहीं जानता",
    re.IGNORECASE,
)
_NOTHING = frozenset(("unknown", "none", "n a", "na", "no answer", "not sure", "unsure", "null"))


def _letters(text: str) -> str:
    """Text in one form of its characters: NFKC, folded case, Latin and Greek letters without marks."""
    if text.isascii():
        return text.casefold()
    text = unicodedata.normalize("NFKC", text).casefold()
    result, strips = [], False
    for char in unicodedata.normalize("NFD", text):
        if unicodedata.combining(char) and strips:
            continue
        if not unicodedata.combining(char):
            strips = unicodedata.name(char, "").startswith(("LATIN", "GREEK"))
        result.append(char)
    return unicodedata.normalize("NFC", "".join(result)).translate(_PLAIN)


def _words(text: str) -> str:
    """Text without punctuation, symbols and invisible characters, with single blanks; never emptied by that."""
    result = []
    for char in text:
        kind = unicodedata.category(char)
        if char in _APOSTROPHES or kind == "Cf":
            continue
        result.append(" " if kind[0] in "PSZC" else char)
    return " ".join("".join(result).split()) or " ".join(text.split())


@lru_cache(CACHED)
def _parts(text: str) -> tuple[str, str]:
    """(normalised name, normalised disambiguator in parentheses behind it, or "")."""
    text = _CATEGORY.sub("", unicodedata.normalize("NFKC", text).casefold()).replace("_", " ").strip()
    note = ""
    if (match := _NOTE.search(text)) and text[: match.start()].strip():
        text, note = text[: match.start()], _words(_letters(match[1]))
    text = _ELIDED.sub("", text.lstrip("\"'“„«( "))
    first, _, rest = text.partition(" ")  # looked at with its marks: a Vietnamese word is no article
    name = _words(_letters(rest if first in _ARTICLES and rest.strip() else text))
    return name, note


def normalise(text: str) -> str:
    """A name without case, marks of Latin letters, punctuation, a leading article, `Category:`, and what stands in
    parentheses behind it.

    >>> normalise("L’Arc de Triomphe."), normalise("The The"), normalise("(Untitled)"), normalise("Đà Nẵng")
    ('arc de triomphe', 'the', 'untitled', 'da nang')
    """
    return _parts(text)[0]


def is_match(reply: str, answers: Iterable[str]) -> bool:
    """Whether a reply is one of the answers after normalisation. Two different disambiguators are two names.

    >>> answers = ["Trinity Church (Boston)"]
    >>> is_match("trinity church", answers), is_match("Trinity Church (New York)", answers)
    (True, False)
    """
    name, note = _parts(reply)
    for answer in answers:
        other, own = _parts(answer)
        if name and name == other and (not note or not own or note == own):
            return True
    return False


def _tokens(text: str) -> list[str]:
    """Words of a normalised text; of scripts without blanks every character."""
    return _TOKEN.findall(text)


def contains(reply: str, answers: Iterable[str]) -> bool:
    """Whether a reply has one of the answers in it, as whole words after normalisation.

    >>> contains("This is the Eiffel Tower in Paris.", ["Eiffel Tower"]), contains("Romeo", ["Rome"])
    (True, False)
    >>> contains("这是北京的紫禁城。", ["紫禁城"])
    True
    """
    words, own = words_of(reply), _parts(reply)
    for answer in answers:
        name, note = _parts(answer)
        if own[0] == name and own[1] and note and own[1] != note:
            continue  # the whole reply is the same name of another place
        wanted = words_of_name(answer)
        size = len(wanted)
        if size and any(words[n : n + size] == wanted for n in range(len(words) - size + 1)):
            return True
    return False


@lru_cache(CACHED)
def words_of(reply: str) -> tuple[str, ...]:
    """The words of a reply, normalised; of scripts without blanks every character.

    >>> words_of("It's the Big_Ben (London)!"), words_of("故宫 Beijing")
    (('its', 'the', 'big', 'ben', 'london'), ('故', '宫', 'beijing'))
    """
    return tuple(_tokens(_words(_letters(reply.replace("_", " ")))))


@lru_cache(CACHED)
def words_of_name(name: str) -> tuple[str, ...]:
    """The same of a name, without an article and a disambiguator."""
    return tuple(_tokens(normalise(name)))


def token_f1(reply: str, answers: Sequence[str]) -> float:
    """Largest F1 of the reply's words and those of an answer, after normalisation.

    >>> token_f1("the great Eiffel Tower", ["Eiffel Tower", "La tour Eiffel"])
    0.8
    """
    best, own = 0.0, Counter(words_of_name(reply))
    for answer in answers:
        other = Counter(words_of_name(answer))
        same = (own & other).total()
        best = max(best, 2 * same / (own.total() + other.total()) if same else 0.0)
    return best


def is_refusal(reply: str) -> bool:
    """Whether a reply says that it does not know, in one of a few languages, or says nothing.

    >>> is_refusal("I don't know."), is_refusal("Unknown"), is_refusal("Tomb of the Unknown Soldier"), is_refusal(" ")
    (True, True, False, True)
    """
    plain = reply.replace("’", "'")
    has_letters = any(char.isalnum() for char in reply)
    return not has_letters or _words(_letters(reply)) in _NOTHING or _REFUSAL.search(plain) is not None


def score(reply: str, answers: Sequence[str]) -> dict[str, float]:
    """Metrics of one reply, each 0 or 1 but for `f1`.

        >>> score("It is Big Ben.", ["Elizabeth Tower", "Big Ben"])
        {'exact': 0.0, 'contains': 1.0, 'f1': 0.6666666666666666, 'refusal': 0.0}

    Returns:
        exact: equal to an answer after normalisation.
        contains: an answer is in the reply.
        f1: of words, the largest over the answers.
        refusal: says that it does not know, and has no answer in it.
    """
    has = contains(reply, answers)
    exact = is_match(reply, answers)
    return {
        "exact": float(exact), "contains": float(has or exact), "f1": token_f1(reply, answers),
        "refusal": float(not has and not exact and is_refusal(reply)),
    }  # fmt: skip
