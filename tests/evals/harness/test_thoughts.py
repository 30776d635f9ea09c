"""Drafts inside a thought are no answers: every scorer, parser and task, with the draft right and the answer wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, completion
from starlette.responses import JSONResponse, Response

from hubwright.evals._lib import tool_calls as toolcall
from hubwright.evals._lib.data import tasks_dir, write_parquet
from hubwright.evals._lib.judging.prompts import VerdictError, read_verdicts
from hubwright.evals.answers.step import AnswersConfig, answer_row
from hubwright.evals.bfcl import scorer as bfcl
from hubwright.evals.fbbench.answers import read_answers
from hubwright.evals.feedback_drills.scorer import extract_answer
from hubwright.hub_sync.errors import UsageError
from hubwright.inference.client import ChatClient, Endpoint

CALL = json.dumps({"name": "tip", "arguments": {"bill": 20}})
GOLD = [json.loads(CALL)]
SHAPES = ["<think>\n{draft}\n</think>\n{said}", "{draft}\n</think>\n\n{said}", "[THINK]{draft}[/THINK]{said}"]
OPEN = ["<think>{draft}", "Well.\n<thought>\n{draft}"]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_reader_draft_in_a_thought_is_passed_over(shape: str) -> None:
    def reply(draft: str, said: str) -> str:
        return shape.format(draft=draft, said=said)

    call = f"<tool_call>{CALL}</tool_call>"
    words = toolcall.score([], reply(call, "No function is needed."))
    assert words == {"no_call": 1.0, "empty": 0.0}
    assert toolcall.score(GOLD, reply("<tool_call>oops", call))["call_exact"] == 1.0
    assert toolcall.score(GOLD, reply(f"```json\n{CALL}\n```", "I cannot."))["call_missing"] == 1.0
    assert [c.name for c in bfcl.read_calls(reply("[f(a=1)]", "[g(a=2)]"))] == ["g"]
    assert bfcl.score(reply("[f(a=1)]", "None fits."), None, [], "irrelevance")["acc"] == 1.0
    assert extract_answer(reply("Answer: 3", "Answer: 4")) == "4"
    assert extract_answer(reply("Answer: 3", "I do not know.")) is None
    yes, no = (json.dumps({"1": {"reason": "r", "verdict": word}}) for word in ("yes", "no"))
    assert read_verdicts(reply(yes, no), 1)[0].met is False
    with pytest.raises(VerdictError):
        read_verdicts(reply(yes, "I cannot judge that."), 1)


@pytest.mark.parametrize("shape", OPEN)
def test_every_reader_unclosed_thought_is_no_answer(shape: str) -> None:
    assert toolcall.score(GOLD, shape.format(draft=f"<tool_call>{CALL}</tool_call>"))["call_missing"] == 1.0
    assert toolcall.score([], shape.format(draft="No call.")) == {"no_call": 0.0, "empty": 1.0}
    assert bfcl.read_calls(shape.format(draft="[f(a=1)]")) == []
    assert extract_answer(shape.format(draft="Answer: 3")) is None
    with pytest.raises(VerdictError):
        read_verdicts(shape.format(draft='{"1": {"reason": "r", "verdict": "yes"}}'), 1)


def answered(*bodies: Any, **settings: Any) -> list[dict[str, Any]]:
    """Rows of the step `answers`, one for each body."""

    def script(asked: dict[str, Any], number: int) -> str | Response:
        found = bodies[int(asked["messages"][0]["content"])]
        return found if isinstance(found, str | Response) else JSONResponse(found)

    async def work(url: str) -> list[dict[str, Any]]:
        endpoint = Endpoint("m", url, **settings)
        config = AnswersConfig().model_dump()
        async with ChatClient(endpoint) as chat:
            turns = [[{"role": "user", "content": str(n)}] for n in range(len(bodies))]
            rows = [{"id": str(n), "messages": turn, "temperature": 0.0} for n, turn in enumerate(turns)]
            return [await answer_row(row, config, chat) for row in rows]

    with ChatServer(script) as server:
        return asyncio.run(work(server.url))


def test_answer_row_thought_is_a_column_and_a_thought_alone_no_answer() -> None:
    found = answered(
        "<think>a</think>b",
        "<think>a</think>",
        completion("<think>a", finish_reason="length"),
        completion("b", finish_reason="length", reasoning_content="a"),
        completion(None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
        completion(None, refusal="I cannot"),
    )
    assert [row["outcome"] for row in found] == ["ok", "empty", "truncated", "truncated", "ok", "refused"]
    assert [row["answer"] for row in found] == ["b", "", "", "b", "", None]
    assert [row["reasoning"] for row in found] == ["a", "a", "a", "a", "", ""]
    assert all(row["temperature"] == 0.0 for row in found)


def test_answer_row_configured_tags_and_no_temperature() -> None:
    (found,) = answered("<plan>a</plan>b", reasoning_tags=("<plan>",), send_temperature=False)
    assert (found["answer"], found["reasoning"], found["temperature"]) == ("b", "a", None)


def test_answer_row_half_a_surrogate_pair_is_stored(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    raw = json.dumps(completion("half \ud83d of it")).encode("ascii")
    rows = answered(Response(raw, media_type="application/json"))
    write_parquet([{"id": "\udc00", **rows[0], "more": {"a": ["\ud83d\ude00"]}}], tmp_path, "a")
    (row,) = pq.read_table(tmp_path / "a-00000-of-00001.parquet").to_pylist()
    assert row["answer"] == "half \ufffd of it" and row["id"] == "\ufffd"
    assert json.loads(row["more"]) == {"a": ["\U0001f600"]}


def test_read_answers_stored_thoughts_are_not_judged(tmp_path: Path) -> None:
    sample = (Path(tasks_dir()).parent / "fbbench" / "sample.jsonl").read_text("utf-8").splitlines()[:3]
    rows = [json.loads(line) for line in sample]
    said = ["<think>a</think>b", "<think>a</think>", "<think>a"]
    lines = [json.dumps({"doc": row, "filtered_resps": [text]}) for row, text in zip(rows, said, strict=True)]
    (tmp_path / "samples_fbbench.jsonl").write_text("\n".join(lines), encoding="utf-8")
    cases = read_answers(tmp_path / "samples_fbbench.jsonl")
    assert [(case.answer, case.answer_state) for case in cases] == [("b", "ok"), ("", "empty"), ("", "empty")]


def drills(folder: Path, metadata: dict[str, Any], reply: str, tail: str = "") -> dict[str, Any]:
    """lm-eval's evaluator on two rows of the drills, with a model that says `reply` to everything."""
    import lm_eval
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    from hubwright.builders.feedback_drills import FeedbackDrillsConfig, build
    from hubwright.hub_sync.context import StepContext

    class Scripted(LM):
        tokenizer_name = "scripted"

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history) + tail

        def chat_template(self, chat_template: Any = False) -> str:
            return "scripted"

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [reply.format(answer=request.doc["answer"]) for request in requests]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    splits = build(FeedbackDrillsConfig(train_rows=1, test_rows=10), StepContext("s", folder, folder))
    (folder / "d").mkdir(exist_ok=True)
    splits["test"].to_parquet(str(folder / "d" / "test.parquet"))
    given = {"dataset": str(folder / "d"), **metadata}
    manager = TaskManager(include_defaults=False, include_path=str(tasks_dir()), metadata=given)
    return lm_eval.simple_evaluate(
        model=Scripted(), tasks=["feedback_drills"], task_manager=manager, apply_chat_template=True, bootstrap_iters=0
    )


