"""Names and numbers in a text, by their spelling: what a rewritten text should still say."""

import re

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_WORD = re.compile(r"[^\W\d_]+(?:['’.&-][^\W\d_]+)*")
_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+|\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|heic)\b|\b[^\W_]*_\w*", re.IGNORECASE
)
_END = re.compile(r"[.!?…:;\"“”(\[]\s*$")


def entities(text: str) -> frozenset[str]:
    """Numbers, and words that are spelled like names: capitals within a sentence, acronyms, mixed case.

        >>> sorted(entities("The Eiffel Tower in Paris, 1889; seen by NASA"))
        ['1889', 'eiffel', 'nasa', 'paris', 'tower']
        >>> sorted(entities("A dog. Two cats on iPhone 15"))
        ['15', 'iphone']

    The first word of a sentence counts if a capital follows it ("Eiffel Tower at night"), or it has two capitals.
    Addresses and file names (`IMG_1234.jpg`, `dsc_0042`) name nothing. No name is known in a script without capitals,
    nor in German nouns from others: a heuristic, the same for all texts.
    """
    text = _ADDRESS.sub(" ", text)
    result = {match.group() for match in _NUMBER.finditer(text)}
    words = list(_WORD.finditer(text))
    for place, match in enumerate(words):
        word = match.group()
        capitals = sum(letter.isupper() for letter in word)
        begins = not text[: match.start()].strip() or _END.search(text[: match.start()]) is not None
        after = words[place + 1] if place + 1 < len(words) else None
        followed = after is not None and text[match.end() : after.start()].isspace() and after.group()[0].isupper()
        is_name = capitals > 1 or (capitals == 1 and not word[0].isupper())
        if is_name or (word[0].isupper() and len(word) > 1 and (not begins or followed) and word not in _ARTICLES):
            result.add(word.casefold())
    return frozenset(result)


_ARTICLES = frozenset(("The", "An", "This", "That", "These", "Those", "In", "On", "At", "Of", "And", "With", "By"))


def retention(before: str, after: str) -> float | None:
    """Share of the entities of a text that another one still has; None if it has none.

    >>> retention("Paris, 1889", "The tower in Paris"), retention("a dog", "a cat")
    (0.5, None)
    """
    names = entities(before)
    return len(names & entities(after)) / len(names) if names else None
