"""JSON Schema of tools: whether a value or a call's arguments fit, at a bounded cost, without a network.

The rules are those of the library `jsonschema`: draft 2020-12, or the draft (2019-09, 7) that `$schema` names. Nothing
is fetched; a reference has to lead into the schema itself or to a metaschema. Schemas and values come from anywhere:
their size and depth, the number of keywords that are evaluated and the time of regular expressions have bounds.

Loaded in sandboxes as well (`stubs.py`): no import of ours.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import regex
from jsonschema import exceptions, validators
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT7, DRAFT201909, DRAFT202012

# Bounds of a schema and of a value, our choice: values in it, levels, characters of its texts and keys.
MOST_PARTS, MOST_DEPTH, MOST_CHARACTERS = 20_000, 64, 200_000
MOST_STEPS = 100_000  # keywords evaluated for one value; a thousand characters count as one more
MOST_SECONDS = 1.0  # of processor time in regular expressions, for one value

WORDS = {
    "type": "wrong_type", "enum": "not_in_enum", "const": "not_in_enum", "required": "missing_required",
    "dependentRequired": "missing_required", "additionalProperties": "unexpected_property",
    "unevaluatedProperties": "unexpected_property", "propertyNames": "unexpected_property",
    "minimum": "out_of_range", "maximum": "out_of_range", "exclusiveMinimum": "out_of_range",
    "exclusiveMaximum": "out_of_range", "multipleOf": "out_of_range", "anyOf": "no_alternative",
    "oneOf": "no_alternative", "not": "not_allowed", "pattern": "no_match", "minLength": "wrong_length",
    "maxLength": "wrong_length", "minItems": "wrong_length", "maxItems": "wrong_length",
    "minProperties": "wrong_length", "maxProperties": "wrong_length", "uniqueItems": "not_unique",
    "contains": "item_missing", "additionalItems": "unexpected_item", "unevaluatedItems": "unexpected_item",
    "items": "unexpected_item",
}  # fmt: skip
"""Keyword -> the word for a value that breaks it. A schema `false` is "not_allowed"."""

# Keywords beside which a property may be declared elsewhere than in `properties`.
_ELSEWHERE = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "dependencies")


class _Refused(Exception):
    """A schema that cannot be used, or a check that costs too much; the text is the word for it."""


def violation(value: Any, schema: Any) -> str | None:
    """The first rule that `value` breaks, None if it fits `schema`.

    Returns a word of WORDS; for a schema that cannot be used one of `schema_fault`; "too_large", "too_deep" or
    "too_costly" for what goes beyond the bounds.
    """
    try:
        _bound(value)
        return _first(_prepared(_text(schema)), value)
    except _Refused as refusal:
        return str(refusal)


def argument_violation(arguments: Any, parameters: Any) -> str | None:
    """As `violation`, for a call's arguments and a function's `parameters`.

    JSON Schema allows properties that a schema does not name; a function does not take arguments that it does not
    name, unless `additionalProperties` says so. A function without `parameters` takes none, as OpenAI's does. Where
    `allOf` and its like may name arguments, `unevaluatedProperties` says it; draft 7 has no word for it there.
    """
    if not isinstance(arguments, dict):
        return "wrong_type"
    try:
        _bound(arguments)
        return _first(_prepared(_text({} if parameters is None else parameters), True), arguments)
    except _Refused as refusal:
        return str(refusal)


def schema_fault(schema: Any) -> str | None:
    """Why a schema cannot be used, None if it can.

    Returns "schema_too_large", "schema_too_deep", "schema_unknown_draft", "schema_invalid" (its metaschema says so),
    "schema_bad_pattern" (no regular expression) or "schema_reference_outside" (to what the schema does not hold).
    """
    try:
        _prepared(_text(schema))
    except _Refused as refusal:
        return str(refusal)
    return None


def canonical(value: Any) -> str:
    """A text that is equal for equal JSON values: 3 equals 3.0, true is not 1, the order of keys does not count."""

    def plain(item: Any) -> Any:
        if isinstance(item, float) and item.is_integer():
            return int(item)
        if isinstance(item, dict):
            return {key: plain(part) for key, part in item.items()}
        return [plain(part) for part in item] if isinstance(item, list) else item

    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False)


def _bound(value: Any, prefix: str = "") -> None:
    """Raise _Refused for a value with more parts, levels or characters than the bounds, walking no further."""
    parts, characters, stack = 0, 0, [(value, 0)]
    while stack:
        item, depth = stack.pop()
        parts += 1
        if isinstance(item, str):
            characters += len(item)
        elif isinstance(item, dict):
            characters += sum(len(key) for key in item if isinstance(key, str))
            stack += ((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list | tuple):
            stack += ((inner, depth + 1) for inner in item)
        elif isinstance(item, int) and item.bit_length() > 12_000:  # more digits than Python writes
            raise _Refused(f"{prefix}too_large")
        if parts + len(stack) > MOST_PARTS or characters > MOST_CHARACTERS:
            raise _Refused(f"{prefix}too_large")
        if depth > MOST_DEPTH:
            raise _Refused(f"{prefix}too_deep")


def _text(schema: Any) -> str:
    if not isinstance(schema, Mapping | bool):
        raise _Refused("schema_invalid")
    _bound(schema, "schema_")
    try:
        return json.dumps(schema)
    except (TypeError, ValueError):  # a set, a key that is no text
        raise _Refused("schema_invalid") from None


@lru_cache(maxsize=1024)
def _cached(text: str, closed: bool) -> Any:
    """The validator of a schema's JSON text, or the word for why there is none."""
    schema = json.loads(text)
    named = schema.pop("$schema", _LATEST) if isinstance(schema, dict) else _LATEST
    draft = _DRAFTS.get(named.rstrip("#") if isinstance(named, str) else "")
    if draft is None:
        return "schema_unknown_draft"
    if closed and isinstance(schema, dict) and "additionalProperties" not in schema:
        if not any(keyword in schema for keyword in _ELSEWHERE):
            schema["additionalProperties"] = False
        elif draft is not _DRAFT_7:
            schema.setdefault("unevaluatedProperties", False)
    try:
        draft.library.check_schema(schema, format_checker=None)
        _check_parts(schema, draft.specification)
    except exceptions.SchemaError:
        return "schema_invalid"
    except RecursionError:
        return "schema_too_deep"
    except _Refused as refusal:
        return str(refusal)
    return draft.bounded(schema, registry=SPECIFICATIONS)


