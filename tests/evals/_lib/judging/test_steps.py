"""The steps answers, judge and agreement over the embedded hub, with a real chat server in place of the models."""

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
from chat_server import ChatServer, all_yes, failure, likely_tokens
from column_parts import check_columns
from verdict_parts import read_judged

from hubwright.evals.answers.step import AnswersConfig, SelectConfig, request_of, row_seed, select_rows
from hubwright.evals.fbbench import scorer
from hubwright.evals.fbbench.answers import read_answers
from hubwright.hub_sync.errors import DataError, UsageError

RECIPE = """\
name: judged
namespace: {namespace}
steps:
  rows:
    uses: fbbench
    with: {{source: sample}}
    publish: {{dataset: rows}}
  answers:
    uses: answers
    inputs: {{dataset: steps.rows}}
    with:
      model: openai:tested@{url}
      select: {{by: [bench_type], n: 4}}
      max_failed: 0
      max_retries: 0
    publish: {{dataset: answers}}
  verdicts:
    uses: fbbench_judge
    inputs: {{answers: steps.answers, dataset: steps.rows}}
    with:
      judge: openai:judge@{url}
      method: logprob
      publish_recording: true
      bootstrap: 50
      max_failed: 0.3
      max_retries: 0
    publish: {{dataset: verdicts}}
  text:
    uses: fbbench_judge
    inputs: {{answers: steps.answers}}
    with: {{judge: "openai:judge@{url}", bootstrap: 50, max_failed: 0.3, max_retries: 0}}
    publish: {{dataset: verdicts-text}}
  agreement:
    uses: agreement
    inputs: {{a: steps.verdicts, b: steps.text}}
    with: {{bootstrap: 50}}
    publish: {{dataset: agreement}}
  rubric:
    uses: judge
    inputs: {{answers: steps.answers}}
    with: {{judge: "openai:judge@{url}", rubric: ["Is it polite?", "Is it short?"], method: logprob, max_failed: 0.3}}
    publish: {{dataset: rubric}}
"""


