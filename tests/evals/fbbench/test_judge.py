"""The judge stage against a real chat server: what is asked, what is kept, what a kill leaves, what a failure costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, all_yes, failure, verdict_items
from judge_parts import SAMPLE, answers
from starlette.responses import Response
from verdict_parts import read_judged

from hubwright.evals._lib.judging import judge
from hubwright.evals._lib.judging.cases import Case, answer_hash
from hubwright.evals._lib.judging.judge import JudgeConfig, read_judge_config
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.answers import read_answers, read_dataset
from hubwright.evals.fbbench.verdicts import Judged, collect, official_rows
from hubwright.hub_sync.errors import ConflictError, DataError, StorageError, UsageError
from hubwright.inference.serving import remote_endpoint


def with_text(case: Case, text: str | None) -> Case:
    return read_dataset(SAMPLE)[case.id].case(text)


def judge_answers(cases: list[Case], config: JudgeConfig, **settings: Any) -> list[Judged]:
    return collect(judge.judge_answers(cases, config, official=(official_rows,), **settings))


def config(server: ChatServer, **settings: Any) -> JudgeConfig:
    return JudgeConfig.model_validate({"judge": f"openai:local@{server.url}", "max_retries": 1, **settings})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_item_gets_its_line_in_the_order_of_the_answers(tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    with ChatServer(all_yes, delay=0.01) as server:
        judged = judge_answers(answers(32), config(server), out=out)
    rows = lines(out)
    assert len(rows) == sum(len(one.sample.items) for one in judged) == 76
    assert [row["id"] for row in rows if row["item"] == 0] == [case.id for case in answers(32)]
    assert {row["verdict"] for row in rows} == {"yes"} and {row["judge"] for row in rows} == {"local"}
    assert {row["answers"] for row in rows} == {32} and {row["attempts"] for row in rows} == {1}
    body = server.bodies[0]
    assert body["temperature"] == 0.0 and body["max_tokens"] == 4096
    assert body["response_format"] == {"type": "json_object"} and len(body["messages"]) == 1
    report = scorer.score(read_judged(out), resamples=0)
    assert report["overall"] == 100.0 and report["coverage"] == 1.0
    assert report["judges"] == ["local"]


def test_the_reference_answer_and_the_labels_are_not_shown() -> None:
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    with ChatServer(all_yes) as server:
        judge_answers(answers(32), config(server))
    asked = "\n".join(body["messages"][0]["content"] for body in server.bodies)
    assert not [row["id"] for row in rows if row["reference_response"] and row["reference_response"] in asked]
    assert "Pointing Out Errors" not in asked and "Error Correction" not in asked


def test_an_unusable_reply_is_asked_for_three_times(tmp_path: Path) -> None:
    tries: dict[str, int] = {}

    def script(body: dict[str, Any], number: int) -> str | Response:
        text = body["messages"][0]["content"]
        which = next(str(n) for n in range(8) if f"第二次回答 {n}\n" in text)
        tries[which] = tries.get(which, 0) + 1
        if which == "2":
            return "not JSON"
        if which == "3" and tries["3"] < 3:
            return json.dumps({"1": {"理由": "a", "结论": "是"}} if len(verdict_items(body)) > 1 else {})
        if which == "4":
            return failure(400, "blocked", "content_filter")
        if which == "5":
            return failure(500)
        return all_yes(body, number)

    out = tmp_path / "v.jsonl"
    with ChatServer(script) as server:
        judged = judge_answers(answers(), config(server, max_retries=0), out=out)
    assert [one.state for one in judged] == [
        *("complete", "complete", "failed", "complete", "refused", "failed", "complete", "complete")
    ]
    assert tries["2"] == 3 and judged[3].rows[0]["attempts"] == 3 and tries["4"] == 1 and tries["5"] == 3
    failed = [row for row in lines(out) if row["state"] == "failed"]
    assert {row["verdict"] for row in failed} == {"unparsable"}
    assert any("not JSON" in row["reason"] for row in failed) and any("HTTP 500" in row["reason"] for row in failed)
    counts = scorer.score(judged, resamples=0)["counts"]
    assert counts["verdicts_failed"] == 2 and counts["verdicts_refused"] == 1

    # Only the two failures are asked again; what was refused stays refused.
    with ChatServer(all_yes) as server:
        again = judge_answers(answers(), config(server), out=out)
    assert len(server.bodies) == 2
    assert [one.state for one in again].count("complete") == 7


def test_empty_and_failed_answers_never_reach_the_judge() -> None:
    rows = answers(4)
    rows = [rows[0], with_text(rows[1], "$ERROR$"), with_text(rows[2], " "), with_text(rows[3], None)]
    with ChatServer(all_yes) as server:
        judged = judge_answers(rows, config(server))
    assert len(server.bodies) == 1
    assert [one.answer for one in judged] == ["ok", "failed", "empty", "failed"]
    assert [scorer.judged_score(one) for one in judged] == [1.0, 0.0, 0.0, 0.0]


def test_a_finished_file_asks_nothing_and_stays_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    with ChatServer(all_yes) as server:
        judge_answers(answers(), config(server), out=out)
        before = out.read_bytes()
        judge_answers(answers(), config(server), out=out)
        assert len(server.bodies) == 8 and out.read_bytes() == before
        changed = [with_text(case, f"{case.answer}!") if n == 1 else case for n, case in enumerate(answers())]
        judge_answers(changed, config(server), out=out)
        assert len(server.bodies) == 9  # a new answer needs a new verdict
    assert {row["answer_sha256"] for row in lines(out) if row["id"] == changed[1].id} == {
        answer_hash(changed[1].answer)
    }


@pytest.mark.parametrize(
    ("change", "said"), [({"language": "en"}, "another prompt"), ({"judge": "other"}, "another judge")]
)
def test_verdicts_of_another_judge_or_prompt_are_not_mixed_in(
    change: dict[str, str], said: str, tmp_path: Path
) -> None:
    out = tmp_path / "v.jsonl"
    with ChatServer(all_yes) as server:
        judge_answers(answers(), config(server), out=out)
        if "judge" in change:
            change = {"judge": f"openai:other@{server.url}"}
        before = out.read_bytes()
        with pytest.raises(UsageError, match=said) as caught:
            judge_answers(answers(), config(server, **change), out=out)
        assert len(server.bodies) == 8 and out.read_bytes() == before and "\n" not in str(caught.value)


def test_a_hopeless_endpoint_stops_at_once(tmp_path: Path) -> None:
    with ChatServer(lambda body, number: failure(401)) as server, pytest.raises(UsageError, match="refused the key"):
        judge_answers(answers(), config(server, concurrency=1), out=tmp_path / "v.jsonl")
    assert len(server.bodies) < 4


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from judge_parts import answers
from hubwright.evals._lib.judging.judge import JudgeConfig, judge_answers
judge_answers(answers(32), JudgeConfig.model_validate({"judge": sys.argv[1], "concurrency": 4}), out=Path(sys.argv[2]))
"""


