"""Definitions of functions, Seal-Tools' or a model's, as tools of executed call graphs: typed stubs that run.

A definition is used if every value that it takes or returns can be typed (values.py) and its description says what a
user asks for (words.py). Fields and parameters of one domain that mean the same have one kind, by which
calls are chained. Tools that a test with other functions calls (`test_out_domain`) are left out.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....environments import stubs
from ....environments.definition import fault
from ....hub_sync.errors import DataError
from ..._lib.data_files import read_yaml
from ..toolset import Tool, Toolset
from . import values, words

COLUMNS = ("name", "description", "field", "parameters", "responses")
HELD_OUT = "test_out_domain"
MOST_GIVEN = 4  # parameters of one call that a user states; our choice
_NAMES = read_yaml(__file__, "names.yaml")
_GENERIC, _NEAR, _EVERYWHERE = (frozenset(_NAMES[name]) for name in ("generic", "near", "everywhere"))
_SUCCESS = re.compile(
    r"^(success|is_success|successful|confirmation|completed|.*_(success|successful|created|updated|deleted|added))$"
)
_FAILED = re.compile(r"fail|error|invalid|declin|denied|reject|not |un", re.IGNORECASE)
_MADE_OR_GONE = re.compile(r"^(delete|remove|cancel|end|stop|terminate|revoke|destroy|drop|suspend)\b")


@dataclass
class Definitions:
    """What came of a data set of definitions.

    Attributes:
        unused: reason -> definitions that are left out for it.
    """

    toolset: Toolset
    unused: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Definitions read."""
        return len(self.toolset.tools) + sum(self.unused.values())


class _Unusable(Exception):
    """Why a definition cannot be used."""


def read_definitions(folder: Path, source_name: str, seed: int) -> Definitions:
    """The tools of a published data set of definitions.

    Args:
        source_name: how the data set is named in errors and rows.
        seed: decides which optional parameters a user states.

    Raises DataError in one line if the data set has no config `tools` or a definition is no schema.
    """
    records = list(_records(folder, source_name))
    held_out = set(_called(folder))
    read = Definitions(Toolset({}, {}))
    pooled = _pooled(records)
    usable: list[_Stub] = []
    taken: set[str] = set()
    for record in records:
        try:
            if record["name"] in held_out:
                raise _Unusable(f"called in {HELD_OUT}")
            if record["name"] in taken or record["name"] == "begin":
                raise _Unusable("the name is taken")
            if reason := fault({key: record[key] for key in ("name", "description", "parameters", "responses")}):
                raise _Unusable("no sound definition" if "no function's name" not in reason else "no function's name")
            usable.append(_Stub(record, pooled.get(_domain(record), {})))
            taken.add(record["name"])
        except _Unusable as reason:
            read.unused[str(reason)] += 1
    if len(usable) < 2:
        raise DataError(f"definitions: {source_name}: {len(usable)} of {len(records)} can be used: two are needed")
    read.toolset = _toolset(usable, f"stubs of {source_name}", seed)
    return read


