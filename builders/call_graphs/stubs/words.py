"""How the stub of a definition is spoken of, from its description and the names of its parameters. All our choice.

"Perform a maintenance task on a specific aircraft", with `aircraft_id` and `task_result`, becomes "perform a
maintenance task on {aircraft_id}, with {task_result}", where an aircraft is "the aircraft with ID AB-123" and a result
"the task result completed". An argument that the description speaks of takes the place of those words.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..._lib.data_files import read_yaml

_TABLES = read_yaml(__file__, "words.yaml")
VERBS = frozenset(_TABLES["verbs"])
_UPPER = {word: word.upper() for word in _TABLES["capitals"]}
_UNIT = re.compile(
    rf"\b(?:in|\(in|unit:)\s+({'|'.join(_TABLES['units'])})\b(?!\s*(?:per\b|/|squared|cubed|\^))", re.IGNORECASE
)
_PLACES = re.compile(r"(^|_)(location|city|country|country_name|region|state|town|place|province)$")
_TO: dict[str, str] = _TABLES["prepositions"]
_SMALL = (
    r"(?=\s+(?:in|of|for|on|to|with|from|at|by|and|or|based|using|within|between|during|over|about|into|under|who|that"
    r"|is|are|has|through|as|via|against|inside|including|[a-z]+ed)\b|\s*[,.;]|$)"
)
_ADJECTIVES = (
    r"(?:(?!(?:of|for|in|on|to|new|and|or|with|from|by|at|using|within|between|based|the|an?|about|through)\b)"
    r"[\w'-]+\s+){0,3}"
)
_BEFORE = rf"(?:\b(?:an?|the|each|another|any)\s+(?!new\b|newly\b|list\b|number\b){_ADJECTIVES}|(?<=\band ))"
_AFTER = re.compile(r"\b(?:with|for|at|to|by|from|over|near|under|in|on)\s+$|>\s+and\s+$")
_LOOSE = re.compile(r"\b(?:specified|given|specific|particular|certain|desired|provided|selected)\s+")
_LISTED = re.compile(r",?\s+(?:based on|according to)\s+[^,]+?(?:,| and ).*$")  # "based on age, gender and weight"
_VAGUE = re.compile(
    r",?\s+(?:based on|with|using|according to|given|within|for|under|and)\s+(?:a |an |the |its |their )?(?:specified"
    r"|given|provided|specific|various|certain|some|different|particular|user's|desired)\s+(?:\w+\s+)?"
    rf"(?:{'|'.join(_TABLES['vague'])})(?:\s+and (?:specified |given )?\w+)?$"
)


def words(name: str) -> str:
    """A name joined by "_" as people write it."""
    return " ".join(_UPPER.get(word, word) for word in name.split("_"))


def base(name: str) -> str:
    """What a name is of: the patient of `patient_id`, the project of `project_name`; "" if it does not say."""
    return words(re.sub(r"(?:^|_)(?:id|name|number|code|title)$", "", name))


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    an = re.match(r"[aeio]|un[^i]|u[^ns]|hour|ph\b|[AEFHILMNORSX][A-Z]", noun)
    return f"{'an' if an and not re.match(r'(one|eu)', noun) else 'a'} {noun}"


def unit(schema: Mapping[str, Any]) -> str:
    """The unit a description states, "" if it states none."""
    match = _UNIT.search(str(schema.get("description", "")))
    return _TABLES["spoken_units"].get(match[1].lower(), match[1]) if match else ""


def plural(noun: str) -> bool:
    """Is the noun's last word in the plural?"""
    head = re.sub(r"(?<=s) (?:\w+ed|sold|won|made)$", "", noun)  # "units produced"
    return re.search(r"(?<![sui])s$", head) is not None and not re.search(r"(status|radius|series|species)$", head)


