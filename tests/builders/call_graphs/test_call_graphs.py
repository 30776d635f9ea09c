"""The generator of executed call graphs: plans that run, words that say them, rows that pass every check."""

import itertools
import json
import random
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hubwright.builders._lib.conversation_checks import faults, good_calls, realised_edges, run_checks
from hubwright.builders._lib.conversation_rows import CHECKS, calls_of, features, results_of
from hubwright.builders._lib.function_splits import is_test
from hubwright.builders.call_graphs import plan, variants
from hubwright.builders.call_graphs import toolset as registry
from hubwright.builders.call_graphs.build import CallGraphsConfig, Generator, build
from hubwright.builders.call_graphs.corruption import FAULTS, corrupt
from hubwright.builders.call_graphs.draws import Draws
from hubwright.environments.sandbox import Sandbox
from hubwright.environments.world_sandbox import open_worlds
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, RowRejected, UsageError

TOOLSET = registry.read_worlds()
TOOLS = TOOLSET.tools
RESPONSES = {name: tool.definition["responses"] for name, tool in TOOLS.items()}


@pytest.fixture(scope="module")
def box() -> Any:
    with open_worlds() as opened:
        yield opened


def rows_of(config: CallGraphsConfig, number: int) -> list[Any]:
    generator = Generator(config)
    with closing(Draws(config, generator.whole)) as draws:
        return list(generator.rows("train", number, draws))


def drawn(box: Sandbox, composition: str, first: int = 0, parallel: bool = True, variant: str = "plain") -> plan.Plan:
    """The first plan of a composition from seed `first` on, run."""
    for seed in range(first, first + 2000):
        box.call("begin", {"seed": seed})
        try:
            found = plan.draw(composition, TOOLS, box.call("pools", {}).value, seed, box)
            variants.prepare(found, variant, TOOLS)
            plan.run(found, box, parallel)
            return found
        except RowRejected:
            continue
    raise AssertionError(f"no plan of {composition}")


def written(box: Sandbox, composition: str, variant: str = "plain", parallel: bool = True, first: int = 0) -> Any:
    for start in range(first, first + 50_000, 1000):
        found = drawn(box, composition, start, parallel, variant)
        try:
            row = variants.conversation(found, variant, TOOLSET, parallel, distractors=3)
        except RowRejected:
            continue
        return run_checks(row, RESPONSES)
    raise AssertionError(f"no {variant} row of {composition}")


@pytest.mark.parametrize("composition", plan.SHAPES)
@pytest.mark.parametrize("parallel", [True, False])
def test_every_composition_is_drawn_run_said_and_passes(box: Sandbox, composition: str, parallel: bool) -> None:
    for first in (0, 10_000):
        row = written(box, composition, parallel=parallel, first=first)
        assert not faults(row), faults(row)
        if not parallel:
            assert all(len(m.get("tool_calls", [])) <= 1 for m in row["messages"])
        assert row["n_calls"] == len(calls_of(row["messages"])) == len(results_of(row["messages"]))


def test_the_graph_has_the_composition_s_shape(box: Sandbox) -> None:
    edges = {
        name: len({(a, b) for a, b, _ in realised_edges(written(box, name))})
        for name in ("single", "parallel", "sequential", "sequential_of_three")
    }
    assert edges == {"single": 0, "parallel": 0, "sequential": 1, "sequential_of_three": 2}
    joined = drawn(box, "parallel_then_sequential")
    assert joined.nodes[2].needs() == {0, 1}
    forked = drawn(box, "sequential_then_parallel")
    assert [node.needs() for node in forked.nodes] == [set(), {0}, {0}]
    assert [node.turn for node in drawn(box, "three_turns").nodes] == [0, 1, 1, 2]
    tested = drawn(box, "conditional")
    assert tested.nodes[0].runs and sum(node.runs for node in tested.nodes) == 2


