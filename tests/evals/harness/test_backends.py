"""What answers an lm_eval step: arguments of lm-eval's models, endpoints, several processes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, continuation, failure
from pydantic import ValidationError

from hubwright.evals.harness import backends
from hubwright.evals.harness.step import HarnessConfig, evaluate
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.refs import ArtifactRef

KEY = "sk-test-0123456789abcdef"
TASK = """\
task: capitals
custom_dataset: !function utils.load
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
CODE = """\
import datasets

def load(**_):
    rows = [{"question": f"The capital of {c}?", "answer": a} for c, a in (("Peru", "Lima"), ("Chad", "N'Djamena"))]
    return {"test": datasets.Dataset.from_list(rows)}
"""
CHOICE = TASK.replace("task: capitals", "task: capitals_choice").replace(
    "output_type: generate_until", "output_type: multiple_choice\ndoc_to_choice: [Lima, Oslo]"
)
CHOICE = "\n".join(line for line in CHOICE.splitlines() if "generation_kwargs" not in line)
CHOICE = CHOICE.replace("exact_match", "acc").replace('"{{answer}}"', "0")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "capitals.yaml").write_text(TASK)
    (folder / "choice.yaml").write_text(CHOICE)
    (folder / "utils.py").write_text(CODE)
    return folder


def step(folder: Path, model: Path | None = None) -> StepContext:
    inputs = {} if model is None else {"model": Input(ArtifactRef("model", "org/tiny", "a" * 40), model)}
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True)
    return StepContext("scores", folder / "work", folder / "out", inputs)


SERVED = {"model": "m", "base_url": "http://h/v1", "tokenizer_backend": "none"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_args": {"add_bos_tokn": True}}, "lm-eval's hf has no such argument; did you mean 'add_bos_token'?"),
    ({"model_args": {"softmax_dtype": 3}}, "softmax_dtype: 3 should be a valid string"),
    ({"model_args": {"pretrained": "org/other"}}, "the step's input `model` says which model"),
    ({"model_args": {"dtype": "float16"}}, "write `dtype` beside model_args"),
    ({"model_args": {"trust_remote_code": True}}, "code of a repository is never run"),
    ({"model_args": None}, "valid dictionary"),
    ({"backend": "openai"}, "'hf', 'hf-multimodal', 'vllm', 'local-completions' or 'local-chat-completions'"),
    ({"backend": "vllm", "model_args": {"tensor_paralel_size": 2}}, "did you mean 'tensor_parallel_size'?"),
    ({"backend": "vllm", "num_processes": 2}, "model_args: {data_parallel_size: N}"),
    ({"backend": "local-completions"}, "model: backend local-completions needs it"),
    ({"backend": "local-completions", "model_args": {"model": "m"}}, "base_url: backend local-completions needs it"),
    ({"backend": "local-completions", "model_args": SERVED | {"base_url": "h/v1"}}, "'h/v1' is no URL"),
    ({"backend": "local-completions", "model_args": SERVED | {"base_url": "http://u:p@h/v1"}}, "secret"),
    ({"backend": "local-completions", "model_args": SERVED | {"base_url": "http://h/v1?api_key=1"}}, "OPENAI_API_KEY"),
    ({"backend": "local-completions", "model_args": SERVED | {"auth_token": "x"}}, "auth_token: it holds a secret"),
    ({"backend": "local-completions", "model_args": SERVED | {"header": {"x": "y"}}}, "headers hold secrets"),
    ({"backend": "local-completions", "model_args": SERVED | {"tokenizer": "/tmp"}}, "a path of this machine"),
    ({"backend": "local-completions", "model_args": SERVED | {"base_url": "http://h/v1/chat/completions"}}, "route"),
    ({"backend": "local-completions", "model_args": SERVED}, "apply_chat_template: it needs the tokenizer"),
    ({"backend": "local-chat-completions", "model_args": SERVED, "dtype": "float32"}, "dtype: backend"),
    ({"backend": "local-chat-completions", "model_args": SERVED, "apply_chat_template": False}, "applies its own"),
    ({"include_path": "absent"}, "'absent' is no folder and no .yaml file here"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "line"), REFUSED)
