"""An adapter as the model to train: folded into its base, which is an input like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_parts import QUICK, context, make_model, make_tokenizer

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers import dpo, pretrain, sft

TURNS = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Seven."}]
ROWS: dict[str, dict[str, Any]] = {
    "sft": {"messages": TURNS},
    "dpo": {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": [{"role": "assistant", "content": "Blue."}]},
    "pretrain": {"text": "How many? Seven."},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "sft": {"assistant_only_loss": False},
    "dpo": {},
    "pretrain": {"max_length": 64},
}
METHODS: dict[str, Any] = {
    "sft": (sft, sft.SFTConfig),
    "dpo": (dpo, dpo.DPOConfig),
    "pretrain": (pretrain, pretrain.PretrainConfig),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"))


def make_adapter(base: Path, folder: Path, source_name: str, tokenizer: bool = True) -> Path:
    """A LoRA adapter with weights drawn at random, as PEFT saves it, and perhaps the tokenizer, as TRL saves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"])
    config.init_lora_weights = False
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    adapted.peft_config["default"].base_model_name_or_path = source_name
    adapted.save_pretrained(folder, save_embedding_layers=False)
    if tokenizer:
        make_tokenizer().save_pretrained(folder)
    return folder


def folded(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """W + alpha / r B A (arXiv:2106.09685, section 4.1), in float64."""
    from safetensors.torch import load_file

    weights = {name: tensor.double() for name, tensor in load_file(base / "model.safetensors").items()}
    matrices = load_file(adapter / "adapter_model.safetensors")
    for name, a in matrices.items():
        if ".lora_A." in name:
            b = matrices[name.replace("lora_A", "lora_B")]
            target = name.removeprefix("base_model.model.").replace("lora_A.", "")
            weights[target] = weights[target] + 12 / 4 * b.double() @ a.double()
    return weights


def save_rows(folder: Path, method: str) -> Path:
    folder.mkdir()
    (folder / "train.jsonl").write_text((json.dumps(ROWS[method]) + "\n") * 4)
    return folder


@pytest.mark.parametrize("method", list(METHODS))
def test_adapter_as_model_starts_from_base_plus_its_changes(tmp_path: Path, base: Path, method: str) -> None:
    """A learning rate of almost nothing leaves what the training began with."""
    from safetensors.torch import load_file

    adapter = make_adapter(base, tmp_path / "adapter", "org/absent", tokenizer=False)
    data = save_rows(tmp_path / "data", method)
    step = context(tmp_path, {"model": adapter, "dataset": data})
    step.inputs["model.base"] = context(tmp_path, {"model": base}).inputs["model"]  # type: ignore[index]
    module, config = METHODS[method]
    settings = QUICK | SETTINGS[method] | {"max_steps": 1, "learning_rate": 1e-12}
    module.train(config(**settings), step)
    found, expected = load_file(step.output / "model.safetensors"), folded(base, adapter)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(found[name].double(), tensor, atol=1e-6), name
    changed = (
        found["model.layers.0.self_attn.q_proj.weight"]
        - load_file(base / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    )
    assert changed.abs().max() > 1e-2
    assert not (step.output / "adapter_config.json").exists()


RECIPE = """
name: again
namespace: {namespace}
steps:
  tuned:
    uses: {method}
    inputs: {{model: {namespace}/adapter, dataset: {namespace}/rows}}
    with: {settings}
    publish: {{model: tuned}}
"""


def upload(api: Any, folder: Path, repo: str, licence: str, kind: str = "model") -> str:
    api.create_repo(repo, repo_type=kind)
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
    return str(api.upload_folder(repo_id=repo, folder_path=folder, repo_type=kind).oid)


@pytest.fixture
def published(api: Any, namespace: str, base: Path, tmp_path: Path) -> dict[str, str]:
    """Commits of a base, an adapter of it and rows on the hub; the base's `main` is what the adapter means."""
    import shutil

    shutil.copytree(base, tmp_path / "base")
    adapter = make_adapter(base, tmp_path / "adapter", f"{namespace}/base")
    return {
        "base": upload(api, tmp_path / "base", f"{namespace}/base", "cc-by-sa-4.0"),
        "adapter": upload(api, adapter, f"{namespace}/adapter", "apache-2.0"),
    }


def run(tmp_path: Path, namespace: str, method: str, **settings: Any) -> Any:
    from hubwright.recipe import load_plan
    from hubwright.runner import default_settings
    from hubwright.runner import run as run_plan

    path = tmp_path / "again.yaml"
    chosen = QUICK | SETTINGS[method] | {"max_steps": 1} | settings
    path.write_text(RECIPE.format(namespace=namespace, method=method, settings=json.dumps(chosen)))
    plan = load_plan(path)
    return run_plan(plan, default_settings(plan, runs=tmp_path / "runs"))


def test_adapter_as_model_pins_its_base_in_lock_provenance_and_licence(
    api: Any, namespace: str, tmp_path: Path, published: dict[str, str]
) -> None:
    from hubwright.verification import verify

    upload(api, save_rows(tmp_path / "rows", "sft"), f"{namespace}/rows", "apache-2.0", "dataset")
    outcome = run(tmp_path, namespace, "sft")[0]
    from hubwright.hub_sync.pull import pull

    folder = pull(outcome.ref)
    record = json.loads((folder / "provenance.json").read_text())["records"][-1]
    inputs = {i["role"]: (i["repo_id"], i["commit"], i["asked"]) for i in record["inputs"]}
    assert inputs["model"] == (f"{namespace}/adapter", published["adapter"], f"{namespace}/adapter@main")
    assert inputs["model.base"] == (f"{namespace}/base", published["base"], f"{namespace}/base@main")
    assert f"{namespace}/base@{published['base']}" in (tmp_path / "again.lock").read_text()
    # The base's share-alike licence binds what was made from it.
    assert record["license"]["id"] == "cc-by-sa-4.0"
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0  # the card's line
    card = (folder / "README.md").read_text()
    assert f"base_model: {namespace}/adapter\nbase_model_relation: finetune" in card
    assert all(check.ok is not False for check in verify(outcome.ref)[1])
    # The base moves on; the lock does not.
    api.upload_file(repo_id=f"{namespace}/base", path_or_fileobj=b"{}", path_in_repo="config.json")
    assert run(tmp_path, namespace, "sft")[0].state == "skipped"


def test_adapter_with_config_of_its_base_beside_is_folded(
    api: Any, namespace: str, base: Path, tmp_path: Path, published: dict[str, str]
) -> None:
    """Unsloth and Axolotl save the base's config.json beside the adapter."""
    config = (base / "config.json").read_bytes()
    api.upload_file(repo_id=f"{namespace}/adapter", path_or_fileobj=config, path_in_repo="config.json")
    upload(api, save_rows(tmp_path / "rows", "sft"), f"{namespace}/rows", "apache-2.0", "dataset")
    assert run(tmp_path, namespace, "sft")[0].state == "published"
    assert f"{namespace}/base@{published['base']}" in (tmp_path / "again.lock").read_text()


def test_new_adapter_on_adapter_is_refused(
    api: Any, namespace: str, tmp_path: Path, published: dict[str, str]
) -> None:
    upload(api, save_rows(tmp_path / "rows", "sft"), f"{namespace}/rows", "apache-2.0", "dataset")
    with pytest.raises(UsageError, match=r"is an adapter, and a new adapter on top of it .* set merge_adapter: true"):
        run(tmp_path, namespace, "sft", lora={"r": 2})
    assert run(tmp_path, namespace, "sft", lora={"r": 2}, merge_adapter=True)[0].state == "published"


@pytest.mark.parametrize("named", ["/home/me/llama", "", None])
def test_adapter_without_repository_as_base_is_refused_in_one_line(
    api: Any, namespace: str, tmp_path: Path, base: Path, named: str | None
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", "org/base")
    said = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(said | {"base_model_name_or_path": named}))
    upload(api, adapter, f"{namespace}/adapter", "apache-2.0")
    upload(api, save_rows(tmp_path / "rows", "sft"), f"{namespace}/rows", "apache-2.0", "dataset")
    with pytest.raises(DataError, match=r"/adapter@[0-9a-f]{40} is an adapter, and .* names no repository") as caught:
        run(tmp_path, namespace, "sft")
    assert "\n" not in str(caught.value)


def test_adapter_of_another_model_is_refused_in_one_line(tmp_path: Path, base: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = make_adapter(base, tmp_path / "adapter", "org/base")
    file = adapter / "adapter_model.safetensors"
    held = load_file(file)
    first = sorted(held)[0]
    for change in ("missing", "misshapen"):
        broken = {name: tensor for name, tensor in held.items() if name != first}
        if change == "misshapen":
            broken[first] = torch.zeros(4, 5)
        save_file(broken, file)
        step = context(tmp_path, {"model": adapter, "dataset": save_rows(tmp_path / change, "sft")})
        step.inputs["model.base"] = context(tmp_path, {"model": base}).inputs["model"]  # type: ignore[index]
        with pytest.raises(DataError, match=r"org/model@.* does not fit its base model") as caught:
            sft.train(sft.SFTConfig(**QUICK, assistant_only_loss=False), step)
        assert "\n" not in str(caught.value)
