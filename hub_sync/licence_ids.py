"""The Hub's licence ids, and what people write for them."""

from __future__ import annotations

import difflib
import re
from typing import Annotated

from pydantic import AfterValidator

# Licence ids of the Hub's documentation (repositories, licences), 2026.
LICENCE_IDS = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0
    grok2-community h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++
    osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
    """.split()
)
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


def _known(text: str) -> str:
    known = licence_id(text)
    if known is None:
        near = difflib.get_close_matches(text.lower(), LICENCE_IDS, 1)
        hint = f"did you mean {near[0]!r}?" if near else "write 'other' for a licence the Hub has no id for"
        raise ValueError(f"{text!r} is not a licence id of the Hub; {hint}")
    return known


LicenceId = Annotated[str, AfterValidator(_known)]
"""A field of a config that takes a licence as people write it and holds the Hub's id."""
