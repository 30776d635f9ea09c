"""From a mixture on the hub to a published model with its schedule, and to the table of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mixture_parts import DOMAINS, save_mixture

RECIPE = """\
name: domains
namespace: {namespace}
steps:
  model:
    uses: versatune_pretrain
    inputs: {{dataset: {namespace}/mixture}}
    with:
      architecture: {{model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
        num_attention_heads: 2}}
      tokenizer: {{kind: words}}
      max_length: 32
      max_steps: 6
      use_cpu: true
      threads: 1
      update_every: 2
      reference_losses: {{code: 1.0, law: 2.0, other: 3.0}}
    publish: {{model: tiny, tag: v1.0.0}}
  again:
    uses: versatune_pretrain
    inputs: {{dataset: {namespace}/mixture, model: steps.model, reference: steps.model}}
    with: {{max_length: 32, max_steps: 4, update_every: 2, use_cpu: true, threads: 1, target: law}}
    publish: {{model: expanded, tag: v1.0.0}}
  runs:
    uses: versatune_sweep
    inputs: {{dataset: {namespace}/mixture}}
    with:
      architecture: {{model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
        num_attention_heads: 2}}
      tokenizer: {{kind: words}}
      max_length: 32
      max_steps: 2
      use_cpu: true
      threads: 1
      runs: 3
    publish: {{dataset: runs, tag: v1.0.0}}
"""


@pytest.mark.slow
def test_a_recipe_publishes_model_schedule_and_sweep(
    hubwright_in_process: Any, api: Any, tmp_path: Path, namespace: str
) -> None:
    data = save_mixture(tmp_path / "data")
    api.create_repo(f"{namespace}/mixture", repo_type="dataset")
    api.upload_folder(repo_id=f"{namespace}/mixture", folder_path=data, repo_type="dataset")
    (tmp_path / "r.yaml").write_text(RECIPE.format(namespace=namespace))
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode == 0, run.stderr[-3000:]
    for name in ("tiny", "expanded"):
        checked = hubwright_in_process("verify", f"models/{namespace}/{name}@v1.0.0", "--format", "json")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        folder = Path(api.snapshot_download(f"{namespace}/{name}", revision="v1.0.0"))
        card = (folder / "README.md").read_text()
        assert "How domains were weighted" in card and "### Domains" in card and "- versatune" in card
        for plot in ("domain-weights", "held-out-loss-by-domain", "forgetting-by-domain"):
            assert (folder / "plots" / f"{plot}.png").is_file(), plot
        rows = pq.read_table(folder / "schedule.parquet").to_pylist()
        assert {row["domain"] for row in rows} == {*DOMAINS}
    assert rows[4]["domain"] == "law" and rows[0]["reference_loss"] is not None
    metrics = json.loads((folder / "provenance.json").read_text())["records"][0]["report"]["metrics"]
    assert metrics["held_out_loss_law"] > 0 and metrics["updates"] == 1
    runs = Path(api.snapshot_download(f"{namespace}/runs", repo_type="dataset", revision="v1.0.0"))
    table = pq.read_table(runs / "data")
    assert len(table) == 3 and {"run", "seed", "weight_law", "loss_law"} <= set(table.column_names)