def test_setting_that_cannot_be_is_refused_in_one_line(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        HarnessConfig(tasks=["x"], **settings)
    message = refusal.value.errors()[0]["msg"]
    assert line in message and "\n" not in message


def test_settings_that_came_later_are_in_no_record_at_their_defaults() -> None:
    recorded = HarnessConfig(tasks=["x"]).model_dump(mode="json")
    assert not {"backend", "model_args", "include_path", "num_processes", "accelerate_config"} & recorded.keys()


def test_arguments_of_vllm_are_those_of_the_installed_lm_eval(tmp_path: Path) -> None:
    known = backends.arguments_of("vllm")
    for name in ("dtype", "batch_size", "max_length", "think_end_token", "seed", "lora_local_path", "tokenizer"):
        assert name in known  # what the step hands over
    hf = backends.arguments_of("hf")
    assert {"peft", "device", "dtype", "batch_size", "max_length", "think_end_token", "pretrained"} <= hf.keys()
    values = {"tensor_parallel_size": 2, "data_parallel_size": 2, "gpu_memory_utilization": 0.8}
    config = HarnessConfig(tasks=["x"], backend="vllm", model_args=values)
    assert config.model_args == values
    if "not installed" in config.lacks():
        with pytest.raises(UsageError, match="vllm is not installed"):
            evaluate(config, step(tmp_path, tmp_path))


def test_inputs_go_with_the_backend() -> None:
    with pytest.raises(ValueError, match="needs the input 'model'"):
        HarnessConfig(tasks=["x"]).check_inputs([])
    chat = HarnessConfig(tasks=["x"], backend="local-chat-completions", model_args=SERVED)
    assert HarnessConfig(**chat.model_dump(mode="json")) == chat  # a card's recipe states every field
    chat.check_inputs(["dataset"])
    with pytest.raises(ValueError, match="not the input 'model'"):
        chat.check_inputs(["model"])
    assert chat.model_args["base_url"] == "http://h/v1/chat/completions"


def test_a_completions_endpoint_answers(own: Path, tmp_path: Path) -> None:
    context = step(tmp_path)
    with ChatServer(lambda body, n: continuation("" if "Chad" in str(body["prompt"]) else "Lima")) as server:
        config = HarnessConfig(
            tasks=["capitals"], include_path=str(own), backend="local-completions", apply_chat_template=False,
            model_args=SERVED | {"model": "served", "base_url": server.url},
        )  # fmt: skip
        evaluate(config, context)
    assert [body["model"] for body in server.bodies] == ["served", "served"]
    results = json.loads((context.output / "results.json").read_text())
    assert results["tasks"]["capitals"]["metrics"]["exact_match"]["value"] == 0.5
    assert results["config"]["model_args"]["base_url"] == f"{server.url}/completions"
    assert context.report.counts["answers_without_text"] == 1 and "(unpinned)" in context.report.summary


@pytest.mark.parametrize("concurrent", [1, 4])
def test_an_endpoint_that_refuses_is_one_line_without_the_key(
    own: Path, tmp_path: Path, concurrent: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ChatServer(lambda body, n: failure(401, "no")) as server:
        config = HarnessConfig(
            tasks=["capitals"], include_path=str(own), backend="local-chat-completions",
            model_args={"model": "m", "base_url": server.url, "num_concurrent": concurrent, "max_retries": 1},
        )  # fmt: skip
        with pytest.raises(UsageError, match=r"^lm-eval: .*401") as refusal:
            evaluate(config, step(tmp_path))
    assert "\n" not in str(refusal.value) and KEY not in str(refusal.value)
    assert KEY not in caplog.text and "401" in caplog.text + str(refusal.value)


def test_tasks_by_likelihood_need_another_route(own: Path, tmp_path: Path) -> None:
    config = HarnessConfig(
        tasks=["capitals_choice"], include_path=str(own), backend="local-chat-completions", model_args=SERVED
    )
    with pytest.raises(UsageError, match="Loglikelihood is not supported for chat completions"):
        evaluate(config, step(tmp_path))


RECIPE = """\
name: asked
namespace: {namespace}
steps:
  scores:
    uses: lm_eval
    with:
      tasks: [capitals]
      include_path: own
      backend: local-chat-completions
      model_args: {{model: served/name, base_url: "{url}", num_concurrent: 2}}
    publish: {{dataset: scores, license: mit}}
"""


def test_own_tasks_and_an_endpoint_in_a_recipe(
    hubwright_in_process: Any, api: Any, own: Path, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ChatServer(lambda body, n: "Lima") as server:
        (tmp_path / "asked.yaml").write_text(RECIPE.format(namespace=namespace, url=server.url))
        run = hubwright_in_process("run", "asked.yaml", "--keep-work")
        assert run.returncode == 0, run.stderr[-3000:]
        again = hubwright_in_process("run", "asked.yaml")
        assert len(server.bodies) == 2 and "skip" in again.stdout + again.stderr
        assert "overrides" not in run.stdout + run.stderr
        (own / "utils.py").write_text(CODE + "# changed\n")
        assert "pending" in hubwright_in_process("status", "asked.yaml").stdout
    folder = Path(api.snapshot_download(f"{namespace}/scores", repo_type="dataset"))
    assert (folder / "tasks" / "own" / "capitals.yaml").read_text() == TASK
    assert (folder / "tasks" / "own" / "utils.py").read_text() == CODE
    (record,) = json.loads((folder / "provenance.json").read_text())["records"]
    assert record["config"]["include_path"] == "own" and record["sources"]["include_path"]["sha256"]
    assert record["config"]["model_args"]["model"] == "served/name" and record["finished_at"]
    card = (folder / "README.md").read_text()
    assert f"The answers are those of `served/name` as served at `{server.url}/chat/completions`" in card
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    texts += [path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [text for text in texts if KEY.encode() in text] and KEY not in run.stderr + run.stdout
    assert not [text for text in texts[:-1] if str(tmp_path).encode() in text and b"include_path" not in text]


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tiny_model: Path, own: Path, tmp_path: Path) -> None:
    rows = []
    for processes in (1, 2):
        context = step(tmp_path / str(processes), tiny_model)
        config = HarnessConfig(
            tasks=["capitals", "capitals_choice"], include_path=str(own), device="cpu", dtype="float32", threads=1,
            num_processes=processes, apply_chat_template=False,
        )  # fmt: skip
        evaluate(config, context)
        rows.append(next((context.output / "data").glob("*.parquet")).read_bytes())
        assert context.report.counts["samples"] == 4
    assert rows[0] == rows[1]


def test_key_stays_out_of_what_asyncio_logs_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with backends.hidden_key():
        pass
    logging.getLogger("asyncio").error("Task exception was never retrieved: 'Bearer %s'", KEY)
    assert caplog.messages == ["Task exception was never retrieved: 'Bearer ***'"]
