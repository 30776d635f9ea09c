"""A recipe end to end with a tiny real model: data, training, evaluation, card, and unmodified clients reading it back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import save_tiny_model

RECIPE = """\
name: whole
namespace: {namespace}
steps:
  drills:
    uses: feedback_drills
    with: {{train_rows: 64, test_rows: 16}}
    publish: {{dataset: drills, tag: v1.0.0}}
  before:
    uses: lm_eval
    inputs: {{model: {namespace}/tiny, dataset: steps.drills}}
    with: {{tasks: [feedback_drills], limit: 6, dtype: float32, gen_kwargs: {{max_gen_toks: 8}}}}
    publish: {{dataset: before, tag: v1.0.0}}
  tuned:
    uses: sft
    inputs: {{model: {namespace}/tiny, dataset: steps.drills}}
    with: {{max_steps: 6, save_steps: 2, per_device_train_batch_size: 2, max_length: 256, use_cpu: true, bf16: false}}
    publish: {{model: tuned}}
  after:
    uses: lm_eval
    inputs: {{model: steps.tuned, dataset: steps.drills}}
    with: {{tasks: [feedback_drills], limit: 6, dtype: float32, gen_kwargs: {{max_gen_toks: 8}}}}
    publish: {{dataset: after, tag: v1.0.0}}
  report:
    uses: report
    inputs: {{model: steps.tuned, result: steps.after, baseline: steps.before}}
    publish: {{model: tuned, tag: v1.0.0}}
"""


# transformers' own loading, then the lm_eval script as it is installed.
CLIENTS = """
import runpy, sys
from transformers import AutoModelForCausalLM as M, AutoTokenizer as T
_, repo_id, *sys.argv = sys.argv
m, t = M.from_pretrained(repo_id, revision="v1.0.0"), T.from_pretrained(repo_id, revision="v1.0.0")
print(sum(p.numel() for p in m.parameters()), t.chat_template is not None, flush=True)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def ready(api, tmp_path, namespace) -> Path:
    """The recipe in `tmp_path`, its tiny base model on the hub."""
    folder = save_tiny_model(tmp_path / "tiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A tiny random model\n")
    api.create_repo(f"{namespace}/tiny")
    api.upload_folder(folder_path=folder, repo_id=f"{namespace}/tiny")
    path = tmp_path / "whole.yaml"
    path.write_text(RECIPE.format(namespace=namespace))
    return path