def _prepared(text: str, closed: bool = False) -> Any:
    validator = _cached(text, closed)
    if isinstance(validator, str):
        raise _Refused(validator)
    return validator


def _check_parts(schema: Any, specification: Any) -> None:
    """Raise _Refused for parts of another draft, bad patterns, and references that lead outside."""
    names: list[str] = []
    unevaluated, stack = False, [schema]
    while stack:  # everything, as a reference may lead to what is no subschema by itself
        part = stack.pop()
        stack += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        if isinstance(part, dict):
            if isinstance(part.get("$schema"), str):  # the library would go on with that draft, without bounds
                raise _Refused("schema_unknown_draft")
            unevaluated = unevaluated or "unevaluatedProperties" in part
            by_name = part.get("patternProperties")
            names += by_name if isinstance(by_name, dict) else ()
    if unevaluated and not all(_PLAIN.fullmatch(name) for name in names):
        raise _Refused("schema_bad_pattern")  # the library itself searches these
    root = specification.create_resource(schema)
    todo = [(root, SPECIFICATIONS.resolver_with_root(root))]
    while todo:
        resource, resolver = todo.pop()
        part = resource.contents
        if isinstance(part, dict):
            for key in ("$ref", "$dynamicRef"):
                if key in part:
                    _look_up(part[key], resolver)
            for pattern in [*part.get("patternProperties", ()), *([part["pattern"]] if "pattern" in part else [])]:
                _compiled(pattern)
            todo += ((inner, resolver.in_subresource(inner)) for inner in resource.subresources())


def _look_up(reference: str, resolver: Any) -> None:
    try:
        resolver.lookup(reference)
    except (Unresolvable, ValueError):
        raise _Refused("schema_reference_outside") from None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    """A pattern as ECMA-262 reads it: classes of ASCII, and `$` the end alone, not the line break before it."""
    try:
        return regex.compile(_TOKEN.sub(_as_python, pattern))
    except (regex.error, RecursionError, OverflowError, MemoryError):
        raise _Refused("schema_bad_pattern") from None


