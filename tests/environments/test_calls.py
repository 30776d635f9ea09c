"""Calls are read without being run, and whatever comes is a call or one line."""

from __future__ import annotations

import math
import random

import pytest

from hubwright.environments.calls import Call, as_python, python_calls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(a=1)", [Call("f", {"a": 1})]),
        ("[f(a=1), g.h.i(b='x')]", [Call("f", {"a": 1}), Call("g.h.i", {"b": "x"})]),
        ("```\n[f()]\n```", [Call("f")]),
        ("f(a=1), g()", [Call("f", {"a": 1}), Call("g")]),
        (" [f(a=-2.5)] ", [Call("f", {"a": -2.5})]),
        ("f(a=[1, (2, 3)], b={'c': {'d': None}})", [Call("f", {"a": [1, (2, 3)], "b": {"c": {"d": None}}})]),
        ("f(a=2 * 3 + 4, b=2**10, c='x' + 'y')", [Call("f", {"a": 10, "b": 1024, "c": "xy"})]),
        ("f(a=name, b=True, c=...)", [Call("f", {"a": "name", "b": True, "c": "..."})]),
        ("f(a=g(b=1), c=h(2), d=x[0])", [Call("f", {"a": {"g": {"b": 1}}, "c": "h(2)", "d": "x[0]"})]),
        ("f(1, 'x', a=3)", [Call("f", {"a": 3}, (1, "x"))]),
        ("f(a=+5, b=-(-5), c=~5, d=not 5, e=5|0)", [Call("f", {"a": 5, "b": 5, "c": -6, "d": False, "e": 5})]),
        ("f(a=1, **{'b': (2,)})", [Call("f", {"a": 1, "b": (2,)})]),
        ("f(a=1000000**2, b=2**64)", [Call("f", {"a": 10**12, "b": 2**64})]),
        ("[]", []),
    ],
)
def test_python(text, expected):
    assert python_calls(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I cannot help with that.", "no Python"),
        ("[1, 2]", "Constant is no call: 1"),
        ("f(**x)", "no arguments by name"),
        ("f(**{1: 2})", "no arguments by name"),
        ("f(a=1, **{'a': 2})", "argument a is given twice"),
        ("f(a=1000001**2)", "that large is no argument"),
        ("f(a=2**65)", "that large is no argument"),
        ("f(a=1<<65)", "that large is no argument"),
        ("f(a=1.5|2)", "unsupported operand"),
        ("f(a=9**9**9)", "that large is no argument"),
        ("f(a=1/0)", "division by zero"),
        ("f(a='x' * 10**9)", "text cannot be reckoned with"),
        ("f(a=lambda: 1)", "Lambda is no value"),
        ("f(a=[x for x in y])", "ListComp is no value"),
        ("f(a={[1]: 2})", "key must be a plain value"),
        ("f(a={**x})", "key must be a plain value"),
        ("f(a={([1],): 2})", "key must be a plain value"),
        ("f(a=" + "*".join(["1000000**64"] * 12) + ")", "so many digits"),  # Python writes no such number
        ("f(0x" + "f" * 5000 + ")", "so many digits"),
        ("f(a=" + "(" * 5000 + ")", "no Python|nested too deeply"),
        ("f(a=" + "-" * 5000 + "1)", "no Python|nested too deeply|no number"),
        ("x" * 100_001, "is no list of calls"),
        ("f(a='\0')", "no Python"),
    ],
)
def test_what_is_no_call_is_one_line(text, said):
    with pytest.raises(ValueError) as caught:
        python_calls(text)
    assert any(part in str(caught.value) for part in said.split("|")) and "\n" not in str(caught.value)


def test_whatever_comes_is_calls_or_one_line():
    rng = random.Random(0)
    alphabet = "fg.(,)[]{}'\"=:+-*/ 0129a\n\\\x00é"
    for _ in range(5000):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(30)))
        try:
            assert all(isinstance(call, Call) for call in python_calls(text))
        except ValueError as error:
            assert "\n" not in str(error)


def value(rng: random.Random, depth: int = 0):
    kinds = [None, True, rng.randrange(-99, 99), rng.uniform(-9, 9), "o'\"k\n\té", "", math.pi]
    if depth < 3 and rng.random() < 0.4:
        inner = [value(rng, depth + 1) for _ in range(rng.randrange(3))]
        return rng.choice([inner, tuple(inner), {f"k{n}": item for n, item in enumerate(inner)}])
    return rng.choice(kinds)


def test_what_is_written_is_read_back():
    rng = random.Random(1)
    for _ in range(1000):
        named = {f"x{n}": value(rng) for n in range(rng.randrange(4))}
        call = Call("a.b", named, tuple(value(rng) for _ in range(rng.randrange(3))))
        assert python_calls(f"[{as_python(call)}]") == [call]
