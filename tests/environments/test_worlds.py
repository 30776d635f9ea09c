"""The worlds: every tool runs in the sandbox, chains with others, and can be spoken of."""

from __future__ import annotations

import itertools
import json
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hubwright.environments import worlds
from hubwright.environments.definition import fault, from_function
from hubwright.environments.sandbox import Limits, Outcome, Sandbox
from hubwright.environments.schema import violation
from hubwright.environments.world_sandbox import wording_of

SEEDS = range(20)
TRIES = 300
DEFINITIONS = {tool.__name__: from_function(tool) for world in worlds.WORLDS for tool in world.TOOLS}
PARAMETERS: dict[str, dict[str, Any]] = {name: d["parameters"]["properties"] for name, d in DEFINITIONS.items()}
FIELDS: dict[str, dict[str, Any]] = {name: d["responses"]["properties"] for name, d in DEFINITIONS.items()}
WORLD_OF = {tool.__name__: world for world in worlds.WORLDS for tool in world.TOOLS}
WORDINGS = {world: wording_of(world) for world in worlds.WORLDS}
TAKEN = {schema["kind"] for parameters in PARAMETERS.values() for schema in parameters.values() if "kind" in schema}

every_world = pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.__name__.rpartition(".")[2])
every_tool = pytest.mark.parametrize("name", DEFINITIONS)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    folder = Path(next(iter(worlds.__path__))).parent
    # The whole state is looked at, which is more than a tool may return.
    with Sandbox("", Limits(result_bytes=1_000_000), modules=["worlds"], paths=[folder]) as sandbox:
        yield sandbox


