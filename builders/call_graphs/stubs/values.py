"""Values that a parameter or a field of a result can have, by its name, type and description (values.yaml).

What is read gives rules of `environments/stubs.py`; what a user may say are values drawn by them. There is no rule for
a text that only somebody who knew the subject could write: such a field makes a definition unusable.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ....environments.stubs import value_of
from ....environments.worlds.shared import CITIES, FIRST, LAST
from ..._lib.data_files import read_yaml

STATED = 24  # values of a parameter that a user may say
Rule = list[Any]
_TABLES = read_yaml(__file__, "values.yaml")
_PERSON = _TABLES["people"]
_EXAMPLES = re.compile(r"\((?:e\.?\s?g\.?|for example|such as)[,:]?\s*(.+?)\)", re.IGNORECASE)
# Examples that tell what a value looks like or is made of, and are none themselves.
_NO_VALUE = re.compile(
    r"y{4}|hh:mm|mm[/-]dd|dd[/-]mm|[\[\]{}<>=]|\.\.\.|\betc\b|" + rf"\b(?:{'|'.join(_TABLES['no_values'])})\Z",
    re.IGNORECASE,
)
# "powerlifter", "pathologist"; and what ends like them and is nobody.
_DOER = rf"(?!(?:{'|'.join(_TABLES['nobody'])})\b)\w{{3,}}(?:er|or|ist|ian)"
_NATURAL = re.compile("|".join(_TABLES["natural"]))
# Values by name, for the tables that values.yaml names.
_NAMED = {name: _TABLES[name] for name in ("sentences", "companies", "countries", "languages", "titles")} | {
    "cities": sorted(CITIES),
    "usernames": [f"{first.lower()}.{last.lower()}" for first, last in zip(FIRST, LAST, strict=False)],
}
# (pattern of names, values)
_LISTS = [
    ("|".join(entry["names"]), _NAMED[values] if isinstance(values := entry["values"], str) else values)
    for entry in _TABLES["lists"]
]
_BOUNDS = re.compile(
    r"\b(?:from|between|range[sd]? (?:from|of)?|scale (?:of|from)|\()\s*(-?\d+(?:\.\d+)?)\s*(?:\([^)]*\)\s*)?"
    r"(?:to|and|-|–)\s*(-?\d+(?:\.\d+)?)"
)
_CODE = re.compile(
    r"(^|_)(id|code|isbn|vin|sku|uuid|serial|reference|hash|barcode|token|address_hash|key)$|[a-z]_(number|no|hash)$"
)
_REGISTERED = re.compile(r"(account|policy|case|invoice|order|ticket|serial|reference|claim|tracking|passport)_")
_DAY = re.compile(r"(^|_)(date|day|deadline|birthday|dob)$|date_of_|^date_")


def snake(name: str) -> str:
    """A name in lower case with "_" between its words."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def examples(schema: Mapping[str, Any]) -> list[Any]:
    """The example values of a schema, of its type; [] if what stands there are none."""
    kind = schema.get("type")
    listed = schema.get("enum") or schema.get("examples")
    if not listed:
        match = _EXAMPLES.search(str(schema.get("description", "")))
        listed = re.split(r"\s*(?:,(?!\d{3}\b)|;|\bor\b)\s*", match[1]) if match else []
    parts = [re.sub(r"^(?:and|or)\s+|^['\"“‘]+|['\"”’.]+$", "", str(part).strip()).strip() for part in listed]
    parts = [part for part in dict.fromkeys(parts) if part and part.lower() not in ("etc", "and more", "others")]
    if kind == "string":
        if any(_NO_VALUE.search(part) or len(part) > 60 for part in parts):
            return []
        return [] if any("'" in part[:1] or "(" in part or '"' in part for part in parts) else parts
    numbers = [match[0] for part in parts if (match := re.search(r"-?\d+(?:\.\d+)?", part.replace(",", "")))]
    if len(numbers) < len(parts):
        return []
    return list(dict.fromkeys(int(float(n)) if kind == "integer" else float(n) for n in numbers))


def rule(name: str, schema: Mapping[str, Any], pooled: Mapping[str, list[Any]]) -> Rule | None:
    """The rule for the values of a parameter or field, None if nothing sensible is known.

    Args:
        name: in words joined by "_", qualified by a noun where it was generic.
        pooled: name -> example values that other definitions of the domain give for it.
    """
    kind, text = schema.get("type"), str(schema.get("description", "")).lower()
    if kind == "boolean":
        return ["one", [True, False]]
    own = examples(schema)
    if schema.get("enum"):
        return ["one", own] if own else None
    if kind in ("integer", "number"):
        return _number(name, text, kind == "integer", own)
    if kind != "string" or re.search(r"(html|css|source|machine|sql|program|input|output|qr)_code$|^code$", name):
        return None
    if re.search(r"password|secret|api_key|credential|pin$|credit_card|card_number|cvv|ssn", name):
        return None  # nobody should learn to hand these on
    if of_name := _string(name, text, own) or (["one", pooled[name]] if len(pooled.get(name, ())) > 1 else None):
        return of_name
    if name.endswith("_title"):
        return ["one", list(_TABLES["titles"])]
    named = name.endswith("_name") or re.match(r"(?:the )?(?:new )?name of the", text)
    if named and re.search(rf"name of the (?:\w+ ){{0,2}}(?:{'|'.join(_PERSON)}|holder|{_DOER})\b", text):
        return ["one", people(18)]
    return ["one", list(_TABLES["names"])] if named and not _NATURAL.search(f"{name} {text[:40]}") else None


