"""Which values a parameter or a field of a result can have, read off its name, type and description. All our choice.

What is read gives rules of `environments/stubs.py`; what a user may say are values drawn by them. There is no rule for
a text that only somebody who knew the subject could write: such a field makes a definition unusable.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ....environments.stubs import value_of
from ....environments.worlds.shared import CITIES, FIRST, LAST

STATED = 24  # values of a parameter that a user may say
Rule = list[Any]
_EXAMPLES = re.compile(r"\((?:e\.?\s?g\.?|for example|such as)[,:]?\s*(.+?)\)", re.IGNORECASE)
# Examples that tell what a value looks like or is made of, and are none themselves.
_NO_VALUE = re.compile(
    r"y{4}|hh:mm|mm[/-]dd|dd[/-]mm|[\[\]{}<>=]|\.\.\.|\betc\b|\b(?:name|names|city|cities|state|states|country"
    r"|countries|county|region|regions|address|addresses|postal code|zip code|province|town|district|id|ids|url|urls"
    r"|email|phone|phone number|contact details|coordinates|latitude|longitude|domain name|title|author|date|time"
    r"|description|number of .*|length|width|height|x|y)\Z",
    re.IGNORECASE,
)
_PERSON = (
    "patient customer client employee guest author artist director student donor member participant person "
    "player researcher therapist child athlete skater owner passenger driver doctor teacher instructor user recipient "
    "sender victim suspect candidate tenant contact_person manager organizer speaker applicant nurse composer "
    "designer writer witness defendant beneficiary volunteer caller agent coach trainer chef patron borrower editor "
    "photographer singer "
    "musician scientist philosopher poet architect dentist counselor inmate resident subscriber holder policyholder "
    "caregiver partner officer lawyer attorney judge politician first_person second_person pilot dancer actor full"
).split()
# "powerlifter", "pathologist"; and what ends like them and is nobody.
_DOER = (
    r"(?!(?:server|computer|router|container|folder|paper|newspaper|tower|power|sensor|order|number|layer|cluster"
    r"|tractor|reactor|motor|printer|transformer|filter|parameter|newsletter|chapter|beer|flower"
    r"|river|water|cancer|disaster"
    r"|color|vector|operator|monitor|sector|factor|indicator|master|buffer|identifier|character|theater|center|career"
    r"|engineer(?:ing)?|outdoor|weather|timer|meter|counter|marker|banner|poster|letter|user|former|other)\b)"
    r"\w{3,}(?:er|or|ist|ian)"
)
_SENTENCES = (
    "The meeting has been moved to Friday morning", "Thank you for your patience, we will reply soon",
    "The new library opens its doors next week", "Rain is expected in the afternoon", "The order came two days late",
    "The children planted trees along the river", "Please bring your own lunch to the workshop",
    "The results were better than anyone had hoped", "I enjoyed the concert more than last year",
)  # fmt: skip
_COMPANIES = (
    "Northwind Traders", "Bluepeak Labs", "Harbour Foods", "Solvita", "Greenfield Partners", "Kestrel Systems",
    "Lumen Works", "Oakbridge Group",
)  # fmt: skip
_COUNTRIES = (
    "Norway", "Portugal", "Japan", "Canada", "Kenya", "Peru", "Australia", "Ireland", "Brazil", "India", "Mexico",
    "Germany", "Vietnam", "Morocco",
)  # fmt: skip
_LANGUAGES = (
    "French", "Spanish", "German", "Japanese", "Portuguese", "Hindi", "Swahili", "Italian",
)  # fmt: skip
_TITLES = (
    "The Quiet Harbour", "Letters from the North", "A Field of Glass", "The Last Ferry", "Winter Orchard",
    "Songs of the Delta", "The Clockmaker", "Paper Boats",
)  # fmt: skip
_NAMES = ("Aurora", "Bluebird", "Cedar", "Delta", "Evergreen", "Falcon", "Halcyon", "Juniper", "Lumen", "Meridian")
# What has its name from nature, science or the trade, so that nobody can make one up.
_NATURAL = re.compile(
    r"species|chemical|vaccine|disease|gene|drug|food|crop|plant|animal|protein|element|compound|molecule|organ|"
    r"muscle|language|dish|recipe|ingredient|medication|mineral|rock|virus|bacteria|fungus|planet|star|"
    r"constellation|river|"
    r"technique|theory|procedure|exercise|symptom|condition|instrument|dance|sport|weed|herb|material|reaction|"
    r"therapy|treatment|style|genre|disorder|method|algorithm|function|law|act|holiday|festival|religion|deity|"
    r"god|party|museum|landmark|volcano|lake|mountain|table|column|field|file|index|middle|attribute|parameter|class$"
)
# Name -> values, for names that mean one thing whatever the tool.
_LISTS: dict[str, Sequence[Any]] = {
    "city|location|place|town|venue_location|current_location|start_location|end_location|pickup_location"
    "|drop_off_location|origin|destination|origin_city|destination_city|departure_city|arrival_city|shipping_origin"
    "|shipping_destination|delivery_location|birthplace|place_of_birth": sorted(CITIES),
    "country|country_name|nationality_country|origin_country|destination_country|country_of_origin": _COUNTRIES,
    "language|target_language|source_language|language_name|preferred_language": _LANGUAGES,
    "currency|source_currency|target_currency|currency_code|from_currency|to_currency": ("EUR", "USD", "JPY", "CAD"),
    "gender|sex": ("female", "male"),
    "username|user_name": [f"{first.lower()}.{last.lower()}" for first, last in zip(FIRST, LAST, strict=False)],
    "company|company_name|organization|organization_name|business_name|firm_name|client_company|vendor|vendor_name"
    "|supplier|supplier_name|brand|brand_name|sponsor_name|employer|publisher|carrier|insurance_company"
    "|manufacturer_name|startup_name": _COMPANIES,
    "text|message|sentence|comment|comments|content|body|message_content|message_body|input_text|text_content|notes"
    "|note|feedback|tweet|post_content|email_content|message_text|source_text|text_data|email_body": _SENTENCES,
    "project|project_name": ("Aurora", "Bridgewater", "Clearview", "Evergreen", "Lighthouse", "Northstar"),
    "database|database_name|db_name": ("orders_db", "staff_db", "inventory", "research_db", "billing"),
    "dataset|dataset_name|data_set": ("sales_2024.csv", "survey_results.csv", "sensor_log.csv", "trials.csv"),
    "book_title|book_name|film_title|movie_title|movie_name|song_title|album_title|article_title|document_title"
    "|artwork_title|play_title|show_title|film_name|song_name|track_name|album_name|painting_title|video_title"
    "|paper_title|thesis_title|magazine_title|magazine_name|podcast_title|exhibition_title|event_title|event_name"
    "|game_title|post_title|blog_title|essay_title|story_title|poem_title|work_title|exhibition_name": _TITLES,
    "table_name": ("customers", "orders", "invoices", "visits"),
    "ip_address": ("192.0.2.17", "192.0.2.88", "198.51.100.4", "198.51.100.61", "203.0.113.9"),
    "website|website_url|url|page_url|web_page|domain|domain_name": (
        "harbourfoods.example", "bluepeak.example", "oakbridge.example", "solvita.example", "lumenworks.example",
    ),
    "colou?r": ("red", "green", "blue", "orange", "teal"),
    "time|start_time|appointment_time|departure_time|arrival_time|pickup_time|delivery_time|reservation_time"
    "|meeting_time|booking_time|check_in_time|event_time": ("08:30", "09:15", "10:45", "13:20", "15:00", "16:40"),
    "end_time": ("17:10", "18:30", "19:45", "20:00", "21:15"),
}  # fmt: skip
_FILES = {
    "image|photo|picture|logo|graphic|thumbnail|screenshot|gif": ("png", "harbour garden portrait skyline market"),
    "audio|sound|music|recording|speech|song|track|podcast|mp3|media file|voice": (
        "wav",
        "interview lecture morning rehearsal memo",
    ),
    "video|clip|film|footage|movie": ("mp4", "launch tour training match parade"),
    "web ?page|website|html|story|article|blog": ("html", "welcome news about archive contact"),
    "": ("csv", "report summary measurements inventory results"),
}
# (name, description, low, high, digits): the first whose two patterns are found.
_RANGES: tuple[tuple[str, str, float, float, int], ...] = (
    (r"latitude", "", -60, 65, 4),
    (r"longitude", "", -170, 170, 4),
    (r"probab|likelihood|^p_value|confidence$|correlation|prior|learning_rate|dropout|threshold", "", 0.05, 0.95, 2),
    (r"(^|_)age$", "", 21, 78, 0),
    (r"(^|_)years?$", r"\bin years\b|number of years|experience", 1, 20, 0),
    (r"(^|_)year($|_)", "", 1996, 2024, 0),
    (r"(^|_)month$", "", 1, 12, 0),
    (r"(^|_)(hour)$", "", 0, 23, 0),
    (r"rating|stars", "", 1, 5, 1),
    (r"ph(_|$)", "", 5, 9, 1),
    (r"temperature|_point$", r"kelvin", 240, 400, 0),
    (r"temperature", r"fahrenheit", 40, 100, 0),
    (r"temperature", r"patient|body|animal", 36, 40, 1),
    (r"temperature", "", 5, 38, 1),
    (r"heart_rate|pulse", "", 58, 120, 0),
    (r"oxygen_sat", "", 90, 100, 0),
    (r"percent|humidity|efficiency|progress|battery|rate$|share$|occupancy|_percentage|accuracy|coverage",
     r"percent|%|humidity|battery|efficiency|progress|rate|share|accuracy|coverage", 3, 96, 1),
    (r"population", "", 20_000, 4_000_000, 0),
    (r"salary|income|revenue|gdp|funding|profit|market_(cap|value|size)|asset|loan|mortgage|grant|investment|debt",
     "", 20_000, 400_000, 0),
    (r"price|cost|amount|budget|fee|premium|expense|balance|payment|donation|quote|tax$|bill|wage|value$",
     "", 40, 3000, 0),
    (r"score|index|level|grade", "", 10, 98, 1),
    (r"_per_", "", 2, 40, 1),
    (r"impression|view|click|follower|reach|like|visit|download|share|subscriber|citation", "", 120, 90_000, 0),
    (r"wavelength|width|height|size|resolution", r"pixel", 200, 1600, 0),
    (r"distance|range|altitude|elevation|depth|radius", "", 4, 900, 1),
    (r"weight|mass", "", 4, 95, 1),
    (r"duration|minutes|delay", "", 5, 90, 0),
    (r"quantity|count|number|num_|guests|participants|players|floors|people|rooms|copies|seats|tickets", "", 2, 40, 0),
)  # fmt: skip
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
    """The example values of a schema, of its type; [] where what stands there are none."""
    kind = schema.get("type")
    listed = schema.get("enum") or schema.get("examples")
    if not listed:
        found = _EXAMPLES.search(str(schema.get("description", "")))
        listed = re.split(r"\s*(?:,(?!\d{3}\b)|;|\bor\b)\s*", found[1]) if found else []
    parts = [re.sub(r"^(?:and|or)\s+|^['\"“‘]+|['\"”’.]+$", "", str(part).strip()).strip() for part in listed]
    parts = [part for part in dict.fromkeys(parts) if part and part.lower() not in ("etc", "and more", "others")]
    if kind == "string":
        if any(_NO_VALUE.search(part) or len(part) > 60 for part in parts):
            return []
        return [] if any("'" in part[:1] or "(" in part or '"' in part for part in parts) else parts
    numbers = [found[0] for part in parts if (found := re.search(r"-?\d+(?:\.\d+)?", part.replace(",", "")))]
    if len(numbers) < len(parts):
        return []
    return list(dict.fromkeys(int(float(n)) if kind == "integer" else float(n) for n in numbers))


def rule(name: str, schema: Mapping[str, Any], pooled: Mapping[str, list[Any]]) -> Rule | None:
    """The rule for the values of a parameter or field, None where nothing sensible is known.

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
    if found := _string(name, text, own) or (["one", pooled[name]] if len(pooled.get(name, ())) > 1 else None):
        return found
    if name.endswith("_title"):
        return ["one", list(_TITLES)]
    named = name.endswith("_name") or re.match(r"(?:the )?(?:new )?name of the", text)
    if named and re.search(rf"name of the (?:\w+ ){{0,2}}(?:{'|'.join(_PERSON)}|holder|{_DOER})\b", text):
        return ["one", people(18)]
    return ["one", list(_NAMES)] if named and not _NATURAL.search(f"{name} {text[:40]}") else None


