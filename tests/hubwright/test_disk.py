"""What a dry run says of disk, beside what a run then leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_model import save_tiny_model

from hubwright.disk import Need, lacking
from hubwright.hub_sync.step import Size
from hubwright.trainers._lib.config import LoraSettings
from hubwright.trainers.merge.config import MergeConfig
from hubwright.trainers.pretrain.config import PretrainConfig
from hubwright.trainers.sft import SFTConfig

RECIPE = """\
name: tune
namespace: {namespace}
steps:
  rows:
    uses: rows
    with: {{source: rows.jsonl, format: messages, license: mit}}
    publish: {{dataset: rows, tag: v1}}
  tuned:
    uses: sft
    inputs: {{model: {namespace}/base, dataset: steps.rows}}
    with:
      {{max_steps: 4, save_steps: 1, per_device_train_batch_size: 2, device: cpu, bf16: false,
      chat_template: chatml_tools}}
    publish: {{model: tuned, tag: v1}}
"""
MODEL = {"model": Size(2_000_000, 1_000_000)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_run_dry_tells_the_disk_that_each_step_then_uses(hubwright_in_process, api, tmp_path, namespace):
    model = save_tiny_model(tmp_path / "model")
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    api.create_repo(f"{namespace}/base")
    api.upload_folder(repo_id=f"{namespace}/base", folder_path=model)
    row = {"instruction": "Say it", "output": "It is said, and more than once, to fill a line."}
    lines = [json.dumps(row | {"input": f"number {number}"}) for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "tune.yaml").write_text(RECIPE.format(namespace=namespace))

    dry = hubwright_in_process("run", "tune.yaml", "--dry-run", "--format", "json")
    assert dry.returncode == 0, dry.stderr[-2000:]
    rows, tuned = (step["disk"] for step in json.loads(dry.stdout)["steps"])
    source = (tmp_path / "rows.jsonl").stat().st_size
    assert rows == {"fetch": 0, "write": 3 * source}
    assert tuned["fetch"] == source + sum(file.size for file in api.list_repo_tree(f"{namespace}/base"))
    table = hubwright_in_process("run", "tune.yaml", "--dry-run").stdout
    assert f"{namespace}/tuned" in table and "writes, about" in table and "1.4 MB" in table

    run = hubwright_in_process("run", "tune.yaml", "--keep-work")
    assert run.returncode == 0, run.stderr[-3000:]
    (folder,) = (tmp_path / "runs" / "tune").glob("tuned-*")
    assert 0.6 * tuned["write"] < _size(folder) < 1.1 * tuned["write"]
    again = hubwright_in_process("run", "tune.yaml", "--dry-run")
    assert "writes" not in again.stdout, "nothing is to come"


@pytest.mark.parametrize(
    ("config", "written", "published"),
    [
        (SFTConfig(), 3 * 12_000_000 + 4_000_000, 4_000_000),
        (SFTConfig(max_steps=10, save_steps=10), 12_000_000 + 4_000_000, 4_000_000),
        (SFTConfig(dtype="bfloat16", save_total_limit=4), 5 * 6_000_000 + 2_000_000, 2_000_000),
        (SFTConfig(lora=LoraSettings(r=8)), 3 * 120_000 + 40_000, 40_000),
        (SFTConfig(lora=LoraSettings(r=8), merge_adapter=True), 3 * 120_000 + 4_000_000, 4_000_000),
        (MergeConfig(method="linear"), 2_000_000, 2_000_000),
        (MergeConfig(method="linear", dtype="float32"), 4_000_000, 4_000_000),
    ],
)
def test_disk_of_settings_follows_weights_and_checkpoints(config, written, published):
    write, size = config.disk(MODEL)
    assert (write, size.bytes) == (written, published)


def test_disk_of_a_model_from_nothing_is_that_of_its_sizes():
    shape = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    config = PretrainConfig(architecture=shape, tokenizer={"kind": "words", "vocab_size": 100})
    assert config.model_size({}) == 2 * (4 * 64 * 64 + 3 * 64 * 128) + 2 * 100 * 64
    assert PretrainConfig(architecture={"model_type": "mamba"}, tokenizer={"kind": "words"}).disk({}) is None


def test_lacking_names_the_disk_that_is_too_small(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    assert lacking([Need(0, free // 2), Need(0, free // 2)], tmp_path) == "", "one step's work goes before the next"
    assert "which has" in lacking([Need(0, 2 * free)], tmp_path / "not" / "there")
    assert "which has" in lacking([Need(20 * free, None)], tmp_path)
    assert lacking([Need(0, None)], tmp_path) == ""