def wording_of(name: str, schema: Mapping[str, Any], values: Sequence[Any]) -> str:
    """How a user speaks of a value: a template with one place."""
    noun, owner, of = words(name), base(name), unit(schema)
    if schema.get("type") in ("integer", "number") and not name.endswith(("_id", "_code")) and noun != "ID":
        if re.fullmatch(r"(?:.*_)?year", name):
            return "the year {}"
        if counted := re.fullmatch(r"(?:number|num|amount)_(?:of_)?(\w+)", name):
            return f"{{}} {words(counted[1])}" if plural(words(counted[1])) else f"the {noun} {{}}"
        if name.endswith("_number"):
            return f"the {noun} {{}}"
        if plural(noun):
            return f"{{}} {of} of {noun}" if of else f"{{}} {noun}"
        return f"{article(noun)} of {{}}{' ' + of if of else ''}"
    if any(isinstance(value, str) and len(value.split()) > 4 for value in values):
        return f'the {noun} "{{}}"'
    proper = all(not isinstance(value, str) or not value[:1].islower() for value in values)
    clock = not name.endswith("time") or all(re.match(r"\d?\d:\d\d", str(value)) for value in values)
    if (_PLACES.search(name) and proper) or (name in _TO and not name.endswith("year") and clock):
        return "{}"
    if name.endswith(("_id", "_code")) and owner:
        return f"the {owner} with {'ID' if name.endswith('_id') else 'code'} {{}}"
    if name.endswith(("_name", "_title")) and owner and owner not in ("first", "last", "full", "user"):
        return f"the {owner} {{}}"
    return f"the {noun} {{}}"


def referred(name: str) -> str:
    """How a value from an earlier result is spoken of, after "that" or "the"."""
    return base(name) if name.endswith(("_id", "_name", "_title")) and base(name) else words(name)


def that(noun: str) -> str:
    """ "that room", "those rooms"."""
    return f"{'those' if plural(noun) else 'that'} {noun}"


def gerund(phrase: str) -> str:
    """ "book a room" -> "booking a room"."""
    verb, _, rest = phrase.partition(" ")
    if verb in _TABLES["doubled"]:
        verb += verb[-1]
    elif verb.endswith("e") and not verb.endswith("ee"):
        verb = verb[:-1]
    return f"{verb}ing {rest}"


def imperative(description: str) -> str:
    """The first sentence of a description as what a user asks for, "" if it is nothing that one asks for."""
    text = re.sub(r"\s*\([^)]*\)", "", " ".join(description.split()))
    text = re.split(r"\.\s|\.$|;", text)[0].strip().rstrip(".")
    first, _, rest = text.partition(" ")
    verb = first.lower()
    for form in (verb, verb.removesuffix("s"), verb.removesuffix("es")):
        if form in VERBS:
            verb = form
            break
    else:
        return ""
    if (
        not rest
        or "{" in text
        or len(text) > 120
        or re.search(r"\b(?:allows?|the user|users? to|this (?:API|tool))\b", text)
    ):
        return ""
    return _VAGUE.sub("", _LISTED.sub("", f"{verb} {rest}"))


def spoken_of(description: str, name: str) -> re.Match[str] | None:
    """Where a description speaks of what a parameter names, as "a specific patient"."""
    lower = description.lower()
    for noun in dict.fromkeys((words(name), base(name), base(name).rpartition(" ")[2])):
        if len(noun) < 3 or noun.lower() not in lower:
            continue
        match = re.search(f"{_BEFORE}{re.escape(noun)}{_SMALL}", description, re.IGNORECASE)
        if match:
            return match
    return None


