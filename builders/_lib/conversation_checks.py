"""What must hold of a row, whoever made it. Each check answers "" or one line that says what does not.

    definitions    every function offered has a sound definition, and a name of its own
    calls          every call names a function that is offered, and its arguments fit that function's schema
    results        every call has an id of its own and one result, JSON, right after its turn; it fits the function's
                   schema where known
    provenance     every value of an argument was said by the user, given by an earlier result, or is one that the
                   function's definition declares
    graph          which call uses which result is what was planned; without a plan, what the composition's name says
    needless       no call twice (but after an error), and no result that neither a later call nor an answer uses
    answer         every turn ends in words, and each result that no call used is quoted in them
    duplicate      no earlier row asks nearly the same
    contamination  no row of a test set asks nearly the same

Our choice: the paper filters by one question to a model. Values are compared as people write them: case, blanks and
thousands' commas aside, 5 as 5.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...environments.definition import fault
from ...environments.schema import argument_violation, violation
from .conversation_rows import CHECKS, Row, calls_of, results_of, without_switch
from .near_duplicates import MinHashIndex

Schemas = Mapping[str, Any]
_LETTER = re.compile(r"[^\W\u3400-\u9fff]")  # of a script that parts its words
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def run_checks(
    row: Row, responses: Schemas | None = None, seen: MinHashIndex | None = None, tests: MinHashIndex | None = None
) -> Row:
    """The row with its columns check_* filled.

    Args:
        responses: function -> JSON Schema of its result, where known.
        seen: the rows before; this one is added where it passes everything else.
        tests: the test sets.
    """
    found = {name: check(row, responses or {}) for name, check in _OWN.items()}
    asked = request(row)
    found["contamination"] = tests.nearest(asked) if tests else ""
    found["duplicate"] = ""
    if seen is not None:
        found["duplicate"] = seen.nearest(asked)
        if not any(found.values()):
            seen.add(asked, row["id"])
    return row | {f"check_{name}": found[name] for name in CHECKS}


def check_all(rows: Sequence[Row], tests: MinHashIndex | None = None) -> list[Row]:
    """The rows with their columns check_* filled, in order; results fit `responses` where a definition has them."""
    seen, found = MinHashIndex(), []
    for row in rows:
        functions = [tool["function"] for tool in row["tools"]]
        responses = {one["name"]: one["responses"] for one in functions if one.get("responses")}
        found.append(run_checks(row, responses, seen, tests))
    return found


def faults_table(rows: Sequence[Row]) -> dict[str, Any]:
    """A card's table of how many rows do not pass which check, with one of the reasons."""
    table = []
    for name in CHECKS:
        reasons = [row[f"check_{name}"] for row in rows if row[f"check_{name}"]]
        table.append([name, len(reasons), reasons[0] if reasons else ""])
    whole = sum(not faults(row) for row in rows)
    return {
        "title": "Checks",
        "columns": ["check", "rows that do not pass", "for example"],
        "rows": [*table, ["rows that pass everything", whole, ""]],
        "note": "No row is left out for a check; the columns `check_*` say which do not pass, and why.",
    }


def faults(row: Row) -> dict[str, str]:
    """The checks that a row does not pass, with their reasons."""
    return {name: row[f"check_{name}"] for name in CHECKS if row[f"check_{name}"]}


def request(row: Row) -> str:
    """All that the user says."""
    return "\n".join(m["content"] for m in row["messages"] if m["role"] == "user")


def definitions(row: Row, responses: Schemas) -> str:
    """See the top."""
    names: set[str] = set()
    for tool in row["tools"]:
        function = tool.get("function") if isinstance(tool, dict) else None
        if said := fault(function):
            return said
        assert isinstance(function, dict)
        if function["name"] in names:
            return f"{function['name']} is offered twice"
        names.add(function["name"])
    return ""


def calls(row: Row, responses: Schemas) -> str:
    """See the top."""
    offered = {tool["function"]["name"]: tool["function"] for tool in row["tools"] if isinstance(tool, dict)}
    for one in calls_of(row["messages"]):
        name, arguments = one["function"]["name"], one["function"]["arguments"]
        if name not in offered:
            return f"{name} is not offered"
        if not isinstance(arguments, dict):
            return f"the arguments of {name} are no object"
        if said := argument_violation(arguments, offered[name].get("parameters")):
            return f"the arguments of {name}: {said}"
    return ""