def test_results_are_what_the_worlds_give(box: Sandbox) -> None:
    """Each recorded call, made again on the recorded state in the recorded order, gives the recorded result."""
    for composition, variant in itertools.product(plan.SHAPES, ("plain", "tool_error")):
        row = written(box, composition, variant, first=500)
        box.call("begin", {"seed": json.loads(row["plan"])["seed"]})
        results = results_of(row["messages"])
        for one in good_calls(row):
            assert box.call(one["function"]["name"], one["function"]["arguments"]).value == results[one["id"]]


@pytest.mark.parametrize(
    ("variant", "composition"),
    [*((variant, "parallel_then_sequential") for variant in variants.VARIANTS), ("irrelevant", "single")],
)
def test_every_variant_passes_and_keeps_the_oracle(box: Sandbox, variant: str, composition: str) -> None:
    row = written(box, composition, variant)
    assert not faults(row), faults(row)
    offered = {tool["function"]["name"] for tool in row["tools"]}
    planned = json.loads(row["plan"])["nodes"]
    needed = {node["tool"] for node in planned}
    called = [one["function"]["name"] for one in calls_of(row["messages"])]
    if variant == "irrelevant":
        assert not called and not offered & needed and len(row["messages"]) == 3
        later = ("rest cannot be done", "builds on that has to wait", "other steps cannot be done")
        assert any(text in row["messages"][2]["content"] for text in later) == (composition != "single")
    elif variant == "missing_function":
        assert called == [node["tool"] for node in planned[:-1]] and planned[-1]["tool"] not in offered
        assert not planned[-1]["runs"]
    elif variant == "tool_error":
        failed = [m for m in row["messages"] if m["role"] == "tool" and set(json.loads(m["content"])) == {"error"}]
        assert len(failed) == 1 and sorted(called) != sorted(set(called)) and len(called) == len(planned) + 1
    elif variant == "missing_parameter":
        assert row["n_user_turns"] == 2 and "a certain" in row["messages"][1]["content"]
        assert "tool_calls" not in row["messages"][2]
    elif variant == "noisy_output":
        assert all("request_id" in result for result in results_of(row["messages"]).values())
    assert (offered - needed != set()) == (variant in ("distractors", "irrelevant", "missing_function"))


def test_a_seed_gives_the_same_rows_and_splits_share_no_set_of_functions(tmp_path: Path) -> None:
    def made(seed: int, name: str) -> Any:
        context = StepContext("executed", tmp_path / name, tmp_path / name)
        return build(CallGraphsConfig(train_rows=40, test_rows=8, seed=seed), context), context.report

    first, report = made(1, "a")
    again, told = made(1, "b")
    other, _ = made(2, "c")
    for split, rows in (("train", 40), ("test", 8)):
        assert first[split].features == features() and len(first[split]) == rows
        assert first[split].to_list() == again[split].to_list() != other[split].to_list()
        assert len(set(first[split]["id"])) == rows
        for row in first[split]:
            assert not faults(row)
            needed = frozenset(node["tool"] for node in json.loads(row["plan"])["nodes"])
            assert is_test(needed, 0.2) == (split == "test")
    assert report.tables == told.tables and report.counts["rows_accepted"] == 48
    assert [row[0] for row in report.tables[0]["rows"]][-len(CHECKS) :] == [f"check: {name}" for name in CHECKS]


def test_most_single_requests_can_be_served() -> None:
    """Else a model learns that a short request is refused."""
    weights = {(c, v): w for c, v, w in Generator(CallGraphsConfig()).cells()}
    single = {variant: weight for (composition, variant), weight in weights.items() if composition == "single"}
    assert single["irrelevant"] < 0.25 * sum(single.values())
    assert sum(w for (_, v), w in weights.items() if v == "irrelevant") == pytest.approx(0.1)


