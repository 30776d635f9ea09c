"""Executed call graphs over a user's own functions, from signatures and docstrings alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubwright.builders._lib.conversation_checks import faults
from hubwright.builders._lib.conversation_rows import calls_of, results_of
from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError

HEAD = """
from typing import Annotated, Literal, TypedDict

City = Annotated[str, "city"]
Station = Annotated[str, "station"]
GIVEN = {"city": ["Oslo", "Lima", "Porto", "Perth", "Kyoto", "Dublin"], "hours": [2, 3, 5, 8, 12]}
SOLD = []
"""
TOOLS = '''
class Train(TypedDict):
    station: Station
    platform: int

def main_station(city: City) -> Station:
    """Find the main station of a city.

    Args:
        city: name of the city.
    """
    return f"{city} Central"

def next_train(station: Station, train_class: Literal["first", "second"]) -> Train:
    """Find where the next train from a station goes.

    Args:
        station: name of the station.
        train_class: which class.
    """
    return {"station": f"{station[:3]}-{train_class} Halt", "platform": len(station)}

def opening_hours(station: Station, hours: Annotated[int, "hours"]) -> str:
    """Say whether a station is open for so many hours.

    Args:
        station: name of the station.
        hours: how many.
    """
    return f"{station} is open for {hours + 1} hours"

def _hidden(city: City) -> City:
    """Not a tool."""
    return city
'''


def made(tmp_path: Path, text: str, rows: int = 30, **settings: object) -> list[dict]:
    return built(tmp_path, text, rows, **settings)[0]


def built(tmp_path: Path, text: str, rows: int, **settings: object) -> tuple[list[dict], StepContext]:
    (tmp_path / "my_tools.py").write_text(text)
    context = StepContext("own", tmp_path / "work", tmp_path / "out")
    config = CallGraphsConfig(train_rows=rows, tools=str(tmp_path / "my_tools.py"), **settings)  # type: ignore[arg-type]
    return build(config, context)["train"].to_list(), context


def test_functions_become_conversations_that_pass_every_check(tmp_path: Path) -> None:
    shapes = ("single", "sequential", "parallel", "sequential_of_three", "two_turns")
    rows = made(tmp_path, HEAD + TOOLS, rows=40, compositions=shapes, near=1.0)
    names = {one["function"]["name"] for row in rows for one in calls_of(row["messages"])}
    assert names == {"main_station", "next_train", "opening_hours"}
    for row in rows:
        assert not faults(row)
        for one in calls_of(row["messages"]):
            result = results_of(row["messages"])[one["id"]]
            if one["function"]["name"] == "main_station" and "error" not in result:
                assert result["result"] == f"{one['function']['arguments']['city']} Central"
    chained = next(row for row in rows if row["composition"] == "sequential" and row["variant"] == "plain")
    assert "main station of a city, with city" in chained["messages"][1]["content"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(x: int) -> int:\n    'Add.'\n    return x\n", "my_tools.py: f: x has no kind: write Annotated"),
        ("def f(x) -> int:\n    'Add.'\n    return x\n", "my_tools.py: f: x has no type"),
        ("def f(x: int) -> int:\n    return x\n", "my_tools.py: f has no docstring"),
        (HEAD + "def f(c: Station) -> str:\n    'Go.'\n    return c\n", "f: nothing gives c a value: add 'station'"),
        (HEAD + "def f(c: City) -> str:\n    'Go.'\n    return c\n", "my_tools.py has 1 functions"),
        ("import no_such_module\n", "my_tools.py cannot be imported"),
    ],
)
def test_what_a_file_lacks_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(tmp_path, text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    context = StepContext("own", tmp_path, tmp_path)
    with pytest.raises(UsageError, match=r"tools: nothing\.py is not a Python file"):
        build(CallGraphsConfig(tools=str(tmp_path / "nothing.py")), context)


def test_a_tool_that_breaks_out_is_contained_and_the_run_goes_on(tmp_path: Path) -> None:
    bad = '''
def steal(city: City) -> str:
    """Read the passwords of a city.

    Args:
        city: its name.
    """
    return open("/etc/passwd").read()

def loop(city: City) -> str:
    """Wait in a city.

    Args:
        city: its name.
    """
    while True:
        pass
'''
    rows, context = built(tmp_path, HEAD + TOOLS + bad, rows=15, compositions=("single", "sequential"), near=1.0)
    assert len(rows) == 15
    assert ["loop ended the sandbox and is left out", 1] in [r[:2] for r in context.report.tables[0]["rows"]]
    assert not {"steal", "loop"} & {one["function"]["name"] for row in rows for one in calls_of(row["messages"])}


def test_an_error_while_rows_are_made_is_one_line(tmp_path: Path) -> None:
    stuck = """
def loop(city: City) -> str:
    '''Wait in a city.

    Args:
        city: its name.
    '''
    while True:
        pass

def main_station(city: City) -> Station:
    '''Find the main station of a city.

    Args:
        city: its name.
    '''
    return f"{city} Central"
"""
    with pytest.raises(DataError, match="loop ended the sandbox, and too few functions are left"):
        made(tmp_path, HEAD + stuck, near=1.0)