def names_in(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def some_arguments(name: str, pools: dict[str, list[Any]], rng: random.Random) -> dict[str, Any]:
    return {key: rng.choice(schema.get("enum") or pools[schema["kind"]]) for key, schema in PARAMETERS[name].items()}


def works(box: Sandbox, name: str, pools: dict[str, list[Any]], rng: random.Random) -> tuple[dict[str, Any], Outcome]:
    """A call of a tool that succeeds."""
    for _ in range(TRIES):
        arguments = some_arguments(name, pools, rng)
        outcome = box.call(name, arguments)
        if outcome.ok:
            return arguments, outcome
        assert outcome.error.startswith("NotFound: "), f"{name}({arguments}): {outcome.error}"
    raise AssertionError(f"{name} fails for {TRIES} combinations, at last with {arguments}: {outcome.error}")


def test_names_of_tools_are_unique() -> None:
    assert len(DEFINITIONS) == sum(len(world.TOOLS) for world in worlds.WORLDS)
    assert set(DEFINITIONS) <= set(vars(worlds))


@every_tool
def test_a_tool_is_well_defined(name: str) -> None:
    definition = DEFINITIONS[name]
    assert fault(definition) == ""
    assert definition["description"].endswith(".")
    for key, schema in PARAMETERS[name].items():
        assert schema.get("description", "").endswith("."), f"{key} is not described"
        assert "kind" in schema or "enum" in schema or schema["type"] == "boolean", f"{key} has no kind"
    for key, schema in FIELDS[name].items():
        assert schema["type"] in ("string", "integer", "number"), f"{key} is not plain"


def test_a_user_or_a_result_can_give_every_argument() -> None:
    worlds.begin(0)
    stated = {kind for kind, values in worlds.pools().items() if values}
    given = {schema.get("kind") for fields in FIELDS.values() for schema in fields.values()}
    assert stated | given >= TAKEN
    assert stated <= TAKEN, "a kind is stated that no tool takes"
    named = {kind: words for wording in WORDINGS.values() for kind, words in wording["named"].items()}
    assert set(named) <= TAKEN
    assert all(names_in(words) == [] for words in named.values())


@every_world
def test_words_are_of_tools_and_fields_that_exist(world: ModuleType) -> None:
    tools = {tool.__name__ for tool in world.TOOLS}
    wording = WORDINGS[world]
    assert set(wording["ask"]) == set(wording["tell"]) == tools
    assert set(wording["tests"]) | set(wording["carried"]) | set(wording["changes"]) <= tools
    spoken_of = {
        f"{name}.{key}" for name in tools for key, schema in FIELDS[name].items() if schema.get("kind") in TAKEN
    }
    assert set(wording["called"]) == spoken_of


def variants(template: str) -> list[str]:
    """Every text that a template with choices `[this|that]` may become."""
    parts = re.split(r"\[([^\]]*\|[^\]]*)\]", template)
    choices = [part.split("|") if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(one) for one in itertools.product(*choices)]


@every_tool
def test_words_have_a_place_for_every_value(name: str) -> None:
    wording, parameters, fields = WORDINGS[WORLD_OF[name]], set(PARAMETERS[name]), set(FIELDS[name])
    for words in (one for template in wording["ask"][name] for one in variants(template)):
        assert sorted(names_in(words)) == sorted(parameters), words
        assert words[0].islower() and words[-1] not in ".?!", words
    for words in (one for template in wording["tell"][name] for one in variants(template)):
        assert fields <= set(names_in(words)) <= fields | parameters
        assert words.endswith(".")
    for key in fields:
        if f"{name}.{key}" in wording["called"]:
            short, full = wording["called"][f"{name}.{key}"]
            assert not names_in(short)
            assert names_in(full) and set(names_in(full)) <= parameters, full
    for key, comparison, values, words in wording["tests"].get(name, ()):
        assert key in fields and comparison in ("<", ">", "==") and words.count("{}") == 1
        assert values and not any(violation(value, FIELDS[name][key]) for value in values)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_tool_works_in_the_sandbox(box: Sandbox, seed: int) -> None:
    rng = random.Random(seed)
    for name, definition in DEFINITIONS.items():
        box.call("begin", {"seed": seed})
        pools = box.call("pools", {}).value
        arguments, outcome = works(box, name, pools, rng)
        assert not violation(arguments, definition["parameters"])
        assert not violation(outcome.value, definition["responses"])


@pytest.mark.parametrize("name", [name for name, parameters in PARAMETERS.items() if len(parameters) == 1])
def test_what_a_user_can_name_is_found(box: Sandbox, name: str) -> None:
    ((key, schema),) = PARAMETERS[name].items()
    for seed in SEEDS:
        box.call("begin", {"seed": seed})
        for value in box.call("pools", {}).value[schema["kind"]]:
            outcome = box.call(name, {key: value})
            assert outcome.ok, outcome.error


@every_tool
def test_an_unknown_thing_is_refused_in_words(box: Sandbox, name: str) -> None:
    unknown = {key: schema.get("enum", ["Nobody"])[0] for key, schema in PARAMETERS[name].items()}
    assert box.call("begin", {"seed": 0}).ok
    outcome = box.call(name, unknown | ({"amount": 1.0} if "amount" in unknown else {}))
    assert outcome.ok or outcome.error.startswith("NotFound: "), outcome.error


def test_the_same_seed_gives_the_same_results_and_state(box: Sandbox) -> None:
    def told(seed: int) -> str:
        box.call("begin", {"seed": seed})
        rng, pools = random.Random(seed), box.call("pools", {}).value
        results = [works(box, name, pools, rng)[1].value for name in DEFINITIONS]
        state = box.look("STATE")
        assert state.ok, state.error
        return json.dumps([results, state.value])

    first, other, again = told(1), told(2), told(1)
    assert first == again != other


def test_the_state_survives_json() -> None:
    worlds.begin(3)
    assert json.loads(json.dumps(worlds.STATE)) == worlds.STATE


def test_tools_use_neither_clock_nor_chance() -> None:
    for tool in (tool for world in worlds.WORLDS for tool in world.TOOLS):
        assert not {"random", "time", "datetime"} & set(tool.__code__.co_names)


# What a changing tool does is what a reading tool then shows.
CHANGES = [
    ("book_flight", "booking", "get_booking", {"flight": "flight", "passenger": "passenger"}),
    ("place_order", "order", "get_order", {"product": "product", "customer": "customer", "city": "city"}),
    ("create_event", "event", "get_event", {"occasion": "title", "host": "host", "city": "city", "day": "day"}),
    ("send_transfer", "transfer", "get_transfer", {"sender": "sender", "recipient": "recipient", "amount": "amount"}),
    ("borrow_book", "loan", "get_loan", {"book": "book", "reader": "reader"}),
    ("reserve_table", "reservation", "get_reservation", {"restaurant": "restaurant", "guest": "guest", "day": "day"}),
    ("send_parcel", "parcel", "track_parcel", {"recipient": "recipient", "destination": "destination"}),
    ("open_ticket", "ticket", "get_ticket", {"order": "order", "problem": "problem"}),
    ("change_home_city", "person", "get_contact", {"city": "home_city"}),
    ("move_event", "event", "get_event", {"day": "day"}),
    ("redirect_parcel", "parcel", "track_parcel", {"city": "destination"}),
    ("assign_ticket", "ticket", "get_ticket", {"agent": "agent"}),
]


@pytest.mark.parametrize("change, key, reader, shown", CHANGES, ids=[case[0] for case in CHANGES])
def test_a_change_is_shown_later(box: Sandbox, change: str, key: str, reader: str, shown: dict[str, str]) -> None:
    box.call("begin", {"seed": 5})
    arguments, outcome = works(box, change, box.call("pools", {}).value, random.Random(5))
    identifier = {**arguments, **outcome.value}[key]
    later = box.call(reader, {key: identifier}).value
    assert {field: later[field] for field in shown.values()} == {f: arguments[a] for a, f in shown.items()}


@pytest.mark.parametrize(
    "change, key, reader, status",
    [
        ("cancel_order", "order", "get_order", "cancelled"),
        ("ship_order", "order", "get_order", "shipped"),
        ("cancel_reservation", "reservation", "get_reservation", "cancelled"),
        ("close_ticket", "ticket", "get_ticket", "closed"),
    ],
)
def test_what_is_ended_stays_ended(box: Sandbox, change: str, key: str, reader: str, status: str) -> None:
    box.call("begin", {"seed": 6})
    arguments, _ = works(box, change, box.call("pools", {}).value, random.Random(6))
    assert box.call(reader, arguments).value["status"] == status
    assert box.call(change, arguments).error.startswith("NotFound: ")


def test_a_transfer_moves_the_money(box: Sandbox) -> None:
    box.call("begin", {"seed": 7})
    sender, recipient = box.call("pools", {}).value["person"][:2]
    before = [box.call("get_balance", {"account_holder": who}).value for who in (sender, recipient)]
    currency = before[0]["currency"]
    sent = {"sender": sender, "recipient": recipient, "amount": 48.5, "currency": currency}
    left = box.call("send_transfer", sent).value["balance"]
    assert left == pytest.approx(before[0]["balance"] - 48.5)
    worth = {"amount": 48.5, "source_currency": currency, "target_currency": before[1]["currency"]}
    gained = box.call("convert_amount", worth).value["converted"]
    after = box.call("get_balance", {"account_holder": recipient}).value["balance"]
    assert after == pytest.approx(before[1]["balance"] + gained)
    assert "less than" in box.call("send_transfer", sent | {"amount": 1e9}).error
    assert "two accounts" in box.call("send_transfer", sent | {"recipient": sender}).error


def test_limits_of_the_worlds(box: Sandbox) -> None:
    box.call("begin", {"seed": 8})
    pools = box.call("pools", {}).value
    loan, restaurant, guest = pools["loan"][0], pools["restaurant"][0], pools["person"][0]
    assert [box.call("extend_loan", {"loan": loan}).ok for _ in range(3)] == [True, True, False]
    dinner = {"restaurant": restaurant, "guest": guest, "day": "2026-05-27"}
    assert sum(box.call("reserve_table", dinner).ok for _ in range(9)) <= 5
    book = {"book": pools["book"][0], "reader": guest}
    copies = box.call("get_book", {"book": book["book"]}).value["copies"]
    assert [box.call("borrow_book", book).ok for _ in range(copies + 1)] == [True] * copies + [False]
