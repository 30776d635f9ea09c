"""Executed call graphs over definitions of functions: what is typed, what is linked, what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from hubwright.builders._lib.conversation_checks import faults
from hubwright.builders._lib.conversation_rows import calls_of, features
from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.builders.call_graphs.stubs import values as stub_values
from hubwright.builders.call_graphs.stubs import words as stub_words
from hubwright.builders.call_graphs.stubs.read import read_definitions
from hubwright.builders.call_graphs.toolset import read_worlds
from hubwright.environments.schema import violation
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

SEAL_TOOLS = Path(__file__).parents[4] / "shared/data/fairyshine/Seal-Tools/Seal-Tools_Dataset"
TYPES = {"s": "string", "i": "integer", "n": "number", "b": "boolean"}


def schema(fields: str, required: list[str] | None = None) -> str:
    """ "name:type:description; ..." as JSON Schema."""
    parts = [field.split(":", 2) for field in fields.split("; ") if field]
    properties = {name: {"type": TYPES[kind], "description": said} for name, kind, said in parts}
    return json.dumps(
        {"type": "object", "properties": properties} | ({} if required is None else {"required": required})
    )


def tool(name: str, said: str, field: str, takes: str, gives: str, optional: tuple[str, ...] = ()) -> dict[str, str]:
    required = [part.split(":")[0] for part in takes.split("; ") if part and part.split(":")[0] not in optional]
    parameters = schema(takes, required)
    return {"name": name, "description": said, "field": field, "parameters": parameters, "responses": schema(gives)}


TOOLS = [
    tool("addBoat", "Register a new boat in the harbour", "Harbour/Boats", "boat_name:s:The name of the boat",
         "boat_id:s:The unique ID of the boat; status:s:The status of the registration"),
    tool("getBoat", "Retrieve details of a specific boat", "Harbour/Boats", "boat_id:s:The ID of the boat",
         "length:n:The length of the boat in meters; status:s:The status of the boat; harbour_fee:n:The harbour fee"),
    tool("sellBoat", "Sell a boat to a buyer", "Harbour/Trade",
         "boat_id:s:The ID of the boat; price:n:The price in euros; hull:s:The colour of the hull (e.g., red, white)",
         "success:b:Indicates whether the boat was successfully sold", ("hull",)),
    tool("payFee", "Pay the harbour fee of a boat", "Harbour/Boats",
         "harbour_fee:n:The harbour fee; boat_name:s:The name of the boat", "receipt_id:s:The ID of the receipt"),
    tool("getStatus", "Check the status of an engine", "Harbour/Engines", "status:s:The status (e.g., on, off)",
         "engine_temperature:n:The temperature of the engine in Celsius; is_safe:b:Whether the engine is safe"),
    tool("addHorse", "Register a new horse", "Stable/Horses", "boat_id:s:The ID of the boat that carries the horse",
         "horse_id:s:The ID of the horse"),
    tool("describeHorse", "Praise a horse", "Stable/Horses", "horse_id:s:The ID of the horse",
         "story:s:The story of the horse"),
    tool("allowHorse", "Allows users to see a horse", "Stable/Horses", "horse_id:s:The ID", "count:i:The number"),
    tool("drawHorse", "Draw a horse", "Stable/Horses", "idea:s:What you think", "count:i:The number of lines"),
    tool("rideHorse", "Book a ride on a horse", "Stable/Horses", "horse_id:s:The ID of the horse",
         "ride_date:s:The date of the ride"),
]  # fmt: skip


def published(folder: Path, tools: list[dict[str, str]] = TOOLS, called: str = "rideHorse") -> Path:
    """A data set as `seal_tools` publishes it."""
    row = {"id": "1", "query": "Ride a horse.", "calls": json.dumps([{"name": called, "arguments": {}}])}
    for config, split, rows in (("tools", "train", tools), ("instances", "test_out_domain", [row])):
        (folder / config).mkdir(parents=True)
        datasets.Dataset.from_list(rows).to_parquet(str(folder / config / f"{split}-00000-of-00001.parquet"))
    return folder


def given(folder: Path) -> dict[str, Input]:
    return {"definitions": Input(ArtifactRef("dataset", "me/tools", "a" * 40), folder)}


def made(folder: Path, work: Path, **settings: Any) -> tuple[list[dict[str, Any]], StepContext]:
    context = StepContext("executed", work, work, given(folder))
    built = build(CallGraphsConfig(**{"train_rows": 25, "near": 1.0} | settings), context)["train"]
    assert built.features == features()
    return built.to_list(), context


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    read = read_definitions(published(tmp_path / "d"), "me/tools", 0)
    assert sorted(read.toolset.tools) == ["addBoat", "addHorse", "getBoat", "getStatus", "payFee", "sellBoat"]
    assert read.total == 10 and dict(read.unused) == {
        "called in test_out_domain": 1,
        "the description is not a request": 2,
        "a parameter that nobody could state": 1,
    }
    with_story = [t | {"description": "Find a horse"} if t["name"] == "describeHorse" else t for t in TOOLS]
    read = read_definitions(published(tmp_path / "e", with_story), "me/tools", 0)
    assert read.unused["a field of the result that only somebody who knew could fill in"] == 1


def test_values_are_handed_on_between_what_means_the_same(tmp_path: Path) -> None:
    tools = read_definitions(published(tmp_path / "d"), "me/tools", 0).toolset.tools
    taken = {(name, parameter): kind for name, one in tools.items() for parameter, kind in one.input_types.items()}
    linked = {
        (giver, field, taker, parameter)
        for giver, one in tools.items()
        for field, kind in one.output_types.items()
        for (taker, parameter), other in taken.items()
        if kind == other
    }
    # A status is none of another thing, and the boats of the stable are not the harbour's.
    assert linked == {
        ("addBoat", "boat_id", "getBoat", "boat_id"), ("addBoat", "boat_id", "sellBoat", "boat_id"),
        ("getBoat", "harbour_fee", "payFee", "harbour_fee"),
    }  # fmt: skip


def test_what_might_serve_as_well_is_not_offered_beside(tmp_path: Path) -> None:
    tools = [*TOOLS, tool("listBoats", "List the boats of a country", "Harbour/Boats", "country:s:Where they are",
                          "harbour_fee:n:What they pay")]  # fmt: skip
    toolset = read_definitions(published(tmp_path / "d", tools), "me/tools", 0).toolset
    assert toolset.distractors({"addBoat"}) == ["addHorse", "getStatus", "payFee"]
    assert toolset.distractors({"payFee", "getStatus"}) == ["addBoat", "addHorse", "getBoat", "listBoats", "sellBoat"]
    # The worlds' tools are known to do different things.
    worlds = read_worlds()
    assert worlds.distractors({"cancel_order"}) == sorted(set(worlds.tools) - {"cancel_order"})


def test_a_stub_answers_the_same_call_alike_and_as_it_is_defined(tmp_path: Path) -> None:
    toolset = read_definitions(published(tmp_path / "d"), "me/tools", 0).toolset
    with toolset.open() as box:
        seen = []
        for seed in (1, 1, 2):
            pools = toolset.begin(box, seed)
            for name, one in toolset.tools.items():
                arguments = {parameter: pools[kind][0] for parameter, kind in one.input_types.items()}
                outcome = box.call(name, arguments)
                assert outcome.ok, outcome.error
                assert violation(outcome.value, one.definition["responses"]) is None
                seen.append(json.dumps(outcome.value))
        number = len(toolset.tools)
        assert seen[:number] == seen[number : 2 * number] != seen[2 * number :]
        box.call("begin", {"seed": 3})
        price = [box.call("sellBoat", {"boat_id": "B", "price": value}).value for value in (5, 5.0, 6)]
        fee = [box.call("payFee", {"harbour_fee": value, "boat_name": "B"}).value for value in (5, 5.0, 6)]
        assert price[0] == price[1] and fee[0] == fee[1] != fee[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"boat_id": "B"}, "sellBoat: price is missing"),
        ({"boat_id": "B", "price": "much"}, "sellBoat: price is 'much': wrong_type, expected number"),
        ({"boat_id": "B", "price": 1, "sail": "x"}, "there is no parameter sail: use boat_id, price, hull"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    toolset = read_definitions(published(tmp_path / "d"), "me/tools", 0).toolset
    with toolset.open() as box:
        outcome = box.call("sellBoat", arguments)
        assert outcome.kind == "raised" and said in outcome.error


def test_rows_pass_every_check_and_a_seed_gives_the_same(tmp_path: Path) -> None:
    data = published(tmp_path / "d")
    rows, context = made(data, tmp_path / "a")
    again, _ = made(data, tmp_path / "b")
    assert len(rows) == 25 and rows == again
    for row in rows:
        assert not faults(row)
        assert row["made_by"] == f"templates over stubs of me/tools@{'a' * 40}"
        assert not {"rideHorse"} & {one["function"]["name"] for one in calls_of(row["messages"])}
    assert any(row["composition"] == "sequential" for row in rows)
    body = context.report.sections[0]["body"]
    assert "stubs of the definitions in me/tools@" in body and "`test_out_domain`" in body
    assert context.report.counts["definitions_used"] == 6 and context.report.counts["definitions"] == 10
    assert "license" not in context.report.card


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"test_rows": 5},
            "call_graphs: test_rows: 5 with definitions, whose rows the tasks call_graphs and call_graphs_functions cannot replay",
        ),
        ({"tools": "mine.py"}, "call_graphs: tools and the input definitions are both given"),
    ],
)
def test_settings_that_do_not_go_with_definitions(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(published(tmp_path / "d"), tmp_path / "w", **settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": "no JSON"}, "addBoat: parameters is 'no JSON', which is not JSON: give a JSON Schema"),
        ({"responses": "[1]"}, "addBoat: responses is '[1]': give a JSON Schema of type object"),
    ],
)
def test_a_definition_that_is_no_schema_is_one_line(tmp_path: Path, change: dict[str, str], said: str) -> None:
    with pytest.raises(DataError) as caught:
        made(published(tmp_path / "d", [TOOLS[0] | change, *TOOLS[1:]]), tmp_path / "w")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_functions_that_a_model_made_up_are_stubs_as_well(tmp_path: Path) -> None:
    """Rows of `button`, whose functions nobody can run."""
    rows = []
    for one in TOOLS[:4]:
        function = {key: one[key] for key in ("name", "description")}
        function |= {part: json.loads(one[part]) for part in ("parameters", "responses")}
        empty = {name: [] if name in ("messages", "sub_tasks") else "" for name in features()}
        offered = {"tools": [{"type": "function", "function": function}], "scenario": "in the harbour"}
        rows.append(empty | {"parallel": True, "n_calls": 0, "n_user_turns": 0} | offered)
    (tmp_path / "d" / "faithful").mkdir(parents=True)
    found = datasets.Dataset.from_list(rows + rows[:1], features=features())
    found.to_parquet(str(tmp_path / "d" / "faithful" / "train-00000-of-00001.parquet"))
    read = read_definitions(tmp_path / "d", "me/faithful@a", 0)
    assert set(read.toolset.tools) == {"addBoat", "getBoat", "sellBoat", "payFee"}
    assert read.unused == {"the name is taken": 1}
    assert read.toolset.tools["addBoat"].output_types == {
        "boat_id": read.toolset.tools["getBoat"].input_types["boat_id"]
    }


def test_a_data_set_without_definitions_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match=r"me/tools@a+ has neither a config `tools` nor rows whose functions"):
        made(tmp_path / "d", tmp_path / "w")
    with pytest.raises(DataError, match="1 of 1 can be used: two are needed"):
        made(published(tmp_path / "e", TOOLS[:1]), tmp_path / "w")


@pytest.mark.parametrize(
    ("kind", "said", "found"),
    [
        ("string", "The kind of evidence (e.g., DNA, fingerprints)", ["DNA", "fingerprints"]),
        ("string", "The day (e.g., YYYY-MM-DD)", []),
        ("string", "Where it is (e.g., city, country)", []),
        ("integer", "The price (e.g., $1,000, $500)", [1000, 500]),
        ("number", "The yield (e.g., tons per hectare)", []),
        ("string", "The sum", []),
    ],
)
def test_examples_are_values(kind: str, said: str, found: list[Any]) -> None:
    assert stub_values.examples({"type": kind, "description": said}) == found


@pytest.mark.parametrize(
    ("description", "spoken", "asked"),
    [
        ("Retrieve the record of a specific patient", {"patient_id": "the patient with ID {}"},
         "retrieve the record of {patient_id}"),
        ("Calculates the sum of a loan.", {"rate": "a rate of {}", "years": "{} years"},
         "calculate the sum of a loan, with {rate} and {years}"),
        ("Find the best room in a given city and year", {"city": "{}", "year": "the year {}"},
         "find the best room in {city} and {year}"),
        ("Update the status of an order", {"order_id": "the order with ID {}", "status": "the status {}"},
         "update the status of {order_id}, with {status}"),
        ("Measure the wind", {"location": "{}", "date": "{}"}, "measure the wind in {location} on {date}"),
        ("Allows users to look at a horse", {}, ""),
    ],
)  # fmt: skip
def test_a_request_is_made_of_a_description(description: str, spoken: dict[str, str], asked: str) -> None:
    phrase = stub_words.imperative(description)
    assert (stub_words.ask(phrase, list(spoken), {name: name for name in spoken}, spoken) if phrase else "") == asked


@pytest.mark.skipif(not SEAL_TOOLS.is_dir(), reason="Seal-Tools' files are not here")
@pytest.mark.slow
def test_seal_tools_definitions_give_rows(tmp_path: Path) -> None:
    from hubwright.builders.seal_tools import SealToolsConfig
    from hubwright.builders.seal_tools import build as build_seal

    data = build_seal(SealToolsConfig(source=str(SEAL_TOOLS)), StepContext("seal", tmp_path, tmp_path))
    for config, split in (("tools", "train"), ("instances", "test_out_domain")):
        (tmp_path / "d" / config).mkdir(parents=True)
        data[config][split].to_parquet(str(tmp_path / "d" / config / f"{split}-00000-of-00001.parquet"))
    rows, context = made(tmp_path / "d", tmp_path / "w", train_rows=100, near=0.8)
    assert not any(faults(row) for row in rows) and context.report.counts["definitions"] == 4076
    assert context.report.counts["definitions_used"] > 1000
    assert context.report.counts["functions_in_rows"] > 100
    held_out = {
        one["name"] for row in data["instances"]["test_out_domain"] for one in json.loads(row["calls"])
    }  # fmt: skip
    offered = {tool["function"]["name"] for row in rows for tool in row["tools"]}
    assert len(offered) > 150 and not offered & held_out