def test_a_killed_build_counts_all_draws(tmp_path: Path) -> None:
    """What a killed run left behind is not taken for finished."""
    config = CallGraphsConfig(train_rows=20)
    reports = []
    for _ in range(2):
        context = StepContext("executed", tmp_path, tmp_path)
        build(config, context)
        reports.append(context.report.counts)
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"worlds": ("space",)}, "worlds: 'space' is unknown: use some of "),
        ({"compositions": ("loop",)}, "compositions: 'loop' is unknown"),
        ({"variants": ("rude",)}, "variants: 'rude' is unknown"),
        ({"variants": ("irrelevant",), "compositions": ("conditional",)}, "none of the variants can be made"),
        (
            {"variants": ("plain", "irrelevant"), "compositions": ("two_turns",), "plain_share": 0.0},
            "none of the variants can be made",
        ),
    ],
)
def test_settings_that_cannot_be_met_are_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rows_of(CallGraphsConfig(**settings), 1)


def test_too_many_rows_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Generator.__module__], "TRIES", 3)
    config = CallGraphsConfig(worlds=("weather",), compositions=("three_turns",), variants=("missing_function",))
    with pytest.raises(DataError, match="hardly any new ones: ask for fewer"):
        rows_of(config, 500)


@pytest.mark.slow
def test_an_amount_that_is_handed_on_takes_its_currency_along(box: Sandbox) -> None:
    found = 0
    for seed in range(3000):
        box.call("begin", {"seed": seed})
        try:
            made = plan.draw("sequential", TOOLS, box.call("pools", {}).value, seed, box)
        except RowRejected:
            continue
        giver, taker = made.nodes
        amount = next((s for s in taker.arguments.values() if s.node == 0 and "price" in s.field), None)
        if taker.tool == "convert_amount" and amount is not None and "currency" in giver.result:
            assert made.values(taker)["source_currency"] == giver.result["currency"]
            found += 1
    assert found >= 3


@pytest.mark.parametrize("fault", FAULTS)
def test_what_an_unverified_pipeline_stores_is_found_by_its_check(box: Sandbox, fault: str) -> None:
    spoilt = 0
    for number, composition in enumerate(plan.SHAPES):
        row = written(box, composition, first=2000 + 100 * number)
        made = corrupt(row, random.Random(number), fault)
        assert made["id"] != row["id"] and not faults(run_checks(row, RESPONSES)), "the row itself is left alone"
        found = faults(run_checks(made, RESPONSES))
        assert FAULTS[fault][1] in found, (composition, found)
        spoilt += 1
    assert spoilt == len(plan.SHAPES)


def test_spoilt_rows_are_a_share_of_the_train_rows_and_say_so(tmp_path: Path) -> None:
    context = StepContext("executed", tmp_path, tmp_path)
    made = build(CallGraphsConfig(train_rows=80, test_rows=10, corrupted_share=0.5), context)
    wrong = sum(bool(faults(row)) for row in made["train"])
    assert 25 <= wrong <= 55 and not any(faults(row) for row in made["test"])
    assert "given a fault on purpose" in context.report.summary


def test_no_rows_at_all_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train_rows, test_rows and function_test_rows are all 0"):
        build(CallGraphsConfig(train_rows=0), StepContext("executed", tmp_path, tmp_path))


def test_no_row_asks_what_one_of_several_test_sets_asks(tmp_path: Path) -> None:
    from hubwright.hub_sync.context import Input
    from hubwright.hub_sync.refs import ArtifactRef

    config = CallGraphsConfig(train_rows=12, seed=5, variants=("plain",), compositions=("single",))
    first = build(config, StepContext("executed", tmp_path / "a", tmp_path / "a"))["train"]
    given = {}
    for name, rows in (
        ("decontaminate_against_even", first.select(range(0, 12, 2))),
        ("decontaminate_against_odd", first.select(range(1, 12, 2))),
    ):
        (tmp_path / name).mkdir()
        rows.select_columns(["id", "task"]).to_parquet(str(tmp_path / name / "test.parquet"))
        given[name] = Input(ArtifactRef("dataset", f"me/{name}", "a" * 40), tmp_path / name)
    context = StepContext("executed", tmp_path / "b", tmp_path / "b", given)
    again = build(config, context)["train"]
    assert not set(first["task"]) & set(again["task"])
    (table,) = [table for table in context.report.tables if table["title"] == "What became of the draws"]
    (left_out,) = [row[1] for row in table["rows"] if row[0] == "check: contamination"]
    assert left_out > 0