@pytest.mark.parametrize(
    ("reply", "tail", "acc", "no_answer"),
    [
        ("<think>Answer: 0</think>Answer: {answer}", "", 1.0, 0.0),
        ("Answer: 0\n</think>\nAnswer: {answer}", "<think>\n", 1.0, 0.0),
        ("So far, Answer: {answer}, but", "<think>\n", 0.0, 1.0),  # the template opened it, and nothing closes it
        ("<plan>Answer: 0</plan>Answer: {answer}", "", 1.0, 0.0),
        ("Answer: {answer}<plan>Answer: 0</plan>", "", 1.0, 0.0),
    ],
)
def test_lm_eval_task_scores_the_answer_and_keeps_the_reply(
    tmp_path: Path, reply: str, tail: str, acc: float, no_answer: float
) -> None:
    found = drills(tmp_path, {"reasoning_tags": ["<plan>"]}, reply, tail)
    values = found["results"]["feedback_drills"]
    assert (values["acc,none"], values["no_answer,none"]) == (acc, no_answer)
    for sample in found["samples"]["feedback_drills"]:
        assert sample["resps"] == [[reply.format(answer=sample["doc"]["answer"])]]
        assert sample["filtered_resps"][0] != "0" and "Answer: 0" not in sample["filtered_resps"][0]


