"""The to-do list at work, and the task through lm-eval: an oracle that uses the tools, and silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.model import LM

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.interactive.model import InteractiveLM
from hubwright.evals.tool_query.episode import STEPS, UNREADABLE, ToolQueryEpisode
from hubwright.evals.tool_query.scorer import matches
from hubwright.evals.tool_query.world import TOOLS, ToDoList
from hubwright.hub_sync.errors import DataError

BOARD = [
    {"name": "Home", "is_favorite": False, "tasks": [
        {"content": "Sweep", "due_date": "2030-01-02", "priority": 1, "duration": "5(minute)", "description": "- Hall"},
        {"content": "Cook", "due_date": "2030-01-03", "priority": 4, "duration": None, "description": None},
    ]},
    {"name": "Work", "is_favorite": True, "tasks": []},
]  # fmt: skip
BASE = {"id": "todo_0", "goal": "When is Cook due?", "today": "2030-01-01", "board": json.dumps(BOARD)}
ASKS = BASE | {"answer": '"2030-01-03"', "changes": "[]"}
CHANGES = BASE | {
    "id": "todo_1", "goal": "Delay Cook, favour Home", "answer": "null",
    "changes": json.dumps([["project", "Home", "is_favorite", True], ["task", "Cook", "due_date", "2030-02-01"]]),
}  # fmt: skip
BOTH = BASE | {
    "id": "todo_2",
    "goal": "Drop Sweep and count",
    "answer": "1",
    "changes": '[["task", "Sweep", "gone", true]]',
}


def said(*calls: tuple[str, dict[str, Any]]) -> str:
    return "\n".join(f"<tool_call>{json.dumps({'name': n, 'arguments': a})}</tool_call>" for n, a in calls)


DONE = said(("finish", {"answer": "done"}))


def test_the_tools():
    todo = ToDoList(BOARD, "2030-01-01")
    assert [tool["function"]["name"] for tool in todo.definitions()] == list(TOOLS)
    assert all(tool["function"]["description"] for tool in todo.definitions())
    assert todo.call("get_user_current_date", {}) == (True, "2030-01-01")
    assert todo.call("get_projects", {})[1][1] == {"id": "p2", "name": "Work", "is_favorite": True}
    shown = {"id": "t2", "content": "Cook", "due_date": "2030-01-03", "priority": 4}
    assert todo.call("get_tasks", {"project_id": "p1"})[1][1] == shown and todo.call("get_tasks", {"project_id": "p2"}) == (True, [])  # fmt: skip
    assert todo.call("get_task_duration", {"task_id": "t1"})[1]["duration"] == "5(minute)"
    assert todo.call("get_task_description", {"task_id": "t1"})[1]["description"] == "- Hall"
    assert todo.changes() == []
    assert todo.call("update_task", {"task_id": "t2", "due_date": "2030-02-01"})[1]["due_date"] == "2030-02-01"
    assert todo.call("update_project", {"project_id": "p2", "is_favorite": False})[0]
    assert todo.call("complete_task", {"task_id": "t1"})[0]
    assert todo.changes() == [
        ["project", "Work", "is_favorite", False], ["task", "Cook", "due_date", "2030-02-01"],
        ["task", "Sweep", "gone", True],
    ]  # fmt: skip
    assert todo.call("delete_task", {"task_id": "t2"})[0] and len(todo.call("get_tasks", {"project_id": "p1"})[1]) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("rm", {}, "there is no function rm"),
        ("call", {"name": "finish", "arguments": {}}, "there is no function call"),
        ("get_tasks", {}, "missing_required"),
        ("get_tasks", {"project_id": 1}, "wrong_type"),
        ("get_projects", {"x": 1}, "unexpected_property"),
        ("get_tasks", {"project_id": "Home"}, "there is no project 'Home'"),
        ("delete_task", {"task_id": "t9"}, "there is no open task 't9'"),
        ("update_task", {"task_id": "t1", "due_date": "tomorrow"}, "'tomorrow' is no date"),
        ("update_project", {"project_id": "p1", "is_favorite": "yes"}, "wrong_type"),
    ],
)
def test_calls_that_cannot_be_made_change_nothing(name: str, arguments: dict[str, Any], error: str):
    todo = ToDoList(BOARD, "2030-01-01")
    made, result = todo.call(name, arguments)
    assert not made and result.startswith("error: ") and error in result and todo.changes() == []


@pytest.mark.parametrize(
    ("given", "wanted", "right"),
    [
        ("2030-01-03", "2030-01-03", True), (" Yes. ", "Yes", True), (True, "Yes", True), (False, "Yes", False),
        (4, 4, True), ("4", 4, True), (4.0, 4, True), ("four", 4, False), (["4"], 4, True), ("", "None", False),
        (["b", "a"], ["a", "b"], True), ("['b', 'a']", ["a", "b"], True), ('["A", "b"]', ["a", "b"], True),
        (["a", "a"], ["a"], False), ("a", ["a"], True), ([], [], True), ("[]", [], True), ("", [], False),
        (None, [], False), ("'The Dark'", "The Dark", True), ("[" * 5000, ["a"], False),
        ("'The Dark'.", "The Dark", True), (1000001, 1000000, False), (0.1 + 0.2, 0.3, True),
        ("[0x" + "f" * 5000 + "]", ["a"], False), ("[{[1]: 2}]", ["a"], False),
    ],
)  # fmt: skip
def test_answers(given: Any, wanted: Any, right: bool):
    assert matches(given, wanted) == right


def played(row: dict[str, Any], *replies: str) -> dict[str, Any]:
    episode = ToolQueryEpisode(row)
    for reply in replies:
        assert episode.prompt() is not None
        episode.reply(reply)
    assert episode.prompt() is None
    return episode.transcript()


def test_what_counts():
    found = played(ASKS, said(("get_tasks", {"project_id": "p1"})), said(("finish", {"answer": "2030-01-03"})))
    assert (found["success"], found["progress"], found["actions"], found["executable"]) == (True, 1.0, 2, 2)
    late = said(("update_task", {"task_id": "t2", "due_date": "2030-02-01"}))
    half = played(CHANGES, "I will.", late, late.replace("t2", "t7"), DONE)
    assert (half["success"], half["progress"], half["actions"], half["executable"]) == (False, 0.5, 4, 2)
    assert half["fault"] == "the changes are not the wanted ones" and half["said"][0]["results"] == [UNREADABLE]
    both = said(
        ("update_task", {"task_id": "t2", "due_date": "2030-02-01"}),
        ("update_project", {"project_id": "p1", "is_favorite": True}),
        ("finish", {"answer": "all good"}),
        ("delete_task", {"task_id": "t1"}),  # behind the end: never made
    )
    assert played(CHANGES, both)["success"] and played(CHANGES, both)["actions"] == 3
    # A needless change costs the success and not the progress; what was right and is no more keeps its progress.
    more = said(("delete_task", {"task_id": "t1"}), ("delete_task", {"task_id": "t2"}), ("finish", {"answer": 1}))
    found = played(BOTH, more)
    assert (found["success"], found["progress"]) == (False, 1.0)
    back = [late, late.replace("2030-02-01", "2030-01-03"), DONE]
    assert played(CHANGES, *back)["progress"] == 0.5
    wrong = played(ASKS, said(("finish", {"answer": "2030-01-04"})))
    assert (wrong["success"], wrong["progress"]) == (False, 0.0)
    assert wrong["fault"] == 'the answer is "2030-01-04" and not "2030-01-03"'
    mute = played(ASKS, *[""] * STEPS)
    assert mute["fault"] == f"not finished in {STEPS} steps" and (mute["actions"], mute["executable"]) == (STEPS, 0)


def test_half_a_surrogate_pair_is_an_answer_like_others(tmp_path: Path):
    class Says(Agent):
        def turn(self, doc: dict[str, Any], prompt: str) -> str:
            prompt.encode("utf-8")  # as tokenizers do
            return (
                said(("\ud800", {}), ("finish", {"answer": "\ud800"}))
                if "no function" in prompt
                else said(("\ud800", {}))
            )

    found = evaluated(save([ASKS], tmp_path / "d"), Says(True))
    assert found["results"]["tool_query"]["stopped,none"] == 0.0
    assert found["samples"]["tool_query"][0]["resps"][0][0].encode("utf-8")


def test_a_row_that_wants_nothing_ends(tmp_path: Path):
    assert played(ASKS | {"answer": "null"}, said(("get_projects", {})), DONE)["success"]


class Agent(LM):
    """An oracle that knows what is wanted and uses the tools for it, or one that says nothing."""

    def __init__(self, oracle: bool) -> None:
        super().__init__()
        self.oracle = oracle

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return [self.turn(request.doc, request.args[0]) if self.oracle else "" for request in requests]

    def turn(self, doc: dict[str, Any], prompt: str) -> str:
        results = [json.loads(part.split("</tool_response>")[0]) for part in prompt.split("<tool_response>")[1:]]
        if not results:
            return said(("get_projects", {}))
        if len(results) == 1:
            return said(*(("get_tasks", {"project_id": project["id"]}) for project in results[0]))
        assert all(isinstance(result, list) for result in results)
        places = {project["name"]: project["id"] for project in results[0]}
        places |= {task["content"]: task["id"] for tasks in results[1:] for task in tasks}
        calls = []
        for _, name, key, value in json.loads(doc["changes"]):
            if key == "gone":
                calls.append(("complete_task", {"task_id": places[name]}))
            elif key == "due_date":
                calls.append(("update_task", {"task_id": places[name], "due_date": value}))
            else:
                calls.append(("update_project", {"project_id": places[name], "is_favorite": value}))
        answer = json.loads(doc["answer"])
        return said(*calls, ("finish", {"answer": "done" if answer is None else answer}))

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError


def evaluated(data: Path, model: LM) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata={"dataset": str(data)})
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model=InteractiveLM(model), tasks=["tool_query"], task_manager=manager, bootstrap_iters=0
    )
    return found


def evaluate(data: Path, oracle: bool) -> dict[str, float]:
    found = evaluated(data, Agent(oracle))
    return {key.removesuffix(",none"): value for key, value in found["results"]["tool_query"].items()}


def save(rows: Any, folder: Path) -> Path:
    from datasets import Dataset

    (folder / "data").mkdir(parents=True)
    (Dataset.from_list(rows) if isinstance(rows, list) else rows).to_parquet(
        folder / "data" / "test-00000-of-00001.parquet"
    )
    return folder


def check(data: Path) -> None:
    best = evaluate(data, oracle=True)
    assert best["success"] == best["progress"] == best["grounding"] == 1.0 and best["steps"] == 3.0
    assert best["success_ci_low"] < 1.0 == best["success_ci_high"] and best["stopped"] == 0.0
    worst = evaluate(data, oracle=False)
    assert worst["success"] == worst["progress"] == worst["grounding"] == 0.0
    assert worst["stopped"] == 1.0 and worst["steps"] == STEPS


def test_an_oracle_and_silence(tmp_path: Path):
    check(save([ASKS, CHANGES, BOTH], tmp_path / "d"))


def test_all_of_agentgyms_tasks(shared_data: Path, tmp_path: Path):
    from hubwright.builders.tool_query import ToolQueryConfig, build
    from hubwright.hub_sync.context import StepContext

    source = shared_data / "WooooDyy" / "AgentGym" / "agentenv-tool" / "Toolusage"
    if not source.is_dir():
        pytest.skip("AgentGym's files are not here")
    context = StepContext("tool_query", tmp_path / "work", tmp_path / "output")
    check(save(build(ToolQueryConfig(source=str(source), board=False), context)["test"], tmp_path / "d"))


def test_other_rows_are_refused(tmp_path: Path):
    other = save([{key: value for key, value in ASKS.items() if key != "board"}], tmp_path / "d")
    with pytest.raises(DataError, match="no column 'board'; build it with `hubwright run tool_query"):
        evaluate(other, oracle=True)
