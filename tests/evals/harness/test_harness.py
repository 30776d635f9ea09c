"""lm-eval as a recipe step: what is written, that it is deterministic, and that no path of this machine is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, all_yes
from column_parts import check_columns
from pydantic import ValidationError

from hubwright.evals._lib.judging.judge import judge_answers, read_judge_config
from hubwright.evals.fbbench.answers import read_answers
from hubwright.evals.harness.command import list_tasks
from hubwright.evals.harness.step import HarnessConfig, evaluate, find_tasks
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.refs import ArtifactRef

SETTINGS: dict[str, Any] = {
    "tasks": ["fbbench_sample"],
    "gen_kwargs": {"max_gen_toks": 6},
    "batch_size": 16,
    "threads": 1,
}


def step(folder: Path, model: Path, dataset: Path | None = None) -> StepContext:
    inputs = {"model": Input(ArtifactRef("model", "org/tiny", "a" * 40), model)}
    if dataset is not None:
        inputs["dataset"] = Input(ArtifactRef("dataset", "org/rows", "b" * 40), dataset)
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True)
    return StepContext("answers", folder / "work", folder / "out", inputs)


def built(folder: Path) -> Path:
    import datasets

    from hubwright.evals.fbbench import scorer

    lines = Path(scorer.__file__).with_name("sample.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_list([json.loads(line) for line in lines][:8])
    rows.to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


def test_answers_are_stored_the_same_every_time_without_a_local_path(tiny_model: Path, tmp_path: Path) -> None:
    dataset = built(tmp_path / "rows")
    config = HarnessConfig.model_validate({**SETTINGS, "predict_only": True})
    contents = []
    for name in ("first", "second"):
        context = step(tmp_path / name, tiny_model, dataset)
        evaluate(config, context)
        files = sorted(path for path in context.output.rglob("*") if path.is_file())
        assert [path.relative_to(context.output).as_posix() for path in files] == [
            "data/samples-00000-of-00001.parquet",
            "results.json",
        ]
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]
    for place in (tiny_model, dataset, tmp_path):
        assert not [data for data in contents[0] if str(place).encode() in data]
        assert str(place) not in json.dumps(vars(context.report))
    results = json.loads(contents[0][1])
    task = results["tasks"]["fbbench_sample"]
    assert task["metrics"] == {} and task["n"] == 8 and task["metadata"]["dataset"] == f"org/rows@{'b' * 40}"
    assert results["packages"]["lm_eval"] and len(task["task_hash"]) == 64
    answers = read_answers(context.output)
    assert len(answers) == 8 and all(answer.answer for answer in answers)


def test_scores_go_into_the_report(tiny_model: Path, tmp_path: Path) -> None:
    context = step(tmp_path, tiny_model)
    with ChatServer(all_yes) as server:
        config = HarnessConfig.model_validate(
            {**SETTINGS, "metadata": {"judge": f"openai:local@{server.url}", "bootstrap": 50}, "limit": 6}
        )
        evaluate(config, context)
    results = json.loads((context.output / "results.json").read_text(encoding="utf-8"))
    metrics = results["tasks"]["fbbench_sample"]["metrics"]
    assert next(iter(metrics)) == "fb_overall"
    assert metrics["fb_overall"] == {"value": 100.0, "stderr": 0.0, "higher_is_better": True}
    assert not [name for name in metrics if name.endswith("_stderr")]
    assert context.report.metrics["fbbench_sample/fb_overall"] == 100.0
    (table,) = context.report.tables
    assert table["rows"][0] == ["fb_overall", 100.0, 0.0, 100.0, 100.0]
    assert context.report.counts == {"samples": 6} and "not to be compared" in context.report.summary
    json.dumps(vars(context.report), allow_nan=False)

    import datasets

    rows = datasets.load_dataset(str(context.output), split="samples")
    check_columns("lm_eval", context.output, context.report)
    assert len(rows) == 6 and json.loads(rows[0]["metrics"])["fb_overall"]["state"] == "complete"
    assert json.loads(rows[0]["doc"])["messages"][0]["role"] == "user"


def test_a_replay_file_is_named_without_its_folder(tiny_model: Path, tmp_path: Path) -> None:
    predicted = step(tmp_path / "predicted", tiny_model)
    evaluate(HarnessConfig.model_validate({**SETTINGS, "predict_only": True}), predicted)
    stored = tmp_path / "kept" / "verdicts.jsonl"
    stored.parent.mkdir()
    with ChatServer(all_yes) as server:
        judge_answers(read_answers(predicted.output), read_judge_config(f"openai:m@{server.url}"), out=stored)
    context = step(tmp_path / "scored", tiny_model)
    evaluate(HarnessConfig.model_validate({**SETTINGS, "metadata": {"judge": f"replay:{stored}"}}), context)
    text = (context.output / "results.json").read_text(encoding="utf-8")
    assert "replay:verdicts.jsonl" in text and str(tmp_path) not in text
    assert json.loads(text)["tasks"]["fbbench_sample"]["metrics"]["fb_overall"]["value"] == 100.0


def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="lm-eval: ") as caught:
        evaluate(HarnessConfig.model_validate(SETTINGS), step(tmp_path, tmp_path / "empty"))
    assert "\n" not in str(caught.value)


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        HarnessConfig.model_validate({"tasks": ["x"], "fewshot": 1})
    with pytest.raises(ValidationError):
        HarnessConfig.model_validate({"tasks": []})
    with pytest.raises(UsageError, match="needs a `model:` input"):
        evaluate(HarnessConfig.model_validate(SETTINGS), StepContext("x", tmp_path, tmp_path))
    assert all(field.description for field in HarnessConfig.model_fields.values())


def test_our_own_names_do_not_index_upstream() -> None:
    manager, names = find_tasks(["fbbench*"])
    assert names == ["fbbench", "fbbench_sample"]
    assert sorted(manager.all_tasks) == list_tasks()  # none of upstream's thousands


@pytest.mark.slow
def test_other_names_fall_through_to_upstream() -> None:
    manager, names = find_tasks(["fbbench_sample", "arc_easy"])
    assert names == ["fbbench_sample", "arc_easy"] and len(manager.all_tasks) > 1000
    with pytest.raises(UsageError, match="task no_such_task is unknown"):
        find_tasks(["no_such_task"])
