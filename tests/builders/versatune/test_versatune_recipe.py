"""Corpora, a probe and a mixture as a recipe on the hub, read by unmodified clients."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from tiny_model import save_tiny_model

RECIPE = """
name: mixing
namespace: {namespace}
steps:
  code:
    uses: corpus
    with:
      sources: [{{source: code.txt, format: text, split_by: line, name: code-lines, license: mit}}]
      min_chars: 1
      valid_share: 0
      test_share: 0
    publish: {{dataset: code, tag: v1.0.0}}
  law:
    uses: corpus
    with:
      sources: [{{source: law.txt, format: text, split_by: line, name: law-lines, license: apache-2.0}}]
      min_chars: 1
      valid_share: 0
      test_share: 0
    publish: {{dataset: law, tag: v1.0.0}}
  knows:
    uses: versatune_probe
    inputs: {{model: "{namespace}/tiny@main", judge: "{namespace}/tiny@main"}}
    with: {{samples: 4, max_new_tokens: 24, min_words: 1, min_distinct: 0, allow_weak_judge: true, device: cpu, threads: 1,
            domains: {{law: statutes, code: programs, other: else}}}}
    publish: {{dataset: knows, tag: v1.0.0}}
  mixture:
    uses: versatune_mixture
    inputs: {{domain_code: steps.code, domain_law: steps.law, probe: steps.knows, tokenizer: "{namespace}/tiny@main"}}
    with: {{held_out_share: 0.2, caps: {{law: 0.6}}, draw: 500, allow_weak_judge: true}}
    publish: {{dataset: mixture, tag: v1.0.0}}
"""


@pytest.mark.slow
def test_recipe_publishes_domains_that_load_dataset_reads(
    hubwright_in_process, api, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    api.create_repo(f"{namespace}/tiny")
    (save_tiny_model(tmp_path / "tiny") / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    api.upload_folder(repo_id=f"{namespace}/tiny", folder_path=tmp_path / "tiny")
    for name in ("code", "law"):
        (tmp_path / f"{name}.txt").write_text("".join(f"A line of {name} with number {n}.\n" for n in range(100)))
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(namespace=namespace))
    run = hubwright_in_process("run", "recipe.yaml")
    assert run.returncode == 0, run.stderr[-3000:]
    folder = Path(api.snapshot_download(f"{namespace}/mixture", repo_type="dataset", revision="v1.0.0"))
    mixture = json.loads((folder / "mixture.json").read_text())
    assert datasets.get_dataset_config_names(f"{namespace}/mixture", revision="v1.0.0") == ["code", "law"]
    parts = {
        name: datasets.load_dataset(f"{namespace}/mixture", name, revision="v1.0.0", cache_dir=str(tmp_path))
        for name in mixture["domains"]
    }
    assert {name: {s: len(rows) for s, rows in part.items()} for name, part in parts.items()} == mixture["samples"]
    assert sum(mixture["weights"].values()) == pytest.approx(1) and mixture["weights"]["law"] <= 0.6
    card = (folder / "README.md").read_text()
    assert "law-lines (100)" in card and "apache-2.0 (100)" in card and "The probe's other domains (other" in card
    probe = Path(api.snapshot_download(f"{namespace}/knows", repo_type="dataset", revision="v1.0.0"))
    assert "Do not rely on" in (probe / "README.md").read_text()
    assert list((probe / "plots").glob("*.png")) and (probe / "distribution.json").is_file()
    again = hubwright_in_process("run", "recipe.yaml")
    assert again.returncode == 0 and "mixture" in again.stdout + again.stderr