def test_kill_dash_nine_costs_no_verdict_but_those_in_flight(tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    here = f"{Path(__file__).parent}"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with ChatServer(all_yes, delay=0.05) as server:
        command = [sys.executable, "-c", WORKER, f"openai:local@{server.url}", str(out), here]
        for kills in (6, 15):
            process = subprocess.Popen(command, env=env)
            while recorded(tmp_path / "v.jsonl.recording") < kills:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not out.exists()  # written whole, at the end
        newest = max((tmp_path / "v.jsonl.recording").glob("*.jsonl"))
        with newest.open("ab") as file:
            file.write(b'{"key":"torn')
        judged = judge_answers(answers(32), config(server), out=out)
        asked = len(server.bodies)
    assert [one.state for one in judged] == ["complete"] * 32
    assert asked <= 32 + 2 * 4  # per kill those in flight
    ids = [row["id"] for row in lines(out) if row["item"] == 0]
    assert ids == [case.id for case in answers(32)]  # none missing, doubled or out of order
    with ChatServer(all_yes) as fresh:
        judge_answers(answers(32), config(fresh), out=tmp_path / "whole.jsonl")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def recorded(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    from hubwright.hub_sync.files import exclusive_lock

    with (
        ChatServer(all_yes) as server,
        exclusive_lock(tmp_path / ".v.jsonl.lock", "it"),
        pytest.raises(ConflictError, match=f"in use by process {os.getpid()}"),
    ):
        judge_answers(answers(), config(server), out=tmp_path / "v.jsonl")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with ChatServer(all_yes) as server, pytest.raises(StorageError, match=r"verdict file v\.jsonl cannot be written"):
        judge_answers(answers(), config(server), out=tmp_path / "file" / "v.jsonl")


def test_replay_gives_the_stored_verdicts_for_the_same_answers_only(tmp_path: Path) -> None:
    stored = tmp_path / "v.jsonl"
    with ChatServer(all_yes) as server:
        first = judge_answers(answers(), config(server), out=stored)
    replay = JudgeConfig.model_validate({"judge": f"replay:{stored}"})
    out = tmp_path / "again.jsonl"
    again = judge_answers(answers(), replay, out=out)
    assert [(one.sample.id, one.verdicts) for one in again] == [(one.sample.id, one.verdicts) for one in first]
    assert out.read_bytes() == stored.read_bytes()
    mixed = [*answers()[:4], *(with_text(case, "else") for case in answers()[4:])]
    states = [one.state for one in judge_answers(mixed, replay)]
    assert states == ["complete"] * 4 + ["failed"] * 4
    with pytest.raises(DataError, match="fit none of the 4 answers: the stored verdict is for another answer"):
        judge_answers(mixed[4:], replay)


def test_replay_of_the_official_judgements_gives_the_published_score(shared_data: Path) -> None:
    path = shared_data / "PKU-Baichuan-MLSystemLab/FB-Bench/data/feedback-benchmark/model_judgment"
    path = path / "gpt-4o-2024-08-06/DeepSeek-V3.jsonl"
    if not path.is_file():
        pytest.skip("the published judgements are not here")
    judged = judge_answers(read_answers(path), JudgeConfig.model_validate({"judge": f"replay:{path}"}))
    report = scorer.score(judged, resamples=0)
    figures = [report[key] for key in ("error_correction", "response_maintenance", "overall")]
    assert figures == [74.24, 75.48, 74.86]


def test_replay_from_the_hub(api: Any, namespace: str, tmp_path: Path, quiet_progress: None) -> None:
    stored = tmp_path / "verdicts.jsonl"
    with ChatServer(all_yes) as server:
        judge_answers(answers(), config(server), out=stored)
    repo = f"{namespace}/verdicts"
    api.create_repo(repo, repo_type="dataset")
    api.upload_file(path_or_fileobj=str(stored), path_in_repo=stored.name, repo_id=repo, repo_type="dataset")
    judged = judge_answers(answers(), JudgeConfig.model_validate({"judge": f"replay:{repo}@main"}))
    assert {one.state for one in judged} == {"complete"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("gpt-4o", "write openai:MODEL@BASE_URL"),
        ("anthropic:x", "is unknown"),
        ("openai:", "is unknown"),
        ({"judge": "openai:x", "lang": "en"}, "lang"),
        ({"judge": "openai:x", "language": "fr"}, "'zh' or 'en'"),
        ({"language": "en"}, "judge option judge"),
    ],
)
def test_a_wrong_judge_is_one_line(value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_judge_config(value)
    assert "\n" not in str(caught.value)


def test_endpoints_are_read_from_one_string() -> None:
    def endpoint(judge: str) -> tuple[str, str | None]:
        found = remote_endpoint(judge, read_judge_config(judge))
        return found.model, found.base_url

    assert endpoint("openai:org/model@v2@http://127.0.0.1:8000/v1") == ("org/model@v2", "http://127.0.0.1:8000/v1")
    assert endpoint("openai:gpt-4o") == ("gpt-4o", None)
    with pytest.raises(UsageError, match="slots is for an embedded model"):
        remote_endpoint("openai:m", JudgeConfig(judge="openai:m", slots=2))


def test_wrong_sets_of_answers_are_refused() -> None:
    settings = JudgeConfig(judge="openai:m@http://127.0.0.1:9/v1")
    with pytest.raises(DataError, match="no answers"):
        judge_answers([], settings)
    with pytest.raises(DataError, match="two answers"):
        judge_answers(answers(2) + answers(1), settings)


def test_plain_answers_need_the_data_set(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": answers(1)[0].id, "answer": "x"}) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="add --dataset"):
        read_answers(path)
    (found,) = read_answers(path, read_dataset(SAMPLE))
    assert found == with_text(answers(1)[0], "x")
    path.write_text('{"id": "fb-x", "answer": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="not in the data set"):
        read_answers(path, read_dataset(SAMPLE))
    path.write_text('{"prompt": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="is not a stored answer"):
        read_answers(path)