def results(row: Row, responses: Schemas) -> str:
    """See the top."""
    waiting: dict[str, str] = {}
    given: set[str] = set()
    for message in row["messages"]:
        if message["role"] == "tool":
            name = waiting.pop(message.get("tool_call_id", ""), None)
            if name is None:
                return "a result without a call"
            try:
                value = json.loads(message["content"])
            except (ValueError, TypeError, RecursionError):
                return f"the result of {name} is no JSON"
            schema = responses.get(name)
            if schema and not is_error(value) and (said := violation(value, schema)):
                return f"the result of {name}: {said}"
            continue
        if waiting:
            return f"{next(iter(waiting.values()))} has no result"
        for one in message.get("tool_calls") or ():
            if one["id"] in given:
                return f"two calls have the id {one['id']}"
            given.add(one["id"])
            waiting[one["id"]] = one["function"]["name"]
    return f"{next(iter(waiting.values()))} has no result" if waiting else ""


def provenance(row: Row, responses: Schemas) -> str:
    """See the top."""
    declared = {tool["function"]["name"]: _declared(tool["function"].get("parameters")) for tool in row["tools"]}
    known = _Known()
    for message in row["messages"]:
        for one in message.get("tool_calls") or ():
            name = one["function"]["name"]
            for path, value in leaves(one["function"]["arguments"]):
                if not known.has(value) and plain(value) not in declared.get(name, ()):
                    return f"{path}={value!r:.60} of {name} comes from nowhere"
        if message["role"] in ("user", "system", "tool"):
            known.add(without_switch(message["content"] or ""))
    return ""


def graph(row: Row, responses: Schemas) -> str:
    """See the top."""
    edges = realised_edges(row)
    composition = row.get("composition") or ""
    if not row.get("plan"):
        number = len(calls_of(row["messages"]))
        if composition.startswith("sequential") and number > 1 and not edges:
            return "planned as a sequence, and no call uses a result"
        if composition == "parallel" and edges:
            return "planned in parallel, and a call uses a result"
        if composition == "parallel_then_sequential" and number > 2 and not edges:
            return "planned as parallel, then sequential, and no call uses a result"
        return ""
    # Planned edges by what the calls are, since a call that failed stands twice.
    nodes = json.loads(row["plan"])["nodes"]
    planned = sorted(
        (nodes[source["node"]]["tool"], node["tool"], name)
        for node in nodes
        if node["runs"]
        for name, source in node["arguments"].items()
        if "node" in source
    )
    made = sorted(set(edges))
    if sorted(set(planned)) != made:
        return f"planned {len(planned)} uses of a result, found {len(made)}"
    ran = sorted(node["tool"] for node in nodes if node["runs"])
    done = sorted(one["function"]["name"] for one in good_calls(row))
    return "" if ran == done else f"planned calls {', '.join(ran) or 'none'}, made {', '.join(done) or 'none'}"


def needless(row: Row, responses: Schemas) -> str:
    """See the top."""
    made: set[str] = set()
    found = results_of(row["messages"])
    for one in calls_of(row["messages"]):
        key = json.dumps([one["function"]["name"], one["function"]["arguments"]], sort_keys=True)
        if key in made:
            return f"{one['function']['name']} is called twice with the same arguments"
        if not is_error(found.get(one["id"])):
            made.add(key)
    used = {giver for giver, _, _ in _uses(row)}
    told = " ".join(
        m["content"] or "" for m in row["messages"] if m["role"] == "assistant" and not m.get("tool_calls")
    )
    for one in good_calls(row):
        if one["id"] not in used and not quotes(told, found.get(one["id"])):
            return f"the result of {one['function']['name']} is never used"
    return ""


def answer(row: Row, responses: Schemas) -> str:
    """See the top."""
    found = results_of(row["messages"])
    used = {giver for giver, _, _ in _uses(row)}
    waiting: list[dict[str, Any]] = []
    previous = ""
    for message in row["messages"]:
        if message["role"] == "assistant" and message.get("tool_calls"):
            waiting += message["tool_calls"]
        elif message["role"] == "assistant":
            text = message["content"] or ""
            if not text.strip():
                return "an answer is empty"
            for one in waiting:
                result = found.get(one["id"])
                if one["id"] not in used and not is_error(result) and not quotes(text, result):
                    return f"the answer quotes nothing of {one['function']['name']}'s result"
            waiting = []
        elif message["role"] == "user" and previous in ("tool", "user"):
            return "a turn of the user is not answered"
        previous = message["role"]
    return "" if previous == "assistant" and not waiting else "the last turn is not answered"


_OWN: dict[str, Callable[[Row, Schemas], str]] = {
    "definitions": definitions, "calls": calls, "results": results, "provenance": provenance, "graph": graph,
    "needless": needless, "answer": answer,
}  # fmt: skip