def ask(description: str, parameters: Sequence[str], names: Mapping[str, str], spoken: Mapping[str, str]) -> str:
    """The template of a request; every parameter has a place.

    Args:
        parameters: those that are given.
        names: parameter -> its name in words joined by "_".
        spoken: parameter -> how its value is said (`wording_of`); "{}" for what stands for itself, as a city does.
    """
    bare = {parameter for parameter, template in spoken.items() if template == "{}"}
    text, rest, filled_marks = description, [], dict[str, str]()
    for parameter in sorted(parameters, key=lambda p: -len(names[p])):
        place = spoken_of(text, names[parameter])
        # "at a temperature of 5" is said, "update a quantity of 5 of the order" is not.
        figure = place is not None and spoken[parameter].startswith(("a ", "an "))
        if (
            place is None
            or (figure and not _AFTER.search(text[: place.start()]))
            or text.startswith(" of ", place.end())
        ):
            rest.append(parameter)
            continue
        mark = f"<{len(filled_marks)}>"
        text, filled_marks[mark] = text[: place.start()] + mark + text[place.end() :], f"{{{parameter}}}"
    if re.search(r"\b(?:specified|given|provided)\b", text):
        text = re.sub(r"\s+(?:in|for|on|at|of|to|from)\s+(?:an?|the)\s+(?:specified|given|provided)\s+\w+$", "", text)
    text = _LOOSE.sub("", re.sub(r"\ban (?=(?:specified|particular|certain|given)\s+[^aeiou])", "a ", text))
    text = re.sub(r"\ba (?=[aeio]\w|un(?!i))", "an ", text)
    listed = []
    for parameter in [p for p in parameters if p in rest]:
        name = names[parameter]
        if _PLACES.search(name) and parameter in bare:
            text += f" in {{{parameter}}}"
        elif name in _TO and (parameter in bare or name == "year"):
            text += f" {_TO[name]} {{{parameter}}}"
        elif name.endswith("_id"):
            text += f" for {{{parameter}}}"
        else:
            listed.append(f"{{{parameter}}}")
    if listed:
        text += ", with " + " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
    for mark, filled in filled_marks.items():
        text = text.replace(mark, filled)
    return text


def ways(phrase: str) -> tuple[str, ...]:
    """A request, and the same with other verbs where it begins with one that hardly anybody says."""
    verb, _, rest = phrase.partition(" ")
    return (
        tuple(f"{other} {rest}" for other in ("retrieve", "look up", "find", "get"))
        if verb == "retrieve"
        else (phrase,)
    )


def clause(schema: Mapping[str, Any]) -> str:
    """ "the order was placed" of "Indicates whether the order was placed or not", "" if there is none."""
    text = re.sub(r"\s*\([^)]*\)", "", str(schema.get("description", "")))
    match = re.search(
        r"\b(?:whether|if)(?: or not)?\s+(.+?)(?:,? or not)?(?:,? or (?:un|in)\w+)?\.?$", text, re.IGNORECASE
    )
    if (
        not match
        or re.search(r"\b(?:if|whether|you)\b", match[1])
        or not re.search(r"\b(?:is|was|are|were|has|have)\b", match[1])
    ):
        return ""
    return _LOOSE.sub("", match[1][0].lower() + match[1][1:] if match[1][1:2].islower() else match[1])


def phrase(name: str, schema: Mapping[str, Any]) -> str:
    """What a field of a result is, as the subject of a sentence."""
    text = re.sub(r"\s*\([^)]*\)|\s+e\.g\..*", "", " ".join(str(schema.get("description", "")).split())).rstrip(".")
    text = _LOOSE.sub("", text)
    if re.match(r"(?:The|A|An)\s", text) and len(text) < 80 and not re.search(
        r"\b(?:which|whether|when|who|whose|you|if|that|such as|where|want|list of|is|are|was)\b|[{}:;,]", text
    ):  # fmt: skip
        return text[0].lower() + text[1:]
    return f"the {words(name)}"


def result_sentence(key: str, name: str, schema: Mapping[str, Any], succeeds: bool, sentence: bool) -> str:
    """The sentence that tells a field.

    Args:
        name: of the field `key` in words joined by "_".
        succeeds: the field is always true.
        sentence: its values are sentences, and stand in quotes.
    """
    if schema.get("type") == "boolean":
        statement = clause(schema)
        if succeeds:
            return f"{statement[0].upper()}{statement[1:]}." if statement else "That was successful."
        return f"Whether {statement}: {{{key}}}." if statement else f"{words(name).capitalize()}: {{{key}}}."
    subject, value = phrase(name, schema), f'"{{{key}}}"' if sentence else f"{{{key}}}"
    head = re.split(r"(?<!^)\s(?:the|of|in|for|to|from|by|at|on|with|per|between|generated|made|during)\s", subject)[0]
    return f"{subject[0].upper()}{subject[1:]} {'are' if plural(head) else 'is'} {value}."
