"""The to-do tasks: by hand, with and without the source's own list, and AgentGym's file where it is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from column_parts import check_columns

from hubwright.builders.tool_query import ToolQueryConfig, build
from hubwright.builders.tool_query.build import BOARD, TASKS
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.recipe import shipped_recipes

PROJECTS = [{"order": 1, "color": "x", "name": "Home", "is_favorite": False}, {"order": 2, "color": "x", "name": "Work", "is_favorite": False}]  # fmt: skip
START = [
    {"order": 1, "content": "Sweep", "is_completed": False, "priority": 1, "due_date": "2030-01-02"},
    {"order": 2, "content": "Cook", "is_completed": False, "priority": 4, "due_date": "2030-01-03"},
    {"order": 1, "content": "Call Ann", "is_completed": False, "priority": 2, "due_date": "2030-01-04"},
]


def task(goal: str, answer: Any, tasks: list[dict[str, Any]] = START, favourite: bool = False) -> dict[str, Any]:
    projects = [PROJECTS[0] | {"is_favorite": favourite}, PROJECTS[1]]
    return {
        "id": 0, "goal": f"{goal} ", "subgoals": [answer], "difficulty": "hard",
        "additional_info": {
            "answer": {"projects": projects, "tasks": tasks}, "goal_type": 0, "tool": "todo",
            "init_config": {"current_date": "2030-01-01", "current_location": "Rome"},
        },
    }  # fmt: skip


RECORDS = [
    task("When is Cook due?", "2030-01-03"),
    task("How many tasks are there?", 3),
    task("How long does it take to cook?", "20(minute)"),
    task("Select a picnic location by tomorrow", "done", [START[0], START[2]]),
    task("Delay Cook, favour Home, and count", 3, [START[0], START[1] | {"due_date": "2030-01-09"}, START[2]], True),
    task("Leave all as it is", "done"),
]


def details(tasks: list[dict[str, Any]], minutes: int) -> list[dict[str, Any]]:
    return [
        {key: t[key] for key in ("content", "due_date", "priority")}
        | {"duration": minutes, "duration_unit": "minute", "description": f"- {t['content']}"}
        for t in tasks
    ]


DETAILS = [
    {"name": "Home", "is_favorite": False, "tasks": details(START[:2], 20)},
    {"name": "Work", "is_favorite": False, "tasks": details(START[2:], 5)},
]


def write(folder: Path, records: list[dict[str, Any]] = RECORDS, board: Any = DETAILS) -> Path:
    for file in (TASKS, BOARD):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record | {"id": n}, ensure_ascii=False) + "\n" for n, record in enumerate(records)]
    (folder / TASKS).write_text("".join(lines), encoding="utf-8")
    (folder / BOARD).write_text(json.dumps(board))
    return folder


def made(folder: Path, **settings: Any) -> tuple[list[dict[str, Any]], StepContext]:
    context = StepContext("tool_query", folder / "work", folder / "output")
    found = build(ToolQueryConfig(source=str(folder), **settings), context)
    return [dict(row) for row in found["test"]], context


def test_rows_with_the_sources_own_list(tmp_path: Path):
    rows, context = made(write(tmp_path))
    assert [row["id"] for row in rows] == ["todo_0", "todo_1", "todo_2", "todo_3", "todo_4"]
    assert (rows[0]["goal"], rows[0]["today"], rows[0]["answer"]) == (
        "When is Cook due?",
        "2030-01-01",
        '"2030-01-03"',
    )
    assert [row["changes"] for row in rows[:3]] == ["[]"] * 3 and rows[3]["answer"] == "null"
    assert json.loads(rows[3]["changes"]) == [["task", "Cook", "gone", True]]
    assert json.loads(rows[4]["changes"]) == [
        ["project", "Home", "is_favorite", True], ["task", "Cook", "due_date", "2030-01-09"],
    ]  # fmt: skip
    alone = build(ToolQueryConfig(source=str(tmp_path)))["test"]  # without a context
    check_columns("tool_query", {"test": alone}, context.report)
    assert alone.to_list() == rows
    board = json.loads(rows[0]["board"])
    assert [(p["name"], [t["content"] for t in p["tasks"]]) for p in board] == [
        ("Home", ["Sweep", "Cook"]), ("Work", ["Call Ann"]),
    ]  # fmt: skip
    assert board[0]["tasks"][1] == {
        "content": "Cook", "due_date": "2030-01-03", "priority": 4, "duration": "20(minute)", "description": "- Cook",
    }  # fmt: skip
    assert context.report.counts == {
        "records_read": 6, "records_rejected": 1,
        "asks": 3, "asks and changes": 1, "changes": 1, "rejected: wants no change and asks nothing": 1,
    }  # fmt: skip
    assert "GPL-2.0" in context.report.summary and "weather, movie, academia" in context.report.summary


def test_without_it_the_list_comes_from_the_tasks(tmp_path: Path):
    rows, context = made(write(tmp_path), board=False)
    assert [row["id"] for row in rows] == ["todo_0", "todo_1", "todo_3", "todo_4"]
    assert context.report.counts["rejected: needs durations or descriptions"] == 1
    assert json.loads(rows[0]["board"])[0]["tasks"][0] == {
        "content": "Sweep", "due_date": "2030-01-02", "priority": 1, "duration": None, "description": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("records", "board", "said"),
    [
        ([{"goal": "no more"}], DETAILS, "KeyError"),
        ([RECORDS[0] | {"subgoals": [1, 2]}], DETAILS, "has 2 subgoals"),
        ([*RECORDS, task("x", 1, [START[0] | {"content": "New"}])], DETAILS, "an end has 'New', the list has not"),
        ([task("x", 1, [START[0], START[0] | {"order": 2}, START[2]])], DETAILS, "two tasks of one name"),
        ([task("x", 1, START[:2])], DETAILS, "2 projects and tasks of 1"),
        (RECORDS, DETAILS[:1], "is not the list that the tasks begin with"),
        (RECORDS[5:], DETAILS, "no task can be played"),
    ],
)
def test_files_that_do_not_fit_are_one_line(tmp_path: Path, records: Any, board: Any, said: str):
    with pytest.raises(DataError, match=said):
        made(write(tmp_path, records, board))


def test_a_line_ends_at_a_newline_alone(tmp_path: Path):
    rows, _ = made(write(tmp_path, [task("When\u2028is Cook due?", "2030-01-03")]))
    assert [row["goal"] for row in rows] == ["When\u2028is Cook due?"]


def test_a_source_without_the_list_says_how_to_do_without(tmp_path: Path):
    (write(tmp_path) / BOARD).unlink()
    with pytest.raises(UsageError, match=r"projects.json: .* set `board: false`"):
        made(tmp_path)


def test_another_file_than_the_expected(tmp_path: Path):
    with pytest.raises(DataError, match=r"todo.jsonl: sha256 is [0-9a-f]{64}, expected 0+; fetch that file"):
        made(write(tmp_path), expect_sha256={"todo.jsonl": "0" * 64})


def test_agentgyms_own_file(shared_data: Path, tmp_path: Path):
    source = shared_data / "WooooDyy" / "AgentGym" / "agentenv-tool" / "Toolusage"
    if not source.is_dir():
        pytest.skip("AgentGym's files are not here")
    recipe = yaml.safe_load(shipped_recipes()["tool_query"].read_text())
    settings = recipe["steps"]["tool_query"]["with"]
    context = StepContext("tool_query", tmp_path / "work", tmp_path / "output")
    found = build(ToolQueryConfig.model_validate(settings | {"source": str(source), "board": False}), context)["test"]
    assert context.report.counts == {
        "records_read": 155, "records_rejected": 36,
        "asks": 66, "asks and changes": 13, "changes": 40, "rejected: needs durations or descriptions": 35,
        "rejected: wants no change and asks nothing": 1,
    }  # fmt: skip
    assert len(found) == 119 and sum(len(p["tasks"]) for p in json.loads(found[0]["board"])) == 15
