"""NESTFUL: replies by hand, real runs through lm-eval, and the package's own comparison case by case."""

from __future__ import annotations

import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from call_list_parts import evaluate, written

from hubwright.evals._lib.call_lists.scorer import score
from hubwright.evals.nestful.scorer import score as sequence_score

GOLD = [
    {"name": "find", "arguments": {"title": "Heat", "year": 1995}},
    {"name": "seats", "arguments": {"film": "$var1.id$"}},
    {"name": "weather", "arguments": {}},
]
REAL = Path(os.environ.get("HUBWRIGHT_TEST_WHEELS", "/nowhere")) / "nestful_wrapper-0.1.7-py3-none-any.whl"


@pytest.mark.parametrize(
    ("reply", "calls", "sequence"),
    [
        (written(GOLD), 1, 1),
        (written([GOLD[2], *GOLD[:2]]), 1, 0),
        (written([*GOLD[:1], GOLD[1] | {"arguments": {"film": "$var1$"}}, GOLD[2]]), 0, 0),
        (written([*GOLD, GOLD[2]]), 0, 0),
        (written(GOLD) + "<tool_call>oops</tool_call>", 0, 0),
        ("", 0, 0),
    ],
)
def test_a_sequence(reply: str, calls: float, sequence: float):
    values, _ = sequence_score(GOLD, reply)
    assert (values["call_exact"], values["sequence_exact"]) == (calls, sequence)


def save(folder: Path, rows: Any) -> Path:
    (folder / "data").mkdir(parents=True)
    rows.to_parquet(str(folder / "data" / "test-00000-of-00001.parquet"))
    return folder


def test_through_lm_eval(tmp_path: Path):
    from datasets import Dataset

    tool = {"type": "function", "function": {"name": "find", "description": "d", "parameters": {}}}
    row = {"id": "sgd_0", "query": "Which?", "calls": json.dumps(GOLD), "tools": json.dumps([tool]), "scorable": True}
    data, seen = save(tmp_path / "d", Dataset.from_list([row, row])), []
    found = evaluate(data, lambda doc: written(GOLD[:2]), seen, ["nestful"])
    values = found["results"]["nestful"]
    assert (values["tool_precision,none"], values["tool_recall,none"]) == (1.0, pytest.approx(2 / 3))
    assert values["param_f1,none"] == values["format_acc,none"] == 1.0
    assert values["call_exact,none"] == values["sequence_exact,none"] == 0.0
    assert "$var1.field$" in seen[0][0]["content"] and seen[0][1]["content"] == "Which?"


@pytest.fixture(scope="module")
def real():
    if not REAL.is_file():
        pytest.skip("no wheel of nestful-wrapper in HUBWRIGHT_TEST_WHEELS")
    from hubwright.builders.nestful import NestfulConfig, build
    from hubwright.hub_sync.context import StepContext

    return build(NestfulConfig(source=str(REAL)), StepContext("n", Path("work"), Path("output")))["test"]


@pytest.mark.parametrize("right", [True, False], ids=["gold", "silence"])
def test_gold_gets_all_and_silence_nothing(real: Any, tmp_path: Path, right: bool):
    data = save(tmp_path / "d", real)
    found = evaluate(data, lambda doc: written(json.loads(doc["calls"])) if right else "", [], ["nestful"])
    assert found["n-samples"]["nestful"]["effective"] == 300
    values = {k.removesuffix(",none"): v for k, v in found["results"]["nestful"].items() if k.endswith(",none")}
    names = ("format_acc", "call_exact", "sequence_exact", "tool_f1", "param_f1", "tool_precision", "param_recall")
    assert {name: values[name] for name in names} == dict.fromkeys(names, float(right))


def changed(rng: random.Random, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls without one, in another order, or with another argument, name or nothing changed."""
    calls = json.loads(json.dumps(calls))
    call = rng.choice(calls)
    way = rng.randrange(6)
    if way == 0 and len(calls) > 1:
        calls.remove(call)
    elif way == 1:
        rng.shuffle(calls)
    elif way == 2:
        call["name"] += "s"
    elif way == 3 and call["arguments"]:
        call["arguments"].pop(rng.choice(list(call["arguments"])))
    elif way == 4 and call["arguments"]:
        call["arguments"][rng.choice(list(call["arguments"]))] = "$var1$"
    return calls


def test_all_calls_are_right_where_the_package_says_so(real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`is_same_as` with values, references unresolved. It takes calls as a set, so that none is doubled here."""
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("nestful/")])
    monkeypatch.syspath_prepend(str(tmp_path))
    from nestful import Catalog, SequencingData

    rng, cases, same = random.Random(0), 0, 0
    for row in real:
        gold = json.loads(row["calls"])
        for tried in (gold, *(changed(rng, gold) for _ in range(10))):
            theirs, ours = (SequencingData(output=json.loads(json.dumps(calls))) for calls in (gold, tried))
            expected = ours.is_same_as(theirs, Catalog(), check_values=True)
            doubled = len({json.dumps(call, sort_keys=True) for call in tried}) < len(tried)
            if doubled:
                continue
            assert score(gold, written(tried))[0]["call_exact"] == float(expected), (row["id"], tried)
            cases, same = cases + 1, same + expected
    assert cases > 3000 and 0.2 < same / cases < 0.8
