"""The to-do list of tool-query and its tools, in memory.

The tools' names and arguments are those of AgentGym's environment, which asks a web service; what they say and give
back is ours. Nothing here runs a model's text.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from ...environments.definition import as_openai, from_function
from ...environments.schema import argument_violation

TOOLS = (
    "get_user_current_date", "get_projects", "update_project", "get_tasks", "get_task_description",
    "get_task_duration", "complete_task", "update_task", "delete_task", "finish",
)  # fmt: skip
Answer = str | float | bool | list[str | float]


class Refused(Exception):
    """What a tool says when it cannot do what it is asked."""


class ToDoList:
    """A list at work. `answer` is what `finish` was given, `finished` says that it was called.

    Args:
        board: projects with name, is_favorite and tasks (content, due_date, priority, duration, description).
        today: YYYY-MM-DD.
    """

    def __init__(self, board: Sequence[Mapping[str, Any]], today: str) -> None:
        self._today = today
        self._projects: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, dict[str, Any]] = {}
        for project in board:
            place = f"p{len(self._projects) + 1}"
            self._projects[place] = {"name": project["name"], "is_favorite": project["is_favorite"]}
            for task in project["tasks"]:
                self._tasks[f"t{len(self._tasks) + 1}"] = dict(task) | {"project_id": place}
        self._start = {key: dict(project) for key, project in self._projects.items()}
        self._tasks_at_start = {key: dict(task) for key, task in self._tasks.items()}
        self.answer: Any = None
        self.finished = False
        self._schemas = {name: from_function(getattr(self, name)) for name in TOOLS}

    def definitions(self) -> list[dict[str, Any]]:
        """The tools as a model is told of them, in OpenAI's form."""
        return [as_openai(definition) for definition in self._schemas.values()]

    def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[bool, Any]:
        """(the call could be made, its result or what is wrong with it). Never raises."""
        if name not in self._schemas:
            return False, f"error: there is no function {name[:100]}"
        if fault := argument_violation(dict(arguments), self._schemas[name]["parameters"]):
            return False, f"error: the arguments of {name} do not fit its definition ({fault})"
        try:
            return True, getattr(self, name)(**arguments)
        except Refused as error:
            return False, f"error: {error}"

    def changes(self) -> list[list[Any]]:
        """In what the list differs from its start: `[kind, name, attribute, value]`, sorted, as in the data set."""
        result: list[list[Any]] = []
        for key, project in self._start.items():
            if self._projects[key]["is_favorite"] != project["is_favorite"]:
                result.append(["project", project["name"], "is_favorite", not project["is_favorite"]])
        for key, task in self._tasks_at_start.items():
            now = self._tasks.get(key)
            if now is None:
                result.append(["task", task["content"], "gone", True])
            elif now["due_date"] != task["due_date"]:
                result.append(["task", task["content"], "due_date", now["due_date"]])
        return sorted(result)

    def get_user_current_date(self) -> str:
        """Today's date, as YYYY-MM-DD."""
        return self._today

    def get_projects(self) -> list[dict[str, Any]]:
        """All projects: id, name, and whether it is a favourite."""
        return [{"id": key, **project} for key, project in self._projects.items()]

    def update_project(self, project_id: str, is_favorite: bool) -> dict[str, Any]:
        """Make a project a favourite, or no longer one.

        Args:
            project_id: id of the project.
            is_favorite: whether it is to be a favourite.
        """
        project = self._project(project_id)
        project["is_favorite"] = is_favorite
        return {"id": project_id, **project}

    def get_tasks(self, project_id: str) -> list[dict[str, Any]]:
        """The open tasks of a project: id, content, due date, and priority from 1 to 4 (urgent).

        Args:
            project_id: id of the project.
        """
        self._project(project_id)
        return [self._view(key) for key, task in self._tasks.items() if task["project_id"] == project_id]

    def get_task_description(self, task_id: str) -> dict[str, Any]:
        """The description of an open task.

        Args:
            task_id: id of the task.
        """
        return self._detail(task_id, "description")

    def get_task_duration(self, task_id: str) -> dict[str, Any]:
        """How long an open task takes, such as 60(minute).

        Args:
            task_id: id of the task.
        """
        return self._detail(task_id, "duration")

    def complete_task(self, task_id: str) -> dict[str, Any]:
        """Mark a task as completed; it is no longer among the open ones.

        Args:
            task_id: id of the task.
        """
        return self._removed(task_id)

    def update_task(self, task_id: str, due_date: str) -> dict[str, Any]:
        """Set the due date of an open task.

        Args:
            task_id: id of the task.
            due_date: the new date, as YYYY-MM-DD.
        """
        task = self._task(task_id)
        try:
            task["due_date"] = datetime.date.fromisoformat(due_date).isoformat()
        except ValueError:
            raise Refused(f"{due_date[:40]!r} is no date of the form YYYY-MM-DD") from None
        return self._view(task_id)

    def delete_task(self, task_id: str) -> dict[str, Any]:
        """Delete a task.

        Args:
            task_id: id of the task.
        """
        return self._removed(task_id)

    def finish(self, answer: Answer) -> str:
        """Give the answer and end the work. Call it once, last.

        Args:
            answer: the answer in the form that was asked for, or done where nothing was asked.
        """
        self.answer, self.finished = answer, True
        return "finished"

    def _project(self, project_id: str) -> dict[str, Any]:
        if project_id not in self._projects:
            raise Refused(f"there is no project {project_id[:40]!r}; get_projects lists them")
        return self._projects[project_id]

    def _task(self, task_id: str) -> dict[str, Any]:
        if task_id not in self._tasks:
            raise Refused(f"there is no open task {task_id[:40]!r}; get_tasks lists those of a project")
        return self._tasks[task_id]

    def _view(self, task_id: str) -> dict[str, Any]:
        task = self._task(task_id)
        return {"id": task_id} | {key: task[key] for key in ("content", "due_date", "priority")}

    def _detail(self, task_id: str, key: str) -> dict[str, Any]:
        task = self._task(task_id)
        return {"id": task_id, "content": task["content"], key: task[key]}

    def _removed(self, task_id: str) -> dict[str, Any]:
        view = self._view(task_id)
        del self._tasks[task_id]
        return view