def test_lm_eval_task_reply_that_lm_eval_has_cut_is_not_cut_again(tmp_path: Path) -> None:
    """`think_end_token` among the model's arguments, which the command puts into the metadata: no closing tag is left."""
    found = drills(tmp_path, {"think_end_token": "</think>"}, "Answer: {answer}", "<think>\n")
    assert found["results"]["feedback_drills"]["acc,none"] == 1.0


def test_lm_eval_task_wrong_tag_is_refused_before_anything_is_generated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reasoning_tags.*is not an opening tag"):
        drills(tmp_path, {"reasoning_tags": ["plan"]}, "Answer: 1")


def test_word_problem_number_in_a_thought_is_not_taken() -> None:
    """The filters take the number out of the reply, so the thought has to go before them."""
    from lm_eval.api.instance import Instance

    from hubwright.evals._lib.scored import AnswerTask

    task = object.__new__(AnswerTask)

    class Config:
        metadata = None
        task = "t"

    seen: list[list[str]] = []

    class First:
        def apply(self, instances: list[Instance]) -> None:
            seen.extend(one.resps for one in instances)

    one = Instance("generate_until", {}, ("q", {}), 0, ("t", 0, 1))
    one.resps = ["<think>The answer is 3.</think>The answer is 4."]
    scored = Instance("loglikelihood", {}, ("q", "c"), 0, ("t", 0, 1))
    scored.resps = [(-1.0, True)]
    task.__dict__ |= {"_config": Config(), "_instances": [one, scored], "_filters": [First()]}
    task.apply_filters()
    assert seen == [["The answer is 4."], [(-1.0, True)]] and one.resps[0].startswith("<think>")


def test_interactive_model_episodes_see_no_thought_and_the_transcript_keeps_it() -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

    from hubwright.evals._lib.interactive.episodes import Request, read_transcript, register
    from hubwright.evals._lib.interactive.model import InteractiveLM
    from hubwright.evals.tool_query.episode import ToolQueryEpisode

    done = '<tool_call>{"name": "finish", "arguments": {"answer": "4"}}</tool_call>'
    row = {"id": "r", "goal": "g", "today": "2030-01-01", "answer": '"4"', "changes": "[]", "board": "[]"}
    prompts: list[str] = []

    class Inner(LM):
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            prompts.extend(one.args[0] for one in requests)
            draft = done.replace("4", "3")
            return [f"<think>{draft}</think>Wait.", f"<think>{draft}</think>{done}"][len(prompts) - 1 :][:1]

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise NotImplementedError

    request = Instance("generate_until", row, (Request(register(ToolQueryEpisode), row).text(), {}), 0, ("t", 0, 1))
    (text,) = InteractiveLM(Inner()).generate_until([request])
    found = read_transcript(text)
    assert found is not None and found["success"] and found["answer"] == "4" and found["steps"] == 2
    assert "<think>" not in prompts[1] and "Wait." in prompts[1]
    assert [one["reply"] for one in found["said"]] == ["Wait.", done] and "3" in found["said"][0]["reasoning"]


def test_note_thoughts_of_foreign_tasks_are_told_and_ours_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from hubwright.evals.harness.thoughts import note_thoughts
    from hubwright.hub_sync.context import StepContext

    context = StepContext("s", tmp_path / "w", tmp_path / "o", {})
    thought = {"resps": [["<think>5</think>6"], ["<think>cut"]]}
    note_thoughts(
        context, {"toolcall": [thought], "gsm8k": [{"resps": [["6"]]}], "arc_easy": [{"resps": [[(-1.0, False)]]}]}
    )
    assert context.report.sections == [] and not caplog.records
    note_thoughts(context, {"toolcall": [thought], "gsm8k": [thought, {"resps": [["6"]]}]})
    (section,) = context.report.sections
    assert "gsm8k: 2 of 3 replies." in section["body"] and "toolcall" not in section["body"]
    assert "think_end_token" in caplog.text and "gsm8k: 2 of 3" in caplog.text
