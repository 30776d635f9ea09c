"""Build the tool-query data set from AgentGym's files (github.com/WooooDyy/AgentGym), which extend AgentBoard's.

    build(ToolQueryConfig(source="AgentGym/agentenv-tool/Toolusage"), context)

Of its five environments the to-do list alone can be played without the network: a task has the state that its end
shall have, and all tasks begin with one and the same list. Weather and movie ask services, academia needs a graph that
is not among the files, sheet the start of its tables. Nothing of the repository is imported or run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...hub_sync.context import StepContext
from ...hub_sync.errors import DataError, HubError, RowRejected, UsageError
from .._lib.call_rows import to_json
from .._lib.cards import add_sources, describe
from .._lib.context import local_context
from .._lib.rejections import Rejections
from .._lib.sources import FolderSource, json_lines

if TYPE_CHECKING:
    import datasets

TASKS = "data/todo.jsonl"
BOARD = "toolusage/utils/todo/projects.json"
DONE = "done"  # the answer of a task that only wants changes
# What a list without descriptions and durations cannot tell: our reading of the 155 goals.
NEEDS_MORE = re.compile(
    r"duration|how long|\b(?:more|least|longest|less|amount of|requires?) (?:\w+ ){0,2}time\b|time (?:required|needed)"
    r"|minutes?\b|\bhours?\b|description|(?<!picnic )location|chapter's|contact the teacher|Student Building",
    re.IGNORECASE,
)


class ToolQueryConfig(FolderSource):
    """Where the files of AgentGym's `agentenv-tool/Toolusage` are, and whether the list is among them."""

    board: bool = Field(
        True,
        description=f"Read the list that all tasks begin with from {BOARD}; false: put it together from the tasks, "
        "without descriptions and durations, and leave out what asks for them.",
    )


def build(config: ToolQueryConfig, context: StepContext | None = None) -> datasets.DatasetDict:
    """Read, check and lay out the tasks; tell `context.report` about them.

    Columns of the one split, `test`: id, goal, today (YYYY-MM-DD), board (JSON: projects with name, is_favorite and
    tasks: content, due_date, priority, duration and description, null if unknown), answer (JSON; null if only
    changes are wanted) and changes (JSON: `[kind, name, attribute, value]` in which the wanted end differs from the
    board, sorted; a completed or deleted task is `["task", content, "gone", true]`, which the source cannot tell
    apart either).

    Raises DataError in one line for files that are not AgentGym's or do not fit together, and as `fetch` does.
    """
    import datasets

    context = context or local_context()
    origins: list[str] = []
    try:
        records = [record for _, record in json_lines(*config.read(TASKS, origins))]
        ends = [record["additional_info"]["answer"] for record in records]
        board = _start(ends)
        if config.board:
            board = _with_details(board, json.loads(_details(config, origins)))
        pairs = list(zip(records, ends, strict=True))
        rejections = Rejections()
        rows = list(rejections.convert(TASKS, pairs, lambda pair: _row(*pair, board, config.board)))
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise DataError(
            f"the files are not AgentGym's to-do tasks ({error!r}); give agentenv-tool/Toolusage"
        ) from error
    if not rows:
        raise DataError("no task can be played; give agentenv-tool/Toolusage of AgentGym")
    _describe(context, config, origins, rows, rejections)
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})


PLAIN = ("id", "goal", "today")


def _details(config: ToolQueryConfig, origins: list[str]) -> str:
    """The source's own list. Raises as `fetch` does, and says how to do without."""
    try:
        return config.read(BOARD, origins)[1].decode("utf-8")
    except (UsageError, HubError) as error:
        raise type(error)(f"{BOARD}: {error}; to do without descriptions and durations set `board: false`") from error