def test_a_recipe_runs_end_to_end(hubwright_in_process, api, ready, namespace, tmp_path):
    run = hubwright_in_process("run", "whole.yaml", "--format", "json")
    assert run.returncode == 0, run.stderr[-3000:]
    steps = {s["step"]: s for s in json.loads(run.stdout)["steps"]}
    assert {s["state"] for s in steps.values()} == {"published"}

    repo_id = f"{namespace}/tuned"
    assert [c.commit_id for c in api.list_repo_commits(repo_id)][:2] == [
        steps["report"]["commit"],
        steps["tuned"]["commit"],
    ]
    again = hubwright_in_process("run", "whole.yaml", "--format", "json")
    assert {s["state"] for s in json.loads(again.stdout)["steps"]} == {"skipped"}
    checked = hubwright_in_process("verify", f"models/{repo_id}@v1.0.0", "--format", "json")
    assert checked.returncode == 0 and all(c["ok"] for c in json.loads(checked.stdout)["checks"]), checked.stdout

    # A second report of the same result goes on top of the first and takes its place on the card.
    changes = ["--set", "steps.report.with.notes=said again", "--set", "steps.report.publish.tag=v1.1.0"]
    more = hubwright_in_process("run", "whole.yaml", *changes, "--format", "json")
    assert more.returncode == 0, more.stderr[-2000:]
    (record,) = [s for s in json.loads(more.stdout)["steps"] if s["step"] == "report"]
    assert record["state"] == "published"
    assert [c.commit_id for c in api.list_repo_commits(repo_id)][:2] == [record["commit"], steps["report"]["commit"]]
    records = json.loads(Path(api.hf_hub_download(repo_id, "provenance.json")).read_text())
    found = [r["step"]["name"] for r in (records["records"] if isinstance(records, dict) else records)]
    assert found == ["tuned", "report"]
    checked = hubwright_in_process("verify", f"models/{repo_id}@v1.1.0", "--format", "json")
    assert checked.returncode == 0 and all(c["ok"] for c in json.loads(checked.stdout)["checks"]), checked.stdout

    # The card: lineage, licence, figures, plots, and the Hub's own form of results, which the client's parser accepts.
    from huggingface_hub import ModelCard, parse_eval_result_entries

    card = ModelCard.load(repo_id)
    assert card.data.base_model == f"{namespace}/tiny"
    assert card.data.to_dict()["base_model_relation"] == "finetune"
    assert card.data.license == "mit" and card.data.datasets == [f"{namespace}/drills"]
    assert "| acc |" in card.text and steps["drills"]["commit"][:12] in card.text
    files = set(api.list_repo_files(repo_id, revision="v1.0.0"))
    assert "plots/before-and-after.png" in files and not any(f.endswith((".bin", ".pt")) for f in files)
    import yaml

    entries = yaml.safe_load(Path(api.hf_hub_download(repo_id, ".eval_results/feedback_drills.yaml")).read_text())
    parsed = parse_eval_result_entries(entries)
    assert parsed[0].dataset_id == f"{namespace}/drills" and parsed[0].dataset_revision == steps["drills"]["commit"]

    # No path of this machine in anything published.
    for name in sorted(files):
        content = Path(api.hf_hub_download(repo_id, name)).read_bytes()
        assert str(tmp_path).encode() not in content and os.environ["HF_HOME"].encode() not in content, name

    # Unmodified clients, in a process that knows nothing but HF_ENDPOINT.
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_ENDPOINT": os.environ["HF_ENDPOINT"], "HF_HOME": str(tmp_path / "home")}
    script = Path(sys.executable).parent / "lm_eval"
    tasks = hubwright_in_process("tasks", "path").stdout.strip()
    metadata = json.dumps({"dataset": f"{namespace}/drills@v1.0.0"})
    arguments = [
        script, "run", "--model", "hf", "--device", "cpu", "--limit", "6",
        "--model_args", f"pretrained={repo_id},revision=v1.0.0,dtype=float32", "--tasks", "feedback_drills",
        "--include_path", tasks, "--metadata", metadata, "--apply_chat_template", "--gen_kwargs", "max_gen_toks=8",
        "--output_path", "out",
    ]  # fmt: skip
    stock = subprocess.run(
        [sys.executable, "-c", CLIENTS, repo_id, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert stock.returncode == 0, stock.stderr[-3000:]
    assert stock.stdout.splitlines()[0].split()[1] == "True", stock.stdout
    figures = json.loads(next((tmp_path / "out").rglob("results_*.json")).read_text())["results"]["feedback_drills"]
    ours = json.loads(Path(api.hf_hub_download(f"{namespace}/after", "results.json", repo_type="dataset")).read_text())
    assert figures["acc,none"] == ours["tasks"]["feedback_drills"]["metrics"]["acc"]["value"]


# Where a kill is aimed: just after the first file of this kind appears below runs/whole.
MOMENTS = [
    "drills-*/output/data/*.parquet", "drills-*/done.json", "before-*/work", "before-*/done.json",
    "tuned-*/*/checkpoints/checkpoint-2", "tuned-*/*/checkpoints/checkpoint-4",
    "tuned-*/output/model.safetensors", "tuned-*/done.json", "after-*/done.json", "report-*/output/README.md",
]  # fmt: skip


@pytest.mark.slow
def test_killed_training_run_ends_with_the_same_weights(hubwright, api, ready, namespace, tmp_path):
    """kill -9 at ten moments of the whole recipe, training included: the artifacts equal an uninterrupted run's."""
    import random
    import signal
    import time

    clock = random.Random(0)
    # Work is kept: a moment of a step that was published before its kill is found all the same.
    command = [sys.executable, "-m", "hubwright", "run", "whole.yaml", "--keep-work"]
    for moment in MOMENTS:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((tmp_path / "runs" / "whole").glob(moment)):
            time.sleep(0.005)
        time.sleep(clock.uniform(0, 0.3))
        assert process.poll() is None, f"ended before it could be killed at {moment}"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    killed = hubwright("run", "whole.yaml", "--format", "json")
    assert killed.returncode == 0, killed.stderr[-3000:]
    clean = hubwright(
        "run", "whole.yaml", "--format", "json", "--runs", "clean", "--set", f"namespace={namespace}-clean"
    )
    assert clean.returncode == 0, clean.stderr[-3000:]
    for a, b in zip(json.loads(killed.stdout)["steps"], json.loads(clean.stdout)["steps"], strict=True):
        assert _content(api, a, namespace) == _content(api, b, namespace), a["step"]
    assert len(api.list_repo_commits(f"{namespace}/tuned")) == 3
    for name in ("drills", "before", "after"):
        assert len(api.list_repo_commits(f"{namespace}/{name}", repo_type="dataset")) == 2


def _content(api, step: dict, namespace: str) -> dict[str, str]:
    """Hashes of what a step made. Records and cards hold times; results.json names its inputs, whose commits differ."""
    tree = api.list_repo_tree(step["repo_id"], repo_type=step["type"], revision=step["commit"], recursive=True)
    kinds = (".safetensors", ".json", ".parquet", ".jinja")
    files = [f for f in tree if f.path.endswith(kinds) and f.path != "provenance.json"]
    found = {f.path: f.lfs.sha256 if f.lfs else f.blob_id for f in files}
    if "results.json" in found:
        path = api.hf_hub_download(step["repo_id"], "results.json", repo_type=step["type"], revision=step["commit"])
        text = Path(path).read_text().replace(step["repo_id"].split("/")[0] + "/", f"{namespace}/")
        found["results.json"] = re.sub(r"\b[0-9a-f]{40}\b", "COMMIT", text)
    return found
