"""FB-Bench in lm-eval: registration, prompts, settings, the three ways to run it, and what comes out."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, all_yes, failure
from verdict_parts import read_judged

from hubwright.builders.fbbench.build import SAMPLE as OFFICIAL_SAMPLE
from hubwright.builders.fbbench.schema import to_row
from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.judging.judge import judge_answers, read_judge_config
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.answers import official_to_row, read_answers, read_dataset
from hubwright.hub_sync.errors import DataError, HubError, UsageError

SAMPLE = Path(scorer.__file__).with_name("sample.jsonl")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUBWRIGHT_DATA_FBBENCH", "HUBWRIGHT_JUDGE", "HUBWRIGHT_VERDICTS"):
        monkeypatch.delenv(name, raising=False)


def load_task(name: str = "fbbench_sample", **metadata: Any) -> Any:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    return manager.load(name)["tasks"][name]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny_model), device="cpu", dtype="bfloat16", batch_size=16)


def run(model: Any, metadata: dict[str, Any], **settings: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=metadata)
    results = simple_evaluate(
        model=model,
        tasks=["fbbench_sample"],
        task_manager=manager,
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 6},
        bootstrap_iters=100,
        **settings,
    )
    assert results is not None
    return dict(results)


def test_the_yaml_files_load_and_build() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in tasks_dir().glob("fbbench/fbbench*.yaml"):
        config = load_yaml(path, resolve_func=True)
        assert config["task"] == path.stem and isinstance(config["class"], type)
    task = load_task()
    assert len(task.eval_docs) == 32 and task.OUTPUT_TYPE == "generate_until" and task.VERSION == 1.0


def test_no_name_is_upstreams() -> None:
    import lm_eval.tasks
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads tags as nothing."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    theirs = Path(lm_eval.tasks.__file__).parent
    for path in tasks_dir().glob("fbbench/fbbench*.yaml"):
        assert not [found for found in theirs.glob(f"**/{path.name}") if "hubwright" not in found.parts]


def test_the_embedded_sample_is_what_the_builder_makes() -> None:
    records = json.loads(OFFICIAL_SAMPLE.read_text(encoding="utf-8"))
    embedded = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    assert embedded == [to_row(record) for record in records]
    assert embedded == [official_to_row(record) for record in records]


def test_both_readers_of_the_official_file_agree(shared_data: Path) -> None:
    path = shared_data / "PKU-Baichuan-MLSystemLab/FB-Bench/data/feedback-benchmark/fb_bench_dataset_v3.json"
    if not path.is_file():
        pytest.skip("the official data set is not here")
    for record in json.loads(path.read_text(encoding="utf-8")):
        assert to_row(record) == official_to_row(record)


def test_three_messages_go_through_the_chat_template() -> None:
    task = load_task()
    doc = task.eval_docs[0]
    seen: list[Any] = []

    def template(messages: list[dict[str, str]], add_generation_prompt: bool = False) -> str:
        seen.append((messages, add_generation_prompt))
        return "rendered"

    assert task.fewshot_context(doc, 0, apply_chat_template=True, chat_template=template) == "rendered"
    assert seen == [([dict(turn) for turn in doc["messages"]], True)]
    assert [turn["role"] for turn in seen[0][0]] == ["user", "assistant", "user"]
    task.fewshot_context(doc, 0, system_instruction="Be brief.", apply_chat_template=True, chat_template=template)
    assert seen[1][0][0] == {"role": "system", "content": "Be brief."}
    plain = task.fewshot_context(doc, 0)
    assert plain.startswith(f"User: {doc['messages'][0]['content']}\n\nAssistant: ") and plain.endswith(
        "\n\nAssistant:"
    )


def test_temperature_follows_the_task_type_and_can_be_overridden() -> None:
    task = load_task()
    greedy, settings = set(), {}
    for doc in task.eval_docs:
        request = task.construct_requests(doc, "x", metadata=("fbbench_sample", 0, 1), apply_chat_template=True)
        _, settings = request.args
        assert settings["max_gen_toks"] == 4096 and settings["until"] == []
        assert settings["do_sample"] == (settings["temperature"] > 0)
        greedy.add((doc["task_type"], settings["temperature"]))
    assert dict(greedy) == {
        "Mathematics": 0.0,
        "Reasoning": 0.0,
        "Coding": 0.0,
        "Text Extraction": 0.0,
        "Text Error Correction": 0.0,
        "Knowledge Q&A": 0.1,
        "Text Creation": 0.7,
        "Text Translation": 0.7,
    }
    task.set_config("generation_kwargs", {"temperature": 0.0, "max_new_tokens": 5}, update=True)
    for doc in task.eval_docs:
        _, settings = task.construct_requests(doc, "x", metadata=("", 0, 1)).args
        assert settings == {"until": ["\n\nUser:"], "temperature": 0.0, "max_new_tokens": 5}


@pytest.mark.parametrize(
    ("window", "prompt", "room"),
    [(32768, 1000, 4096), (4096, 1000, 2816), (4096, 3900, 96), (4096, 5000, 1), (None, 1000, 4096)],
)
def test_new_tokens_are_limited_by_the_window(window: int | None, prompt: int, room: int) -> None:
    class Model:
        max_length = window

        def tok_encode(self, text: str) -> list[int]:
            return [0] * prompt

        def apply_chat_template(self, messages: Any) -> str:
            return ""

    assert load_task()._room("x", Model().apply_chat_template) == room
    assert load_task(max_length=2048)._room("x" * 2 * 500, None) == (2048 - 500 - 100) // 256 * 256


def test_a_run_without_a_judge_ends_before_anything_is_generated(model: Any) -> None:
    calls: list[Any] = []

    class Silent(type(model)):  # type: ignore[misc]
        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            calls.append(requests)
            return super().generate_until(requests, disable_tqdm)

    model.__class__ = Silent
    try:
        with pytest.raises(UsageError) as caught:
            run(model, {})
        with pytest.raises(DataError, match="no such file"):
            run(model, {"judge": "replay:no/such/file.jsonl"})
        with pytest.raises(UsageError, match="write openai:MODEL"):
            run(model, {"judge": "gpt-4o"})
    finally:
        model.__class__ = Silent.__base__
    assert calls == []
    line = str(caught.value)
    assert "\n" not in line and all(word in line for word in ("judge", "HUBWRIGHT_JUDGE", "--predict_only"))


def test_predict_only_then_judge_then_replay(model: Any, tmp_path: Path) -> None:
    """The three stages, and the same figures when lm-eval replays the stored verdicts."""
    results = run(model, {}, predict_only=True)
    assert results["results"]["fbbench_sample"]["bypass,none"] == 999
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(s, default=str) + "\n" for s in results["samples"]["fbbench_sample"]))
    answers = read_answers(path)
    assert len(answers) == 32 and len({answer.answer for answer in answers}) > 1
    verdicts = tmp_path / "v.jsonl"
    with ChatServer(lambda body, n: all_yes(body, n).replace("是", "否") if n % 3 else all_yes(body, n)) as server:
        judge_answers(answers, read_judge_config(f"openai:local@{server.url}"), out=verdicts)
    report = scorer.score(read_judged(verdicts), resamples=1000)

    again = tmp_path / "again.jsonl"
    judged = run(model, {"judge": f"replay:{verdicts}", "verdicts": str(again)})
    values = judged["results"]["fbbench_sample"]
    assert values["fb_overall,none"] == report["overall"] > 0
    assert values["fb_ec,none"] == report["error_correction"]
    assert values["fb_rm,none"] == report["response_maintenance"]
    assert values["fb_overall_stderr,none"] == report["intervals"]["overall"]["sd"]
    assert values["fb_overall_ci_low,none"] == report["intervals"]["overall"]["low"]
    assert values["fb_rm_strict,none"] == report["strict"]["response_maintenance"]
    assert values["fb_ec_task_knowledge_q_a,none"] == report["tasks"]["Knowledge Q&A"]["error_correction"]
    assert values["fb_ec_deficiency_logical_error,none"] == report["deficiencies"]["Logical Error"]["score"]
    assert (
        values["fb_rm_feedback_misinformation,none"]
        == (report["feedback"]["response_maintenance"]["Misinformation"]["score"])
    )
    assert values["fb_coverage,none"] == 1.0 and values["fb_verdict_failed,none"] == 0.0
    assert not [key for key, value in values.items() if isinstance(value, float) and math.isnan(value)]
    assert next(iter(key for key in values if "," in key)) == "fb_overall,none"
    assert verdicts.read_bytes() == again.read_bytes()
    sample = judged["samples"]["fbbench_sample"][0]
    assert set(sample["fb_overall"]["verdicts"]) <= {True, False} and sample["fb_overall"]["judge"] == "local"
    json.dumps(judged["configs"], default=str)
    hib = judged["higher_is_better"]["fbbench_sample"]
    assert hib["fb_overall"] is True and hib["fb_answer_failed"] is False


def test_a_judge_that_fails_gives_no_score_but_keeps_the_answers(model: Any) -> None:
    with ChatServer(lambda body, n: "nonsense" if n % 2 else failure(400)) as server:
        results = run(model, {"judge": {"judge": f"openai:local@{server.url}", "attempts": 1}})
    values = results["results"]["fbbench_sample"]
    assert math.isnan(values["fb_overall,none"]) and values["fb_verdict_failed,none"] == 1.0
    assert len(results["samples"]["fbbench_sample"]) == 32


def test_the_judge_may_come_from_the_environment(model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    with ChatServer(all_yes) as server:
        monkeypatch.setenv("HUBWRIGHT_JUDGE", f"openai:local@{server.url}")
        monkeypatch.setenv("HUBWRIGHT_VERDICTS", str(out))
        results = run(model, {}, limit=6)
    values = results["results"]["fbbench_sample"]
    assert values["fb_overall,none"] == 100.0 and len(server.bodies) == 6
    assert len(read_judged(out)) == 6
    assert "fb_rm_task_coding,none" not in values  # the first six rows hold none


def built(folder: Path) -> Path:
    import datasets

    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()][:5]
    (folder / "data").mkdir(parents=True)
    datasets.Dataset.from_list(rows).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


def test_rows_come_from_a_folder_a_file_or_a_pinned_commit(
    tmp_path: Path, api: Any, namespace: str, monkeypatch: pytest.MonkeyPatch, quiet_progress: None
) -> None:
    folder = built(tmp_path / "built")
    assert len(load_task("fbbench", dataset=str(folder)).eval_docs) == 5
    assert len(load_task("fbbench", dataset=str(OFFICIAL_SAMPLE)).eval_docs) == 32
    assert len(load_task("fbbench_sample", dataset=str(folder)).eval_docs) == 5
    monkeypatch.setenv("HUBWRIGHT_DATA_FBBENCH", str(folder))
    assert len(load_task("fbbench").eval_docs) == 5 and len(load_task("fbbench_sample").eval_docs) == 32
    repo = f"{namespace}/fb-bench"
    api.create_repo(repo, repo_type="dataset")
    api.upload_folder(folder_path=str(folder), repo_id=repo, repo_type="dataset")
    task = load_task("fbbench", dataset=f"{repo}@main")
    assert len(task.eval_docs) == 5 and task._samples == read_dataset(folder)


def test_nothing_configured_says_how_to_build_it() -> None:
    with pytest.raises(HubError) as caught:
        load_task("fbbench")
    line = str(caught.value)
    assert "\n" not in line and "hubwright run fbbench" in line and "hubwright/fb-bench" in line


def test_foreign_rows_are_one_line(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "x.parquet"
    datasets.Dataset.from_list([{"id": "1", "text": "x"}]).to_parquet(path)
    with pytest.raises(DataError, match="is not FB-Bench") as caught:
        load_task("fbbench", dataset=str(path))
    assert "\n" not in str(caught.value)


# The stock command line, in a process of its own --------------------------------------------------------------------


def lm_eval_command(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--apply_chat_template"]
    command += ["--tasks", "fbbench_sample", "--include_path", str(tasks_dir()), "--batch_size", "16"]
    return subprocess.run(
        [*command, "--gen_kwargs", "max_gen_toks=6", *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def stock_answers(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stock")
    done = lm_eval_command(
        folder, "--model_args", f"pretrained={tiny_model}", "--predict_only", "--output_path", "out"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (samples,) = folder.glob("out/*/samples_fbbench_sample_*.jsonl")
    yield samples


@pytest.mark.slow
def test_stock_lm_eval_predicts_and_the_commands_judge_and_score(
    stock_answers: Path, hubwright: Any, tmp_path: Path
) -> None:
    with ChatServer(all_yes) as server:
        judged = hubwright(
            "judge", "fbbench", str(stock_answers), "--judge", f"openai:m@{server.url}", "--out", "v.jsonl"
        )
    assert judged.returncode == 0, judged.stderr
    assert "32 complete" in judged.stderr and judged.stdout == ""
    scored = hubwright("score", "fbbench", "v.jsonl", "--format", "json")
    assert scored.returncode == 0, scored.stderr
    report = json.loads(scored.stdout)
    assert (report["error_correction"], report["response_maintenance"], report["overall"]) == (100.0, 100.0, 100.0)


@pytest.mark.slow
def test_stock_lm_eval_replays_and_refuses(stock_answers: Path, tiny_model: Path, tmp_path: Path) -> None:
    verdicts = tmp_path / "v.jsonl"
    with ChatServer(all_yes) as server:
        judge_answers(read_answers(stock_answers), read_judge_config(f"openai:m@{server.url}"), out=verdicts)
    arguments = ["--model_args", f"pretrained={tiny_model}", "--output_path", "out"]
    done = lm_eval_command(tmp_path, *arguments, "--metadata", json.dumps({"judge": f"replay:{verdicts}"}))
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.glob("out/*/results_*.json")
    assert json.loads(path.read_text())["results"]["fbbench_sample"]["fb_overall,none"] == 100.0
    assert "fb_overall" in done.stdout
    refused = lm_eval_command(tmp_path, *arguments)
    assert refused.returncode != 0 and "FB-Bench needs a judge" in refused.stderr.strip().splitlines()[-1]
    assert "Running generate_until requests" not in refused.stderr


@pytest.mark.slow
def test_a_chat_endpoint_gets_the_three_messages(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> str:
        return "an answer" if len(body["messages"]) == 3 else all_yes(body, number)

    with ChatServer(script) as server:
        arguments = f"model=local,base_url={server.url}/chat/completions,num_concurrent=4"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions"),
                *("--model_args", arguments, "--apply_chat_template"),
                *("--tasks", "fbbench_sample", "--include_path", str(tasks_dir())),
                *("--metadata", json.dumps({"judge": f"openai:local@{server.url}"})),
            ],
            cwd=tmp_path,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    asked = [body for body in server.bodies if len(body["messages"]) == 3]
    assert len(asked) == 32 and len(server.bodies) == 64
    assert [turn["role"] for turn in asked[0]["messages"]] == ["user", "assistant", "user"]
    assert {body["temperature"] for body in asked} == {0.0, 0.1, 0.7}
    assert {body.get("max_completion_tokens", body.get("max_tokens")) for body in asked} == {4096}
