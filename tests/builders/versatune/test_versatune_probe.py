"""Probes: what a model says from its start token, judged by label probabilities; resumed bit for bit."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chat_server import ChatServer, continuation, likely_tokens
from column_parts import check_columns
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response
from tiny_model import save_tiny_model

from hubwright.builders.versatune import probe
from hubwright.builders.versatune.distribution import agreement, drop_reason, one_hot, shares
from hubwright.builders.versatune.judges import LabelJudge, first_token_label, judge_prompt, read_label
from hubwright.builders.versatune.probe import ProbeConfig, build
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.inference.loading import causal_lm, input_tokenizer

SMALL: dict[str, Any] = {
    "domains": {"law": "statutes", "code": "programs"}, "samples": 6, "max_new_tokens": 24, "batch_size": 2,
    "min_words": 1, "min_distinct": 0, "device": "cpu", "threads": 1,
}  # fmt: skip
WEAK = SMALL | {"allow_weak_judge": True}


def step(tmp_path: Path, name: str = "run", **inputs: Path) -> StepContext:
    given = {role: Input(ArtifactRef("model", f"org/{role}", "a" * 40), path) for role, path in inputs.items()}
    return StepContext("probe", tmp_path / name / "work", tmp_path / name / "out", given)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("judge"), seed=1)


def result_of(context: StepContext) -> dict[str, Any]:
    return json.loads((context.output / "distribution.json").read_text())


def test_probe_of_two_judges_has_shares_intervals_and_agreement(tmp_path: Path, model: Path, judge: Path) -> None:
    context = step(tmp_path, model=model, judge=judge, judge_b=model)
    data = build(ProbeConfig(**WEAK | {"hard": "generate", "min_words": 2}), context)
    check_columns("versatune_probe", data, context.report)
    rows = data["train"].to_list()
    assert len(rows) == 6 and [row["id"] for row in rows[:2]] == ["000000", "000001"]
    assert all(row["finished"] or row["tokens"] == 24 for row in rows)
    usable = [row for row in rows if row["dropped"] is None]
    assert usable and all(sum(row["probabilities"]) == pytest.approx(1) and row["mass"] < 0.01 for row in usable)


def test_probe_reports_a_weak_judge_and_the_end_token(tmp_path: Path, model: Path, judge: Path) -> None:
    context = step(tmp_path, model=model, judge=judge, judge_b=model)
    build(ProbeConfig(**WEAK), context)
    result = result_of(context)
    assert result["soft"].keys() == {"law", "code"} and result["n"] + sum(result["dropped"].values()) == 6
    for mode in ("soft", "hard"):
        assert sum(one["share"] for one in result[mode].values()) == pytest.approx(1)
        assert all(one["ci_low"] <= one["share"] <= one["ci_high"] for one in result[mode].values())
    assert result["judges"]["judge"]["weak"] and result["judges"]["judge"]["off_label"] == 1
    assert result["agreement"]["judge and judge_b"]["n"] == result["n"]
    assert result["settings"]["start"] == "the end token `<|im_end|>`, as the tokenizer has no start token"
    summary = context.report.summary
    assert "Do not rely on org/judge@" in summary and "the end token `<|im_end|>`" in summary
    assert context.report.bars[0]["groups"] == ["code", "law"]


def test_a_judge_off_label_every_time_is_one_line(tmp_path: Path, model: Path, judge: Path) -> None:
    for hard in ("argmax", "generate"):
        with pytest.raises(
            DataError, match=r"judge org/judge@a+ gives no label for any of \d samples .*stronger judge"
        ):
            build(ProbeConfig(**SMALL | {"hard": hard}), step(tmp_path, hard, model=model, judge=judge))


def test_label_judge_with_its_cache_equals_whole_forward_passes(judge: Path) -> None:
    """Sum of the log-probabilities of label and end of turn, computed from scratch."""
    net = causal_lm(judge, "judge", "float32").eval()
    tokenizer = input_tokenizer({"judge": Input(ArtifactRef("model", "org/j", "a" * 40), judge)}, "judge")
    domains = {"law": "statutes", "medicine": "health", "code": "programs"}
    for template in (tokenizer.chat_template, None):
        tokenizer.chat_template = template
        reader = LabelJudge(net, tokenizer, domains, source_name="judge", generate=True)
        for text in ("def f(x): return x", 'The court held that {it} was "void".'):
            row = reader.read(text)
            prompt = judge_prompt(text, domains)
            if template:
                turns = [{"role": "user", "content": prompt}]
                ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
            else:
                ids = tokenizer(prompt + "\n\nDomain:")["input_ids"]
            expected = []
            for label in domains:
                answer = tokenizer(f"{label}<|im_end|>" if template else f" {label}\n", add_special_tokens=False)[
                    "input_ids"
                ]
                with torch.inference_mode():
                    logp = net(input_ids=torch.tensor([ids + answer])).logits[0].log_softmax(-1)
                expected.append(sum(float(logp[len(ids) - 1 + n, token]) for n, token in enumerate(answer)))
            assert row["logp"] == pytest.approx(expected, abs=1e-3) and isinstance(row["answer"], str)
            assert reader.read(text) == row  # the shared beginning is as it was


def test_a_killed_probe_resumes_with_the_same_bytes(
    tmp_path: Path, model: Path, judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ProbeConfig(**WEAK)
    whole = step(tmp_path, "whole", model=model, judge=judge)
    expected = build(config, whole)["train"].to_list()
    real, calls = LabelJudge.read, 0

    def dies(self: LabelJudge, text: str) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(self, text)

    cut = step(tmp_path, "cut", model=model, judge=judge)
    monkeypatch.setattr(LabelJudge, "read", dies)
    with pytest.raises(KeyboardInterrupt):
        build(config, cut)
    assert len(list((cut.workdir / "samples" / "shards").iterdir())) == 3
    assert len(list((cut.workdir / "judge" / "shards").iterdir())) == 1
    assert build(config, cut)["train"].to_list() == expected
    assert calls == 4 + result_of(cut)["n"] - 2 and result_of(cut) == result_of(whole)
    monkeypatch.setattr(probe, "_load", None)  # everything is on disk
    assert build(config, cut)["train"].to_list() == expected


@pytest.mark.slow
def test_a_probe_killed_at_any_moment_ends_the_same(tmp_path: Path, model: Path, judge: Path) -> None:
    settings = WEAK | {"samples": 40}
    code = (
        f"import json, sys\nfrom pathlib import Path\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_versatune_probe import ProbeConfig, build, step\n"
        f"context = step(Path({str(tmp_path)!r}), 'killed', model=Path({str(model)!r}), judge=Path({str(judge)!r}))\n"
        f"print('begun', flush=True)\nbuild(ProbeConfig(**json.loads({json.dumps(settings)!r})), context)\nprint('done', flush=True)\n"
    )  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for delay in (0.05, 0.3, 0.6, None):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        if delay is None:
            assert process.wait() == 0
            break
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    whole = step(tmp_path, "whole", model=model, judge=judge)
    build(ProbeConfig(**settings), whole)
    assert result_of(whole) == json.loads((tmp_path / "killed" / "out" / "distribution.json").read_text())


def served(body: dict[str, Any], number: int) -> str | Response:
    """Samples of code and law by the request's seed; a judge that knows them, in pieces of labels."""
    if "prompt" in body:
        return continuation(
            ""
            if body["seed"] % 5 == 0
            else f"{'def f(x): return' if body['seed'] % 2 else 'the court held that'} {body['seed']} and so on"
        )
    question = body["messages"][0]["content"]
    is_code = "return" in question.partition('"""')[2]
    if "logprobs" not in body:
        return "**Code**" if is_code else "It may be law."
    return likely_tokens({" Code" if is_code else "la": 0.8, "c" if not is_code else "law": 0.1, "Answer": 0.1})


