"""Names of landmarks: out of the addresses of Wikimedia Commons' categories, and out of identifiers."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

_CATEGORY = re.compile(r"Category(?::|%3A)([^?#&]+)", re.IGNORECASE)


def clean(text: str) -> str:
    """A text in NFC, with single blanks."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def name_of_category(url: str | None) -> str | None:
    """The name that the address of a Wikimedia Commons category holds; None if there is none.

    >>> name_of_category("http://commons.wikimedia.org/wiki/Category:Ch%C3%A2teau_d%27If")
    "Château d'If"
    >>> name_of_category("https://commons.wikimedia.org/wiki/File:A.jpg"), name_of_category("Category:%FF")
    (None, None)
    """
    match = _CATEGORY.search(url or "")
    if match is None:
        return None
    try:
        return clean(unquote_to_bytes(match[1]).decode("utf-8").replace("_", " ")) or None
    except UnicodeDecodeError:
        return None


def name_of_identifier(landmark: str) -> str:
    """A folder's or label's words as a name: capitals where it has none.

    >>> name_of_identifier("petronas_towers"), name_of_identifier("Notre-Dame de Paris")
    ('Petronas Towers', 'Notre-Dame de Paris')
    """
    name = clean(re.sub(r"[_\s]+", " ", landmark.rpartition("/")[2]))
    return name if name != name.lower() else " ".join(word[:1].upper() + word[1:] for word in name.split())
