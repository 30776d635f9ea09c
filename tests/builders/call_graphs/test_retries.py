"""A call whose outcome nobody knows is made again only after a look; judged by the worlds' state, not by our lists."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.environments import worlds
from hubwright.environments.world_sandbox import wording_of
from hubwright.hub_sync.context import StepContext

Call = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], list[Any]]]:
    """Rows in which a call fails at first, and what `made` says of each."""
    folder = tmp_path_factory.mktemp("retry")
    config = CallGraphsConfig(train_rows=150, variants=("tool_error",))
    return [(row, list(made(row))) for row in build(config, StepContext("executed", folder, folder))["train"]]


def made(row: dict[str, Any]) -> Iterator[tuple[Call, Any, bool, Any]]:
    """(call, recorded result, whether it changes the state, what it gives) of every call, in order.

    A call that failed is tried on a copy of the state, to see what it would have done.
    """
    worlds.begin(json.loads(row["plan"])["seed"])
    results = {m["tool_call_id"]: json.loads(m["content"]) for m in row["messages"] if m["role"] == "tool"}
    for message in row["messages"]:
        for one in message.get("tool_calls") or ():
            name, arguments = one["function"]["name"], one["function"]["arguments"]
            before = copy.deepcopy(worlds.STATE)
            given = getattr(worlds, name)(**arguments)
            changed = before != worlds.STATE
            if set(results[one["id"]]) == {"error"}:
                worlds.STATE.clear()
                worlds.STATE.update(before)
            yield (name, arguments), results[one["id"]], changed, given


def test_changing_call_after_an_unknown_outcome_is_repeated_only_after_a_look(rows: Any) -> None:
    looks = plain = 0
    for row, calls in rows:
        waiting: dict[str, bool] = {}  # a changing call of unknown outcome -> whether its things were looked up since
        for (name, arguments), result, changed, _ in calls:
            key = json.dumps([name, arguments], sort_keys=True)
            unknown = re.search(r"time-out|no answer|lost", str(result.get("error", "")), re.IGNORECASE)
            if key in waiting:
                assert waiting.pop(key), f"row {row['id']}: {name} is made again without a look"
                looks += 1
            if unknown and changed:
                waiting[key] = False
            elif set(result) == {"error"}:
                plain += 1
            elif not changed:
                for other in waiting:
                    waiting[other] = waiting[other] or set(arguments.values()) <= set(json.loads(other)[1].values())
        assert not waiting, f"row {row['id']}: a call was given up"
    assert looks >= 8 and plain >= 80


def test_recorded_results_of_rows_with_a_failed_call_are_what_the_worlds_give(rows: Any) -> None:
    """In the recorded order, so also where a call beside others was made again after them."""
    for row, calls in rows:
        for call, result, _, given in calls:
            assert set(result) == {"error"} or result == given, (row["id"], call)


def test_declared_changes_are_those_that_change_the_state(rows: Any) -> None:
    seen: dict[str, bool] = {}
    for _, calls in rows:
        for (name, _), _, changed, _ in calls:
            seen[name] = seen.get(name, False) or changed
    declared = {name for world in worlds.WORLDS for name in wording_of(world)["changes"]}
    assert len(seen) >= 45 and {name for name, changed in seen.items() if changed} == declared & set(seen)


def test_looks_show_whether_a_call_took_effect(rows: Any) -> None:
    looks = {name: look for world in worlds.WORLDS for name, look in wording_of(world)["changes"].items() if look}
    tried: set[str] = set()
    for row, calls in rows:
        good = [call for call, result, _, _ in calls if set(result) != {"error"}]
        place = next((n for n, (name, _) in enumerate(good) if name in looks), None)
        if place is None:
            continue
        name, arguments = good[place]
        tool, parameters, words = looks[name]
        asked = {parameter: arguments[argument] for parameter, argument in parameters.items()}
        worlds.begin(json.loads(row["plan"])["seed"])
        for earlier, given in good[:place]:
            getattr(worlds, earlier)(**given)
        before = getattr(worlds, tool)(**asked)
        getattr(worlds, name)(**arguments)
        field = words.rpartition("{")[2].rstrip("}")
        assert before[field] != getattr(worlds, tool)(**asked)[field], (name, before)
        tried.add(name)
    assert len(tried) >= len(looks) - 1


def test_own_tools_are_taken_to_change_something_unless_they_say(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from typing import Annotated\n"
        "Town = Annotated[str, 'town']\n"
        "Slip = Annotated[str, 'slip']\n"
        "GIVEN = {'town': ['Oslo', 'Lima', 'Bonn', 'Pisa', 'Riga'], 'slip': [f'S{n}' for n in range(40)]}\n"
        "def book(town: Town) -> str:\n    '''Book a room.\n\n    Args:\n        town: where.\n    '''\n"
        "    return f'R-{town}'\n"
        "def cancel(slip: Slip) -> str:\n    '''Cancel a slip.\n\n    Args:\n        slip: its number.\n    '''\n"
        "    return f'D-{slip}'\n"
    )
    config = CallGraphsConfig(
        train_rows=12, tools=str(tmp_path / "mine.py"), variants=("tool_error",), compositions=("single",), near=1.0
    )
    for row in build(config, StepContext("executed", tmp_path, tmp_path))["train"]:
        (error,) = [
            m["content"] for m in row["messages"] if m["role"] == "tool" and "error" in json.loads(m["content"])
        ]
        assert not re.search(r"time-out|no answer|lost", error, re.IGNORECASE)