def _records(folder: Path, source_name: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    files = sorted((folder / "tools").glob("*.parquet"))
    if not files:
        yield from _from_conversations(folder, source_name)
    for path in files:
        with pq.ParquetFile(path) as file:
            if missing := sorted(set(COLUMNS) - set(file.schema_arrow.names)):
                raise DataError(
                    f"definitions: {source_name}: config `tools` has no column {missing[0]}: build it with "
                    "`seal_tools`"
                )
            for row in file.read(columns=list(COLUMNS)).to_pylist():
                for part in ("parameters", "responses"):
                    row[part] = _schema(row[part], f"definitions: {source_name}: {row['name']}: {part}")
                yield row


def _from_conversations(folder: Path, source_name: str) -> Iterator[dict[str, Any]]:
    """The functions that conversations of `button` offer: a model made them up, with schemas of results."""
    import pyarrow.parquet as pq

    any_function = False
    for path in sorted(folder.rglob("*.parquet")):
        with pq.ParquetFile(path) as file:
            if not {"tools", "scenario"} <= set(file.schema_arrow.names):
                continue
            for batch in file.iter_batches(columns=["tools", "scenario"]):
                for row in batch.to_pylist():
                    for tool in map(json.loads, row["tools"]):
                        one = tool["function"]
                        if one.get("responses"):
                            any_function = True
                            where = f"definitions: {source_name}: {one['name']}"
                            schemas = {part: _schema(json.dumps(one[part]), where) for part in COLUMNS[-2:]}
                            yield {
                                "name": one["name"],
                                "description": one["description"],
                                "field": row["scenario"],
                            } | schemas
    if not any_function:
        raise DataError(
            f"definitions: {source_name} has neither a config `tools` nor rows whose functions have `responses`: give "
            "a data set that `seal_tools` or `button` built"
        )


def _schema(text: str, where: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise DataError(f"{where} is {text!r:.40}, which is not JSON: give a JSON Schema of type object") from None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not all(isinstance(one, dict) for one in properties.values()):
        raise DataError(f"{where} is {text!r:.40}: give a JSON Schema of type object with properties")
    return schema


def _called(folder: Path) -> Iterator[str]:
    """The functions that the held-out test calls."""
    import pyarrow.parquet as pq

    for path in sorted((folder / "instances").glob(f"{HELD_OUT}-*.parquet")):
        for text in pq.read_table(path, columns=["calls"])["calls"].to_pylist():
            yield from (call["name"] for call in json.loads(text))


def _domain(record: Mapping[str, Any]) -> str:
    return str(record["field"]).partition("/")[0]


def _pooled(records: list[dict[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Domain -> name -> the example values of all its parameters and fields of that name."""
    domains: dict[str, dict[str, list[Any]]] = {}
    for record in records:
        pool = domains.setdefault(_domain(record), {})
        for part in ("parameters", "responses"):
            for key, schema in record[part]["properties"].items():
                name = _name(key, schema)
                if schema.get("type") == "string" and name not in _GENERIC:
                    pool[name] = list(dict.fromkeys([*pool.get(name, []), *values.examples(schema)]))[: values.STATED]
    return domains


def _name(key: str, schema: Mapping[str, Any]) -> str:
    """A parameter's or field's name; one that says nothing gets the noun that its description names."""
    name = values.snake(key)
    if name in ("name", "id", "title", "type"):
        ending = "ID|identifier|id" if name == "id" else name
        match = re.search(
            rf"\b(?:{ending}) of (?:the|an?|this) (?:specific |specified |given |created |new |newly created )?"
            r"([a-z]+(?: [a-z]+)?)"
            r"(?= (?:to|for|in|of|is|that|you|whose|being|created|from|who|with|on|by)\b|\s*\(|$|\.|,)",
            str(schema.get("description", "")),
        )
        if match:
            return f"{values.snake(match[1])}_{name}"
    return name


class _Stub:
    """One definition, typed. Raises _Unusable with a reason that is counted."""

    def __init__(self, record: Mapping[str, Any], pooled: Mapping[str, list[Any]]) -> None:
        self.record, self.name, self.domain = record, str(record["name"]), _domain(record)
        self.phrase = words.imperative(record["description"])
        if not self.phrase:
            raise _Unusable("the description is not a request")
        parameters, results = record["parameters"]["properties"], record["responses"]["properties"]
        if not results:
            raise _Unusable("no result")
        if not all(re.fullmatch(r"[A-Za-z_]\w*", key) for key in (*parameters, *results)):
            raise _Unusable("a parameter's or field's name is not a word")
        self.names = {key: _name(key, schema) for key, schema in {**results, **parameters}.items()}
        self.rules: dict[str, values.Rule] = {}
        self.inputs = self._choose(parameters, set(record["parameters"].get("required", ())), pooled)
        self.results = {key: self._result(key, schema, pooled) for key, schema in results.items()}
        self.ask = ""
        self.always = {key for key, rule in self.results.items() if rule == ["one", [True]]}

    def _choose(self, parameters: Mapping[str, Any], required: set[str], pooled: Mapping[str, list[Any]]) -> list[str]:
        """The parameters that a user states: what is required and what the description speaks of."""
        spare = []
        for key, schema in parameters.items():
            rule = values.rule(self.names[key], schema, pooled)
            named = words.spoken_of(self.phrase, self.names[key]) is not None
            if rule is None or schema.get("type") == "boolean":
                if key in required or (named and rule is None):
                    raise _Unusable("a parameter that nobody could state")
                continue
            self.rules[key] = rule
            if key not in required and not named:
                spare.append(key)
        self.spare = spare
        given = [key for key in self.rules if key not in spare]
        if len(given) > MOST_GIVEN:
            raise _Unusable("a user would have to state more than four values")
        return given

    def settle(self, gives: set[str], seed: int) -> None:
        """Choose among the optional parameters, first one that a result can fill, and put all into words."""
        rng = random.Random(f"{seed}:{self.name}")  # noqa: S311 - not for secrets
        properties = self.record["parameters"]["properties"]
        filled = [key for key in self.spare if self.kind(key, properties[key]) in gives]
        if len(self.inputs) < MOST_GIVEN and (filled or (self.spare and rng.random() < 0.5)):
            chosen = {*self.inputs, rng.choice(filled or self.spare)}
            self.inputs = [key for key in self.rules if key in chosen]
        self.stated = {key: values.stated_values(self.rules[key], f"{self.name}.{key}") for key in self.inputs}
        self.spoken = {
            key: words.wording_of(self.names[key], properties[key], self.stated[key]) for key in self.inputs
        }
        self.ask = words.ask(self.phrase, self.inputs, self.names, self.spoken)

    def output_types(self) -> dict[str, str]:
        """Field of the result -> kind, of those that can be handed on."""
        if _MADE_OR_GONE.match(self.phrase):
            return {}
        results = self.record["responses"]["properties"]
        kinds = {key: self.kind(key, schema) for key, schema in results.items() if self.results[key][0] != "same"}
        return {key: kind for key, kind in kinds.items() if kind}

    def _result(self, key: str, schema: Mapping[str, Any], pooled: Mapping[str, list[Any]]) -> values.Rule:
        rule = self._typed(key, schema, pooled)
        if rule is None:
            raise _Unusable("a field of the result that only somebody who knew could fill in")
        parameter = self.record["parameters"]["properties"].get(key)
        return ["same", key, rule] if parameter is not None and parameter.get("type") == schema.get("type") else rule

    def _typed(self, key: str, schema: Mapping[str, Any], pooled: Mapping[str, list[Any]]) -> values.Rule | None:
        name, kind = self.names[key], schema.get("type")
        asks = re.match(r"retrieve|get|find|check|search|track|list|read|query|look", self.phrase) is not None
        if kind == "boolean":
            succeeds = _SUCCESS.match(name) or "success" in str(schema.get("description", "")).lower()
            return ["one", [True]] if succeeds and not asks else ["one", [True, False]]
        own = values.examples(schema)
        if kind == "string" and not own:
            if name == "status" or name.endswith("_status"):
                return ["one", list(_NAMES["states"]["ask" if asks else "do"])]
            if name in ("unit", "units"):
                others = " ".join(map(values.snake, self.record["responses"]["properties"]))
                unit = next(
                    (unit for word, unit in _NAMES["units"].items() if word in f"{others} {self.phrase}"), None
                )
                return ["one", [unit]] if unit else None
            if name in ("message", "confirmation", "confirmation_message") and not asks:
                return ["one", ["The request was accepted", "The request was completed", "Done"]]
        if own and name.endswith("status") and not asks:
            return ["one", [one for one in own if not _FAILED.search(one)] or own]
        return values.rule(name, schema, pooled) if own or not values.free_text(name) else None

    def kind(self, key: str, schema: Mapping[str, Any]) -> str:
        """What values can be handed on to what; "" for none.

        Texts and what has a name of two words mean the same within the domain, others within the field; figures have
        to be of one unit.
        """
        name, type_ = self.names[key], schema.get("type")
        if name in _GENERIC or type_ == "boolean" or schema.get("enum"):
            return ""
        name = re.sub(r"^(?:new|created|generated|assigned|unique|updated|edited|modified|enhanced)_", "", name)
        name = re.sub(r"_identifier$", "_id", re.sub(r"(?<=[a-z])_name$", "", name))
        if name in _EVERYWHERE:
            return f"{name}:{type_}"
        near = name in _NEAR or (type_ != "string" and "_" not in name)
        return f"{self.record['field'] if near else self.domain}:{name}:{type_}:{words.unit(schema)}"

    def code(self) -> dict[str, Any]:
        """What the sandbox loads."""
        return {"name": self.name, "parameters": self.record["parameters"], "results": self.results}


def _toolset(usable: list[_Stub], origin: str, seed: int) -> Toolset:
    gives = {kind for one in usable for kind in one.output_types().values()}
    for one in usable:
        one.settle(gives, seed)
    taken = {
        one.kind(key, one.record["parameters"]["properties"][key]) for one in usable for key in one.inputs
    } - {""}  # fmt: skip
    tools, named, given = {}, dict[str, str](), dict[str, list[Any]]()
    for one in usable:
        parameters = dict(one.record["parameters"]["properties"])
        kinds = {}
        for key in one.inputs:
            schema = parameters[key]
            kind = one.kind(key, schema) or f"{one.name}.{key}"
            parameters[key], kinds[key] = schema | {"kind": kind}, kind
            named.setdefault(kind, one.spoken[key])
            given[kind] = list(dict.fromkeys([*given.get(kind, []), *one.stated[key]]))
        tools[one.name] = _tool(one, parameters, kinds, taken)
    return Toolset(
        tools, named, stubs.MODULES, (stubs.HERE,), given, code=stubs.code([one.code() for one in usable]),
        origin=origin, fields={one.name: one.record["field"] for one in usable},
    )  # fmt: skip


def _tool(one: _Stub, parameters: dict[str, Any], kinds: dict[str, str], taken: set[str]) -> Tool:
    results, gives_all = one.record["responses"]["properties"], one.output_types()
    called, gives, sentences, tests = {}, {}, [], []
    for key, schema in results.items():
        kind, name, rule = gives_all.get(key, ""), one.names[key], one.results[key]
        texts = rule[0] == "one" and any(re.match(r"\w+ [a-z]+ \w+", str(value)) for value in rule[1])
        sentences.append(words.result_sentence(key, name, schema, key in one.always, texts))
        if kind in taken:
            referred = words.referred(name)
            called[key] = (words.that(referred), f"the {referred} from {words.gerund(one.ask)}")
            gives[key] = kind
        tests += [(key, *test) for test in _tests(name, schema, rule)]
    required = [key for key in one.record["parameters"].get("required", ()) if key in parameters]
    definition = {
        "name": one.name, "description": one.record["description"],
        "parameters": {"type": "object", "properties": parameters, "required": required},
        "responses": one.record["responses"] | {"required": list(results)},
    }  # fmt: skip
    return Tool(
        one.name,
        one.domain,
        definition,
        words.ways(one.ask),
        (" ".join(sentences),),
        called,
        tuple(tests),
        kinds,
        gives,
    )


def _tests(name: str, schema: Mapping[str, Any], rule: values.Rule) -> Iterator[tuple[str, tuple[Any, ...], str]]:
    """What a later step may depend on: (comparison, values, words)."""
    subject = words.phrase(name, schema)
    if schema.get("type") == "boolean":
        if rule[1:] == [[True, False]] and (clause := words.clause(schema)):
            yield "==", (True,), clause
    elif rule[0] == "number" and not name.endswith(("_id", "_number", "_code")):
        _, low, high, digits = rule
        bounds = [round(low + (high - low) * share, digits) for share in (0.3, 0.5, 0.7)]
        yield ">", tuple(bounds), f"{subject} is above {{}}"
        yield "<", tuple(bounds), f"{subject} is below {{}}"
    elif rule[0] == "one" and name.endswith("status") and len(rule[1]) > 1:
        yield "==", tuple(rule[1]), f"{subject} is {{}}"
