"""A multi-turn row of BFCL played to its end: the model goes on from its own calls and their results.

As the package's prompting mode (`bfcl-eval` 2026.3.23): the results of a reply's calls are the next user turn; a reply
that is no list of calls ends the turn. Every step plays the row's calls again from the beginning, in the process that
all episodes share, so that a call which ends the process harms its own row alone.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ...environments.calls import Call, as_python
from ...hub_sync.errors import DataError
from ...hub_sync.text import utf8
from .scorer import read_calls
from .steps import Referee, Sources, referee, requests, results_text
from .worlds import needless

STEPS = 20  # of one turn, as in the package
_OFFERED: dict[str, Sources] = {}


def offer(sources: Sources) -> str:
    """Keep the worlds' sources for this process's episodes; returns their name for documents."""
    name = hashlib.sha256(utf8(json.dumps(sources))).hexdigest()[:16]
    _OFFERED[name] = sources
    return name


class BFCLEpisode:
    """See the module; an `Episode`.

    The transcript has passed, fault ("" or one line), turns, turns_passed (before the first that fails), steps
    (replies), needless (something was called where gold calls nothing), stopped (the row was not played to its end)
    and said: turn -> step -> reply and results.
    """

    def __init__(self, row: Mapping[str, Any], judge: Referee) -> None:
        self._row, self._judge = row, judge
        self._requests = requests(row)
        self._messages = [{"role": "system", "content": row["prompt"]}, {"role": "user", "content": self._requests[0]}]
        self._calls: list[list[Call]] = [[]]
        self._steps: list[list[dict[str, Any]]] = [[]]
        self._over, self._stopped = False, ""

    def prompt(self) -> list[dict[str, str]] | None:
        return None if self._over else list(self._messages)

    def reply(self, text: str, reasoning: str = "") -> None:
        turn_record: dict[str, Any] = {"reply": text} | ({"reasoning": reasoning} if reasoning else {})
        self._steps[-1].append(turn_record)
        self._messages.append({"role": "assistant", "content": text})
        calls = read_calls(text)
        if not calls:
            self._next_turn()
            return
        if len(self._steps[-1]) > STEPS:
            self.stop(f"more than {STEPS} steps")
            return
        try:
            past = [call for turn in self._calls for call in turn]
            turn_record["results"] = self._judge.results(self._row, past, calls)
        except (DataError, TypeError, RecursionError) as error:
            self.stop(f"calls that cannot be made: {error}")
            return
        self._calls[-1] += calls
        shown = results_text([as_python(call) for call in calls], turn_record["results"])
        self._messages.append({"role": "user", "content": shown})

    def stop(self, reason: str) -> None:
        self._over, self._stopped = True, reason

    def transcript(self) -> dict[str, Any]:
        """The row played against gold, see the class. Raises DataError if gold itself cannot be played."""
        gold = json.loads(self._row["gold"])
        done = self._calls[:-1] if self._stopped else self._calls
        try:
            passed, fault = self._judge.verdict(self._row, done)
        except DataError as error:  # one step after another was within the limits, all of a turn are not
            self._judge.verdict(self._row, ())
            passed, fault = 0, f"calls that cannot be made: {error}"
            self._stopped = self._stopped or fault
        if self._stopped and passed >= len(done):
            passed, fault = len(done), f"turn {len(done)}: {self._stopped}"
        return {
            "passed": not fault,
            "fault": fault,
            "turns": len(gold),
            "turns_passed": passed,
            "steps": sum(map(len, self._steps)),
            "needless": needless(self._calls, gold),
            "stopped": bool(self._stopped),
            "said": self._steps,
        }

    def _next_turn(self) -> None:
        if len(self._steps) == len(self._requests):
            self._over = True
            return
        self._messages.append({"role": "user", "content": self._requests[len(self._steps)]})
        self._steps.append([])
        self._calls.append([])


def episode(document: Mapping[str, Any]) -> BFCLEpisode:
    """The episode of a document: a row of the `multi_turn` config, and `worlds`, as `offer` named them."""
    sources = _OFFERED.get(document["worlds"])
    if sources is None:
        raise DataError(f"{document['id']}: its worlds {document['worlds']} are not loaded; build the requests anew")
    return BFCLEpisode(document, referee(sources))