def test_probe_of_served_models_asks_completions_and_reads_first_tokens(tmp_path: Path) -> None:
    with ChatServer(served) as server:
        config = ProbeConfig(
            domains=SMALL["domains"], samples=30, prompt="<s>", served_model=f"openai:base@{server.url}",
            served_judge=f"openai:judge@{server.url}", min_words=3, top_k=7, hard="generate",
        )  # fmt: skip
        context = step(tmp_path)
        rows = build(config, context)["train"].to_list()
        requests = [body for body in server.bodies if "prompt" in body]
        assert len(requests) == 30 == len({body["seed"] for body in requests})
        first = requests[0]
        assert (first["prompt"], first["temperature"], first["top_k"], first["min_p"]) == ("<s>", 1.0, 7, 0.0)
        count = len(server.bodies)
        assert build(config, context)["train"].to_list() == rows and len(server.bodies) == count  # from the shards
    result = result_of(context)
    assert result["dropped"]["empty"] == sum(body["seed"] % 5 == 0 for body in requests)
    usable = [row for row in rows if row["dropped"] is None]
    for row in usable:
        is_code = "return" in row["text"]
        assert row["mass"] == pytest.approx(0.9) and row["hard"] == ("code" if is_code else None)
        assert row["probabilities"] == pytest.approx([8 / 9, 1 / 9] if is_code else [1 / 9, 8 / 9])
    assert result["judges"]["served_judge"]["unlabelled"]["hard"] == sum("court" in row["text"] for row in usable)
    assert result["agreement"]["soft and hard"]["equal"] == 1 and not result["judges"]["served_judge"]["weak"]


