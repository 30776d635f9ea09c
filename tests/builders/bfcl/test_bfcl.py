"""The leaderboard's rows out of a wheel: a small one made here, and the real one where it is at hand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from column_parts import check_columns

from hubwright.builders.bfcl import BFCLConfig, build
from hubwright.builders.bfcl.build import DATA, DOCS, MULTI, PROMPTS, SINGLE, SOURCES
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.recipe import shipped_recipes

PROMPT = """
OUTPUT_FORMAT_MAPPING = {"python": "[f(a=1)]"}
PROMPT_STYLE_TEMPLATES = {"classic": {
    "persona": "P.", "task": "T.", "tool_call_no_tag": "Form {output_format}. {param_types}!",
    "multiturn_behavior": "M.", "available_tools": "Tools in {format}:\\n{functions}",
}}
DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC = "And now?"
_PLAINTEXT_SYSTEM_PROMPT_TEMPLATE = "{persona}{task}|{tool_call_format}|{multiturn_behavior}|{available_tools}"
"""
FUNCTION = {"name": "f", "description": "Does it.", "parameters": {"type": "dict", "properties": {}, "required": []}}
FILES = {
    PROMPTS: PROMPT,
    "bfcl_eval-9.9.dist-info/METADATA": "",
    f"{DATA}BFCL_v4_simple_python.json": [
        {"id": "simple_python_0", "question": [[{"role": "user", "content": "ü"}]], "function": [FUNCTION]}
    ],
    f"{DATA}possible_answer/BFCL_v4_simple_python.json": [{"id": "simple_python_0", "ground_truth": [{"f": {}}]}],
    f"{DATA}BFCL_v4_irrelevance.json": [
        {"id": "irrelevance_0", "question": [[{"role": "user", "content": "x"}]], "function": [FUNCTION]}
    ],
    f"{DATA}BFCL_v4_multi_turn_miss_func.json": [
        {
            "id": "multi_turn_miss_func_0", "question": [[{"role": "user", "content": "x"}], []],
            "initial_config": {"TicketAPI": {}}, "involved_classes": ["TicketAPI"], "missed_function": {"1": ["f"]},
        }
    ],
    f"{DATA}possible_answer/BFCL_v4_multi_turn_miss_func.json": [
        {"id": "multi_turn_miss_func_0", "ground_truth": [[], ["f()"]]}
    ],
    f"{DATA}multi_turn_func_doc/ticket_api.json": [FUNCTION, FUNCTION | {"name": "g"}],
} | {f"{SOURCES}{name}.py": f"# {name}" for name in (*DOCS.values(), "long_context")}  # fmt: skip
CATEGORIES = ("simple_python", "irrelevance", "multi_turn_miss_func")


def wheel(folder: Path, **changed) -> Path:
    path = folder / "bfcl_eval-9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (FILES | changed).items():
            text = content if isinstance(content, str) else "\n".join(json.dumps(row) for row in content)
            archive.writestr(name, text)
    return path


def built(path: Path, **settings):
    context = StepContext("bfcl", path.parent / "work", path.parent / "output")
    return build(BFCLConfig(source=str(path), **{"categories": CATEGORIES} | settings), context), context


def test_rows_keep_what_the_package_says(tmp_path: Path):
    made, context = built(wheel(tmp_path))
    check_columns("bfcl", made, context.report)
    (single,) = made["single_turn"]["simple_python"]
    assert json.loads(single["messages"]) == [{"role": "user", "content": "ü"}] and json.loads(single["gold"]) == [
        {"f": {}}
    ]
    head, _, shown = single["prompt"].partition("Tools in json:\n")
    assert head == "P.T.|Form [f(a=1)]. !|M.|"
    assert json.loads(shown)[0]["description"] == "Does it. Note that the provided function is in Python 3 syntax."
    assert json.loads(single["functions"]) == [FUNCTION]
    assert made["single_turn"]["irrelevance"][0]["gold"] == ""
    (multi,) = made["multi_turn"]["multi_turn_miss_func"]
    assert [f["name"] for f in json.loads(multi["functions"])] == ["g"]
    assert json.loads(multi["later"]) == {"1": [FUNCTION]} and '"name": "f"' not in multi["prompt"]
    assert json.loads(multi["later_prompt"]) == {"1": f"{[FUNCTION]}\nAnd now?"}
    assert {row["name"] for row in made["worlds"]["python"]} == {*DOCS.values(), "long_context"}
    assert context.report.counts == {"simple_python": 1, "irrelevance": 1, "multi_turn_miss_func": 1}
    part, step = built(wheel(tmp_path), categories=("irrelevance",))
    check_columns("bfcl", part, step.report)
    alone = build(BFCLConfig(source=str(wheel(tmp_path)), categories=CATEGORIES))  # without a context
    assert alone["single_turn"]["simple_python"].to_list() == [single]
    assert "`bfcl-eval` 9.9 (Apache-2.0; a local copy of `bfcl_eval-9.9-py3-none-any.whl`" in context.report.summary


ANSWERS = f"{DATA}possible_answer/BFCL_v4_simple_python.json"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({ANSWERS: []}, "simple_python_0 has no gold answer"),
        ({ANSWERS: "{"}, "line 1 is not JSON"),
        ({PROMPTS: "X = 1"}, "its prompt is not where it was"),
        ({f"{DATA}possible_answer/BFCL_v4_multi_turn_miss_func.json": [
            {"id": "multi_turn_miss_func_0", "ground_truth": [[]]}]}, "has 2 turns and 1 gold answers"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(tmp_path: Path, changed, said):
    with pytest.raises(DataError, match=said):
        built(wheel(tmp_path, **changed))


def test_what_is_no_such_wheel_is_one_line(tmp_path: Path):
    other = tmp_path / "x.whl"
    other.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x.whl: is not a wheel"):
        built(other)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    other.write_bytes(empty.getvalue())
    with pytest.raises(DataError, match=r"default_prompts.py is absent or damaged"):
        built(other)
    with pytest.raises(DataError, match="sha256 is"):
        built(wheel(tmp_path), expect_sha256="0" * 64)
    with pytest.raises(UsageError, match="categories: 'simple' is unknown"):
        built(wheel(tmp_path), categories=("simple",))


REAL = Path(os.environ.get("HUBWRIGHT_TEST_WHEELS", "/nowhere")) / "bfcl_eval-2026.3.23-py3-none-any.whl"
ROWS = {
    "simple_python": 400, "multiple": 200, "parallel": 200, "parallel_multiple": 200, "irrelevance": 240,
    "live_simple": 258, "live_multiple": 1053, "live_parallel": 16, "live_parallel_multiple": 24,
    "live_irrelevance": 884, "live_relevance": 16,
} | dict.fromkeys(MULTI, 200)  # fmt: skip


@pytest.mark.skipif(not REAL.is_file(), reason="no wheel of bfcl-eval in HUBWRIGHT_TEST_WHEELS")
def test_the_real_package_has_all_its_rows(tmp_path: Path):
    import yaml

    recipe = yaml.safe_load(shipped_recipes()["bfcl"].read_text())
    expected = recipe["steps"]["bfcl"]["with"]["expect_sha256"]
    assert hashlib.sha256(REAL.read_bytes()).hexdigest() == expected
    context = StepContext("bfcl", tmp_path / "work", tmp_path / "output")
    made = build(BFCLConfig(source=str(REAL), expect_sha256=expected), context)
    assert context.report.counts == ROWS
    assert set(made["single_turn"]) == set(SINGLE) and set(made["multi_turn"]) == set(MULTI)
    assert all(
        row["prompt"].startswith("You are an expert in composing functions.")
        for row in made["single_turn"]["multiple"]
    )
