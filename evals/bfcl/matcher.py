"""Does a list of calls match BFCL's gold calls? Single turn, Python categories.

As `bfcl-eval` 2026.3.23 (Apache-2.0), compared with it case by case (tests/evals/bfcl). A gold call is `{name:
{argument: [accepted values]}}`; "" among the values makes it optional. Its oddities:

- arguments without a name are passed over;
- text is compared without case, blanks and ,./-_*^ , with ' as ";
- if all accepted values have another type than the definition says, the value is a variable and compared as it is;
- an optional list, also of objects, may be given as an empty list;
- objects inside objects, and lists inside lists, are compared as they are.
"""

import re
from collections.abc import Sequence
from typing import Any

from ...environments.calls import Call

Gold = dict[str, dict[str, list[Any]]]
TYPES: dict[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str,
}  # fmt: skip
_IGNORED = re.compile(r"[ ,./\-_*^]")


def matches(calls: Sequence[Call], gold: Sequence[Gold], functions: Sequence[dict[str, Any]], category: str) -> str:
    """ "" if the calls are the gold ones, else the difference in one line.

    Args:
        functions: BFCL's definitions: name, parameters with properties and required.
        category: as in the ids; "parallel" ones may come in any order.
    """
    if len(calls) != len(gold):
        return f"{len(calls)} calls instead of {len(gold)}"
    by_name = {function["name"]: function for function in reversed(functions)}
    if "parallel" not in category:
        name = next(iter(gold[0])) if "multiple" in category else functions[0]["name"]
        return _one(calls[0], gold[0], by_name[name])
    left = list(range(len(calls)))  # by place: equal calls may differ in types, as 1, 1.0 and True do
    for expected in gold:  # every gold call takes the first that fits
        name = next(iter(expected))
        place = next((place for place in left if not _one(calls[place], expected, by_name[name])), None)
        if place is None:
            return f"no call is the {name} that is expected"
        left.remove(place)
    return ""


def _one(call: Call, gold: Gold, function: dict[str, Any]) -> str:
    accepted = next(iter(gold.values()))
    properties, required = function["parameters"]["properties"], function["parameters"]["required"]
    if call.name != function["name"]:
        return f"{call.name} instead of {function['name']}"
    for name in required:
        if name not in call.arguments:
            return f"{name} is missing"
    for name, value in call.arguments.items():
        if name not in properties or name not in accepted:
            return f"there is no argument {name}"
        if fault := _argument(value, properties[name], accepted[name]):
            return f"{name} {fault}"
    for name, values in accepted.items():
        if name not in call.arguments and "" not in values:
            return f"{name} is not optional"
    return ""


def _argument(value: Any, schema: dict[str, Any], accepted: list[Any]) -> str:
    type_name = schema["type"]
    expected = TYPES[type_name]
    inner = TYPES[schema["items"]["type"]] if type_name in ("array", "tuple") else None
    if type_name == "tuple" and type(value) is tuple:
        value = list(value)
    if type_name == "float" and type(value) is int:
        value = float(value)
    variable = _variable(value, accepted, expected, inner)
    if variable is None:
        return f"is no {type_name}: {value!r:.100}"
    wrong = f"is none of {accepted!r:.200}: {value!r:.100}"
    if variable:
        return "" if value in accepted else wrong
    if expected is dict:
        return "" if _object(value, accepted) else wrong
    if expected is list and inner is dict:
        same_size = [answer for answer in accepted if len(answer) == len(value)]
        pairs = (zip(value, answer, strict=True) for answer in same_size)
        return "" if any(all(_object(v, [a]) for v, a in some) for some in pairs) else wrong
    if expected is list:
        return "" if _plain(value) in [_plain(answer) for answer in accepted] else wrong
    if expected is str:
        return "" if _text(value) in [_text(answer) for answer in accepted if type(answer) is str] else wrong
    return "" if value in accepted else wrong


def _variable(value: Any, accepted: list[Any], expected: type, inner: type | None) -> bool | None:
    """Is the value a variable, of the accepted values' type and not of the defined one? None: it has neither type."""
    accepted_type = next((type(answer) for answer in accepted if answer != ""), None)
    elements: Any = value
    if type(value) is expected:
        if inner is None or any(
            not isinstance(answer, list) or all(_variable(item, answer, inner, None) is not None for item in elements)
            for answer in accepted
        ):
            return accepted_type is not None and accepted_type is not expected
        return None
    return True if accepted_type is not None and type(value) is accepted_type else None


def _object(value: Any, accepted: list[Any]) -> bool:
    if not isinstance(value, dict):
        return False
    return any(isinstance(answer, dict) and _same_object(value, answer) for answer in accepted)


def _same_object(value: dict[str, Any], answer: dict[str, list[Any]]) -> bool:
    for key, item in value.items():
        if key not in answer or _loose(item) not in [_loose(other) for other in answer[key]]:
            return False
    return all(key in value or "" in values for key, values in answer.items())


def _plain(value: Any) -> list[Any]:
    return [_loose(item) for item in value]


def _loose(value: Any) -> Any:
    return _text(value) if type(value) is str else value


def _text(value: str) -> str:
    return _IGNORED.sub("", value).lower().replace("'", '"')