class Script:
    """The tested model answers; one answer is cut off, one empty, one refused, one fails. The judge says yes."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __call__(self, body: dict[str, Any], number: int) -> Any:
        if body["model"] == "judge":
            return likely_tokens({"是": 0.7, "否": 0.3}) if "logprobs" in body else all_yes(body, number)
        which = self.seen.setdefault(body["messages"][0]["content"], len(self.seen))
        if which == 1:
            return failure(400, "blocked", "content_filter")
        if which == 2:
            return failure(500)
        return " " if which == 3 else "An answer."


def run(hubwright_in_process: Any, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    done = hubwright_in_process("run", "judged.yaml", "--format", "json", *more)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_from_rows_to_agreement(hubwright_in_process: Any, api: Any, namespace: str, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download

    with ChatServer(Script()) as server:
        (tmp_path / "judged.yaml").write_text(RECIPE.format(namespace=namespace, url=server.url))
        refused = hubwright_in_process("run", "judged.yaml", "--only", "answers")
        assert refused.returncode == 2  # its data set is not there yet
        hubwright_in_process("run", "judged.yaml", "--only", "rows")
        stopped = hubwright_in_process("run", "judged.yaml", "--only", "answers")
        assert stopped.returncode == 3 and "1 of 8 rows failed" in stopped.stderr, stopped.stderr
        text = (tmp_path / "judged.yaml").read_text().replace("max_failed: 0\n", "max_failed: 0.2\n")
        (tmp_path / "judged.yaml").write_text(text)
        run(hubwright_in_process, tmp_path, "--fresh")
        asked = len(server.bodies)

    def folder(name: str) -> Path:
        return Path(snapshot_download(f"{namespace}/{name}", repo_type="dataset"))

    answers = read_answers(folder("answers"))
    check_columns("answers", folder("answers"))
    check_columns("fbbench_judge", folder("verdicts"))
    check_columns("judge", folder("rubric"))
    check_columns("agreement", folder("agreement"))
    assert (
        "| bench_type | `Error Correction` or `Response Maintenance` |"
        in (folder("answers") / "README.md").read_text()
    )
    states = sorted(answer.answer_state for answer in answers)
    assert states == ["empty", "failed", "ok", "ok", "ok", "ok", "ok", "refused"]
    verdicts = read_judged(folder("verdicts"))
    assert len(verdicts) == 8 and {one.judge for one in verdicts} == {"judge"}
    values = {row["p_yes"] for one in verdicts for row in one.rows} - {None}
    assert values == {0.7}
    results = json.loads((folder("verdicts") / "results.json").read_text())
    report = scorer.score(verdicts, resamples=0)
    metrics = results["tasks"]["fbbench"]["metrics"]
    assert metrics["fb_overall"]["value"] == report["overall"] and "fb_overall_ci_low" in metrics
    assert metrics["fb_answer_refused"]["value"] == metrics["fb_answer_failed"]["value"] == 0.125
    card = (folder("verdicts") / "README.md").read_text()
    assert "| scored | 5 |" in card and "| refused | 1 |" in card and "| failed | 1 |" in card and "`judge`" in card
    recording = list(folder("verdicts").glob("recording/*.parquet"))
    assert len(recording) == 1
    found = json.loads((folder("agreement") / "agreement.json").read_text())
    assert found["overall"]["agreement"]["value"] == 1.0 and set(found["by"]) == {"task", "scenario", "position"}
    rubric = json.loads((folder("rubric") / "results.json").read_text())["tasks"]["rubric"]["metrics"]
    assert rubric["rubric"]["value"] == round(5 / 7, 6)  # the failed one is left out
    for name in ("verdicts", "agreement", "rubric"):
        checked = hubwright_in_process("verify", f"datasets/{namespace}/{name}")
        assert checked.returncode == 0, checked.stdout + checked.stderr

    import pyarrow.parquet as pq

    rows = {row["key"]: row for row in pq.read_table(recording[0]).to_pylist()}
    items = sum(len(one.sample.items) for one in verdicts if one.state == "complete")
    assert len(rows) == items and all(row["model"] == "judge" for row in rows.values())
    assert asked > items
    hf_hub_download(f"{namespace}/verdicts", "results.json", repo_type="dataset")

    # The same again from the recording, with the server gone: the same bytes.
    before = {n: (folder(n) / f"data/{n}-00000-of-00001.parquet").read_bytes() for n in ("answers", "verdicts")}
    for name in ("rows", "answers", "verdicts", "verdicts-text", "agreement", "rubric"):
        api.delete_repo(f"{namespace}/{name}", repo_type="dataset")
    (tmp_path / "judged.lock").unlink()
    run(hubwright_in_process, tmp_path, "--replay", "--recording", "runs/judged/recording", "--runs", "elsewhere")
    for name, content in before.items():
        again = Path(snapshot_download(f"{namespace}/{name}", repo_type="dataset", force_download=True))
        assert (again / f"data/{name}-00000-of-00001.parquet").read_bytes() == content


@pytest.mark.slow
def test_a_killed_judge_step_asks_only_what_was_in_flight(
    hubwright_in_process: Any, namespace: str, tmp_path: Path
) -> None:
    recipe = RECIPE.format(namespace=namespace, url="URL")
    recipe = recipe.split("  text:")[0].replace("n: 4}", "n: 9}").replace("max_retries: 0", "concurrency: 2")
    with ChatServer(lambda body, n: likely_tokens({"是": 0.7}) if "logprobs" in body else "a", delay=0.03) as server:
        (tmp_path / "judged.yaml").write_text(recipe.replace("URL", server.url))
        hubwright_in_process("run", "judged.yaml", "--only", "rows")
        hubwright_in_process("run", "judged.yaml", "--only", "answers")
        before = len(server.bodies)
        for kill in (5, 15):
            process = subprocess.Popen(
                [sys.executable, "-m", "hubwright", "run", "judged.yaml"],
                cwd=tmp_path, env=dict(os.environ), stderr=subprocess.DEVNULL,
            )  # fmt: skip
            while len(server.bodies) - before < kill:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = run(hubwright_in_process, tmp_path)
        asked = [json.dumps(body) for body in server.bodies[before:]]
    assert "verdicts" in done.stdout
    assert len(asked) <= len(set(asked)) + 2 * 2  # two kills, two in flight


@pytest.mark.slow
def test_workers_change_no_byte_and_caps_stop_before_the_money_is_spent(
    hubwright_in_process: Any, namespace: str, tmp_path: Path
) -> None:
    from huggingface_hub import snapshot_download

    def say(body: dict[str, Any], number: int) -> str:
        return f"You said {body['messages'][-1]['content']}"

    def published(name: str, *more: str) -> bytes:
        again = ["--fresh", "--recording", name, "--set", f"steps.answers.publish.dataset={name}"]
        done = hubwright_in_process("run", "judged.yaml", "--only", "answers", *again, *more)
        assert done.returncode == 0, done.stderr
        folder = Path(snapshot_download(f"{namespace}/{name}", repo_type="dataset"))
        return (folder / "data/answers-00000-of-00001.parquet").read_bytes()

    with ChatServer(say) as server:
        (tmp_path / "judged.yaml").write_text(RECIPE.format(namespace=namespace, url=server.url))
        assert hubwright_in_process("run", "judged.yaml", "--only", "rows").returncode == 0
        capped = hubwright_in_process(
            "run", "judged.yaml", "--only", "answers", "--set", "steps.answers.with.budget={max_requests: 3}"
        )
        assert capped.returncode == 2 and "max_requests 3" in capped.stderr, capped.stderr
        assert len(server.bodies) <= 3
        one = published("one")
        two = published("two", "--set", "steps.answers.with.workers=2", "--set", "steps.answers.with.shard_rows=2")
        sent = len(server.bodies)
        published("priced", "--set", "steps.answers.with.budget={price_prompt: 1.0, price_completion: 2.0}")
        assert len(server.bodies) == sent + 8
    assert one == two
    card = snapshot_download(f"{namespace}/priced", repo_type="dataset")
    record = json.loads((Path(card) / "provenance.json").read_text())
    metrics = (record["records"] if isinstance(record, dict) else record)[-1]["report"]["metrics"]
    assert metrics["usage/cost"] == pytest.approx(8 * (7 * 1.0 + 3 * 2.0) / 1e6)


def test_a_fixed_selection_is_stratified_and_does_not_depend_on_the_order() -> None:
    rows = [
        {"id": f"r{n}", "kind": "ab"[n % 2], "messages": [{"role": "user", "content": "x" * n}]} for n in range(40)
    ]
    chosen = select_rows(rows, SelectConfig(by=["kind"], n=3))
    assert chosen == sorted(chosen) and sorted(number % 2 for number in chosen) == [0] * 3 + [1] * 3
    again = select_rows(rows[::-1], SelectConfig(by=["kind"], n=3))
    assert sorted(39 - number for number in again) == chosen
    assert chosen != select_rows(rows, SelectConfig(by=["kind"], n=3, seed=1))
    assert max(select_rows(rows, SelectConfig(n=99, max_chars=9))) == 9
    with pytest.raises(DataError, match="no column 'colour'"):
        select_rows(rows, SelectConfig(by=["colour"], n=1))


def test_temperature_and_seed_follow_the_row() -> None:
    by_kind = AnswersConfig(temperature={"by": "kind", "values": {"Text Creation": 0.7}})
    config = by_kind.model_dump()
    turns = [{"role": "user", "content": "q"}]

    def asked(name: str, kind: str, **changes: Any) -> dict[str, Any]:
        row = {"id": name, "messages": turns, "temperature": by_kind.temperature.of({"kind": kind})}
        return request_of({**row, **changes}, config)

    greedy = asked("a", "Coding")
    assert greedy == {"messages": turns, "temperature": 0.0, "max_tokens": 4096}
    sampled = [asked(name, "Text Creation") for name in "ab"]
    assert [body["temperature"] for body in sampled] == [0.7, 0.7]
    assert sampled[0]["seed"] == row_seed(0, "a") != sampled[1]["seed"] and sampled[0]["seed"] < 2**31
    given = request_of({"id": "a", "messages": turns, "temperature": 1}, {**config, "system": "S"})
    assert given["temperature"] == 1 and given["messages"][0] == {"role": "system", "content": "S"} and "seed" in given


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (["steps.verdicts.with.judge=embedded:org/name"], 2, "is not pinned"),
        (["steps.verdicts.with.judge=null"], 2, "give the judge as an input"),
        (["steps.verdicts.with.threshold=0.4", "steps.verdicts.with.method=text"], 2, "threshold does nothing"),
        (["steps.answers.with.select={n: 0}"], 2, "select"),
        (["steps.answers.with.temperature={by: kind, values: {a: 1}}"], 3, "no column 'kind' to set the temperature"),
        (["steps.answers.with.split=train"], 3, "split 'train' cannot be read"),
        (["steps.answers.with.slots=2"], 2, "slots is for an embedded model"),
    ],
)
def test_what_is_wrong_is_one_line(
    settings: list[str], code: int, said: str, hubwright_in_process: Any, namespace: str, tmp_path: Path
) -> None:
    with ChatServer(lambda body, n: "a") as server:
        (tmp_path / "judged.yaml").write_text(RECIPE.format(namespace=namespace, url=server.url))
        done = hubwright_in_process("run", "judged.yaml", *(part for one in settings for part in ("--set", one)))
    assert done.returncode == code and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_truncated_answers_are_kept_and_marked() -> None:
    import asyncio

    from hubwright.evals.answers.step import answer_row
    from hubwright.inference.client import ChatClient, Endpoint

    async def ask(url: str) -> dict[str, Any]:
        async with ChatClient(Endpoint("m", url)) as chat:
            row = {"id": "a", "messages": [{"role": "user", "content": "q"}], "temperature": 0.0}
            return await answer_row(row, AnswersConfig(max_tokens=1).model_dump(), chat)

    with ChatServer(lambda body, n: likely_tokens({"half": 1.0})) as server:
        found = asyncio.run(ask(server.url))
    assert (found["answer"], found["outcome"], found["finish_reason"]) == ("half", "truncated", "length")


def test_a_model_that_is_no_spec_is_refused() -> None:
    with pytest.raises(ValueError, match="write openai:MODEL@BASE_URL"):
        AnswersConfig(model="gpt-4o")
    assert UsageError.exit_code == 2


def test_verdicts_are_reported_on_the_model_whose_answers_they_judge(tmp_path: Path) -> None:
    """The judge step's input is answers; `results.json` tells whose they are, and the report step goes by it."""
    from hubwright.evals._lib.judging.step import JudgeStepConfig
    from hubwright.evals.fbbench.step import judge as judge_step
    from hubwright.hub_sync.context import Input, StepContext
    from hubwright.hub_sync.refs import ArtifactRef
    from hubwright.model_cards.report import ReportConfig, report

    def record(folder: Path, inputs: list[dict[str, Any]]) -> None:
        empty: dict[str, Any] = {name: {} for name in ("step", "config", "code", "files", "report")}
        made = {**empty, "inputs": inputs, "fingerprint": "0", "finished_at": "2026-01-01T00:00:00Z"}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "provenance.json").write_text(json.dumps({"schema_version": 1, "records": [made]}))

    def reference(name: str, digit: str, kind: str = "dataset") -> ArtifactRef:
        return ArtifactRef.parse(f"org/{name}@{digit * 40}", kind)

    source, output = tmp_path / "answers", tmp_path / "verdicts"
    sample = Path(scorer.__file__).with_name("sample.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{**json.loads(line), "answer": "a", "outcome": "ok"} for line in sample[:4]]
    from hubwright.evals._lib.data import write_parquet

    write_parquet(rows, source / "data", "answers")
    tuned = reference("tuned", "1", "model")
    record(source, [{"role": "model", "repo_id": tuned.repo_id, "commit": tuned.revision}])
    with ChatServer(all_yes) as server:
        output.mkdir()
        context = StepContext(
            "verdicts", tmp_path / "work", output, {"answers": Input(reference("answers", "2"), source)}
        )
        judge_step(JudgeStepConfig(judge=f"openai:judge@{server.url}", bootstrap=20), context)
    record(output, [{"role": "answers", "repo_id": "org/answers", "commit": "2" * 40}])
    kinds = {
        f.name: str(f.type) for f in __import__("pyarrow.parquet").parquet.read_schema(next(output.glob("data/*")))
    }
    assert kinds["p_yes"] == "double"  # though a text judge gives no probability
    told = StepContext(
        "report",
        tmp_path / "work",
        tmp_path / "report",
        {"model": Input(tuned, tmp_path), "result": Input(reference("verdicts", "3"), output)},
    )
    report(ReportConfig(), told)
    assert told.report.metrics["fbbench/fb_overall"] == 100.0
    told.inputs = {**told.inputs, "model": Input(reference("other", "4", "model"), tmp_path)}
    with pytest.raises(DataError, match="is about org/tuned@1111"):
        report(ReportConfig(), told)
