"""Seal-Tools: micro figures, replies, and real runs through lm-eval in which gold gets all and silence nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from call_list_parts import GOLD, SPLITS, evaluate, small, written
from hypothesis import given
from hypothesis import strategies as st

from hubwright.evals._lib.call_lists import micro
from hubwright.evals._lib.call_lists.scorer import score, text_of
from hubwright.hub_sync.errors import DataError

TASKS = [f"seal_tools_{split.removeprefix('test_')}" for split in SPLITS]


def film(**arguments: Any) -> dict[str, Any]:
    return {"name": "film", "arguments": arguments}


@pytest.mark.parametrize(
    ("reply", "values", "tool", "param"),
    [
        (written(GOLD), (1, 1), (2, 2, 2), (3, 3, 3)),
        (written(GOLD[::-1]), (1, 1), (2, 2, 2), (3, 3, 3)),
        (json.dumps(GOLD), (1, 1), (2, 2, 2), (3, 3, 3)),
        (written([film(title="Heat", year=1995.0), GOLD[1]]), (1, 1), (2, 2, 2), (3, 3, 3)),
        (written([film(title="heat", year=1995)]), (1, 0), (1, 1, 2), (1, 2, 3)),
        # A call made twice is right once.
        (written([GOLD[0], GOLD[0]]), (1, 0), (1, 2, 2), (2, 4, 3)),
        # The same arguments of another function are not right.
        (written([GOLD[0] | {"name": "movie"}]), (1, 0), (0, 1, 2), (0, 2, 3)),
        (written(GOLD[:1]) + "<tool_call>oops</tool_call>", (0, 0), (1, 1, 2), (2, 2, 3)),
        (written(GOLD) + "<tool_call>oops</tool_call>", (0, 0), (2, 2, 2), (3, 3, 3)),
        ("It was Heat.", (0, 0), (0, 0, 2), (0, 0, 3)),
        ("", (0, 0), (0, 0, 2), (0, 0, 3)),
    ],
)
def test_a_reply(reply, values, tool, param):
    found, tallies = score(GOLD, reply)
    assert (found["format_acc"], found["call_exact"]) == values
    assert tallies == {"tool": tool, "param": param}


def test_arguments_are_compared_as_text():
    assert text_of(5) == text_of(5.0) == text_of("5") and text_of([1, 2.0]) == text_of([1.0, 2])
    assert text_of(True) != text_of(1) and text_of("a") != text_of("A")


COUNTS = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(
    lambda t: (t[0], t[0] + t[1], t[0] + t[2])
)


@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_micro_figures_are_those_of_the_joined_documents(tallies):
    shared, predicted, gold = (sum(column) for column in zip(*tallies, strict=True))
    p, r, f = micro.precision(tallies), micro.recall(tallies), micro.f1(tallies)
    assert all(0 <= value <= 1 for value in (p, r, f))
    if predicted and gold:
        assert (p, r) == (shared / predicted, shared / gold)
        assert f == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)
    low, high = (micro.f1_bound(tallies, percent, 50) for percent in (2.5, 97.5))
    assert 0 <= low <= high <= 1


def test_an_interval_is_about_as_wide_as_it_should_be():
    tallies = [(1, 1, 1)] * 80 + [(0, 1, 1)] * 20
    low, high = (micro.f1_bound(tallies, percent, 2000) for percent in (2.5, 97.5))
    assert (low, high) == (pytest.approx(0.8 - 0.078, abs=0.015), pytest.approx(0.8 + 0.078, abs=0.015))
    assert micro.f1_bound(tallies, 2.5, 2000) == low
    assert micro.f1_bound(tallies, 2.5, 0) == micro.f1(tallies) == 0.8


def save(folder: Path, splits: dict[str, Any]) -> Path:
    """Splits of instances, laid out as the builder's data set is published."""
    for split, rows in splits.items():
        path = folder / "instances" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(str(path))
    files = [{"split": s, "path": f"instances/{s}-00000-of-00001.parquet"} for s in splits]
    head = yaml.safe_dump({"configs": [{"config_name": "instances", "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{head}---\n")
    return folder


def test_through_lm_eval(tmp_path: Path):
    data = save(tmp_path / "d", {split: small() for split in SPLITS})
    seen: list[Any] = []
    half = evaluate(data, lambda doc: written(GOLD[:1]), seen, ["seal_tools"])
    values = half["results"]["seal_tools_in_domain"]
    assert half["n-samples"]["seal_tools_in_domain"]["effective"] == 1  # the other row cannot be scored
    assert (values["tool_precision,none"], values["tool_recall,none"]) == (1.0, 0.5)
    assert values["tool_f1,none"] == values["tool_f1_ci_low,none"] == pytest.approx(2 / 3)
    assert (values["param_recall,none"], values["format_acc,none"], values["call_exact,none"]) == (2 / 3, 1.0, 0.0)
    assert half["groups"]["seal_tools"]["tool_f1,none"] == pytest.approx(2 / 3)
    assert all(half["higher_is_better"]["seal_tools_in_domain"].values())
    system, user = seen[0]
    assert system["content"].startswith("Write all calls that the request needs") and "API_call_0" in system["content"]
    assert '"description": "Ü"' in system["content"] and system["content"].count("<tool_call>") == 1
    assert user == {"role": "user", "content": "Which?"}


def test_answers_alone(tmp_path: Path):
    data = save(tmp_path / "d", {SPLITS[0]: small()})
    found = evaluate(data, lambda doc: "", [], TASKS[:1], predict_only=True)
    assert found["results"][TASKS[0]]["bypass,none"] == 0.0


def test_data_that_cannot_be_scored_are_one_line(tmp_path: Path):
    with pytest.raises(DataError, match="no row of 'test_in_domain' can be scored"):
        evaluate(save(tmp_path / "a", {SPLITS[0]: small(False)}), str, [], TASKS[:1])
    with pytest.raises(DataError, match="has no column 'calls'; build it with `hubwright run seal_tools"):
        evaluate(save(tmp_path / "b", {SPLITS[0]: small().remove_columns("calls")}), str, [], TASKS[:1])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hubwright.builders.seal_tools import SealToolsConfig, build
    from hubwright.hub_sync.context import StepContext

    source = Path(__file__).parents[4] / "shared" / "data" / "fairyshine" / "Seal-Tools" / "Seal-Tools_Dataset"
    if not source.is_dir():
        pytest.skip("Seal-Tools is not here")
    folder = tmp_path_factory.mktemp("seal_tools")
    made = build(SealToolsConfig(source=str(source)), StepContext("s", folder / "work", folder / "output"))
    return save(folder / "data", {split: made["instances"][split] for split in SPLITS})


@pytest.mark.parametrize("right", [True, False], ids=["gold", "silence"])
def test_gold_gets_all_and_silence_nothing(real: Path, right: bool):
    found = evaluate(real, lambda doc: written(json.loads(doc["calls"])) if right else "", [], TASKS)
    for name, documents in zip(TASKS, (700, 654), strict=True):
        assert found["n-samples"][name]["effective"] == documents
        values = {k.removesuffix(",none"): v for k, v in found["results"][name].items() if k.endswith(",none")}
        figures = ["format_acc", "call_exact", *(f"{a}_{b}" for a in ("tool", "param") for b in ("recall", "f1"))]
        assert {figure: values[figure] for figure in figures} == dict.fromkeys(figures, float(right))
        assert values["tool_precision"] == values["param_precision"] == float(right)
