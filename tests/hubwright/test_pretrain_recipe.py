"""From nothing but a recipe to a published language model: data set, pre-training, card, provenance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RECIPE = """\
name: from-nothing
namespace: {namespace}
steps:
  induction:
    uses: induction
    with: {{train_rows: 256, test_rows: 32, length: 24, vocabulary: 16, pool: 8}}
    publish: {{dataset: induction, tag: v1.0.0}}
  model:
    uses: pretrain
    inputs: {{dataset: steps.induction}}
    with:
      architecture: {{model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
        num_attention_heads: 2}}
      tokenizer: {{kind: words}}
      max_length: 32
      max_steps: 6
      eval_split: test
      bf16: false
      use_cpu: true
      threads: 1
      logging_steps: 2
    publish: {{model: tiny, tag: v1.0.0}}
"""


@pytest.mark.slow
def test_a_recipe_makes_a_language_model_from_nothing(
    hubwright_in_process, api, tmp_path: Path, namespace: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (tmp_path / "r.yaml").write_text(RECIPE.format(namespace=namespace))
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode == 0, run.stderr[-3000:]
    assert "step 6/6" in run.stderr  # progress as lines, where there is no terminal
    checked = hubwright_in_process("verify", f"models/{namespace}/tiny@v1.0.0", "--format", "json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    folder = Path(api.snapshot_download(f"{namespace}/tiny", revision="v1.0.0"))
    card = (folder / "README.md").read_text()
    header = card.split("---")[1]
    assert "library_name: transformers" in header and f"- {namespace}/induction" in header
    assert "base_model" not in header and "pipeline_tag: text-generation" in header
    assert "### Architecture" in card and "| hidden_size | 32 |" in card
    for name in ("loss", "accuracy", "memory", "speed", "learning-rate", "gradient-norm"):
        assert (folder / "plots" / f"{name}.png").is_file(), name
    record = json.loads((folder / "provenance.json").read_text())["records"][0]
    assert record["report"]["metrics"]["eval_accuracy"] >= 0
    net, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert net.config.vocab_size == len(words)


@pytest.mark.parametrize(
    "change", ["architecture=5", "max_length=4", "tokenizer.kind=letters", "epochs=3", "lora={r: 4}"]
)
def test_a_wrong_setting_is_named(hubwright_in_process, tmp_path: Path, namespace: str, change: str) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.format(namespace=namespace))
    run = hubwright_in_process("run", "r.yaml", "--set", f"steps.model.with.{change}")
    assert run.returncode == 2 and change.split("=")[0] in run.stderr, run.stderr
