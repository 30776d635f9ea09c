"""Two cycles of inspection, discriminator and policy as one recipe on the hub, the second with an adapter and replays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trainer_parts import make_model
from walk_parts import save, steps

COMMON: dict[str, Any] = {"use_cpu": True, "threads": 1}
TRAINED = COMMON | {"bf16": False, "max_length": 256, "max_steps": 2, "learning_rate": 1e-3, "logging_steps": 1}
DRAWN = TRAINED | {"num_generations": 2, "per_device_train_batch_size": 4, "max_completion_length": 12}


def recipe(namespace: str) -> str:
    data = {"dataset": f"{namespace}/steps"}
    inspected = COMMON | {"max_new_tokens": 12}
    drawn = [DRAWN | {"lora": {"r": 2}}, DRAWN | {"algorithm": "rloo"}]
    parts = {
        "pairs1": ("stepagent_inspect", data | {"model": f"{namespace}/base"}, inspected, "dataset"),
        "judge1": ("stepagent_discriminator", {"model": f"{namespace}/base", "dataset": "steps.pairs1"}, TRAINED, "model"),
        "agent1": ("stepagent_inverse", data | {"model": f"{namespace}/base", "discriminator": "steps.judge1"}, drawn[0], "model"),
        "pairs2": ("stepagent_inspect", data | {"model": "steps.agent1"}, inspected | {"cycle": 2}, "dataset"),
        "judge2": ("stepagent_discriminator", {"model": "steps.agent1", "dataset": "steps.pairs2", "discriminator": "steps.judge1",
                                               "replay_1": "steps.pairs1"}, TRAINED, "model"),
        "agent2": ("stepagent_inverse", data | {"model": "steps.agent1", "discriminator": "steps.judge2"}, drawn[1], "model"),
    }  # fmt: skip
    made = {
        name: {"uses": uses, "inputs": inputs, "with": settings, "publish": {kind: name}}
        for name, (uses, inputs, settings, kind) in parts.items()
    }
    return json.dumps({"name": "cycles", "namespace": namespace, "steps": made})


@pytest.mark.slow
def test_two_cycles_on_the_hub(api: Any, namespace: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from hubwright.hub_sync.pull import pull
    from hubwright.recipe import load_plan
    from hubwright.runner import default_settings
    from hubwright.runner import run as run_plan
    from hubwright.verification import verify

    model, data = make_model(tmp_path / "base", dropout=0.0), save(tmp_path / "steps", steps=steps(12, 2))
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (data / "README.md").write_text((data / "README.md").read_text().replace("configs:", "license: mit\nconfigs:"))
    for folder, kind in ((model, "model"), (data, "dataset")):
        api.create_repo(f"{namespace}/{folder.name}", repo_type=kind)
        api.upload_folder(repo_id=f"{namespace}/{folder.name}", folder_path=folder, repo_type=kind)
    path = tmp_path / "cycles.yaml"
    path.write_text(recipe(namespace))
    plan = load_plan(path)
    outcomes = {one.step: one for one in run_plan(plan, default_settings(plan, runs=tmp_path / "runs"))}
    assert [one.state for one in outcomes.values()] == ["published"] * 6
    records, folders = {}, {}
    for name, outcome in outcomes.items():
        folders[name] = pull(outcome.ref)
        records[name] = json.loads((folders[name] / "provenance.json").read_text())["records"][-1]["report"]
        assert [check for check in verify(outcome.ref)[1] if check.ok is False] == []
    counts = records["judge2"]["counts"]
    assert 0 < counts["train_agent_actions_replayed"] <= counts["train_expert_actions"] / 3
    card = (folders["judge2"] / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "AutoModelForSequenceClassification.from_pretrained" in card
    assert AutoModelForSequenceClassification.from_pretrained(folders["judge2"]).config.num_labels == 1  # its line
    for name in ("agent1", "agent2"):
        [kl] = [c["series"]["train"] for c in records[name]["curves"] if c["title"] == "KL divergence"]
        assert abs(kl[0][1]) < 1e-6 < abs(kl[1][1])
    assert (folders["agent1"] / "adapter_model.safetensors").is_file()
    assert AutoModelForCausalLM.from_pretrained(folders["agent2"]).num_parameters() > 0
    assert {one.state for one in run_plan(plan, default_settings(plan, runs=tmp_path / "again"))} == {"skipped"}
