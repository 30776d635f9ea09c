"""BFCL's multi-turn worlds: a model's calls and the gold calls, each on its own copy, compared after every turn.

The back-ends are the package's own classes (`bfcl-eval`, Apache-2.0), from a data set, and run with the model's calls
in a sandbox. Nothing of a model's text is evaluated. A turn passes as in the package: the model called something,
every public attribute of every world equals gold's, and gold's results are among the model's results so far.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...environments.calls import Call, python_calls
from ...environments.sandbox import Limits, Sandbox
from ...hub_sync.errors import DataError

DRIVER = Path(__file__).with_name("world_driver.py")
# A turn of the long-context rows lists thousands of files.
LIMITS = Limits(seconds=20.0, cpu_seconds=600, memory_mb=1024, result_bytes=8 << 20)


@dataclass(frozen=True)
class TurnResult:
    """What one turn came to.

    Attributes:
        results: of the model's calls, as text, in their order.
        fault: "" where the turn passes or has no gold calls, else one line.
    """

    results: list[str]
    fault: str = ""


class Worlds(AbstractContextManager["Worlds"]):
    """Both copies of a row's worlds; one process serves any number of rows, one after another.

    Args:
        sources: module name (`gorilla_file_system`, ...) -> Python source of the back-ends.
    """

    def __init__(self, sources: Mapping[str, str], limits: Limits = LIMITS) -> None:
        code = f"SOURCES = {json.dumps(dict(sources))}\n{DRIVER.read_text(encoding='utf-8')}\nprepare()"
        self._box = Sandbox(code, limits, modules=["mpmath"])

    def begin(self, row: Mapping[str, Any]) -> None:
        """A row's worlds as they are before its first turn. Raises DataError for a row that cannot be played."""
        self._so_far: Counter[str] = Counter()
        self._ask(
            "begin",
            {
                "classes": row["involved_classes"], "config": row.get("initial_config") or {},
                "long_context": "long_context" in row["id"] or "composite" in row["id"],
            },
        )  # fmt: skip

    def turn(self, calls: Sequence[Call], gold: Sequence[str]) -> TurnResult:
        """Play one turn: the model's calls, of all its steps, and gold's, as text.

        Without gold calls the turn passes; whether something was called needlessly is another check (`needless`).
        """
        expected = [call for text in gold for call in python_calls(text)]
        results, wanted = (
            self._ask("play", {"side": side, "calls": [to_json([c.name, c.positional, c.arguments]) for c in chosen]})
            for side, chosen in (("model", calls), ("gold", expected))
        )
        self._so_far += Counter(results)
        if not gold:
            return TurnResult(results)
        if not calls:
            return TurnResult(results, "nothing was called")
        if different := self._ask("different", {}):
            return TurnResult(results, f"the state differs: {', '.join(different)}")
        if missing := Counter(wanted) - self._so_far:
            return TurnResult(results, f"gold's result is not among the results so far: {next(iter(missing))[:200]}")
        return TurnResult(results)

    def close(self) -> None:
        self._box.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, function: str, arguments: dict[str, Any]) -> Any:
        outcome = self._box.call(function, arguments)
        if not outcome.ok:
            raise DataError(f"the worlds of BFCL: {outcome.error}")
        return outcome.value


def to_json(value: Any) -> Any:
    """A value of a call as JSON that `world_driver.from_json` turns back: tuples and keys that are no text stay so."""
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [to_json(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, bytes | complex):
        return {type(value).__name__: value.hex() if isinstance(value, bytes) else [value.real, value.imag]}
    return value


def play(
    worlds: Worlds, row: Mapping[str, Any], replies: Sequence[Sequence[Call]], gold: Sequence[Sequence[str]]
) -> tuple[int, str]:
    """(turns that pass before the first that does not, what is wrong with that one); "" where every turn passes.

    Args:
        replies: the model's calls, by turn.
        gold: call texts, by turn.
    """
    worlds.begin(row)
    for number, expected in enumerate(gold):
        calls = replies[number] if number < len(replies) else ()
        if message := worlds.turn(calls, expected).fault:
            return number, f"turn {number}: {message}"
    return len(gold), ""


def needless(replies: Sequence[Sequence[Call]], gold: Sequence[Sequence[str]]) -> bool:
    """Did the model call something in a turn in which gold calls nothing?"""
    return any(calls and not expected for calls, expected in zip(replies, gold, strict=False))
