"""The base, else the first listed model, gives config, tokenizer and dtype; the order of the inputs is in the config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from merge_parts import read
from merge_step_parts import run
from mergekit_reference import save
from safetensors.torch import load_file, save_file

from hubwright.hub_sync.errors import UsageError
from hubwright.hub_sync.provenance import fingerprint
from hubwright.hub_sync.refs import ArtifactRef
from hubwright.recipe import load_plan

LINEAR = {"method": "linear"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """t/a float32 and t/zfirst bfloat16, whose chat templates and ends of text differ."""
    folder = tmp_path_factory.mktemp("models")
    save(folder)
    said = json.loads((folder / "t" / "a" / "config.json").read_text()) | {"eos_token_id": 7}
    (folder / "t" / "zfirst" / "config.json").write_text(json.dumps(said))
    path = folder / "t" / "zfirst" / "model.safetensors"
    save_file({name: one.to(torch.bfloat16) for name, one in load_file(path).items()}, path, {"format": "pt"})
    return folder / "t"


@pytest.mark.parametrize(
    ("roles", "donor"),
    [
        ({"model_z": "zfirst", "model_a": "a"}, "zfirst"),
        ({"model_a": "a", "model_z": "zfirst"}, "a"),
        ({"base": "zfirst", "model_a": "a", "model_z": "zfirst"}, "zfirst"),
        ({"model_a": "a", "model_z": "zfirst", "base": "zfirst"}, "zfirst"),
        ({"base": "zfirst", "model_a": "a", "model_b": "b"}, "zfirst"),
    ],
)  # fmt: skip
def test_linear_base_else_first_listed_gives_config_tokenizer_and_dtype(
    tmp_path: Path, models: Path, roles: dict[str, str], donor: str
) -> None:
    run(models, tmp_path / "out", LINEAR, **roles)
    made = tmp_path / "out" / "made"
    assert json.loads((made / "config.json").read_text())["eos_token_id"] == {"zfirst": 7, "a": 2}[donor]
    assert ("{# of zfirst #}" in (made / "chat_template.jinja").read_text()) == (donor == "zfirst")
    dtype = {"zfirst": torch.bfloat16, "a": torch.float32}[donor]
    assert {one.dtype for one in read(made).values()} == {dtype}
    # The weights are those of the models alone: the base is not one more of them.
    held = [
        load_file(models / name / "model.safetensors") for role, name in roles.items() if role.startswith("model_")
    ]
    for name, one in read(made).items():
        wanted = (held[0][name].double() + held[1][name].double()) / 2
        assert torch.equal(one, wanted.float().to(dtype)), name


def test_order_of_the_config_is_followed(tmp_path: Path, models: Path) -> None:
    run(models, tmp_path / "out", LINEAR | {"order": ["z", "a"]}, model_a="a", model_z="zfirst")
    assert "{# of zfirst #}" in (tmp_path / "out" / "made" / "chat_template.jinja").read_text()
    for order in (["z"], ["z", "a", "a"], ["a", "q"], []):
        with pytest.raises(UsageError, match=r"step m: order: .* are not the inputs model_NAME \(a, z\)"):
            run(models, tmp_path / "no", LINEAR | {"order": order}, model_a="a", model_z="zfirst")


def planned(path: Path, inputs: dict[str, str], **config: Any) -> tuple[list[str], str]:
    """`order` in the resolved config, and the fingerprint with inputs pinned to one commit."""
    step = {"uses": "merge", "inputs": inputs, "with": {"method": "linear"} | config, "publish": {"model": "m"}}
    path.write_text(yaml.safe_dump({"name": "r", "steps": {"merged": step}}, sort_keys=False))
    plan = load_plan(path).steps[0]
    config_ = plan.config.model_dump(mode="json")
    pinned = {role: ArtifactRef("model", ref.repo_id, "a" * 40) for role, ref in plan.inputs.items()}  # type: ignore[union-attr]
    return config_.get("order", []), fingerprint(plan.uses, plan.spec.version, config_, pinned, {})


def test_recipe_order_of_the_inputs_is_in_the_fingerprint(tmp_path: Path) -> None:
    one = planned(tmp_path / "r.yaml", {"model_a": "t/a", "model_z": "t/z"})
    other = planned(tmp_path / "r.yaml", {"model_z": "t/z", "model_a": "t/a"})
    assert one[1] != other[1] and one[0] == ["a", "z"] and other[0] == ["z", "a"]
    # Where the base stands does not matter, and an order that is written down is the same as one that is listed.
    based = [planned(tmp_path / "r.yaml", inputs) for inputs in (
        {"base": "t/b", "model_a": "t/a", "model_z": "t/z"}, {"model_a": "t/a", "base": "t/b", "model_z": "t/z"},
    )]  # fmt: skip
    assert based[0] == based[1]
    assert planned(tmp_path / "r.yaml", {"model_a": "t/a", "model_z": "t/z"}, order=["z", "a"])[1] == other[1]
