"""A teacher that plays every role of BUTTON's pipeline by heart, and the pipeline run before it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from chat_server import Body
from column_parts import check_columns

from hubwright.builders.button import ButtonConfig, build
from hubwright.hub_sync.context import StepContext

FIND = {
    "name": "find_museum",
    "description": "Find the museum of an artwork.",
    "parameters": {"artwork": {"type": "string", "description": "Its title"}},
    "required": ["artwork"],
    "responses": {"museum": {"type": "string", "description": "The museum"}},
}
HOURS = {
    "name": "opening_hours",
    "description": "Opening hours of a museum.",
    "parameters": {"museum": {"type": "string", "description": "Its name"}},
    "required": ["museum"],
    "responses": {"open": {"type": "string", "description": "Hours"}},
}


def reply(thought: str, calls: Any = None, final: str = "") -> str:
    """An assistant agent's reply as a server cuts it at the closing tag."""
    end = f"<final>{final}" if calls is None else f"<call>{json.dumps(calls)}"
    return f"<observation>Seen.</observation>\n<thought>{thought}</thought>\n{end}"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


class Teacher:
    """Script of a ChatServer; `said` replaces what is said for a role (a text, or a function of the body)."""

    def __init__(self, **said: Any) -> None:
        self.said = said
        self.roles: list[str] = []

    def __call__(self, body: Body, number: int) -> Any:
        role = role_of(body)
        self.roles.append(role)
        said = self.said.get(role, getattr(self, role))
        return said(body) if callable(said) else said

    def scenario(self, body: Body) -> str:
        return "Scenario: visiting a museum"

    def expansion(self, body: Body) -> str:
        return f'"{words(body["seed"])}"'

    def atomic(self, body: Body) -> str:
        return json.dumps({"values": ["The Scream"], "task": "Find the museum that shows The Scream."})

    def compose(self, body: Body) -> str:
        found = {"next": "Look up its opening hours.", "whole": "When is the museum of The Scream open?"}
        beside = (
            {"beside": "Find the museum that shows The Kiss."} if "beside:" in body["messages"][0]["content"] else {}
        )
        return f"Here it is:\n```json\n{json.dumps(beside | found)}\n```"

    def consistency(self, body: Body) -> str:
        return "They do. <answer>Yes</answer>"

    def functions(self, body: Body) -> str:
        step = re.search(r"Define what step \d+ needs: (.*)", said_last(body))
        assert step is not None
        found = {"Find the museum that shows The Scream.": [FIND], "Look up its opening hours.": [HOURS]}
        return json.dumps({"functions": found.get(step.group(1), [])})

    def direct_task(self, body: Body) -> str:
        return json.dumps({"task": "When is the museum of The Scream open?", "functions": [FIND, HOURS]})

    def user(self, body: Body) -> str:
        return "<human>Hello! When is the museum open that shows The Scream?</human>"

    def assistant(self, body: Body) -> str:
        turns = len(body["messages"])
        both = "may stand side by side" in body["messages"][0]["content"]
        if turns == 2:
            calls = [call("find_museum", artwork=name) for name in ("The Scream", "The Kiss")]
            return reply("First the museum.", calls if both else calls[:1])
        if '"open"' in said_last(body):
            return reply("Done.", final="At 9.")
        museum = re.search(r'"museum": "([^"]*)"', said_last(body))
        assert museum is not None
        return reply("Then hours.", [call("opening_hours", museum=museum.group(1))])

    def tool(self, body: Body) -> str:
        definition = body["messages"][0]["content"]
        assert '"responses"' in definition
        return '{"museum": "Munch"}' if "find_museum" in definition else '{"open": "9 to 5"}'

    def direct_trajectory(self, body: Body) -> str:
        asked = call("find_museum", artwork="The Scream") | {"result": {"museum": "Munch"}}
        turns = [{"thought": "First.", "calls": [asked]}, {"thought": "Done.", "final": "Munch."}]
        return json.dumps({"question": "Where is The Scream?", "turns": turns})


MARKS = {
    "You settle a user's": "assistant",
    "You are the computer": "tool",
    "You play a person": "user",
    "Name the everyday": "scenario",
    "You name another": "expansion",
    "You invent one task": "atomic",
    "I give a task": "compose",
    "Is the request settled": "consistency",
    "I give a request": "functions",
    "Invent a request": "direct_task",
    "Write a conversation": "direct_trajectory",
}


def role_of(body: Body) -> str:
    text = body["messages"][0]["content"]
    return next(role for mark, role in MARKS.items() if mark in text)


def said_last(body: Body) -> str:
    return body["messages"][-1]["content"]


def words(number: int) -> str:
    """Seven letters of a kind each, so that no two numbers look alike."""
    return " ".join(chr(97 + int(digit)) * 4 for digit in str(number)[:7])


def run(url: str, folder: Path, *, inputs: Any = None, replay: bool = False, recording: Path | None = None, **changes: Any) -> tuple[list[dict[str, Any]], StepContext]:  # fmt: skip
    """The rows of the step before the server at `url`, as a list."""
    settings = {"rows": 4, "expansions": 0, "max_retries": 0} | changes
    context = StepContext("faithful", folder, folder / "out", inputs or {}, recording=recording, replay=replay)
    made = build(ButtonConfig(teacher=f"openai:local@{url}", **settings), context)
    assert set(made) == {"faithful"}
    check_columns("button", made, context.report)
    return made["faithful"]["train"].to_list(), context
