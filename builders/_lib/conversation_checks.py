"""Checks of a conversation with calls, whoever made it: each returns "" or one line that says what is wrong.

    definitions    every function offered has a valid definition and a name of its own
    calls          every call names an offered function, and its arguments fit that function's schema
    results        every call has an id of its own and one result right after its turn: JSON that fits the schema
    provenance     every value of an argument was stated by the user, returned by an earlier call or declared
    graph          the calls use one another's results as planned; without a plan, as the composition's name says
    needless       no call is repeated (except after an error), and every result is used by a call or an answer
    answer         every turn of the user is answered, and each result that no call used is quoted in the answer
    duplicate      no earlier row has nearly the same request
    contamination  no row of a test set has nearly the same request

Values are compared without case, repeated blanks and thousands separators, 5 as 5.0. All of it is our choice.
"""

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
    row: Row, responses: Schemas | None = None, earlier: MinHashIndex | None = None, tests: MinHashIndex | None = None
) -> Row:
    """The row with its columns check_* filled.

    Args:
        responses: function -> JSON Schema of its result, where known.
        seen: requests of the rows before; this one is added if it passes every other check.
        tests: requests of the test sets.
    """
    reasons = {name: check(row, responses or {}) for name, check in _CHECKS.items()}
    query = request(row)
    reasons["contamination"] = tests.nearest(query) if tests else ""
    reasons["duplicate"] = ""
    if earlier is not None:
        reasons["duplicate"] = earlier.nearest(query)
        if not any(reasons.values()):
            earlier.add(query, row["id"])
    return row | {f"check_{name}": reasons[name] for name in CHECKS}


def check_all(rows: Sequence[Row], tests: MinHashIndex | None = None) -> list[Row]:
    """The rows with their columns check_* filled, in order; results fit `responses` where a definition has them."""
    earlier, checked = MinHashIndex(), []
    for row in rows:
        functions = [tool["function"] for tool in row["tools"]]
        responses = {one["name"]: one["responses"] for one in functions if one.get("responses")}
        checked.append(run_checks(row, responses, earlier, tests))
    return checked


def faults_table(rows: Sequence[Row]) -> dict[str, Any]:
    """A card's table of the rows that fail each check, with one of the reasons."""
    table = []
    for name in CHECKS:
        reasons = [row[f"check_{name}"] for row in rows if row[f"check_{name}"]]
        table.append([name, len(reasons), reasons[0] if reasons else ""])
    whole = sum(not faults(row) for row in rows)
    return {
        "title": "Checks",
        "columns": ["check", "rows that fail", "for example"],
        "rows": [*table, ["rows that pass every check", whole, ""]],
        "note": "No row is left out for a check; the columns `check_*` say which rows fail, and why.",
    }


def faults(row: Row) -> dict[str, str]:
    """The checks that a row fails, with their reasons."""
    return {name: row[f"check_{name}"] for name in CHECKS if row[f"check_{name}"]}


def request(row: Row) -> str:
    """The texts of all turns of the user."""
    return "\n".join(m["content"] for m in row["messages"] if m["role"] == "user")


def definitions(row: Row, responses: Schemas) -> str:
    """Invalid or repeated definitions of the functions offered.

    Two tools named `get_weather`: "get_weather is offered twice".
    """
    names: set[str] = set()
    for tool in row["tools"]:
        function = tool.get("function") if isinstance(tool, dict) else None
        if message := fault(function):
            return message
        assert isinstance(function, dict)
        if function["name"] in names:
            return f"{function['name']} is offered twice"
        names.add(function["name"])
    return ""


def calls(row: Row, responses: Schemas) -> str:
    """Calls of functions that are not offered, or with arguments that do not fit.

    With `get_weather(city: string)` offered, `get_weather(city=5)`: "the arguments of get_weather: wrong_type"; and
    `get_time()`: "get_time is not offered".
    """
    offered = {tool["function"]["name"]: tool["function"] for tool in row["tools"] if isinstance(tool, dict)}
    for one in calls_of(row["messages"]):
        name, arguments = one["function"]["name"], one["function"]["arguments"]
        if name not in offered:
            return f"{name} is not offered"
        if not isinstance(arguments, dict):
            return f"the arguments of {name} are not an object"
        if reason := argument_violation(arguments, offered[name].get("parameters")):
            return f"the arguments of {name}: {reason}"
    return ""


