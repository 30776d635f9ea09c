"""recipes/versatune/versatune.yaml as it is shipped, at toy size: from what a model knows to a card."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_model import save_tiny_model

from hubwright.recipe import shipped_recipes

DOMAINS = ("code", "finance", "law", "medicine", "other", "science")
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PROBLEM = {
    "task_id": "HumanEval/0", "prompt": "def one():\n    \"\"\"1\"\"\"\n", "canonical_solution": "    return 1\n",
    "test": "def check(f):\n    assert f() == 1\n", "entry_point": "one",
}  # fmt: skip


@pytest.fixture
def recipe(api: Any, tmp_path: Path, namespace: str) -> Path:
    """The shipped recipe with a tiny model for SmolLM2, files of our own, and few steps; `only_*` are the references."""
    api.create_repo(f"{namespace}/tiny")
    folder = save_tiny_model(tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    api.upload_folder(repo_id=f"{namespace}/tiny", folder_path=folder)
    text = shipped_recipes()["versatune"].read_text(encoding="utf-8").replace(MODEL, f"{namespace}/tiny")
    plan = yaml.safe_load(text) | {"namespace": namespace}
    for name, step in plan["steps"].items():
        settings = step.get("with", {})
        if step["uses"] == "corpus":
            lines = [json.dumps({"text": f"{name} {number}: " + f"{name} text " * 6}) for number in range(60)]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
            source = {"source": f"{name}.jsonl", "format": "jsonl", "name": name}
            settings["sources"] = [source | {"license": settings["sources"][0]["license"]}]
        elif step["uses"] == "versatune_pretrain":
            few = {"max_steps": 4, "update_every": 2, "per_device_train_batch_size": 2, "max_length": 64}
            settings |= few | {"eval_rows": 2, "threads": 1}
            settings.pop("save_steps", None)
        elif step["uses"] == "lm_eval":
            settings |= {"limit": 6, "threads": 1, "metadata": {"bootstrap": 50}}
    plan["steps"]["knows"]["with"] |= {"samples": 12, "max_new_tokens": 32, "min_words": 1, "threads": 1}
    plan["steps"]["mixture"]["with"] |= {"draw": 512, "held_out_share": 0.2}
    with gzip.open(tmp_path / "problems.jsonl.gz", "wt") as file:
        file.write(json.dumps(PROBLEM) + "\n")
    plan["steps"]["humaneval"]["with"]["source"] = "problems.jsonl.gz"
    path = tmp_path / "versatune.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


def test_dry_run_lists_every_step_in_order_and_publishes_nothing(
    hubwright_in_process: Any, api: Any, recipe: Path, namespace: str
) -> None:
    run = hubwright_in_process("run", str(recipe), "--dry-run", "--format", "json")
    assert run.returncode == 0, run.stderr
    steps = [step["step"] for step in json.loads(run.stdout)["steps"]]
    assert steps.index("knows") < steps.index("mixture") < steps.index("only_law") < steps.index("dynamic")
    assert len(steps) == 21 and steps[-1] == "card"
    assert not list(api.list_datasets(author=namespace))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_run_publishes_probe_mixture_models_summary_and_card(
    hubwright_in_process: Any, api: Any, recipe: Path, namespace: str, quiet_progress: None
) -> None:
    run = hubwright_in_process("run", str(recipe))
    assert run.returncode == 0, run.stderr[-3000:]
    checked = hubwright_in_process("verify", f"models/{namespace}/smollm2-135m-versatune@v1.0.0")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    folder = Path(api.snapshot_download(f"{namespace}/smollm2-135m-versatune", revision="v1.0.0"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "How domains were weighted" in card and (folder / "schedule.parquet").is_file()
    for name in DOMAINS:
        assert f"{namespace}/smollm2-135m-versatune-only-{name}" in card and f"loss_{name}" in card, name
    for plot in ("domain-weights", "held-out-loss-by-domain", "forgetting-by-domain"):
        assert (folder / "plots" / f"{plot}.png").is_file(), plot
    data = Path(api.snapshot_download(f"{namespace}/versatune-summary", repo_type="dataset", revision="v1.0.0"))
    assert "uniform, dynamic on 1 model; the baseline is uniform" in (data / "README.md").read_text(encoding="utf-8")
    (chart,) = json.loads((data / "provenance.json").read_text())["records"][0]["report"]["bars"]
    assert chart["shape"] == "radar" and tuple(chart["groups"]) == DOMAINS
    assert (data / "plots" / "held-out-loss-by-domain.png").read_bytes()[:4] == b"\x89PNG"
