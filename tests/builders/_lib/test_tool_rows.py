"""The short way to check a call's arguments."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib.tool_rows import _fits
from hubwright.environments.schema import argument_violation

TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array"])
FIELDS = st.fixed_dictionaries({"type": TYPES}, optional={"description": st.just("x"), "enum": st.just(["a", 1])})
SCHEMAS = st.fixed_dictionaries(
    {"type": st.sampled_from(["object", "array"]), "properties": st.dictionaries(st.sampled_from("abc"), FIELDS)},
    optional={"required": st.lists(st.sampled_from("abcd"), unique=True), "minProperties": st.just(1)},
)
VALUES = st.one_of(st.text(max_size=3), st.integers(), st.floats(), st.booleans(), st.none(), st.just([]))


@given(st.dictionaries(st.sampled_from("abcd"), VALUES), SCHEMAS)
def test_arguments_that_fit_the_short_way_break_no_rule_of_their_schema(arguments: Any, schema: Any) -> None:
    if _fits(arguments, schema):
        assert argument_violation(arguments, schema) is None


def test_plain_arguments_need_no_validator() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}, "required": ["a"]}
    assert _fits({"a": "x", "b": 1}, schema)
    assert not any(_fits(arguments, schema) for arguments in ({"b": 1}, {"a": 1}, {"a": "x", "c": 1}, {"a": 2**70}))
