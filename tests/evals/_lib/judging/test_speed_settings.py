"""Settings of speed of the steps that ask a model: the same bytes, and neither published nor unfinished work is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, failure, likely_tokens

from hubwright.evals.answers.step import AnswersConfig
from hubwright.evals.judge.step import RubricJudgeConfig
from hubwright.hub_sync.settings import split_speed

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
    with: {{model: "openai:tested@{url}", select: {{by: [bench_type], n: 3}}, max_failed: 0, max_retries: 0, shard_rows: 2}}
    publish: {{dataset: answers}}
  verdicts:
    uses: judge
    inputs: {{answers: steps.answers}}
    with: {{judge: "openai:judge@{url}", rubric: ["Is it polite?", "Is it short?"], method: logprob, bootstrap: 0,
            max_failed: 0, max_retries: 0}}
    publish: {{dataset: verdicts}}
"""
OTHERS = {"concurrency": 3, "timeout": 50, "max_retries": 1, "workers": 2, "shard_rows": 4}


class Script:
    """Model and judge; while `broken` is set, the requests that hold it fail."""

    broken = ""

    def __call__(self, body: dict[str, Any], number: int) -> Any:
        text = json.dumps(body["messages"][-1]["content"])
        if body["model"] == self.broken and len(text) % 3 == 0:
            return failure(500)
        return likely_tokens({"是": 0.7, "否": 0.3}) if "logprobs" in body else f"{len(text)} characters"


def changed(step: str, **values: Any) -> list[str]:
    return [part for name, value in values.items() for part in ("--set", f"steps.{step}.with.{name}={value}")]


def test_speed_settings_are_no_part_of_what_is_recorded() -> None:
    for config in (
        AnswersConfig(**OTHERS, engine="ray"),
        RubricJudgeConfig(rubric=["Is it polite?"], **OTHERS, engine="ray"),
    ):
        _, speed = split_speed(config, config.model_dump(mode="json", exclude_unset=True))
        assert speed == {**OTHERS, "engine": "ray"}


@pytest.mark.parametrize(("step", "model"), [("answers", "tested"), ("verdicts", "judge")])
def test_other_speed_settings_resume_the_same_step_and_find_it_published(
    hubwright_in_process: Any, namespace: str, tmp_path: Path, step: str, model: str
) -> None:
    from huggingface_hub import snapshot_download

    def run(*more: str) -> Any:
        return hubwright_in_process("run", "judged.yaml", "--only", step, "--format", "json", *more)

    def published(name: str) -> dict[str, bytes]:
        folder = Path(snapshot_download(f"{namespace}/{name}", repo_type="dataset"))
        return {path.name: path.read_bytes() for path in [*folder.glob("data/*"), *folder.glob("results.json")]}

    script = Script()
    with ChatServer(script) as server:
        (tmp_path / "judged.yaml").write_text(RECIPE.format(namespace=namespace, url=server.url))
        for earlier in ("rows", "answers")[: 1 + (step == "verdicts")]:
            assert hubwright_in_process("run", "judged.yaml", "--only", earlier).returncode == 0
        before = len(server.bodies)
        script.broken = model
        stopped = run()
        assert stopped.returncode == 3 and " failed" in stopped.stderr, stopped.stderr
        assert "HTTP 500: scripted" in stopped.stderr
        script.broken = ""
        failed = len(server.bodies) - before
        resumed = run(*changed(step, **OTHERS))
        assert resumed.returncode == 0, resumed.stderr
        asked = [json.dumps(body, sort_keys=True) for body in server.bodies[before:]]
        assert len(set(asked)) <= failed < len(asked) < 2 * len(set(asked))  # those that had failed, once more
        found = run(*changed(step, **OTHERS | {"workers": 1, "engine": "ray", "concurrency": 1}))
        assert found.returncode == 0 and '"state": "skipped"' in found.stdout, found.stdout + found.stderr
        assert len(server.bodies) == before + len(asked)
        other = run("--recording", "other", "--fresh", "--set", f"steps.{step}.publish.dataset=other")
        assert other.returncode == 0, other.stderr
    assert published(step) == published("other")
