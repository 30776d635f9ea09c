"""BFCL's multi-turn rows cut into turns, each with the gold history before it, and the score of one turn.

Gold lists the calls of a turn without saying which of them wait for a result, so the model writes all calls of the
turn in one reply. Before it stand the earlier turns as gold played them: the calls as a Python list, and their results
with the next request, as one user turn. If gold calls nothing, the assistant says `NOTHING`.
"""

import atexit
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from ...environments.calls import Call, python_calls
from ...hub_sync.errors import DataError
from .scorer import read_calls
from .worlds import Worlds, play

T = TypeVar("T")
Sources = tuple[tuple[str, str], ...]  # (module, Python source)
METRICS = ("turn_acc", "call_acc", "no_call", "function", "readable")
NOTHING = "I lack a function or a detail that this needs."  # our words; the package's history has the model's own


def call_list(calls: Sequence[str]) -> str:
    return f"[{', '.join(calls)}]"


def results_text(calls: Sequence[str], results: Sequence[str]) -> str:
    """Results as the package's prompting mode shows them: Python's text of a list, a dictionary a call."""
    pairs = zip(calls, results, strict=True)
    return repr([{"role": "tool", "name": call, "content": result} for call, result in pairs])


def _calls(texts: Sequence[str]) -> list[Call]:
    return [call for text in texts for call in python_calls(text)]


def _started(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the data set as `Worlds.begin` takes it."""
    return {
        "id": row["id"], "involved_classes": json.loads(row["classes"]), "initial_config": json.loads(row["config"]),
    }  # fmt: skip


def requests(row: Mapping[str, Any]) -> list[str]:
    """What the user says, by turn; where functions are shown only then, that they are there now."""
    later = json.loads(row["later_prompt"])
    turns = json.loads(row["turns"])
    return [later.get(str(n)) or "\n\n".join(message["content"] for message in turn) for n, turn in enumerate(turns)]


class Referee:
    """Plays gold's turns, and scores a reply from the state that gold has reached.

    Args:
        sources: as `Worlds` takes them.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources
        self._worlds = Worlds(sources)

    def documents(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A row of the data set's `multi_turn` config as one document per turn.

        Columns: id (`ROW:TURN`), messages, gold (call texts of the turn), past (those of the turns before), classes
        and config; all but the id are JSON text. Raises DataError for a row whose gold calls cannot be played.
        """
        gold = json.loads(row["gold"])
        self._worlds.begin(_started(row))
        messages = [{"role": "system", "content": row["prompt"]}]
        documents, shown = [], ""
        for turn, request in enumerate(requests(row)):
            messages.append({"role": "user", "content": f"{shown}\n\n{request}".lstrip()})
            documents.append(
                {
                    "id": f"{row['id']}:{turn}",
                    "messages": json.dumps(messages, ensure_ascii=False),
                    "gold": json.dumps(gold[turn]),
                    "past": json.dumps(gold[:turn]),
                    "classes": row["classes"],
                    "config": row["config"],
                }
            )
            results = self._worlds.turn(_calls(gold[turn]), gold[turn]).results
            shown = results_text(gold[turn], results) if results else ""
            messages.append({"role": "assistant", "content": call_list(gold[turn]) if gold[turn] else NOTHING})
        return documents

    def score(self, document: Mapping[str, Any], reply: str) -> dict[str, float]:
        """Metrics of one reply, each 0 or 1.

        turn_acc: the turn passes as `Worlds.turn` says, or nothing is called if gold calls nothing; call_acc and
        no_call: the same over turns of one kind. function: the functions called are gold's. readable: the reply is a
        list of calls.

        Raises DataError if gold's own history cannot be played.
        """
        gold = json.loads(document["gold"])
        calls = read_calls(reply)
        if not gold:
            return {"turn_acc": float(not calls), "no_call": float(not calls)}
        passed = float(bool(calls) and self._passes(document, calls, gold))
        named, expected = (Counter(call.name for call in some) for some in (calls, _calls(gold)))
        return {
            "turn_acc": passed,
            "call_acc": passed,
            "function": float(named == expected),
            "readable": float(bool(calls)),
        }

    def results(self, row: Mapping[str, Any], past: Sequence[Call], calls: Sequence[Call]) -> list[str]:
        """The results of `calls` as text, after the calls of the `past`, from a row's beginning.

        Raises DataError, TypeError or RecursionError for calls that never end, are too large or have no JSON form.
        """

        self._again(lambda: self._after(row, past))
        return self._tried(lambda: self._after(row, past), lambda: self._worlds.turn(calls, []).results)

    def verdict(self, row: Mapping[str, Any], turns: Sequence[Sequence[Call]]) -> tuple[int, str]:
        return self._again(lambda: play(self._worlds, _started(row), turns, json.loads(row["gold"])))

    def close(self) -> None:
        self._worlds.close()

    def _passes(self, document: Mapping[str, Any], calls: Sequence[Call], gold: Sequence[str]) -> bool:
        self._again(lambda: self._replay(document))
        try:
            return self._tried(lambda: self._replay(document), lambda: not self._worlds.turn(calls, gold).fault)
        except (DataError, TypeError, RecursionError):  # a call that never ends, is too large, or has no JSON form
            return False

    def _replay(self, document: Mapping[str, Any]) -> None:
        self._worlds.begin(_started({**document, "id": document["id"].rpartition(":")[0]}))
        for texts in json.loads(document["past"]):
            self._worlds.turn(_calls(texts), texts)

    def _after(self, row: Mapping[str, Any], past: Sequence[Call]) -> None:
        self._worlds.begin(_started(row))
        if past:
            self._worlds.turn(past, [])

    def _tried(self, begin: Callable[[], None], do: Callable[[], T]) -> T:
        """What `do` gives after `begin`, tried again in a new process, as others may have used up this one's time."""
        try:
            return do()
        except DataError:
            self._restart()
            begin()
        try:
            return do()
        except DataError:
            self._restart()
            raise

    def _again(self, do: Callable[[], T]) -> T:
        try:
            return do()
        except DataError:  # a process has so much processor time, and may have used it up
            self._restart()
            return do()

    def _restart(self) -> None:
        self._worlds.close()
        self._worlds = Worlds(self._sources)


@cache
def referee(sources: Sources) -> Referee:
    """The referee on these sources; one for all tasks of this process, ended with it."""
    judge = Referee(dict(sources))
    atexit.register(judge.close)
    return judge
