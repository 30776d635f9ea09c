"""Several arms put together: means by domain, the formula of relative gains, held-out losses, a card with its radar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns

from hubwright.evals._lib.data import read_split
from hubwright.evals.versatune.summary import BENCHMARKS, SummaryConfig, mean, relative_gain, summarise
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.model_cards import plots

# Means of the twelve benchmarks of seven models, from the paper's repository (domain_score.json).
UNIFORM = (23.8767, 29.2808, 32.6067, 41.4975, 43.4308, 42.0325, 57.5642)
DYNAMIC = (36.2608, 45.1742, 45.54, 54.3033, 57.85, 51.4442, 65.7042)


def evaluation(folder: Path, value: float, losses: dict[str, float] | None = None, **changed: Any) -> Path:
    """What an `lm_eval` step writes: every benchmark with the same value."""
    tasks: dict[str, Any] = {
        task: {"metrics": {metric: {"value": value, "stderr": 0.03}}, "n": 10, "task_hash": "h"}
        for _, task, metric in BENCHMARKS.values()
    }
    if losses:
        metrics = {f"loss_{name}": {"value": one, "stderr": None} for name, one in losses.items()}
        metrics |= {"loss": {"value": 0.0, "stderr": None}, "loss_per_byte_law": {"value": 9.0, "stderr": None},
                    "loss_law_ci_low": {"value": 0.1, "stderr": None}}  # fmt: skip
        tasks["versatune_held_out"] = {"metrics": metrics, "n": 4, "task_hash": "l"}
    tasks |= changed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"tasks": {k: v for k, v in tasks.items() if v is not None}}))
    return folder


def run(tmp_path: Path, arms: dict[str, Path], order: list[str] | None = None) -> StepContext:
    inputs = {
        f"arm_{name}": Input(ArtifactRef("dataset", f"org/{name}", "a" * 40), path) for name, path in arms.items()
    }
    context = StepContext("summary", tmp_path / "work", tmp_path / "out", inputs)
    context.output.mkdir(exist_ok=True)
    summarise(SummaryConfig(order=order), context)
    return context


def test_relative_gain_is_the_mean_over_models_of_each_ones_ratio() -> None:
    by_model = [{str(n): value for n, value in enumerate(values)} for values in (DYNAMIC, UNIFORM)]
    assert relative_gain(*by_model) == pytest.approx(0.3520, abs=1e-5)
    assert relative_gain({"a": 1.0}, {"a": 0.0}) is None
    assert mean([(40.0, 3.0), (60.0, 4.0)]) == (50.0, 2.5) and mean([(1.0, None), (3.0, 1.0)]) == (2.0, None)


def test_summary_of_two_models_has_tables_a_radar_and_figures(tmp_path: Path) -> None:
    arms = {
        "uniform__a": evaluation(tmp_path / "ua", 0.24, {"law": 2.0, "code": 1.0}),
        "uniform__b": evaluation(tmp_path / "ub", 0.50, {"law": 4.0, "code": 3.0}),
        "dynamic__a": evaluation(tmp_path / "da", 0.36, {"law": 1.0, "code": 1.5}),
        "dynamic__b": evaluation(tmp_path / "db", 0.55, {"law": 3.0, "code": 3.5}),
    }
    context = run(tmp_path, arms, order=list(arms))
    report = context.report
    check_columns("versatune_summary", context.output, report)
    assert report.metrics["dynamic/relative_gain"] == pytest.approx(0.3)
    assert report.metrics["uniform/all"] == pytest.approx(37) and report.metrics["dynamic/law"] == pytest.approx(45.5)
    assert (report.metrics["uniform/loss"], report.metrics["dynamic/loss"]) == (2.5, 2.25)
    benchmarks, means, losses = report.tables
    assert len(benchmarks["rows"]) == 12 and benchmarks["rows"][0] == ["LegalBench", "law", 37.0, 45.5]
    last = means["rows"][-1]
    assert last[:3] == ["all", "dynamic", 45.5] and last[4] == pytest.approx(8.5) and last[6] == pytest.approx(30)
    # 3 points each, 12 benchmarks, 2 models, 2 arms.
    assert last[5] == pytest.approx(1.96 * 3 * (2 / 12) ** 0.5 / 2**0.5)
    assert "mean over models of (mean of the benchmarks, arm)" in means["note"] and "35.20 %" in means["note"]
    assert losses["rows"] == [["code", 2.0, 2.5, 0.5], ["law", 3.0, 2.0, -1.0], ["mean", 2.5, 2.25, -0.25]]
    chart, loss_chart = report.bars
    assert loss_chart["groups"] == ["code", "law"] and "shape" not in loss_chart  # a radar has three spokes or more
    assert loss_chart["series"] == {
        "uniform": [[2.0, None, None], [3.0, None, None]],
        "dynamic": [[2.5, None, None], [2.0, None, None]],
    }
    assert chart["shape"] == "radar" and chart["groups"] == [
        "law",
        "medicine",
        "finance",
        "science",
        "code",
        "general",
    ]
    rows = read_split(context.output, "figures")
    assert len(rows) == 4 * (12 + 2) and rows[-1]["loss"] == 3.0 and rows[0]["percent"] == 24.0
    from dataclasses import asdict

    first, second = ((tmp_path / name / plots.write(asdict(report), tmp_path / name)[0]).read_bytes() for name in "xy")
    assert first == second and first.startswith(b"\x89PNG")


def test_benchmarks_that_an_arm_lacks_are_left_out_of_all_and_named(tmp_path: Path) -> None:
    arms = {
        "new": evaluation(tmp_path / "new", 0.4, medmcqa=None),
        "old": evaluation(tmp_path / "old", 0.2, agieval={"metrics": {"acc": {"value": None, "stderr": None}}}),
    }
    report = run(tmp_path, arms, order=["old", "new"]).report
    assert report.metrics["new/relative_gain"] == pytest.approx(1.0)
    assert report.tables[0]["note"].endswith("10 of 12 benchmarks; in not all evaluations: MedMCQA, AGIEval.")


def test_inputs_that_do_not_compare_are_one_line(tmp_path: Path) -> None:
    one, other = evaluation(tmp_path / "a", 0.2), evaluation(tmp_path / "b", 0.3)
    task = {"metrics": {"acc": {"value": 0.1, "stderr": None}}, "n": 10, "task_hash": "another"}
    empty = tmp_path / "empty"
    empty.mkdir()
    for arms, order, message in (
        ({"a": one}, None, "give two inputs arm_NAME"),
        ({"a": one, "b": other}, ["a", "c"], "order names a, c, and the inputs are of a, b"),
        ({"a": one, "b": empty}, None, "org/b@a+: has no results.json of an lm_eval step"),
        ({"a__x": one, "b__y": other}, None, "model 'x' is in only one of the arms a and b"),
        ({"a": one, "b": evaluation(tmp_path / "c", 0.3, medmcqa=task)}, None, "medmcqa: b and a were evaluated on other"),
        ({"a": one, "b": evaluation(tmp_path / "d", 0.3, **{name: None for _, name, _ in BENCHMARKS.values()})}, None,
         "no benchmark of LegalBench, .* and no versatune_held_out is in all"),
    ):  # fmt: skip
        with pytest.raises((DataError, UsageError), match=message) as caught:
            run(tmp_path, arms, order)
        assert "\n" not in str(caught.value)


def test_baseline_of_zero_has_no_relative_gain(tmp_path: Path) -> None:
    arms = {"old": evaluation(tmp_path / "old", 0.0), "new": evaluation(tmp_path / "new", 0.2)}
    report = run(tmp_path, arms, order=["old", "new"]).report
    assert report.metrics["new/relative_gain"] is None and report.metrics["new/all"] == pytest.approx(20)