def _number(name: str, text: str, whole: bool, own: Sequence[Any]) -> Rule | None:
    if whole and _CODE.search(name) and (not name.endswith("_number") or _REGISTERED.match(name)):
        return ["number", 10_000, 99_999, 0]
    if len(own) > 1:
        return ["one", list(own)]
    if bounds := _BOUNDS.search(text):
        low, high = float(bounds[1]), float(bounds[2])
        if low < high:
            return ["number", *(map(int, (low, high)) if whole else (low, high)), 0 if whole else 2]
    for named, described, low, high, digits in _RANGES:
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
    for names, values in _LISTS.items():
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
    ending, stems = next(parts for words, parts in _FILES.items() if re.search(words, name) or re.search(words, text))
    return ["one", [f"{before}{stem}_{number}.{ending}" for stem in stems.split() for number in (1, 2, 7)]]


def free_text(name: str) -> bool:
    """Would a result of this name be a text, which no rule can write?"""
    return any(values is _SENTENCES and re.fullmatch(names, name) is not None for names, values in _LISTS.items())


def people(number: int) -> list[str]:
    """Full names, none of anybody in particular."""
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    return random.Random(number).sample(names, number)  # noqa: S311 - not for secrets


def stated_values(rule: Rule, seed: str) -> list[Any]:
    """What a user may say of a rule's values: numbers are rounded to what people say."""
    if rule[0] == "one":
        return list(rule[1])
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    found = [value_of(rule, {}, rng) for _ in range(STATED)]
    if rule[0] == "number" and rule[2] - rule[1] > 100 and rule[1] != 10_000 and rule[1] != 1996:
        step = 10 ** max(1, len(str(int(rule[2] - rule[1]))) - 2)
        found = [type(value)(max(step, round(value / step) * step)) for value in found]
    return list(dict.fromkeys(found))