def test_a_server_without_logprobs_or_completions_is_one_line(tmp_path: Path, model: Path) -> None:
    with ChatServer(lambda body, number: "law") as server:
        config = ProbeConfig(**SMALL, served_judge=f"openai:judge@{server.url}")
        with pytest.raises(DataError, match="the server gave no logprobs: serve the judge with them"):
            build(config, step(tmp_path, model=model))
    with ChatServer(lambda body, number: JSONResponse({"error": {"message": "no route"}}, 404)) as server:
        config = ProbeConfig(**SMALL, prompt="", served_model=f"openai:base@{server.url}")
        with pytest.raises(UsageError, match=r"no model 'base' or no completions \(404\)"):
            build(config, step(tmp_path, "two", judge=model))


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        ({}, ("model",), "a probe needs a judge: an input `judge`, or `served_judge`"),
        ({}, ("judge",), "give the model as input `model`, or as `served_model`"),
        ({"served_model": "openai:m@http://127.0.0.1:1/v1"}, ("model", "judge"), "give the model as input `model`, or"),
        ({"served_model": "openai:m@http://127.0.0.1:1/v1"}, ("judge",), "served_model needs `prompt`: its start token"),
        ({"max_new_tokens": 5000}, ("model", "judge"), "longer than the 4096 positions of org/model@a+: write max_new_tokens: 4095"),
        ({"prompt": ""}, ("model", "judge"), "prompt '' has no tokens: write the start token"),
        ({"min_words": 1000}, ("model", "judge"), r"none of 6 samples of org/model@a+ can be judged \((empty: \d, )?too_short: \d\)"),
    ],
)  # fmt: skip
def test_inputs_that_fit_no_probe_are_one_line(
    tmp_path: Path, model: Path, settings: dict[str, Any], inputs: tuple[str, ...], message: str
) -> None:
    with pytest.raises((DataError, UsageError), match=message) as caught:
        build(ProbeConfig(**SMALL | settings), step(tmp_path, **dict.fromkeys(inputs, model)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domains": {"law": "x"}}, "at least 2 items"),
        ({"domains": {"Law": "x", "code": "y"}}, "domain 'Law': a name of a to z"),
        ({"domains": {"law": " ", "code": "y"}}, "and a description for the judge"),
        ({"temperature": 0}, "greater than 0"),
        ({"served_judge": "gpt-4o"}, "write openai:MODEL@BASE_URL"),
        ({"serving": {"send_temperature": False}}, "a probe needs the temperature"),
    ],
)
def test_settings_that_fit_no_probe_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ProbeConfig(**settings)


def test_labels_are_read_strictly_and_first_tokens_without_doubt() -> None:
    labels = ["law", "language", "code"]
    assert [read_label(text, labels) for text in ("Law.", '"code"\n', "law, code", "", "lawyer")] == [
        "law",
        "code",
        None,
        None,
        None,
    ]
    assert [first_token_label(token, labels) for token in (" Law", "la", "lan", "c", "", "x")] == [
        "law",
        None,
        "language",
        "code",
        None,
        None,
    ]


def test_samples_that_tell_nothing_are_dropped_by_reason() -> None:
    texts = ["", " \n", "two words", "again " * 40, "这是一个关于法律的文本", "a b c d e f g h i"]
    assert [drop_reason(text, 5, 0.3) for text in texts] == ["empty", "empty", "too_short", "repetitive", None, None]


def test_intervals_hold_the_binomial_width_and_agreement_chance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b"], 1000, p=[0.3, 0.7]).tolist()
    share = shares(one_hot(labels, ["a", "b", "c"]), ["a", "b", "c"], resamples=4000, seed=0)
    width = share["a"]["ci_high"] - share["a"]["ci_low"]
    assert width == pytest.approx(2 * 1.96 * math.sqrt(0.3 * 0.7 / 1000), rel=0.1)
    assert share["c"] == {"share": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert abs(agreement(labels, rng.permutation(labels).tolist())["kappa"]) < 0.1
    assert agreement([None], ["a"]) == {"n": 0, "equal": None, "kappa": None}
