"""Fault 21: a verdict that is no JSON, a verdict outside the rubric, a judge that refuses: three states, and scores that
can be made again from the stored rows alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, all_yes, completion, failure
from starlette.responses import JSONResponse, Response
from verdict_parts import read_judged

from hubwright.evals._lib.judging.judge import JudgeConfig, judge_answers
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.answers import read_dataset
from hubwright.hub_sync.errors import UsageError

SAMPLE = Path(scorer.__file__).with_name("sample.jsonl")


def outside(body: dict[str, Any], number: int) -> str:
    """Every verdict is a word that the rubric does not know."""
    return all_yes(body, number).replace("是", "大致符合")


FAULTS: list[tuple[str, Any, str]] = [
    ("no JSON", lambda body, n: "I find that all is well.", "failed"),
    ("outside the rubric", outside, "failed"),
    ("cut off", lambda body, n: JSONResponse(completion('{"1": {"理由"', finish_reason="length")), "failed"),
    ("empty", lambda body, n: JSONResponse(completion(None)), "failed"),
    ("torn body", lambda body, n: Response(b'{"choices": [{"mess'), "failed"),
    ("server error", lambda body, n: failure(500), "failed"),
    ("refuses", lambda body, n: JSONResponse(completion(None, refusal="I cannot judge this.")), "refused"),
    ("blocked", lambda body, n: failure(400, "blocked", "content_filter"), "refused"),
]


@pytest.mark.parametrize(("script", "state"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_bad_judge_is_never_a_wrong_answer(script: Any, state: str, tmp_path: Path) -> None:
    answers = [sample.case(f"answer {n}") for n, sample in enumerate(read_dataset(SAMPLE).values())]

    def one_bad(body: dict[str, Any], number: int) -> Any:
        return script(body, number) if "answer 3\n" in body["messages"][0]["content"] else all_yes(body, number)

    out = tmp_path / "v.jsonl"
    with ChatServer(one_bad) as server:
        config = JudgeConfig(judge=f"openai:m@{server.url}", max_retries=0)
        judged = judge_answers(answers, config, out=out)
    assert [row["state"] for row in judged if row["item"] == 0] == ["complete"] * 3 + [state] + ["complete"] * 28
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    words = {row["verdict"] for row in rows if row["id"] == answers[3].id}
    assert words == {"unparsable" if state == "failed" else None}
    assert len({row["state"] for row in rows}) == 2
    report = scorer.score(read_judged(out), resamples=0)
    counts = report["counts"]
    assert counts["verdicts_complete"] + counts["verdicts_failed"] + counts["verdicts_refused"] == 32
    if state == "failed":  # no score, and a bound for what it could have been
        assert report["overall"] == 100.0 and report["coverage"] == round(31 / 32, 6)
        assert report["bounds"]["overall_low"] < 100.0 == report["bounds"]["overall_high"]
        assert counts["wrong"] == 0
    else:  # 0, as published
        assert report["overall"] < 100.0 and counts["wrong"] == 1


def test_finished_verdicts_are_kept_and_scored(tmp_path: Path) -> None:
    """The finished verdicts of a file are not asked for again."""
    answers = [sample.case(f"answer {n}") for n, sample in enumerate(read_dataset(SAMPLE).values())]
    out = tmp_path / "v.jsonl"
    with ChatServer(all_yes) as server:
        config = JudgeConfig(judge=f"openai:m@{server.url}")
        judge_answers(answers, config, out=out)
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        before = scorer.score(read_judged(out), resamples=50)
        asked = len(server.bodies)
        judge_answers(answers, config, out=out, recording=tmp_path / "none")
        assert len(server.bodies) == asked
        assert scorer.score(read_judged(out), resamples=50) == before
        # The prompt's hash is what it was before the judge became a stage: no file has to be made anew for that.
        assert {row["prompt_hash"] for row in rows if row["id"] == answers[0].id} == {FIRST_PROMPT_HASH}
        with pytest.raises(UsageError, match="another prompt"):
            judge_answers(answers, config.model_copy(update={"prompt": "brief"}), out=out)


FIRST_PROMPT_HASH = "174887757887c1a3"


def test_a_replayed_file_holds_the_same_rows(tmp_path: Path) -> None:
    answers = [sample.case("a") for sample in read_dataset(SAMPLE).values()]
    with ChatServer(all_yes) as server:
        config = JudgeConfig(judge=f"openai:m@{server.url}")
        judged = judge_answers(answers, config, out=tmp_path / "v.jsonl")
    again = judge_answers(
        answers, config, out=tmp_path / "w.jsonl", recording=tmp_path / "v.jsonl.recording", replay=True
    )
    assert again == judged and again[0] | {"judge": "x"} != judged[0]
    assert (tmp_path / "v.jsonl").read_bytes() == (tmp_path / "w.jsonl").read_bytes()