def _as_python(token: Any) -> str:
    text: str = token[0]
    if text.startswith("["):
        return str(_ESCAPE.sub(lambda escape: _IN_SET.get(escape[0], escape[0]), text))
    return _ALONE.get(text, text)


_ESCAPE = regex.compile(r"\\.", regex.DOTALL)
_TOKEN = regex.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\$", regex.DOTALL)
_IN_SET = {r"\d": "0-9", r"\w": "A-Za-z0-9_"}
_ALONE = {r"\d": "[0-9]", r"\D": "[^0-9]", r"\w": "[A-Za-z0-9_]", r"\W": "[^A-Za-z0-9_]", "$": r"\Z"}
_PLAIN = regex.compile(r"[^*+?{}()|\\]*(?:\\[wds.-])?(?:\.[*+])?\$?")  # at most one repetition, at the end

_budget = threading.local()


def _spend(steps: int) -> None:
    _budget.steps -= steps
    if _budget.steps < 0:
        raise _Refused("too_costly")


def _found(pattern: str, text: str) -> bool:
    """Does the pattern occur in the text? Within what is left of the time."""
    began = time.process_time()
    try:
        return _compiled(pattern).search(text, timeout=max(_budget.seconds, 1e-3)) is not None
    except TimeoutError:
        raise _Refused("too_costly") from None
    finally:
        _budget.seconds -= time.process_time() - began


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    if isinstance(value, str) and not _found(pattern, value):
        yield exceptions.ValidationError("the pattern does not occur")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for pattern, part in patterns.items():
            for key, item in value.items():
                if _found(pattern, key):
                    yield from validator.descend(item, part, path=key, schema_path=pattern)


def _additional_properties(validator: Any, extra: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    if isinstance(value, dict):
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for key, item in value.items():
            if key not in properties and not any(_found(pattern, key) for pattern in patterns):
                if extra is False:
                    yield exceptions.ValidationError("the property is not allowed")
                yield from validator.descend(item, extra, path=key)


def _unique_items(validator: Any, unique: bool, value: Any, schema: Any) -> Iterator[Any]:
    if unique and isinstance(value, list) and len({canonical(item) for item in value}) < len(value):
        yield exceptions.ValidationError("items are equal")


_OWN = {
    "pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}  # fmt: skip


class _Draft:
    """A draft's validator in the library, the same with our bounds, and its way to read references."""

    def __init__(self, library: Any, specification: Any) -> None:
        self.library, self.specification = library, specification
        keywords = {name: _counted(keyword) for name, keyword in (dict(library.VALIDATORS) | _OWN).items()}
        self.bounded = validators.extend(library, validators=keywords)


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(validator: Any, rule: Any, value: Any, schema: Any) -> Any:
        _spend(1 + len(rule) if isinstance(rule, list) else 1)
        _spend(len(value) // 1000 if isinstance(value, str) else 0)
        return keyword(validator, rule, value, schema)

    return bounded


_LATEST = "https://json-schema.org/draft/2020-12/schema"
_DRAFT_7 = _Draft(validators.Draft7Validator, DRAFT7)
_DRAFTS = {
    _LATEST: _Draft(validators.Draft202012Validator, DRAFT202012),
    "https://json-schema.org/draft/2019-09/schema": _Draft(validators.Draft201909Validator, DRAFT201909),
    "http://json-schema.org/draft-07/schema": _DRAFT_7,
    "https://json-schema.org/draft-07/schema": _DRAFT_7,
}


def _first(validator: Any, value: Any) -> str | None:
    """The word for the first rule that is broken, at no more than the bounds' cost."""
    _budget.steps, _budget.seconds = MOST_STEPS, MOST_SECONDS
    try:
        error = next(validator.iter_errors(value), None)
    except RecursionError:
        return "too_deep"
    except Unresolvable:  # where no subschema leads to; the library's own error is one as well
        return "schema_reference_outside"
    except ArithmeticError:  # multipleOf 0.1 of an integer beyond every float
        return "out_of_range"
    if error is None:
        return None
    return WORDS.get(str(error.validator), "not_allowed")
