"""Our matcher against hand-made cases, and case by case against the package's own checker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bfcl_parts import FUNCTION, GOLD, package

from hubwright.environments.calls import Call, python_calls
from hubwright.evals.bfcl.matcher import matches
from hubwright.evals.bfcl.reader import bfcl_calls


@pytest.mark.parametrize(
    ("call", "right"),
    [
        ("book(city='new york NY')", True),
        ("book(city='nyc', nights=2, rate=1.5)", True),
        ("book(city='Boston')", False),
        ("book(nights=2)", False),
        ("book(city='NYC', nights=3)", False),
        ("book(city='NYC', nights='2')", False),
        ("book(city='NYC', nights=2.0)", False),
        ("book(city='NYC', rate=2)", False),
        ("book(city='NYC', tags=['QUIET', 'seaview'])", True),
        ("book(city='NYC', tags=['seaview', 'quiet'])", False),
        ("book(city='NYC', tags=[])", True),
        ("book(city='NYC', guest={'name': 'ada'})", True),
        ("book(city='NYC', guest={'name': 'ada', 'age': 36})", True),
        ("book(city='NYC', guest={'name': 'ada', 'size': 1})", False),
        ("book(city='NYC', guest={'age': 36})", False),
        ("book(city='NYC', guests=[{'name': 'Ada'}])", True),
        ("book(city='NYC', guests=[{'name': 'Ada'}, {'name': 'Ada'}])", False),
        ("book(city='NYC', other=1)", False),
        ("books(city='NYC')", False),
    ],
)
def test_single_calls(call, right):
    assert (matches(python_calls(call), GOLD, [FUNCTION], "simple_python") == "") is right


def test_parallel_calls_come_in_any_order_and_others_do_not():
    gold = [{"book": {"city": ["Oslo"]}}, {"book": {"city": ["Bergen"]}}]
    one, two = Call("book", {"city": "Oslo"}), Call("book", {"city": "Bergen"})
    assert matches([two, one], gold, [FUNCTION], "parallel") == ""
    assert matches([one, one], gold, [FUNCTION], "parallel") == "no call is the book that is expected"
    assert matches([one], gold, [FUNCTION], "parallel") == "1 calls instead of 2"
    assert matches([two], gold[:1], [FUNCTION], "simple_python").startswith("city is none of")


def test_parallel_equal_calls_of_other_types_are_told_apart():
    """1 == True in Python: the call that fits is taken by its place, or its twin would be taken instead."""
    function = {"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}
    both = {"name": "g", "parameters": {"properties": {"a": {"type": "boolean"}}, "required": ["a"]}}
    gold = [{"f": {"a": [1]}}, {"f": {"a": [1]}}]
    assert matches([Call("f", {"a": True}), Call("f", {"a": 1})], gold, [function, both], "parallel") != ""
    assert matches([Call("f", {"a": 1}), Call("f", {"a": True})], gold, [function, both], "parallel") != ""
    assert matches([Call("f", {"a": 1}), Call("f", {"a": 1})], gold, [function, both], "parallel") == ""


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("f(a=+5)", {"a": -5}),
        ("f(a=-5)", {"a": -5}),
        ("f(a=~5)", {"a": -5}),
        ("f(a=not True)", {"a": -1}),
        ("f(a=5|0, b=6^3, c=1<<4)", {"a": 5, "b": 5, "c": 16}),
        ("f(a=+5 + 2)", {"a": 7}),
        ("f(a=g(b=+5))", {"a": {"g": {"b": -5}}}),
        ("f(a=x[+1])", {"a": "x[+1]"}),
        ("f(**{})", {"**": {}}),
        ("f(b=1, **{'a': 1})", {"b": 1, "**": {"a": 1}}),
        ("f(a=(1, 2))", {"a": (1, 2)}),
    ],
)
def test_bfcl_calls_reads_signs_and_stars_as_the_package(text, arguments):
    """Read off `ast_parse` of bfcl-eval 2026.3.23, and compared with it below where the wheel is at hand."""
    (call,) = bfcl_calls(text)
    assert call.arguments == arguments


@pytest.mark.parametrize("text", ["f(a=-(-5))", "f(a=-x)", "f(a=not x)", "f(a=[+(+1)])", "f(a=-'x')", "f(a={+x: 1})"])
def test_bfcl_calls_with_a_sign_before_no_literal_reads_nothing(text):
    with pytest.raises(ValueError) as caught:
        bfcl_calls(text)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(package() is None, reason="no wheel of bfcl-eval in HUBWRIGHT_TEST_WHEELS")
def test_every_case_is_judged_as_the_package_judges_it():
    """Gold and mutated calls of all rows of eight categories; the package runs in a process of its own."""
    driver = Path(__file__).with_name("compare_driver.py")
    done = subprocess.run(
        [sys.executable, str(driver), str(package()), "6"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["differ"] == [] and found["not_read_back"] == [] and found["texts_differ"] == []
    assert found["texts"] == found["cases"] and found["no_verdict"] == 0
    assert found["cases"] == 6 * 2351 and 0.3 < found["valid"] / found["cases"] < 0.8
