"""The report step: what it writes beside a model, and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hubwright.hub_sync import provenance
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.model_cards.report import ReportConfig, report

MODEL = ArtifactRef("model", "me/model", "a" * 40)
DATA = {"role": "dataset", "type": "dataset", "repo_id": "me/data", "commit": "d" * 40}


def context(tmp_path: Path, inputs: list[dict[str, Any]]) -> StepContext:
    result = tmp_path / "result"
    result.mkdir()
    metrics = {
        "accuracy": {"value": 0.75, "stderr": 0.1, "higher_is_better": True},
        "loss": {"value": 0.5, "stderr": None, "higher_is_better": False},
    }
    (result / "results.json").write_text(json.dumps({"tasks": {"drills": {"metrics": metrics, "n": 16}}}))
    record = {
        "step": {}, "config": {}, "inputs": inputs, "fingerprint": "f", "code": {}, "files": [], "report": {},
        "finished_at": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    (result / provenance.FILE_NAME).write_bytes(provenance.dump([record]).encode())
    output = tmp_path / "output"
    output.mkdir()
    given = {"model": Input(MODEL, tmp_path), "result": Input(ArtifactRef("dataset", "me/result", "b" * 40), result)}
    return StepContext("report", tmp_path / "work", output, given)


def about(ref: ArtifactRef = MODEL) -> dict[str, Any]:
    return {"role": "model", "type": "model", "repo_id": ref.repo_id, "commit": ref.revision}


def test_an_entry_names_the_benchmark_at_its_commit(tmp_path: Path) -> None:
    step = context(tmp_path, [about(), DATA])
    report(ReportConfig(headline=["drills/accuracy", "drills/loss"]), step)
    entries = yaml.safe_load((step.output / ".eval_results" / "drills.yaml").read_text())
    assert [entry["dataset"]["id"] for entry in entries] == ["me/data"] * 2
    assert [entry["dataset"]["revision"] for entry in entries] == ["d" * 40] * 2
    assert [entry["value"] for entry in entries] == [0.75, 0.5]
    assert len({entry["dataset"]["task_id"] for entry in entries}) == 2


def test_without_a_pinned_benchmark_no_entry_is_invented(tmp_path: Path) -> None:
    step = context(tmp_path, [about()])
    report(ReportConfig(), step)
    assert not (step.output / ".eval_results").exists()
    assert step.report.metrics == {"drills/accuracy": 0.75, "drills/loss": 0.5}


def test_results_of_another_model_are_refused(tmp_path: Path) -> None:
    step = context(tmp_path, [about(ArtifactRef("model", "me/model", "c" * 40)), DATA])
    with pytest.raises(DataError, match="is about me/model@cccccccccccc, not about me/model@a"):
        report(ReportConfig(), step)


def test_an_unknown_headline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="headline 'drills/accuraccy' is not among the results"):
        report(ReportConfig(headline=["drills/accuraccy"]), context(tmp_path, [about(), DATA]))


def trained(folder: Path, **curves: list[list[float]]) -> Path:
    """A model's folder with the provenance of a training that drew these curves."""
    folder.mkdir()
    drawn = [{"title": title, "x": "step", "y": "", "series": {"eval": points}} for title, points in curves.items()]
    record = {
        "step": {}, "config": {}, "inputs": [], "fingerprint": "f", "code": {}, "files": [], "report": {"curves": drawn},
        "finished_at": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    (folder / provenance.FILE_NAME).write_bytes(provenance.dump([record]).encode())
    return folder


def test_another_model_stands_beside_under_its_own_name(tmp_path: Path) -> None:
    step = context(tmp_path, [about(), DATA])
    other = ArtifactRef("model", "you/plain", "c" * 40)
    ours = trained(tmp_path / "ours", Loss=[[1, 2.0]], Speed=[[1, 9.0]])
    theirs = trained(tmp_path / "theirs", Loss=[[1, 3.0]], Speed=[[1, 9.0]], Accuracy=[[1, 0.5]])
    baseline = tmp_path / "baseline"
    baseline.mkdir()
    (baseline / "results.json").write_text((tmp_path / "result" / "results.json").read_text())
    record = provenance.load(tmp_path / "result" / provenance.FILE_NAME)
    (baseline / provenance.FILE_NAME).write_bytes(provenance.dump([{**record[0], "inputs": [about(other)]}]).encode())
    inputs = dict(step.inputs)
    inputs |= {
        "model": Input(MODEL, ours),
        "other": Input(other, theirs),
        "baseline": Input(ArtifactRef("dataset", "you/result", "e" * 40), baseline),
    }
    step = StepContext("report", tmp_path / "work", step.output, inputs)
    report(ReportConfig(), step)
    assert step.report.tables[0]["columns"] == ["metric", "plain", "model"]
    assert [curve["title"] for curve in step.report.curves] == ["Loss, both models"]
    assert step.report.curves[0]["series"] == {"plain": [[1, 3.0]], "model": [[1, 2.0]]}
    inputs["baseline"] = step.inputs["result"]  # the same figures, but of the model itself
    with pytest.raises(DataError, match="is about me/model"):
        report(ReportConfig(), StepContext("report", tmp_path / "work", step.output, inputs))


def test_two_trainings_are_compared_without_a_result(tmp_path: Path) -> None:
    given = {
        "model": Input(MODEL, trained(tmp_path / "ours", Loss=[[1, 2.0]])),
        "other": Input(ArtifactRef("model", "you/plain", "c" * 40), trained(tmp_path / "theirs", Loss=[[1, 3.0]])),
    }
    step = StepContext("report", tmp_path / "work", tmp_path / "output", given)
    report(ReportConfig(), step)
    assert step.report.curves[0]["series"] == {"plain": [[1, 3.0]], "model": [[1, 2.0]]}
    assert "you/plain` at commit `ccc" in step.report.sections[0]["body"]
    assert not step.report.tables and not step.report.bars and not step.output.exists()
    with pytest.raises(UsageError, match="headline stands beside a result"):
        report(ReportConfig(headline=["a/b"]), step)


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("", "there is nothing to report: add"),
        ("baseline", "baseline stands beside a result"),
        ("arm_less", "arm_less stands beside a result"),
    ],
)
def test_a_report_of_nothing_is_refused(tmp_path: Path, role: str, said: str) -> None:
    given = {"model": Input(MODEL, tmp_path)}
    if role:
        given[role] = Input(ArtifactRef("dataset", "you/result", "e" * 40), tmp_path)
    with pytest.raises(UsageError, match=said):
        report(ReportConfig(), StepContext("report", tmp_path / "work", tmp_path / "output", given))