def _number(name: str, text: str, whole: bool, own: Sequence[Any]) -> Rule | None:
    if whole and _CODE.search(name) and (not name.endswith("_number") or _REGISTERED.match(name)):
        return ["number", 10_000, 99_999, 0]
    if len(own) > 1:
        return ["one", list(own)]
    if bounds := _BOUNDS.search(text):
        low, high = float(bounds[1]), float(bounds[2])
        if low < high:
            return ["number", *(map(int, (low, high)) if whole else (low, high)), 0 if whole else 2]
    for named, described, low, high, digits in _TABLES["ranges"]:
        if re.search(named, name) and (not described or re.search(described, text)):
            if whole or not digits:
                low, high, digits = int(max(low, 1) if low < 1 < high else low), int(high), 0
            return ["number", low, high, digits]
    return ["number", 2, 60, 0] if whole else ["number", 2, 90, 1]


def _string(name: str, text: str, own: Sequence[Any]) -> Rule | None:
    if _DAY.search(name):
        late = re.search(r"end|return|check_?out|expir|due|until|deliver", name)
        if re.search(r"birth|dob", name):
            return ["one", ["1958-03-21", "1967-11-05", "1974-06-30", "1983-02-14", "1991-09-08", "1996-12-19"]]
        return ["day", *((185, 340) if late else (20, 170))]
    if name in ("phone", "phone_number", "contact_number", "mobile_number") or name.endswith("_phone"):
        return ["code", "+1-555-01##"]
    if re.search(r"email(_address)?$", name):
        return ["one", [f"{a.lower()}.{b.lower()}@mail.example" for a, b in zip(FIRST, LAST, strict=False)]]
    if re.search(r"(^|_)(url|link)$", name):
        return _file(name, text, "https://files.example/")
    if _CODE.search(name):
        if own and any(sign.isdigit() for sign in str(own[0])):
            return ["code", re.sub(r"\d", "#", str(own[0]))]
        if own:
            return ["one", list(own)]
        base = re.sub(r"_?(id|code|number|no|key)$", "", name).split("_")[-1] or "ref"
        return ["code", f"{base[:3].upper()}-#####"] if base not in ("hash", "token") else ["code", "0x#a#f##c#d#"]
    if own:
        return ["one", list(own)]
    if re.search(
        r"_(file|path|image|document)$|^(file|path|image|video|audio|photo|picture|image_data)$|^file_|_file_", name
    ):
        return _file(name, text, "")
    for names, values in _LISTS:
        if re.fullmatch(names, name):
            if "time" in names and re.search(r"duration|period|how long|zone|\bdays\b|minutes|hours|takes?\b", text):
                return None
            return ["one", list(values)]
    if name in ("first_name", "last_name"):
        return ["one", list(FIRST if name == "first_name" else LAST)]
    owner = re.sub(r"_?(full_)?name$", "", name)
    if (name.endswith("name") and (owner in _PERSON or owner.split("_")[-1] in _PERSON)) or name in (
        "author", "artist", "director", "composer", "patient", "guest", "performer", "recipient", "athlete", "painter",
    ):  # fmt: skip
        return ["one", people(18)]
    return None


def _file(name: str, text: str, before: str) -> Rule:
    ending, stems = next(
        parts for pattern, *parts in _TABLES["files"] if re.search(pattern, name) or re.search(pattern, text)
    )
    return ["one", [f"{before}{stem}_{number}.{ending}" for stem in stems.split() for number in (1, 2, 7)]]


def free_text(name: str) -> bool:
    """Would a result of this name be a text, which no rule can write?"""
    return any(values is _NAMED["sentences"] and re.fullmatch(names, name) for names, values in _LISTS)


def people(number: int) -> list[str]:
    """Full names, none of anybody in particular."""
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    return random.Random(number).sample(names, number)  # noqa: S311 - not for secrets


def stated_values(rule: Rule, seed: str) -> list[Any]:
    """What a user may say of a rule's values: numbers are rounded to what people say."""
    if rule[0] == "one":
        return list(rule[1])
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    drawn = [value_of(rule, {}, rng) for _ in range(STATED)]
    if rule[0] == "number" and rule[2] - rule[1] > 100 and rule[1] != 10_000 and rule[1] != 1996:
        step = 10 ** max(1, len(str(int(rule[2] - rule[1]))) - 2)
        drawn = [type(value)(max(step, round(value / step) * step)) for value in drawn]
    return list(dict.fromkeys(drawn))
