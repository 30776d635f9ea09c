"""Licences of single images: what sources write for them, and which allow that the pixels are published again."""

import re
from collections import Counter
from typing import Any

from ...hub_sync.licence_ids import licence_id

PUBLISHABLE = (
    "cc0-1.0", "public-domain", "pddl", "us-government-work", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "mit", "apache-2.0",
)  # fmt: skip
"""Licences that ask for attribution at most. Our reading and choice, and no legal advice."""

_CC_URL = re.compile(
    r"creativecommons\.org/(?:licenses/(by[a-z-]*|sampling\+?)|publicdomain/(zero|mark))(?:/(\d\.\d))?"
)
_CC_PATH = re.compile(r"^/?[\w./-]*")  # such as /deed.de, or a port of it: /us/legalcode
_CC_TEXT = re.compile(r"(?:cc|creative commons)[ -]?(by(?:[ -](?:nc|nd|sa))*)[ -]?(\d\.\d)?\b")
# What takes back some of a licence, or names a second one: such text stays as it is stated, and allows nothing.
_DOUBT = re.compile(
    r"\b(not|non\w*|nc|nd|sa|never|except\w*|unless|only|but|or|if|unknown|unclear|reserved|no[ -]?deriv\w*|"
    r"share[ -]?alike|formerly|until|copyrighted)\b"
)
_OTHERS = {
    "flickr.com/commons/usage": "no-known-copyright", "no known copyright": "no-known-copyright",
    "usa.gov/copyright": "us-government-work", "united states government work": "us-government-work",
    "public domain": "public-domain", "publicdomain": "public-domain",
}  # fmt: skip


def image_licence(value: Any) -> str | None:
    """The licence of an image as an id where it is known, else as it is stated, in lower case; None for none.

    >>> image_licence("http://creativecommons.org/licenses/by-nc-sa/2.0/"), image_licence("CC BY 4.0")
    ('cc-by-nc-sa-2.0', 'cc-by-4.0')
    >>> image_licence("https://creativecommons.org/publicdomain/zero/1.0/"), image_licence("All rights reserved")
    ('cc0-1.0', 'all rights reserved')
    """
    if value is None or value != value or not (text := " ".join(str(value).split()).lower()):
        return None
    known = _known(text)
    if known is None or _DOUBT.search(known[1]):
        return text[:200]
    return known[0]


def _known(text: str) -> tuple[str, str] | None:
    """(id of the licence that a text in lower case names, the rest of the text); None if it names none that is known.

    >>> _known("cc by 4.0 (but not the logo)")
    ('cc-by-4.0', ' (but not the logo)')
    """
    if match := _CC_URL.search(text):
        rest = text[: match.start()] + _CC_PATH.sub("", text[match.end() :], count=1)
        name, domain, version = match.groups()
        if domain:
            return ("cc0-1.0" if domain == "zero" else "public-domain"), rest
        return f"cc-{name}" + (f"-{version}" if version else ""), rest
    if known := licence_id(text):
        return known, ""
    if match := _CC_TEXT.search(text):
        rest = text[: match.start()] + text[match.end() :]
        return f"cc-{match[1].replace(' ', '-')}" + (f"-{match[2]}" if match[2] else ""), rest
    return next(((known, text.replace(part, "")) for part, known in _OTHERS.items() if part in text), None)


def asks_for_attribution(licence: str) -> bool:
    """Whether a licence asks that the author is named."""
    return licence.startswith("cc-by")


MIXED = "several, see the column license"


def card_licence(rest: str | None, pixels: Counter[tuple[str, str]]) -> dict[str, Any]:
    """A card's licence: that of the rest, unless pixels with another one that restricts are in the data set.

    Args:
        rest: licence of texts and tables.
        pixels: (licence, "published", "local" or why not) -> images.
    """
    published = {licence for (licence, fate), count in pixels.items() if fate == "published"}
    if any(fate == "local" for _, fate in pixels):
        return {"license": "other"}  # without a name: none is stated, so that it is not published in public
    if not published or published.issubset(PUBLISHABLE):
        return {"license": rest} if rest else {}
    return {"license": "other", "license_name": MIXED}


def with_pixels(rows: Any) -> int:
    """How many rows of a data set have their image in it."""
    import pyarrow.compute as pc

    column = rows.data.column("image")
    return sum(int(pc.sum(pc.is_valid(pc.struct_field(chunk, "bytes"))).as_py() or 0) for chunk in column.chunks)