def results(row: Row, responses: Schemas) -> str:
    """Results that are missing, repeated, not JSON, or do not fit the function's schema.

    assistant calls `get_weather` (id call_0), then the user speaks: "get_weather has no result";
    tool (call_0): "It is sunny.": "the result of get_weather is not valid JSON".
    """
    waiting: dict[str, str] = {}
    ids: set[str] = set()
    for message in row["messages"]:
        if message["role"] == "tool":
            name = waiting.pop(message.get("tool_call_id", ""), None)
            if name is None:
                return "a result without a call"
            try:
                value = json.loads(message["content"])
            except (ValueError, TypeError, RecursionError):
                return f"the result of {name} is not valid JSON"
            schema = responses.get(name)
            if schema and not is_error(value) and (reason := violation(value, schema)):
                return f"the result of {name}: {reason}"
            continue
        if waiting:
            return f"{next(iter(waiting.values()))} has no result"
        for one in message.get("tool_calls") or ():
            if one["id"] in ids:
                return f"two calls have the id {one['id']}"
            ids.add(one["id"])
            waiting[one["id"]] = one["function"]["name"]
    return f"{next(iter(waiting.values()))} has no result" if waiting else ""


def provenance(row: Row, responses: Schemas) -> str:
    """Arguments with a value that nobody stated.

    user: "How is the weather in Oslo?" and `get_weather(city="Oslo")`: "". With `get_weather(city="Lima")`:
    "city='Lima' of get_weather has no source". A result `{"city": "Lima"}` before it, or `Lima` among the parameter's
    `enum`, is a source as well.
    """
    declared = {tool["function"]["name"]: _declared(tool["function"].get("parameters")) for tool in row["tools"]}
    sources = _KnownValues()
    for message in row["messages"]:
        for one in message.get("tool_calls") or ():
            name = one["function"]["name"]
            for path, value in leaves(one["function"]["arguments"]):
                if not sources.has(value) and plain(value) not in declared.get(name, ()):
                    return f"{path}={value!r:.60} of {name} has no source"
        if message["role"] in ("user", "system", "tool"):
            sources.add(without_switch(message["content"] or ""))
    return ""


def graph(row: Row, responses: Schemas) -> str:
    """Uses of results that differ from the plan.

    Planned: `book(train=<id of find_train>)`. If the user states the id, the call does not use the result: "planned 1
    uses of a result, found 0". Without a plan, composition `parallel` and `book` with the id that only `find_train`
    returned: "planned in parallel, and a call uses a result".
    """
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
    realised = sorted(set(edges))
    if sorted(set(planned)) != realised:
        return f"planned {len(planned)} uses of a result, found {len(realised)}"
    ran = sorted(node["tool"] for node in nodes if node["runs"])
    done = sorted(one["function"]["name"] for one in good_calls(row))
    return "" if ran == done else f"planned calls {', '.join(ran) or 'none'}, made {', '.join(done) or 'none'}"


def needless(row: Row, responses: Schemas) -> str:
    """Repeated calls, and results that nothing uses.

    `get_weather(city="Oslo")` twice: "get_weather is called twice with the same arguments". Its result is `{"sky":
    "clear"}`, no later call takes "clear" and no answer says it: "the result of get_weather is never used".
    """
    earlier: set[str] = set()
    by_call = results_of(row["messages"])
    for one in calls_of(row["messages"]):
        key = json.dumps([one["function"]["name"], one["function"]["arguments"]], sort_keys=True)
        if key in earlier:
            return f"{one['function']['name']} is called twice with the same arguments"
        if not is_error(by_call.get(one["id"])):
            earlier.add(key)
    used = {giver for giver, _, _ in _uses(row)}
    answers = " ".join(
        m["content"] or "" for m in row["messages"] if m["role"] == "assistant" and not m.get("tool_calls")
    )
    for one in good_calls(row):
        if one["id"] not in used and not quotes(answers, by_call.get(one["id"])):
            return f"the result of {one['function']['name']} is never used"
    return ""


def answer(row: Row, responses: Schemas) -> str:
    """Turns of the user without an answer, and answers that do not report the results.

    Result `{"sky": "clear"}`, answer "Clear sky today.": ""; answer "Done.": "the answer quotes nothing of
    get_weather's result".
    """
    by_call = results_of(row["messages"])
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
                result = by_call.get(one["id"])
                if one["id"] not in used and not is_error(result) and not quotes(text, result):
                    return f"the answer quotes nothing of {one['function']['name']}'s result"
            waiting = []
        elif message["role"] == "user" and previous in ("tool", "user"):
            return "a turn of the user is not answered"
        previous = message["role"]
    return "" if previous == "assistant" and not waiting else "the last turn is not answered"


