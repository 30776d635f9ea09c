"""Worlds of two turns by hand, and all 800 rows of the package played by its checker and by ours."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from bfcl_parts import package
from multi_turn_parts import SOURCES

from hubwright.environments.calls import python_calls
from hubwright.evals.bfcl.worlds import Worlds, needless, play
from hubwright.hub_sync.errors import DataError

ROW = {"id": "multi_turn_base_0", "involved_classes": ["TicketAPI"], "initial_config": {"TicketAPI": {"tickets": {}}}}
GOLD = [["create('a', priority=2)", "count()"], [], ["count()"]]


@pytest.fixture(scope="module")
def worlds():
    with Worlds(SOURCES) as made:
        yield made


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        (["create(title='a', priority=2), count()", "", "count()"], ""),
        (["count(), create(title='a', priority=2), count()", "", "count()"], ""),
        (["create(title='a', priority=2), count()", "", ""], "turn 2: nothing was called"),
        (["create(title='a'), count()", "", "count()"], "turn 0: the state differs: TicketAPI.tickets"),
        (["create(title='a', priority=2)", "", "count()"], "turn 0: gold's result is not among the results so far: 1"),
        (["create(title='a', priority=2), count()", "create(title='b')", "count()"], "turn 2: the state differs"),
        # A result of an earlier turn counts as often as it was given.
        (["create(title='a', priority=2), count(), count()", "", "fail()"], ""),
        ([], "turn 0: nothing was called"),
    ],
)
def test_turns(worlds, replies, said):
    passed, found = play(worlds, ROW, [python_calls(text) if text else [] for text in replies], GOLD)
    assert found == said or (said and found.startswith(said))
    assert passed == (int(found.split()[1].strip(":")) if said else len(GOLD))


def test_turn_where_gold_gives_a_result_twice_needs_it_twice(worlds):
    """The package takes each of gold's results out of a copy of the model's (`_is_subsequence_unordered`)."""
    gold = [["count()", "count()"], ["count()", "count()", "count()"]]
    once, twice = python_calls("count()"), python_calls("count(), count()")
    assert play(worlds, ROW, [once, twice], gold) == (0, "turn 0: gold's result is not among the results so far: 0")
    assert play(worlds, ROW, [twice, once], gold) == (2, "")
    assert play(worlds, ROW, [twice, []], gold) == (1, "turn 1: nothing was called")


@pytest.mark.parametrize(
    "value",
    ["(1, 2)", "[(1, ('x', [2]))]", "{1: 'a', (2, 3): {'b': ()}}", "b'\\xff'", "2j", "{'tuple': [1], 'dict': 1}"],
)
def test_call_with_any_literal_reaches_the_world_as_it_is(worlds, value):
    worlds.begin(ROW)
    gold = [f"create(title={value!s}, priority=({value}, 1))"]
    assert worlds.turn(python_calls(gold[0]), gold).fault == ""
    other = worlds.turn(python_calls(f"create(title={value!s}, priority=[{value}, 1])"), gold)
    assert other.fault == "the state differs: TicketAPI.tickets", "a list is not the tuple that gold has"
    written = worlds.turn(python_calls(f"show(value={value})"), []).results[0]
    expected = ast.literal_eval(value)
    assert written == str([expected] if isinstance(expected, dict) else expected)


def test_what_calls_give_as_text(worlds):
    worlds.begin(ROW | {"id": "multi_turn_long_context_0"})
    calls = python_calls(
        "create(title='a'), count(), fail(), kill(), nothing(), TicketAPI.count(), create(name=1), _seen()"
    )
    results = worlds.turn(calls, []).results
    assert results[:6] == [
        '{"id": 1000}', "1", "Error during execution: no such ticket",
        "Error during execution: Function call kill is not allowed.",
        "Error during execution: name 'nothing' is not defined", "Error during execution: name 'TicketAPI' is not defined",
    ]  # fmt: skip
    assert "unexpected keyword argument 'name'" in results[6] and "'_seen' is not defined" in results[7]


def test_calls_where_gold_has_none_are_needless():
    calls = python_calls("count()")
    assert needless([calls, calls, calls], GOLD) and not needless([calls, [], calls], GOLD)


def test_a_world_that_hangs_or_cannot_be_loaded_is_one_line():
    from hubwright.environments.sandbox import Limits

    with pytest.raises(DataError, match="tool code cannot be loaded: KeyError: 'long_context'"):
        Worlds({})
    with Worlds(SOURCES, Limits(seconds=0.5)) as made:
        made.begin(ROW)
        with pytest.raises(DataError, match="no result within"):
            made.turn(python_calls("spin()"), [])


@pytest.mark.skipif(package() is None, reason="no wheel of bfcl-eval in HUBWRIGHT_TEST_WHEELS")
def test_every_row_is_judged_as_the_package_judges_it():
    """Gold passes on all 800 rows, nothing on none, and changed replies where the package says so."""
    driver = Path(__file__).with_name("play_driver.py")
    done = subprocess.run(
        [sys.executable, str(driver), str(package()), "3"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["differ"] == []
    assert (found["gold"], found["empty"], found["cases"]) == (800, 0, 2400)
    assert 1000 < found["valid"] < 2000