def test_ablations_stand_beside_the_model(tmp_path: Path) -> None:
    step = context(tmp_path, [about(), DATA])
    arms = {}
    for name, value in (("arm_half_the_data", 0.5), ("arm_no_parallel_calls", 0.25)):
        (tmp_path / name).mkdir()
        arm = context(tmp_path / name, [about(ArtifactRef("model", f"me/{name}", "e" * 40)), DATA]).inputs["result"]
        results = json.loads((arm.path / "results.json").read_text())
        results["tasks"]["drills"]["metrics"]["accuracy"]["value"] = value
        (arm.path / "results.json").write_text(json.dumps(results))
        arms[name] = arm
    step = StepContext("report", step.workdir, step.output, {**step.inputs, **arms})
    report(ReportConfig(headline=["drills/accuracy"]), step)
    (table,) = [table for table in step.report.tables if table["title"] == "Ablations"]
    assert table["rows"] == [
        ["this model", "0.75 (0.554 to 0.946)"],
        ["half the data", "0.5 (0.304 to 0.696)"],
        ["no parallel calls", "0.25 (0.054 to 0.446)"],
    ]
    assert "no parallel calls: `me/arm_no_parallel_calls@eeeeeeeeeeee`" in table["note"]
    assert "Not to be compared" not in table["note"]


def test_an_ablation_must_be_of_a_model_and_says_where_it_is_another_test(tmp_path: Path) -> None:
    step = context(tmp_path, [about(), DATA])
    (tmp_path / "arm").mkdir()
    arm = context(tmp_path / "arm", [DATA]).inputs["result"]
    step = StepContext("report", step.workdir, step.output, {**step.inputs, "arm_less": arm})
    with pytest.raises(DataError, match=r"arm_less: result me/result@b+ is about no model; give the result"):
        report(ReportConfig(headline=["drills/accuracy"]), step)
    # A judge step tells whose answers it read.
    results = json.loads((arm.path / "results.json").read_text())
    results["tasks"]["drills"]["n"] = 8
    (arm.path / "results.json").write_text(json.dumps(results | {"about": about()}))
    report(ReportConfig(headline=["drills/accuracy"]), step)
    (table,) = [table for table in step.report.tables if table["title"] == "Ablations"]
    assert "Not to be compared: less has 8 documents of drills, this model 16." in table["note"]


@pytest.mark.parametrize(
    ("stderr", "note"), [(None, "3 documents."), (0.1, "3 documents; in brackets the 95 % interval.")]
)
def test_table_without_interval_promises_none(stderr: float | None, note: str) -> None:
    from hubwright.model_cards.report import _table

    values = {"n": 3, "metrics": {"score": {"value": 1.0, "stderr": stderr}}}
    table = _table("task", values, None, [], ("before", "after"))
    assert table["note"] == note and ("(" in table["rows"][0][1]) is (stderr is not None)
