"""The paths of stages and evaluations that `benchmarks.growth` measures."""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .growth_cases import Case, context_of, json_lines, text
from .growth_training import write_model


def _write_questions(split: str, more: Callable[[random.Random], dict[str, str]]) -> Callable[[Path, int], None]:
    """Questions of 400 bytes with further columns, as a step publishes them."""

    def write(folder: Path, rows: int) -> None:
        import datasets

        from hubwright.hub_sync.parquet import write_shards

        rng = random.Random(0)
        turns = ([{"role": "user", "content": f"{n} {text(rng, 60)}"}] for n in range(rows))
        table = datasets.Dataset.from_list(
            [{"id": str(n), "messages": one, **more(rng)} for n, one in enumerate(turns)]
        )
        write_shards(table, folder / "data", split)

    return write


@contextmanager
def _endpoint(content: str = text(random.Random(1), 150), seconds: float = 0.0) -> Iterator[str]:
    """The base URL of a server, a thread of this process, that answers with this after so many seconds."""
    import asyncio

    body = json.dumps({
        "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 9},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": content}}],
    }).encode()  # fmt: skip
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(size.partition(b":")[2]))
                await asyncio.sleep(seconds)
                writer.write(reply)
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _answers(folder: Path, rows: int) -> None:
    from hubwright.evals.answers.step import AnswersConfig, answer

    with _endpoint() as url:
        answer(AnswersConfig(model=f"openai:m@{url}"), context_of(folder, dataset=folder / "input"))


def _judge(folder: Path, rows: int) -> None:
    """Two questions to every row."""
    from hubwright.evals.judge.step import RubricJudgeConfig, judge

    verdicts = {str(item): {"reason": "It is so.", "verdict": "yes"} for item in (1, 2)}
    with _endpoint(json.dumps(verdicts)) as url:
        config = RubricJudgeConfig(rubric=["Is it right?", "Is it short?"], judge=f"openai:m@{url}", language="en")
        judge(config, context_of(folder, answers=folder / "input"))


def _write_samples(folder: Path, rows: int) -> None:
    """The output of `lm_eval --log_samples`, about 8 kB a document."""
    rng = random.Random(0)
    results = {
        "results": {"t": {"acc,none": 1.0}}, "configs": {"t": {}}, "versions": {"t": 1}, "n-shot": {"t": 0},
        "config": {"model_sha": "a" * 40, "model_args": {"pretrained": "me/m"}}, "higher_is_better": {"t": {}},
        "n-samples": {"t": {"original": rows, "effective": rows}}, "lm_eval_version": "0",
    }  # fmt: skip
    (folder / "results_x.json").writetext(json.dumps(results))
    with (folder / "samples_t_x.jsonl").open("w") as stream:
        for number in range(rows):
            question = f"{number} {text(rng, 400)}"
            sample = {
                "doc_id": number, "filter": "none", "doc": {"question": question}, "target": "x", "metrics": ["acc"],
                "acc": 1.0, "arguments": {"gen_args_0": {"arg_0": question}}, "resps": [[text(rng, 200)]],
                "filtered_resps": ["x"], "doc_hash": "d", "prompt_hash": "p", "target_hash": "t",
            }  # fmt: skip
            stream.write(json.dumps(sample) + "\n")


def _lm_eval_rows(folder: Path, rows: int) -> None:
    from hubwright.evals.harness.imported import LmEvalOutputConfig, collect
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef

    context = StepContext("samples", folder / "work", folder / "output")
    context.output.mkdir()
    context.inputs["model"] = Input(ArtifactRef.parse(f"me/m@{'a' * 40}", "model"), folder)
    collect(LmEvalOutputConfig(source=str(folder / "input")), context)


_TASK = """task: growth
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " ba"
metric_list: [{metric: acc}]
"""


def _write_task(folder: Path, rows: int) -> None:
    """A task of lm-eval with one short log-likelihood per document, and a model of two small layers."""
    json_lines(lambda rng, number: {"question": f"{number} {text(rng, 40)}"})(folder, rows)
    (folder / "growth.yaml").write_text(_TASK % json.dumps(str(folder / "rows.jsonl")))
    write_model(folder / "model")


def _lm_eval(folder: Path, rows: int) -> None:
    """The step `lm_eval`."""
    from functools import partial

    from hubwright.evals.harness import step

    step.find_tasks = partial(step.find_tasks, include_path=str(folder / "input"))
    settings = {"tasks": ["growth"], "device": "cpu", "dtype": "float32", "batch_size": 64, "bootstrap_iters": 0}
    config = step.HarnessConfig.model_validate({**settings, "apply_chat_template": False, "threads": 1})
    step.evaluate(config, context_of(folder, model=folder / "input" / "model"))


def _lm_eval_stock(folder: Path, rows: int) -> None:
    """The command `lm_eval` on the same task, with its samples written."""
    import torch
    from lm_eval.__main__ import cli_evaluate

    torch.set_num_threads(1)
    sys.argv = [
        "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={folder / 'input' / 'model'},dtype=float32",
        "--tasks", "growth", "--include_path", str(folder / "input"), "--batch_size", "64", "--device", "cpu",
        "--log_samples", "--output_path", str(folder / "output"),
    ]  # fmt: skip
    cli_evaluate()


CASES: dict[str, Case] = {
    "answers": Case(10_000, _write_questions("test", lambda rng: {}), _answers),
    "judge": Case(5_000, _write_questions("answers", lambda rng: {"answer": text(rng, 60)}), _judge),
    "lm_eval_rows": Case(2_000, _write_samples, _lm_eval_rows),
    "lm_eval": Case(2_000, _write_task, _lm_eval),
    "lm_eval_stock": Case(2_000, _write_task, _lm_eval_stock),
}
