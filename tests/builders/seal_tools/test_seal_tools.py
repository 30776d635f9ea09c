"""Seal-Tools' files as rows: a small set by hand with every fault, and the real one where it is at hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from column_parts import check_columns

from hubwright.builders._lib.retrieval import TfidfRetriever, words
from hubwright.builders.seal_tools import SealToolsConfig, build
from hubwright.builders.seal_tools.build import SPLITS
from hubwright.builders.seal_tools.convert import references
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError
from hubwright.recipe import shipped_recipes


def tool(name, description, parameters=(), required=(), results=("found",), **extra):
    return {
        "api_name": name,
        "api_description": description,
        "field": "Film/Archive",
        "parameters": {key: {"type": kind, "description": key} | extra for key, kind in dict(parameters).items()},
        "required": list(required),
        "responses": {key: {"type": "str", "description": key} for key in results},
    }


TOOLS = [
    tool("getFilm", "Look a film up", {"title": "str", "year": "int"}, ["title"], ["cast", "place"]),
    tool("getFilmDetails", "Details of a film", {"title": "str", "year": "int"}, ["title"]),
    tool("getWeather", "The weather of a place", {"place": "str", "days": "float"}, ["place"]),
    tool("cook", "Prepare a meal"),
    tool("two words", "A film without a usable name"),
    tool("tune", "Play a note", {"pitch": "float"}, unit="Hz", examples="440", choices=["440", "442"], default=0),
]


def instance(number, *calling, query="The details of which film?"):
    calls = [{"api": api, "parameters": p, "responses": [f"API_call_{n}" for n in r]} for api, p, r in calling]
    return {"id": f"dev-{'easy' if len(calls) == 1 else 'difficult'}-{number}", "query": query, "calling": calls}


ROWS = [
    instance(0, ("getFilm", {"title": "Heat"}, [0, 1])),
    instance(1, ("getFilm", {"title": "Heat"}, [0, 1]), ("getWeather", {"place": "API_call_1", "days": 2}, [2])),
    instance(2, ("getFilm", {"titel": "Heat", "year": "1995"}, [0]), ("nothing", {}, [1])),
    instance(3, ("getWeather", {"place": "API_call_0", "days": True}, [0])),
]


def folder(path: Path, tools=TOOLS, rows=ROWS) -> Path:
    path.mkdir(exist_ok=True)
    for name in ("tool", *SPLITS):
        records = tools if name == "tool" else rows
        (path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def built(source: Path, **settings):
    context = StepContext("seal_tools", source.parent / "work", source.parent / "output")
    return build(SealToolsConfig(source=str(source), **settings), context), context.report


def names(tools: str) -> list[str]:
    return [tool["function"]["name"] for tool in json.loads(tools)]


def test_rows(tmp_path: Path):
    made, report = built(folder(tmp_path / "d"), candidates=3)
    check_columns("seal_tools", made, report)
    easy, nested, *_ = made["instances"]["dev"]
    assert easy["query"] == "The details of which film?" and (easy["level"], nested["level"]) == ("easy", "difficult")
    assert json.loads(easy["calls"]) == [{"name": "getFilm", "arguments": {"title": "Heat"}}]
    assert (easy["n_calls"], easy["nested"], nested["n_calls"], nested["nested"]) == (1, False, 2, True)
    assert names(easy["gold_tools"]) == ["getFilm"] and names(nested["gold_tools"]) == ["getFilm", "getWeather"]
    # The others sound like the request; one without a usable name is offered to nobody.
    assert {"getFilm", "getFilmDetails"} < set(names(easy["tools"])) and "two words" not in names(easy["tools"])
    assert set(names(nested["tools"])) == {"getFilm", "getWeather", "getFilmDetails"}
    assert easy["faults"] == nested["faults"] == [] and easy["scorable"]
    assert report.counts["functions without a usable definition"] == 1
    assert report.counts["dev: offered another function with the same arguments"] == 3
    again, _ = built(tmp_path / "d", candidates=3)
    assert again["instances"]["dev"].to_list() == made["instances"]["dev"].to_list()
    alone = build(SealToolsConfig(source=str(tmp_path / "d"), candidates=3))  # without a context
    assert alone["instances"]["dev"].to_list() == made["instances"]["dev"].to_list()


def test_faults_are_named_and_counted(tmp_path: Path):
    made, report = built(folder(tmp_path / "d"), candidates=1)
    *_, wrong, early = made["instances"]["test_in_domain"]
    assert wrong["faults"] == [
        "results: getFilm", "unknown_parameter: getFilm.titel", "other_type: getFilm.year",
        "missing_parameter: getFilm.title", "unknown_tool: nothing",
    ]  # fmt: skip
    assert early["faults"] == ["later_result: getWeather.place", "other_type: getWeather.days"]
    assert (wrong["scorable"], early["scorable"]) == (False, True)
    assert report.counts["dev: not scorable"] == 1 and report.counts["dev: other_type"] == 2
    assert names(early["tools"]) == ["getWeather"] and names(wrong["tools"]) == ["getFilm"]


def test_definitions_are_json_schema(tmp_path: Path):
    made, _ = built(folder(tmp_path / "d"))
    rows = {row["name"]: row for row in made["tools"]["train"]}
    assert json.loads(rows["getFilm"]["parameters"]) == {
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "title"},
            "year": {"type": "integer", "description": "year"},
        },
        "required": ["title"],
    }
    assert list(json.loads(rows["getFilm"]["responses"])["properties"]) == ["cast", "place"]
    assert rows["getFilm"]["required"] == ["title"] and rows["getFilm"]["field"] == "Film/Archive"
    assert json.loads(rows["tune"]["parameters"])["properties"]["pitch"] == {
        "type": "number", "description": "pitch (unit: Hz)", "default": 0, "enum": ["440", "442"], "examples": ["440"],
    }  # fmt: skip


def test_references_stand_anywhere_in_an_argument():
    assert references({"a": ["see API_call_3 and API_call_10", 1], "b": {"c": "API_call_0"}}) == [3, 10, 0]
    assert references("API_call_x") == []


def test_nearest():
    assert words("getHTMLPage of Film2") == ["get", "html", "page", "of", "film", "2"]
    found = TfidfRetriever({"b": "red apple", "a": "red apple", "c": "red stone", "d": "the sea"})
    assert found.rank(["An apple, please"], 2) == [["a", "b"]]
    assert found.rank(["a stone"], 9)[0][0] == "c"


@pytest.mark.parametrize(
    ("tools", "rows", "said"),
    [
        ([{"api_name": "x"}], ROWS, "are not those of Seal-Tools"),
        ([tool("x", "y", {"a": "tuple"})], ROWS, r"x.a: type 'tuple' is none of str, int"),
        (TOOLS, [{"id": "0", "query": "", "calling": []}], "are not those of Seal-Tools"),
    ],
)
def test_other_files_are_one_line(tmp_path: Path, tools, rows, said):
    with pytest.raises(DataError, match=said):
        built(folder(tmp_path / "d", tools, rows))


def test_damaged_files_are_one_line(tmp_path: Path):
    path = folder(tmp_path / "d")
    with pytest.raises(DataError, match=r"dev.jsonl: sha256 is .*, expected 00"):
        built(path, expect_sha256={"dev.jsonl": "0" * 64})
    (path / "dev.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"dev.jsonl: line 1 is not JSON"):
        built(path)


def test_the_real_files(shared_data: Path, tmp_path: Path):
    source = shared_data / "fairyshine" / "Seal-Tools"
    if not source.is_dir():
        pytest.skip("Seal-Tools is not here")
    recipe = yaml.safe_load(shipped_recipes()["seal_tools"].read_text())
    expected = recipe["steps"]["seal_tools"]["with"]["expect_sha256"]
    assert set(expected) == {"tool.jsonl", *(f"{split}.jsonl" for split in SPLITS)}
    made, report = built(source, folder="Seal-Tools_Dataset", expect_sha256=expected)
    for name, digest in expected.items():
        assert hashlib.sha256((source / "Seal-Tools_Dataset" / name).read_bytes()).hexdigest() == digest
    instances = made["instances"]
    assert {split: len(rows) for split, rows in instances.items()} == {
        "dev": 700, "test_in_domain": 700, "test_out_domain": 654,
    }  # fmt: skip
    assert len(made["tools"]["train"]) == 4076
    assert [sum(rows["nested"]) for rows in instances.values()] == [28, 30, 27]
    assert all(all(rows["scorable"]) for rows in instances.values())
    kinds = {said.partition(":")[0] for rows in instances.values() for found in rows["faults"] for said in found}
    assert kinds == {"other_type", "later_result"}
    for row in instances["test_out_domain"]:
        assert set(names(row["gold_tools"])) <= set(names(row["tools"]))
        assert len(names(row["tools"])) == max(5, len(names(row["gold_tools"])))
    assert report.counts["functions without a usable definition"] == 1
