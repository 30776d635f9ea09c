"""NESTFUL's rows out of a wheel: a small one made here, and the real one where it is at hand."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from column_parts import check_columns

from hubwright.builders.nestful import NestfulConfig, build
from hubwright.builders.nestful.build import PARTS
from hubwright.builders.nestful.convert import references, schema
from hubwright.environments.definition import fault
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError
from hubwright.recipe import shipped_recipes


def spec(name, description, parameters, results=("id",)):
    return {
        "name": name,
        "description": description,
        "query_parameters": parameters,
        "output_parameters": {key: {"type": "string", "description": key} for key in results},
    }


NEEDED = {"type": "string", "required": True, "description": "x"}
SPECS = [
    spec("find", "Find a film", {"title": NEEDED, "year": {"type": "number", "optional": True}}, ("id", "place")),
    spec("seats", "Free seats for a film", {"film": NEEDED}),
    spec("weather", "The weather of a place", {"place": NEEDED}),
    spec("cook", "Prepare a meal", {}),
]


def row(*calls, query="Seats for the film Heat"):
    steps = [{"name": name, "arguments": arguments, "label": label} for name, arguments, label in calls]
    return {"input": query, "output": [*steps, {"name": "var_result", "arguments": {"seats": "$var2$"}}]}


ROWS = [
    row(("find", {"title": "Heat"}, "var1"), ("seats", {"film": "$var1.id$"}, "var2")),
    row(("find", {"titel": "Heat"}, "var1"), ("weather", {"place": ["$var1.where.x$", "$var3$"]}, "var1")),
    row(("nothing", {}, "var1")),
]


def wheel(folder: Path, **changed) -> Path:
    path = folder / "nestful_wrapper-9.9-py3-none-any.whl"
    files = {f"{path}-spec.json": SPECS for path in PARTS.values()}
    files |= {f"{path}-data.json": ROWS for path in PARTS.values()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | changed).items():
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def built(path: Path, **settings):
    context = StepContext("nestful", path.parent / "work", path.parent / "output")
    return build(NestfulConfig(source=str(path), **settings), context)["test"], context.report


def names(tools: str) -> list[str]:
    return [tool["function"]["name"] for tool in json.loads(tools)]


def test_rows(tmp_path: Path):
    rows, report = built(wheel(tmp_path), candidates=3)
    check_columns("nestful", {"test": rows}, report)
    assert [r["id"] for r in rows][:4] == ["executable_0", "executable_1", "executable_2", "glaive_0"]
    good, wrong, unknown, *_ = rows
    assert json.loads(good["calls"]) == [
        {"name": "find", "arguments": {"title": "Heat"}}, {"name": "seats", "arguments": {"film": "$var1.id$"}},
    ]  # fmt: skip
    assert json.loads(good["result"]) == {"seats": "$var2$"} and (good["n_calls"], good["nested"]) == (2, True)
    assert names(good["gold_tools"]) == ["find", "seats"]
    assert set(names(good["tools"])) == {"find", "seats", "weather"}
    assert good["faults"] == [] and good["scorable"] and wrong["scorable"] and not unknown["scorable"]
    assert wrong["faults"] == [
        "unknown_parameter: find.titel", "missing_parameter: find.title", "label: weather is var1 instead of var2",
        "unknown_field: weather.place: find.where", "later_result: weather.place",
    ]  # fmt: skip
    assert unknown["faults"] == ["unknown_tool: nothing"]
    assert report.counts["not scorable"] == 3 and report.counts["fault label"] == 3 and report.counts["sgd"] == 3


def test_definitions_are_json_schema(tmp_path: Path):
    rows, _ = built(wheel(tmp_path), candidates=1)
    find = next(tool["function"] for tool in json.loads(rows[0]["tools"]) if tool["function"]["name"] == "find")
    assert find["parameters"] == {
        "type": "object",
        "properties": {"title": {"type": "string", "description": "x"}, "year": {"type": "number"}},
        "required": ["title"],
    }
    assert list(find["responses"]["properties"]) == ["id", "place"]
    alone = build(NestfulConfig(source=str(wheel(tmp_path)), candidates=1))  # without a context
    assert alone["test"].to_list() == rows.to_list()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"type": "Date (yyyy-mm-dd)", "maximum": 3}, {"type": "string", "maximum": 3}),
        (
            {"description": "d", "allowed_values": ["a"], "default_value": "a"},
            {"description": "d", "enum": ["a"], "default": "a"},
        ),
        ({"allowed_values": []}, {}),
        ({"type": "number", "example": 3}, {"type": "number", "examples": [3]}),
        ({"type": "float"}, {"type": "number"}),
        ({"type": "int"}, {"type": "integer"}),
        ("dict", {"type": "object"}),
        (
            {"type": "object", "properties": {"count": "string"}, "required": ["count"]},
            {"type": "object", "properties": {"count": {"type": "string"}}, "required": ["count"]},
        ),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, {"type": "array", "items": {
            "type": "object", "properties": {}}}),
    ],
)  # fmt: skip
def test_a_field(said, expected):
    assert schema(said) == expected


def test_references():
    assert references({"a": ["at $var1.x[0].y$ or $var12$"], "b": "$100-$200"}) == [(1, "x[0].y"), (12, "")]


def test_other_files_are_one_line(tmp_path: Path):
    with pytest.raises(DataError, match="rows are not those of nestful-wrapper"):
        built(wheel(tmp_path, **{f"{PARTS['sgd']}-data.json": [{"input": "x"}]}))
    with pytest.raises(DataError, match=r"sgd-spec.json is absent or damaged"):
        built(wheel(tmp_path, **{f"{PARTS['sgd']}-spec.json": "["}))
    with pytest.raises(DataError, match="sha256 is"):
        built(wheel(tmp_path), expect_sha256="0" * 64)
    other = tmp_path / "x.whl"
    other.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x.whl: is not a wheel"):
        built(other)


REAL = Path(os.environ.get("HUBWRIGHT_TEST_WHEELS", "/nowhere")) / "nestful_wrapper-0.1.7-py3-none-any.whl"


@pytest.mark.skipif(not REAL.is_file(), reason="no wheel of nestful-wrapper in HUBWRIGHT_TEST_WHEELS")
def test_the_real_package_has_all_its_rows():
    recipe = yaml.safe_load(shipped_recipes()["nestful"].read_text())
    context = StepContext("nestful", Path("work"), Path("output"))
    settings = {"expect_sha256": recipe["steps"]["nestful"]["with"]["expect_sha256"]}
    rows = build(NestfulConfig(source=str(REAL), **settings), context)["test"]
    assert Counter(rows["part"]) == {"executable": 85, "glaive": 169, "sgd": 46}
    assert sum(rows["nested"]) == 292 and all(rows["scorable"])
    kinds = Counter(said.partition(":")[0] for found in rows["faults"] for said in found)
    assert kinds == {"label": 3, "missing_parameter": 2, "unknown_field": 3, "unknown_parameter": 1}
    assert not any(fault(tool["function"]) for tools in rows["tools"] for tool in json.loads(tools))
