"""The checker of values and calls: against the official suite, against the library without bounds, and hostile input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hubwright.environments.schema import argument_violation, schema_fault, violation

SDIST = "jsonschema-4.26.0.tar.gz"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any, Any, bool]]:
    """(file, schema, value, valid) of draft 2020-12's official suite, as jsonschema's source distribution carries it."""
    folder = Path(os.environ.get("HUBWRIGHT_TEST_WHEELS", "none"))
    if not (folder / SDIST).is_file():
        folder = tmp_path_factory.mktemp("sdist")
        pip = [sys.executable, "-m", "pip", "--timeout", "15", "--retries", "1", "download", "--quiet", "--no-deps"]
        wanted = ["--no-binary", "jsonschema", "--dest", str(folder), "jsonschema==4.26.0"]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"pip cannot get the source distribution of jsonschema: {done.stderr.strip()[-200:]}")
    cases = []
    with tarfile.open(folder / SDIST) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if parts[1:-1] == ("json", "tests", "draft2020-12") and member.name.endswith(".json"):
                file = archive.extractfile(member)
                assert file is not None
                for group in json.load(file):
                    cases += [(parts[-1], group["schema"], test["data"], test["valid"]) for test in group["tests"]]
    return cases


def test_violation_official_suite_agrees_or_refuses_what_lies_elsewhere(
    suite: list[tuple[str, Any, Any, bool]],
) -> None:
    outcomes: Counter[str] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    for file, schema, value, valid in suite:
        word = violation(value, schema)
        if word and word.startswith("schema_"):
            refused[file, word] += 1
        else:
            outcomes["right" if (word is None) == valid else f"wrong: {schema} {value}"] += 1
    assert outcomes == {"right": 1208}
    # References to the suite's own server, and metaschemas of its own: nothing is fetched.
    assert refused == {
        ("refRemote.json", "schema_reference_outside"): 31,
        ("dynamicRef.json", "schema_reference_outside"): 13,
        ("vocabulary.json", "schema_unknown_draft"): 5,
    }


# The rules' own words in draft 2020-12's vocabularies, section by section, and what is wrong or right by them.
RULES: list[tuple[Any, Any, str | None]] = [
    (True, {"enum": [1]}, "not_in_enum"),
    (1.0, {"enum": [1]}, None),
    (False, {"const": 0}, "not_in_enum"),
    ([1], {"const": [True]}, "not_in_enum"),
    (1, False, "not_allowed"),
    ({"a": 1}, {"properties": {"a": False}}, "not_allowed"),
    ([], {"minItems": 1}, "wrong_length"),
    ([1, 2], {"maxItems": 1}, "wrong_length"),
    ("", {"minLength": 1}, "wrong_length"),
    ("\U0001f600", {"maxLength": 1}, None),
    ([1, 1.0], {"uniqueItems": True}, "not_unique"),
    ([1, True], {"uniqueItems": True}, None),
    ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], {"uniqueItems": True}, "not_unique"),
    (5, {"exclusiveMaximum": 5}, "out_of_range"),
    (10**400, {"multipleOf": 0.1}, "out_of_range"),
    (3.0, {"type": "integer"}, None),
    (True, {"type": "integer"}, "wrong_type"),
    (["a", 1], {"prefixItems": [{"type": "string"}, {"type": "integer"}]}, None),
    ([1, "a"], {"prefixItems": [{"type": "string"}]}, "wrong_type"),
    ({"x_1": 1}, {"patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": False}, None),
    ({"y": 1}, {"patternProperties": {"^x_": {}}, "additionalProperties": False}, "unexpected_property"),
    ({"k": 1}, {"oneOf": [{"$ref": "#/$defs/k"}, {"type": "string"}], "$defs": {"k": {"required": ["k"]}}}, None),
    ({"z": 1}, {"oneOf": [{"$ref": "#/$defs/k"}], "$defs": {"k": {"required": ["k"]}}}, "no_alternative"),
    (1, {"not": {"type": "integer"}}, "not_allowed"),
    ("a\n", {"pattern": "^a$"}, "no_match"),  # ECMA-262: without the flag m, $ is the end alone
    ("\u0663", {"pattern": r"^\d$"}, "no_match"),  # ECMA-262: \d is 0 to 9
    ("\u00e9", {"pattern": r"^\p{L}$"}, None),
    ("x", {"format": "date"}, None),  # an annotation, unless a vocabulary says otherwise
    (
        ["a", 1],
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{}, {"type": "string"}]},
        "wrong_type",
    ),
]


@pytest.mark.parametrize(("value", "schema", "word"), RULES)
def test_violation_rule_is_draft_2020_12s(value: Any, schema: Any, word: str | None) -> None:
    assert violation(value, schema) == word


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5])
    | st.sampled_from(["", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
KEYWORDS = {
    "type": st.sampled_from(["string", "integer", "object", "array", "number", ["null", "boolean"]]),
    "enum": st.lists(JSON, min_size=1, max_size=3), "const": JSON, "required": st.lists(st.sampled_from("abc"), unique=True),
    "minItems": st.integers(0, 2), "uniqueItems": st.booleans(), "pattern": st.sampled_from(["^a", "b$", "[^a]"]),
    "minimum": st.integers(-2, 2), "$ref": st.sampled_from(["#/$defs/s", "#/$defs/i"]),
}  # fmt: skip
SCHEMAS = st.recursive(
    st.booleans() | st.fixed_dictionaries({}, optional=KEYWORDS),
    lambda inner: st.fixed_dictionaries(
        {},
        optional=KEYWORDS
        | {key: st.lists(inner, min_size=1, max_size=2) for key in ("anyOf", "oneOf", "allOf", "prefixItems")}
        | dict.fromkeys(("items", "additionalProperties", "not", "contains", "if", "then"), inner)
        | {"properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2)}
        | {"patternProperties": st.dictionaries(st.sampled_from(["^a", "b|c"]), inner, max_size=2)},
    ),
    max_leaves=6,
)


@given(JSON, SCHEMAS)
def test_violation_any_schema_says_what_the_library_says(value: Any, schema: Any) -> None:
    if isinstance(schema, dict):
        schema = schema | {"$defs": {"s": {"type": "string"}, "i": {"type": "integer"}}}
    assert (violation(value, schema) is None) == Draft202012Validator(schema).is_valid(value)


def test_argument_violation_names_that_a_function_does_not_have_are_refused_and_nested_ones_are_not() -> None:
    nested = {"type": "object", "properties": {"a": {"type": "object", "properties": {"y": {}}}}}
    assert argument_violation({"b": 1}, nested) == "unexpected_property"
    assert argument_violation({"a": {"x": 1}}, nested) is None
    assert violation({"b": 1}, nested) is None
    assert argument_violation({"b": 1}, nested | {"additionalProperties": {"type": "integer"}}) is None
    assert argument_violation({"x_b": 1}, nested | {"patternProperties": {"^x_": {}}}) is None
    # OpenAI's reference of `tools`: "Omitting parameters defines a function with an empty parameter list."
    for none in (None, {}, {"type": "object"}, {"type": "object", "properties": {}}):
        assert argument_violation({}, none) is None
        assert argument_violation({"b": 1}, none) == "unexpected_property"
    assert argument_violation([1], nested) == "wrong_type"


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"allOf": [{"properties": {"a": {}}}]}, {"a": 1}),
        ({"$ref": "#/$defs/p", "$defs": {"p": {"properties": {"a": {}}}}}, {"a": 1}),
        ({"properties": {"b": {}}, "anyOf": [{"required": ["b"]}, {"properties": {"a": {}}}]}, {"a": 1}),
    ],
)
def test_argument_violation_names_declared_elsewhere_are_known(schema: Any, arguments: Any) -> None:
    assert argument_violation(arguments, schema) is None
    assert argument_violation(arguments | {"z": 1}, schema) == "unexpected_property"


def nested(depth: int, wrap: Any, inside: Any) -> Any:
    for _ in range(depth):
        inside = wrap(inside)
    return inside


DOUBLING = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {"type": "integer"}}
SLOW = "^(a|aa)+$"
LONG = "a" * 60 + "b"
HOSTILE: dict[str, tuple[Any, Any, str]] = {
    "remote": (1, {"$ref": "http://127.0.0.1:1/schema.json"}, "schema_reference_outside"),
    "a file": (1, {"$ref": "file:///etc/passwd"}, "schema_reference_outside"),
    "remote below": ({"a": 1}, {"properties": {"a": {"items": {"$ref": "https://example.org/s"}}}}, "schema_reference_outside"),
    "remote by id": (1, {"$id": "https://example.org/s", "properties": {"a": {"$ref": "other"}}}, "schema_reference_outside"),
    "remote in what is no subschema": (
        1, {"$ref": "#/definitions/a", "definitions": {"a": {"$ref": "http://127.0.0.1:1/x"}}}, "schema_reference_outside",
    ),
    "nowhere": (1, {"$ref": "#/$defs/none"}, "schema_reference_outside"),
    "a loop": (1, {"$ref": "#"}, "too_deep"),
    "doubling": (1, {"$ref": "#/$defs/d0", "$defs": DOUBLING}, "too_costly"),
    "doubling, unevaluated": (
        {"a": 1}, {"$ref": "#/$defs/d0", "$defs": DOUBLING | {"d40": {}}, "unevaluatedProperties": False}, "too_costly",
    ),
    "shared parts": (1, nested(60, lambda part: {"anyOf": [part, part]}, {}), "schema_too_deep"),
    "wide shared parts": (1, nested(15, lambda part: {"anyOf": [part] * 9}, {}), "schema_too_large"),
    "deep": (1, nested(5000, lambda part: {"properties": {"a": part}}, {}), "schema_too_deep"),
    "deep value": (nested(5000, lambda part: [part], []), {}, "too_deep"),
    "many values": ([0] * 10**6, {}, "too_large"),
    "long text": ("x" * 10**6, {"type": "integer"}, "too_large"),
    "many errors of a long text": ("x" * 190_000, {"anyOf": [{"type": "integer"}] * 5000}, "too_costly"),
    "huge integer": (1 << 20_000, {"type": "string"}, "too_large"),
    "slow pattern": (LONG, {"pattern": SLOW}, "too_costly"),
    "slow pattern, many": ([LONG] * 100, {"items": {"pattern": SLOW}}, "too_costly"),
    "slow pattern of names": ({LONG: 1}, {"patternProperties": {SLOW: {}}}, "too_costly"),
    "slow pattern of other names": ({LONG: 1}, {"additionalProperties": False, "patternProperties": {SLOW: {}}}, "too_costly"),
    "slow pattern, unevaluated": (
        {LONG: 1}, {"patternProperties": {SLOW: {}}, "unevaluatedProperties": False}, "schema_bad_pattern",
    ),
    "slow pattern, another draft": (
        {"a": LONG}, {"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": SLOW}}},
        "schema_unknown_draft",
    ),
    "no pattern": ("x", {"pattern": "("}, "schema_bad_pattern"),
    "no pattern in what is no subschema": ("x", {"$ref": "#/x", "x": {"pattern": "("}}, "schema_bad_pattern"),
    "no type": (1, {"type": "str"}, "schema_invalid"),
    "no schema": (1, "string", "schema_invalid"),
    "unknown draft": (1, {"$schema": "https://example.org/draft"}, "schema_unknown_draft"),
    "draft 4": (1, {"$schema": "http://json-schema.org/draft-04/schema#"}, "schema_unknown_draft"),
    "no JSON": (1, {"default": {1, 2}}, "schema_invalid"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_violation_hostile_input_is_a_word_at_a_bounded_cost(case: str) -> None:
    value, schema, word = HOSTILE[case]
    assert violation(value, schema) == word  # without bounds: after hours, or never
    if word.startswith("schema_") and "no subschema" not in case:
        assert schema_fault(schema) == word
        assert argument_violation({}, schema) == word or not isinstance(schema, dict)


def test_violation_many_values_within_the_bounds_are_checked() -> None:
    assert violation([*range(15_000)], {"items": {"type": "integer", "minimum": 0}}) is None
    assert violation([*range(15_000), "x"], {"items": {"type": "integer"}}) == "wrong_type"
    assert violation([{"a": n} for n in range(5_000)], {"uniqueItems": True}) is None
