"""The Hub's licence ids, and what people write for them."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from .errors import did_you_mean

# Licence ids of the Hub's documentation (repositories, licences), 2026.
LICENCE_IDS = frozenset((Path(__file__).parent / "licence_ids.txt").read_text().split())
# What people write, where it is not the id in other letters (`licence_id` handles those).
_ALIASES = {
    "new-bsd": "bsd-3-clause", "modified-bsd": "bsd-3-clause", "3-clause-bsd": "bsd-3-clause",
    "simplified-bsd": "bsd-2-clause", "2-clause-bsd": "bsd-2-clause", "bsd-3": "bsd-3-clause", "bsd-2": "bsd-2-clause",
    "cc0": "cc0-1.0", "cc-zero": "cc0-1.0", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl", "odbl-1.0": "odbl",
    "mpl": "mpl-2.0", "boost-software-1.0": "bsl-1.0",
}  # fmt: skip


def licence_id(text: str) -> str | None:
    """The Hub's id for a licence as people write it; None where it is none that the Hub knows.

    >>> licence_id("Apache 2.0"), licence_id("MIT License"), licence_id("CC BY-SA 4.0"), licence_id("GPLv3")
    ('apache-2.0', 'mit', 'cc-by-sa-4.0', 'gpl-3.0')
    """
    plain = text.strip().lower()
    if plain in LICENCE_IDS:
        return plain
    words = re.sub(r"\b(the|licen[sc]e|version)\b|[,()]", " ", plain.replace("creative commons", "cc"))
    name = "-".join(re.sub(r"(?<![a-z])v(?=\d)|(?<=gpl)v(?=\d)", "", words).replace("_", " ").split())
    name = re.sub(r"-(only|or-later)$|\+$", "", name)
    for form in (name, re.sub(r"(?<=[a-z])-?(?=\d)", "-", name), re.sub(r"(?<=[a-z])-(?=\d)", "", name)):
        for candidate in (form, _ALIASES.get(form, ""), f"{form}.0"):
            if candidate in LICENCE_IDS:
                return candidate
    return None


def _checked(text: str) -> str:
    licence = licence_id(text)
    if licence is None:
        hint = did_you_mean(text.lower(), LICENCE_IDS, "; write 'other' for a licence the Hub has no id for")
        raise ValueError(f"{text!r} is not a licence id of the Hub{hint}")
    return licence


LicenceId = Annotated[str, AfterValidator(_checked)]
"""A field of a config that takes a licence as people write it and holds the Hub's id."""
