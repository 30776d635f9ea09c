"""One request about the to-do list, served by a model call by call; needs neither lm-eval nor torch.

The chat form is that of the `toolcall` task: functions in the system turn, calls in `<tool_call>` blocks, results in
`<tool_response>` blocks of the next user turn.
"""

import json
from collections.abc import Mapping
from typing import Any

from .._lib.tool_calls import parse
from .._lib.tool_turns import dumps, system_turn
from .scorer import matches
from .world import ToDoList

STEPS = 20  # replies; our choice
RULE = (
    "You serve requests about the user's to-do list. Look things up with the functions and act with them, one or more "
    "calls in a reply; their results come back. When the request is served, call finish."
)
UNREADABLE = "error: no call could be read; write calls in the form above, and call finish at the end"


class ToolQueryEpisode:
    """See the module; an `Episode`.

    The transcript has success (finished, right answer, and the wanted changes), progress (the best share, at any time,
    of wanted changes that hold and the right answer), actions (calls, and unreadable replies or parts), executable
    (those that could be made), finished, answer, changes, steps (replies), fault ("" or one line), stopped and said:
    reply and results.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._list = ToDoList(json.loads(row["board"]), row["today"])
        self._changes = json.loads(row["changes"])
        self._answer = json.loads(row["answer"])
        self._messages = [
            {"role": "system", "content": system_turn(self._list.definitions(), RULE)},
            {"role": "user", "content": row["goal"]},
        ]
        self._steps: list[dict[str, Any]] = []
        self._actions = self._executable = 0
        self._progress, self._stopped = 0.0, ""

    def prompt(self) -> list[dict[str, str]] | None:
        return None if self._list.finished or self._stopped else list(self._messages)

    def reply(self, text: str, reasoning: str = "") -> None:
        prediction, results = parse(text), []
        for call in prediction.calls:
            executed, result = self._list.call(call["name"], call["arguments"])
            self._actions += 1
            self._executable += executed
            results.append(result)
            self._progress = max(self._progress, self._share())
            if self._list.finished:
                break
        if not self._list.finished and not prediction.valid:
            self._actions += 1
            results.append(UNREADABLE)
        thought = {"reasoning": reasoning} if reasoning else {}
        self._steps.append({"reply": text, **thought, "results": results})
        blocks = "\n".join(f"<tool_response>\n{dumps(result)}\n</tool_response>" for result in results)
        self._messages += [{"role": "assistant", "content": text}, {"role": "user", "content": blocks}]
        if len(self._steps) >= STEPS and not self._list.finished:
            self.stop(f"not finished in {STEPS} steps")

    def stop(self, reason: str) -> None:
        self._stopped = reason

    def transcript(self) -> dict[str, Any]:
        fault = self._stopped
        if not fault and not self._answered():
            fault = f"the answer is {dumps(self._list.answer)[:100]} and not {dumps(self._answer)[:100]}"
        if not fault and self._list.changes() != self._changes:
            fault = "the changes are not the wanted ones"
        return {
            "success": not fault,
            "progress": self._progress,
            "actions": self._actions,
            "executable": self._executable,
            "finished": self._list.finished,
            "answer": self._list.answer,
            "changes": self._list.changes(),
            "steps": len(self._steps),
            "fault": fault,
            "stopped": bool(self._stopped),
            "said": self._steps,
        }

    def _answered(self) -> bool:
        return self._list.finished and (self._answer is None or matches(self._list.answer, self._answer))

    def _share(self) -> float:
        now = self._list.changes()
        held = sum(change in now for change in self._changes)
        asks = self._answer is not None
        return (held + (asks and self._answered())) / max(1, len(self._changes) + asks)
