"""A merge by recipe: published parents in, a published model with its parents on the card out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_model import save_tiny_model

RECIPE = """\
name: merged
namespace: {namespace}
steps:
  merged:
    uses: merge
    inputs: {{base: {namespace}/base, model_a: {namespace}/a, model_b: {namespace}/b}}
    with:
      method: ties
      models: {{a: {{weight: 0.7, density: 0.5}}, b: {{weight: 0.4}}}}
      shard_size: 40KB
    publish: {{model: merged, tag: v1.0.0}}
"""


@pytest.fixture
def parents(api, tmp_path: Path, namespace: str) -> None:
    """Three models on the hub: base, a, b; `other` has another vocabulary, `adapter` is one of the base."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for seed, name in enumerate(("base", "a", "b", "other", "adapter")):
        folder = save_tiny_model(tmp_path / "models" / name, seed=seed)
        if name == "other":
            path = folder / "tokenizer.json"
            said = json.loads(path.read_text())
            vocab = said["model"]["vocab"]
            vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
            path.write_text(json.dumps(said))
        if name == "adapter":
            base = AutoModelForCausalLM.from_pretrained(tmp_path / "models" / "base")
            folder = tmp_path / "models" / "lora"
            get_peft_model(base, LoraConfig(r=2, init_lora_weights=False)).save_pretrained(folder)
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder)


def test_a_recipe_merges_published_models(hubwright_in_process, api, parents, tmp_path: Path, namespace: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (tmp_path / "r.yaml").write_text(RECIPE.format(namespace=namespace))
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode == 0, run.stderr[-3000:]
    assert hubwright_in_process("verify", f"models/{namespace}/merged@v1.0.0").returncode == 0
    folder = Path(api.snapshot_download(f"{namespace}/merged", revision="v1.0.0"))
    card = (folder / "README.md").read_text()
    header = card.split("---")[1]
    assert "base_model_relation: merge" in header and "- merge\n" in header and "\n## Merge\n" in card
    for name in ("base", "a", "b"):
        assert f"- {namespace}/{name}\n" in header
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    record = json.loads((folder / "provenance.json").read_text())["records"][0]
    assert record["report"]["tables"][0]["rows"][0][1:] == [0.7, 0.5, 0.01]
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16 and AutoTokenizer.from_pretrained(folder)("a").input_ids
    # The norms are ones in all three models: nothing is to be merged there.
    held = model.state_dict()
    assert held["model.norm.weight"].eq(1).all() and not held["model.embed_tokens.weight"].isnan().any()

    changed = ("--set", "steps.merged.publish.tag=v2", "--set", "steps.merged.publish.model=again")
    sizes = hubwright_in_process("run", "r.yaml", *changed, "--set", "steps.merged.with.shard_size=1MB")
    assert sizes.returncode == 0, sizes.stderr[-3000:]
    again = AutoModelForCausalLM.from_pretrained(f"{namespace}/again").state_dict()
    assert all(torch.equal(again[name], one) for name, one in held.items())


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (["inputs.model_b={namespace}/other"], 3, "other vocabularies (2 tokens differ, 'a' among them)"),
        (["with.models.c.weight=1"], 2, "models: there is no input model_c (inputs: base, model_a, model_b)"),
        (["with.method=slerp", "with.t=0.5", "with.models={{}}"], 2, "slerp takes one model beside the base"),
        (["with.method=mean"], 2, "with.method"),
        (["inputs.base=null"], 2, "inputs"),
    ],
)
def test_what_cannot_be_merged_is_one_line(
    hubwright_in_process, parents, tmp_path: Path, namespace: str, changes: list[str], code: int, said: str
) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.format(namespace=namespace))
    given = [part for one in changes for part in ("--set", f"steps.merged.{one.format(namespace=namespace)}")]
    run = hubwright_in_process("run", "r.yaml", *given)
    assert run.returncode == code and said in run.stderr, run.stderr[-2000:]
    assert "Traceback" not in run.stderr
    if code == 2:
        assert said in hubwright_in_process("run", "r.yaml", "--dry-run", *given).stderr


def test_an_adapter_is_a_parent_too(hubwright_in_process, api, parents, tmp_path: Path, namespace: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (tmp_path / "r.yaml").write_text(
        RECIPE.format(namespace=namespace)
        .replace(f"model_a: {namespace}/a, model_b: {namespace}/b", f"model_a: {namespace}/adapter")
        .replace("method: ties", "method: task_arithmetic")
        .replace("models: {a: {weight: 0.7, density: 0.5}, b: {weight: 0.4}}", "dtype: float32")
    )
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode == 0, run.stderr[-3000:]
    merged = AutoModelForCausalLM.from_pretrained(f"{namespace}/merged")
    assert merged.dtype == torch.float32
    base = AutoModelForCausalLM.from_pretrained(f"{namespace}/base", dtype=torch.float32)
    wanted = PeftModel.from_pretrained(base, f"{namespace}/adapter").merge_and_unload().state_dict()
    for name, one in merged.state_dict().items():
        assert torch.allclose(one, wanted[name], rtol=0, atol=2**-20), name


def test_run_reordered_linear_recipe_is_another_model(
    hubwright_in_process, api, parents, tmp_path: Path, namespace: str
) -> None:
    """The first listed model gives the config: the other order is not taken for what is published already."""
    listed = [f"model_a: {namespace}/a", f"model_b: {namespace}/b"]
    text = RECIPE.replace("base: {namespace}/base, model_a: {namespace}/a, model_b: {namespace}/b", "INPUTS")
    text = text.format(namespace=namespace).replace("method: ties", "method: linear").replace(", density: 0.5", "")
    states, records = [], []
    for inputs in (listed, listed, listed[::-1]):
        (tmp_path / "r.yaml").write_text(text.replace("INPUTS", ", ".join(inputs)).replace(", tag: v1.0.0", ""))
        run = hubwright_in_process("run", "r.yaml", "--format", "json")
        assert run.returncode == 0, run.stderr[-3000:]
        states.append(json.loads(run.stdout)["steps"][0]["state"])
        path = api.hf_hub_download(f"{namespace}/merged", "provenance.json")
        records.append(json.loads(Path(path).read_text())["records"][0])
    assert states == ["published", "skipped", "published"]
    assert [one["config"]["order"] for one in records] == [["a", "b"], ["a", "b"], ["b", "a"]]