def good_calls(row: Row) -> list[dict[str, Any]]:
    """The calls whose result is no error."""
    found = results_of(row["messages"])
    return [one for one in calls_of(row["messages"]) if not is_error(found.get(one["id"]))]


def realised_edges(row: Row) -> list[tuple[str, str, str]]:
    """(giving function, taking function, argument) of every argument that only an earlier result gives."""
    names = {one["id"]: one["function"]["name"] for one in calls_of(row["messages"])}
    failed = {one["id"] for one in calls_of(row["messages"])} - {one["id"] for one in good_calls(row)}
    return [(names[giver], names[taker], path) for giver, taker, path in _uses(row) if taker not in failed]


def _uses(row: Row) -> list[tuple[str, str, str]]:
    """(id of the giving call, id of the taking call, argument): values that the user did not say."""
    found: list[tuple[str, str, str]] = []
    said, givers = _Known(), list[tuple[str, _Known]]()
    names = {one["id"] for one in calls_of(row["messages"])}
    for message in row["messages"]:
        for one in message.get("tool_calls") or ():
            for path, value in leaves(one["function"]["arguments"]):
                if isinstance(value, bool) or said.has(value):
                    continue
                # The first that gave it: later results may repeat what was handed on.
                giver = next((name for name, text in givers if text.has(value)), None)
                if giver is not None:
                    found.append((giver, one["id"], path))
        if message["role"] == "tool" and message.get("tool_call_id") in names:
            known = _Known()
            known.add(message["content"] or "")
            givers.append((message["tool_call_id"], known))
        elif message["role"] in ("user", "system"):
            said.add(without_switch(message["content"] or ""))
    return found


class _Known:
    """Text in which values are looked for, as words and as numbers."""

    def __init__(self) -> None:
        self.text, self.numbers = " ", set[float]()

    def add(self, text: str) -> None:
        self.text += f"{plain(text)} "
        self.numbers |= {float(n) for n in _NUMBER.findall(text.replace(",", ""))}
        self.numbers |= {float(n) for n in _NUMBER.findall(text)}

    def has(self, value: Any) -> bool:
        if isinstance(value, bool) or value is None:
            return False
        if isinstance(value, int | float):
            return float(value) in self.numbers
        wanted = plain(value)
        return bool(wanted) and (
            self.stands(wanted) or (_NUMBER.fullmatch(wanted) is not None and float(wanted) in self.numbers)
        )

    def stands(self, wanted: str) -> bool:
        """Whether a text stands here by itself, not within a word; a pattern per value would be slow."""
        first, last = _LETTER.match(wanted[0]), _LETTER.match(wanted[-1])
        at = self.text.find(wanted)
        while at >= 0:
            before, after = self.text[at - 1 : at], self.text[at + len(wanted) : at + len(wanted) + 1]
            if not (first and _LETTER.match(before)) and not (last and _LETTER.match(after)):
                return True
            at = self.text.find(wanted, at + 1)
        return False


def plain(value: Any) -> str:
    """A value as text, without case and repeated blanks."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.casefold().split())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that is no object or list."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, path)
    else:
        yield path, value


def is_error(result: Any) -> bool:
    """Is a result nothing but an error?"""
    return isinstance(result, dict) and set(result) == {"error"}


def quotes(text: str, result: Any) -> bool:
    """Does a text hold some value of a result? A result without values needs no quoting.

    Of a text of several words a number will do, or half of its longer words or Chinese characters: answers are no
    copies (our choice).
    """
    known = _Known()
    known.add(text)
    values = [value for _, value in leaves(result) if value is not None and not isinstance(value, bool)]
    return not values or any(known.has(value) or _told(known, value) for value in values)


def _told(known: _Known, value: Any) -> bool:
    if not isinstance(value, str) or not re.search(r"\S\s+\S|[\u3400-\u9fff]", value):
        return False
    words = re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]{4,}", plain(value))
    numbers = _NUMBER.findall(value)
    return any(known.has(number) for number in numbers) or (
        bool(words) and sum(known.has(word) for word in words) >= len(words) / 2
    )


def _declared(schema: Any) -> set[str]:
    """The values that a definition itself names: enumerations, constants, defaults; and both truths."""
    found = {"true", "false", "null"}
    pending: list[Any] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            for key in ("enum", "examples"):
                found |= {plain(v) for v in part.get(key) or () if isinstance(part.get(key), Sequence)}
            found |= {plain(part[key]) for key in ("const", "default") if key in part}
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return found
