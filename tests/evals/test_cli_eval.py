"""The commands `score`, `judge`, `eval` and `tasks`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, all_yes, failure, likely_tokens

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.answers import read_dataset

SAMPLE = Path(scorer.__file__).with_name("sample.jsonl")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    lines = [json.dumps({"id": name, "answer": f"answer to {name}"}) + "\n" for name in read_dataset(SAMPLE)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_judge_and_score(hubwright_in_process: Any, answers: Path, tmp_path: Path) -> None:
    with ChatServer(lambda body, n: "nonsense" if n == 0 else all_yes(body, n)) as server:
        arguments = ["judge", "fbbench", "answers.jsonl", "--dataset", str(SAMPLE), "--out", "v.jsonl"]
        arguments += ["--judge", f"openai:local@{server.url}", "--attempts", "1"]
        judged = hubwright_in_process(*arguments)
        assert judged.returncode == 0, judged.stderr
        assert judged.stderr.splitlines() == [
            "v.jsonl: 32 samples: 31 complete, 1 failed",
            "next: hubwright score fbbench v.jsonl",
        ]
        refused = hubwright_in_process("score", "fbbench", "v.jsonl", "--max-failed", "0")
        assert refused.returncode == 3 and "1 of 32 samples failed" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
        assert hubwright_in_process(*arguments).returncode == 0 and len(server.bodies) == 33

    table = hubwright_in_process("score", "fbbench", "v.jsonl", "--bootstrap", "100")
    assert table.returncode == 0 and "Overall" in table.stdout and "coverage 100.0%" in table.stdout
    scored = hubwright_in_process("score", "fbbench", "v.jsonl", "--format", "json", "--dataset", str(SAMPLE))
    report = json.loads(scored.stdout)
    assert report["overall"] == 100.0 and report["counts"]["samples"] == 32
    assert report["intervals"]["overall"] == {"low": 100.0, "high": 100.0, "sd": 0.0}
    assert scored.stdout == hubwright_in_process("score", "fbbench", "v.jsonl", "--format", "json").stdout


def test_two_judges_are_compared(hubwright_in_process: Any, answers: Path, tmp_path: Path) -> None:
    def judge(out: str, script: Any, *more: str) -> None:
        with ChatServer(script) as server:
            done = hubwright_in_process(
                *("judge", "fbbench", "answers.jsonl", "--dataset", str(SAMPLE), "--out", out, *more),
                *("--judge", f"openai:{out}@{server.url}"),
            )
            assert done.returncode == 0, done.stderr

    judge("text.jsonl", all_yes)
    judge("logprob.jsonl", lambda body, n: likely_tokens({"是": 0.6, "否": 0.4}), "--method", "logprob")
    judge(
        "strict.jsonl",
        lambda body, n: likely_tokens({"是": 0.6, "否": 0.4}),
        "--method",
        "logprob",
        "--threshold",
        "0.9",
    )
    report = json.loads(
        hubwright_in_process("agree", "text.jsonl", "logprob.jsonl", "--by", "task", "--format", "json").stdout
    )
    assert report["overall"]["items"] == 76 and report["overall"]["agreement"]["value"] == 1.0
    assert set(report["by"]) >= {"Coding", "Mathematics"}
    table = hubwright_in_process("agree", "text.jsonl", "strict.jsonl", "--by", "position", "--bootstrap", "50")
    assert table.returncode == 0 and "76" in table.stdout and "0.000 (0.000, 0.000)" in table.stdout
    found = hubwright_in_process(
        "agree", "text.jsonl", "strict.jsonl", "--other", "text.jsonl,logprob.jsonl", "--format", "json"
    )
    assert json.loads(found.stdout)["self_preference"]["preference"]["value"] > 0.9
    for arguments, said in (
        (["text.jsonl", "nowhere.jsonl"], "no such file"),
        (["text.jsonl", "logprob.jsonl", "--by", "colour"], "--by 'colour' is unknown"),
        (["text.jsonl", "logprob.jsonl", "--other", "logprob.jsonl"], "as A,B"),
    ):
        done = hubwright_in_process("agree", *arguments)
        assert done.returncode in (2, 3) and said in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_an_official_file_is_scored_as_published(hubwright_in_process: Any, shared_data: Path) -> None:
    folder = shared_data / "PKU-Baichuan-MLSystemLab/FB-Bench/data/feedback-benchmark/model_judgment"
    path = folder / "gpt-4o-2024-08-06/Meta-Llama-3.1-8B-Instruct.jsonl"
    if not path.is_file():
        pytest.skip("the published judgements are not here")
    report = json.loads(hubwright_in_process("score", "fbbench", str(path), "--format", "json").stdout)
    figures = [report[key] for key in ("error_correction", "response_maintenance", "overall")]
    assert figures == [51.17, 38.21, 44.69] and report["counts"]["verdicts_refused"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["score", "fb", "x"], 2, "benchmark 'fb' is unknown"),
        (["score", "fbbench", "nowhere.jsonl"], 3, "no such file"),
        (["score", "fbbench", "answers.jsonl"], 3, "neither a verdict file"),
        (["judge", "fbbench", "answers.jsonl", "--judge", "openai:m", "--out", "v"], 2, "add --dataset"),
        (["judge", "fbbench", "answers.jsonl", "--judge", "gpt", "--out", "v"], 2, "write openai:MODEL@BASE_URL"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, said: str, hubwright_in_process: Any, answers: Path
) -> None:
    done = hubwright_in_process(*arguments)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_a_judge_that_cannot_do_json_is_one_line(hubwright_in_process: Any, answers: Path) -> None:
    with ChatServer(lambda body, n: failure(400, "response_format is not supported")) as server:
        done = hubwright_in_process(
            *("judge", "fbbench", "answers.jsonl", "--dataset", str(SAMPLE), "--out", "v.jsonl"),
            *("--judge", f"openai:local@{server.url}"),
        )
    assert done.returncode == 3 and "none of the first 20 rows has a usable reply" in done.stderr
    assert len(server.bodies) <= 3 * 20  # attempts of the probe, not of all 32
    assert "response_format is not supported" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_refused_key_is_one_line(hubwright_in_process: Any, answers: Path) -> None:
    with ChatServer(lambda body, n: failure(401)) as server:
        done = hubwright_in_process(
            *("judge", "fbbench", "answers.jsonl", "--dataset", str(SAMPLE), "--out", "v.jsonl"),
            *("--judge", f"openai:local@{server.url}"),
        )
    assert done.returncode == 2 and "OPENAI_API_KEY" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_tasks_are_listed_without_lm_eval(hubwright: Any) -> None:
    listed = hubwright("tasks", "list", "--format", "json")
    assert {"fbbench", "fbbench_sample"} <= set(json.loads(listed.stdout))
    assert Path(hubwright("tasks", "path").stdout.strip()) == tasks_dir()


def test_eval_runs_lm_eval_on_our_tasks(hubwright_in_process: Any, tiny_model: Path, tmp_path: Path) -> None:
    with ChatServer(all_yes) as server:
        done = hubwright_in_process(
            *("eval", "fbbench_sample", "--model", "hf", "--model_args", f"pretrained={tiny_model}"),
            *("--device", "cpu", "--apply_chat_template", "--gen_kwargs", "max_gen_toks=4", "--limit", "4"),
            *("--metadata", json.dumps({"judge": f"openai:local@{server.url}"})),
            *("--output_path", "out", "--log_samples"),
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "fb_overall" in done.stdout and "100" in done.stdout
    (path,) = tmp_path.glob("out/*/results_*.json")
    assert json.loads(path.read_text())["results"]["fbbench_sample"]["fb_overall,none"] == 100.0
    assert len(next(iter(tmp_path.glob("out/*/samples_*.jsonl"))).read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ["--model", "hf", "--model_args", "pretrained=no/such-model"], "lm-eval:", marks=pytest.mark.slow
        ),
        (["--model", "hf", "--log_samples"], "--output_path"),
        (["--model", "hf", "--wandb_args", "project=x"], "pip install wandb"),
    ],
)
def test_eval_refuses_in_one_line(arguments: list[str], said: str, hubwright_in_process: Any) -> None:
    done = hubwright_in_process("eval", "fbbench_sample", *arguments)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