def _start(ends: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The list that all tasks begin with: the end that most of them, which only ask, leave it in.

    Tasks come in the order of their projects and are counted from 1 in each.
    """
    texts = Counter(to_json(end) for end in ends)
    (text, _), *_ = texts.most_common(1)
    end = json.loads(text)
    groups: list[list[dict[str, Any]]] = []
    for task in end["tasks"]:
        if task["order"] == 1:
            groups.append([])
        fields = {key: task[key] for key in ("content", "due_date", "priority")}
        groups[-1].append(fields | {"duration": None, "description": None})
    if len(groups) != len(end["projects"]):
        raise ValueError(f"{len(end['projects'])} projects and tasks of {len(groups)}")
    names = [task["content"] for group in groups for task in group]
    if len(set(names)) != len(names):
        raise ValueError("two tasks of one name")
    return [
        {"name": project["name"], "is_favorite": project["is_favorite"], "tasks": group}
        for project, group in zip(end["projects"], groups, strict=True)
    ]


def _with_details(board: list[dict[str, Any]], source: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The board with durations (`60(minute)`) and descriptions from the source's own; the rest must be the same."""
    detailed = [
        {
            "name": project["name"],
            "is_favorite": project["is_favorite"],
            "tasks": [
                {key: task[key] for key in ("content", "due_date", "priority")}
                | {"duration": f"{task['duration']}({task['duration_unit']})", "description": task["description"]}
                for task in project["tasks"]
            ],
        }
        for project in source
    ]
    unknown = {"duration": None, "description": None}
    plain = [project | {"tasks": [task | unknown for task in project["tasks"]]} for project in detailed]
    if plain != board:
        raise ValueError(f"{BOARD} is not the list that the tasks begin with")
    return detailed


def _row(record: dict[str, Any], end: Mapping[str, Any], board: list[dict[str, Any]], details: bool) -> dict[str, Any]:
    """A row of the data set. Raises RowRejected for a task that cannot be played."""
    info, answers = record["additional_info"], record["subgoals"]
    if len(answers) != 1:
        raise ValueError(f"task {record['id']} has {len(answers)} subgoals")
    row = {
        "id": f"todo_{record['id']}",
        "goal": record["goal"].strip(),
        "today": info["init_config"]["current_date"],
        "board": board,
        "answer": None if answers[0] == DONE else answers[0],
        "changes": _changes(end, board),
    }
    if row["answer"] is None and not row["changes"]:
        raise RowRejected("wants no change and asks nothing")
    if not details and NEEDS_MORE.search(row["goal"]):
        raise RowRejected("needs durations or descriptions")
    return {key: value if key in PLAIN else to_json(value) for key, value in row.items()}


def _changes(end: Mapping[str, Any], board: list[dict[str, Any]]) -> list[list[Any]]:
    """In what the wanted end differs from the board."""
    projects = {project["name"]: project["is_favorite"] for project in end["projects"]}
    dues = {task["content"]: task["due_date"] for task in end["tasks"]}
    changes: list[list[Any]] = []
    for project in board:
        if projects.pop(project["name"]) != project["is_favorite"]:
            changes.append(["project", project["name"], "is_favorite", not project["is_favorite"]])
        for task in project["tasks"]:
            due = dues.pop(task["content"], None)
            if due is None:
                changes.append(["task", task["content"], "gone", True])
            elif due != task["due_date"]:
                changes.append(["task", task["content"], "due_date", due])
    if projects or dues:
        raise ValueError(f"an end has {next(iter([*projects, *dues]))!r}, the list has not")
    return sorted(changes)


def _describe(
    context: StepContext,
    config: ToolQueryConfig,
    origins: list[str],
    rows: list[dict[str, Any]],
    rejections: Rejections,
) -> None:
    report = context.report
    details = " Descriptions and durations are unknown here; tasks that need them are left out."
    describe(report, __file__, details="" if config.board else details)
    add_sources(report, origins, "Files")
    kinds = Counter(
        "asks and changes" if row["answer"] != "null" and row["changes"] != "[]"
        else "changes" if row["answer"] == "null" else "asks"
        for row in rows
    )  # fmt: skip
    rejections.describe(report)
    report.counts |= dict(sorted(kinds.items()))