_CHECKS: dict[str, Callable[[Row, Schemas], str]] = {
    "definitions": definitions, "calls": calls, "results": results, "provenance": provenance, "graph": graph,
    "needless": needless, "answer": answer,
}  # fmt: skip


def good_calls(row: Row) -> list[dict[str, Any]]:
    """The calls whose result is not an error."""
    by_call = results_of(row["messages"])
    return [one for one in calls_of(row["messages"]) if not is_error(by_call.get(one["id"]))]


def realised_edges(row: Row) -> list[tuple[str, str, str]]:
    """(returning function, called function, argument) of every argument whose value only an earlier result holds.

    `find_train()` returns `{"id": "TR5521"}`, then `book(train="TR5521")`: [("find_train", "book", "train")].
    """
    names = {one["id"]: one["function"]["name"] for one in calls_of(row["messages"])}
    failed = {one["id"] for one in calls_of(row["messages"])} - {one["id"] for one in good_calls(row)}
    return [(names[giver], names[taker], path) for giver, taker, path in _uses(row) if taker not in failed]


def _uses(row: Row) -> list[tuple[str, str, str]]:
    """(id of the returning call, id of the call, argument) of values that the user did not state."""
    uses: list[tuple[str, str, str]] = []
    stated, earlier = _KnownValues(), list[tuple[str, _KnownValues]]()
    names = {one["id"] for one in calls_of(row["messages"])}
    for message in row["messages"]:
        for one in message.get("tool_calls") or ():
            for path, value in leaves(one["function"]["arguments"]):
                if isinstance(value, bool) or stated.has(value):
                    continue
                # The first that gave it: later results may repeat what was handed on.
                giver = next((name for name, text in earlier if text.has(value)), None)
                if giver is not None:
                    uses.append((giver, one["id"], path))
        if message["role"] == "tool" and message.get("tool_call_id") in names:
            values = _KnownValues()
            values.add(message["content"] or "")
            earlier.append((message["tool_call_id"], values))
        elif message["role"] in ("user", "system"):
            stated.add(without_switch(message["content"] or ""))
    return uses


class _KnownValues:
    """Text in which values are searched, as words and as numbers."""

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
        text = plain(value)
        return bool(text) and (
            self.occurs(text) or (_NUMBER.fullmatch(text) is not None and float(text) in self.numbers)
        )

    def occurs(self, text: str) -> bool:
        """Whether a text occurs outside of words; a pattern per value would be slow."""
        first, last = _LETTER.match(text[0]), _LETTER.match(text[-1])
        at = self.text.find(text)
        while at >= 0:
            before, after = self.text[at - 1 : at], self.text[at + len(text) : at + len(text) + 1]
            if not (first and _LETTER.match(before)) and not (last and _LETTER.match(after)):
                return True
            at = self.text.find(text, at + 1)
        return False


def plain(value: Any) -> str:
    """A value as text, without case and repeated blanks."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.casefold().split())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that is not an object or list."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, path)
    else:
        yield path, value


def is_error(result: Any) -> bool:
    """True for a result that is nothing but an error: `{"error": ...}`."""
    return isinstance(result, dict) and set(result) == {"error"}


def quotes(text: str, result: Any) -> bool:
    """True if a text holds some value of a result, or the result has no values.

    Of a value of several words a number is enough, or half of its longer words or Chinese characters (our choice):
    "Oslo Central at 9" is quoted by "the central station of Oslo".
    """
    quoted = _KnownValues()
    quoted.add(text)
    values = [value for _, value in leaves(result) if value is not None and not isinstance(value, bool)]
    return not values or any(quoted.has(value) or _paraphrased(quoted, value) for value in values)


def _paraphrased(quoted: _KnownValues, value: Any) -> bool:
    if not isinstance(value, str) or not re.search(r"\S\s+\S|[\u3400-\u9fff]", value):
        return False
    words = re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]{4,}", plain(value))
    numbers = _NUMBER.findall(value)
    return any(quoted.has(number) for number in numbers) or (
        bool(words) and sum(quoted.has(word) for word in words) >= len(words) / 2
    )


def _declared(schema: Any) -> set[str]:
    """The values that a schema itself names: enumerations, examples, constants, defaults; and true, false, null."""
    values = {"true", "false", "null"}
    pending: list[Any] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            for key in ("enum", "examples"):
                values |= {plain(v) for v in part.get(key) or () if isinstance(part.get(key), Sequence)}
            values |= {plain(part[key]) for key in ("const", "default") if key in part}
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return values
