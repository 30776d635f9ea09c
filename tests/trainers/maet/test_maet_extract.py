"""Training within a mask: nothing else moves by a bit, whatever the optimiser, the mask's form, kills or processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kill_parts import drive
from pretrain_parts import documents, save
from safetensors.torch import load_file, save_file
from trainer_parts import QUICK, context, make_model

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers import pretrain
from hubwright.trainers.maet.config import ExtractConfig, LocateConfig
from hubwright.trainers.maet.extract import extract
from hubwright.trainers.maet.importance import change
from hubwright.trainers.maet.masked import count_changes
from hubwright.trainers.maet.masks import load_masks, save_masks
from hubwright.trainers.maet.select import key_neurons
from hubwright.trainers.merge.checkpoint import open_checkpoint

RUN: dict[str, Any] = QUICK | {
    "max_length": 64, "warmup_steps": 0, "max_steps": 6, "weight_decay": 0.1, "gradient_accumulation_steps": 2,
    "learning_rate": 3e-3, "save_steps": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """A model, texts, and what a short run changes in the model."""
    folder = tmp_path_factory.mktemp("made")
    inputs = {"model": make_model(folder / "model"), "dataset": save(folder / "data", train=documents(60, seed=1))}
    # A minus zero, which a careless step would turn into a zero.
    held = load_file(inputs["model"] / "model.safetensors")
    held["model.norm.weight"][::2] = -0.0
    held["model.layers.0.mlp.up_proj.weight"][:, ::3] = -0.0
    save_file(held, inputs["model"] / "model.safetensors", {"format": "pt"})
    step = context(folder, inputs, "short")
    pretrain.train(pretrain.PretrainConfig(**RUN | {"max_steps": 2}), step)
    return inputs | {"short": step.output}


def masks_of(made: dict[str, Path], folder: Path, **said: Any) -> Path:
    base, trained = open_checkpoint(made["model"], "base"), open_checkpoint(made["short"], "short")
    save_masks(folder, key_neurons(LocateConfig(**said), change(base, trained)))
    return folder


def trained(made: dict[str, Path], masks: Path, folder: Path, name: str = "run", **said: Any) -> Any:
    step = context(folder, {"model": made["model"], "dataset": made["dataset"], "masks": masks}, name)
    extract(ExtractConfig(**RUN | said), step)
    return step


def assert_only_inside(made: dict[str, Path], masks: Path, output: Path) -> None:
    """By torch, from the files: bits outside of the mask are the base's, and within it nearly all have moved."""
    before, after = (load_file(folder / "model.safetensors") for folder in (made["model"], output))
    held = load_masks(masks, "masks")
    inside = shifted = 0
    for name, one in before.items():
        bits = torch.from_numpy(np.broadcast_to(held.rows(name, 0, len(one)), one.shape).copy())
        same = one.view(torch.int32) == after[name].view(torch.int32)
        assert same[~bits].all(), name
        inside += int(bits.sum())
        shifted += int((~same[bits]).sum())
    assert shifted > 0.9 * inside > 0


@pytest.mark.parametrize("granularity", ["element", "row", "column", "ffn_channel"])
def test_nothing_outside_of_the_mask_moves(tmp_path: Path, made: dict[str, Path], granularity: str) -> None:
    masks = masks_of(made, tmp_path / "masks", granularity=granularity, fraction=0.3)
    step = trained(made, masks, tmp_path)
    assert_only_inside(made, masks, step.output)
    assert step.report.metrics["weights_moved"] <= step.report.metrics["weights_in_mask"]
    assert "bit for bit" in step.report.sections[-1]["body"]


def test_a_mask_of_everything_is_plain_training(tmp_path: Path, made: dict[str, Path]) -> None:
    """Weight decay included: the same bytes as transformers' AdamW makes."""
    masks = masks_of(made, tmp_path / "masks", fraction=1.0)
    step = trained(made, masks, tmp_path)
    plain = context(tmp_path, {"model": made["model"], "dataset": made["dataset"]}, "plain")
    pretrain.train(pretrain.PretrainConfig(**RUN), plain)
    one, other = (load_file(folder / "model.safetensors") for folder in (step.output, plain.output))
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())


@pytest.mark.parametrize(
    "kill",
    [["step:5"], pytest.param(["seal:1"], marks=pytest.mark.slow),
     pytest.param(["step:3", "step:6"], marks=pytest.mark.slow)],
)  # fmt: skip
def test_killed_and_resumed_ends_with_the_same_bytes(tmp_path: Path, made: dict[str, Path], kill: list[str]) -> None:
    masks = masks_of(made, tmp_path / "masks", fraction=0.2)
    names = {role: str(made[role]) for role in ("model", "dataset")} | {"masks": str(masks)}
    cases = [
        {"name": name, "method": "masked", "points": points, "extra": RUN}
        for name, points in (("whole", []), ("killed", kill))
    ]
    results = drive(tmp_path, names, cases)
    assert results["killed"]["codes"] == [*(-9 for _ in kill), 0]
    assert results["killed"]["digest"] == results["whole"]["digest"] != ""
    assert_only_inside(made, masks, tmp_path / "killed" / "run" / "out")


@pytest.mark.slow
def test_two_processes_move_the_same_weights_only(tmp_path: Path, made: dict[str, Path]) -> None:
    masks = masks_of(made, tmp_path / "masks", fraction=0.2)
    step = trained(made, masks, tmp_path, num_processes=2, max_steps=3)
    assert_only_inside(made, masks, step.output)


def test_a_weight_that_moved_elsewhere_is_found(tmp_path: Path, made: dict[str, Path]) -> None:
    masks = load_masks(masks_of(made, tmp_path / "masks", fraction=0.2), "me/masks")
    base = open_checkpoint(made["model"], "base")
    with pytest.raises(DataError, match="weights outside of me/masks have moved"):
        count_changes(base, open_checkpoint(made["short"], "short"), masks)
    assert count_changes(base, base, masks)[1] == 0
    for block in (1, 1000, 1 << 20):
        assert count_changes(base, base, masks, block)[0] == sum(masks.count(name) for name in masks.shapes)


def test_what_cannot_be_masked_is_one_line(tmp_path: Path, made: dict[str, Path]) -> None:
    masks = masks_of(made, tmp_path / "masks", fraction=0.2)
    for said, reason in (({"save_dtype": "bfloat16"}, "save_dtype"), ({"dtype": "bfloat16"}, "dtype")):
        with pytest.raises(UsageError, match=f"step step: {reason}: bfloat16 cannot hold the F32 weights"):
            trained(made, masks, tmp_path, **said)
    none = tmp_path / "none"
    save_masks(none, {"model.norm.weight": ("element", (32,), np.zeros(4, np.uint8))})
    with pytest.raises(DataError, match="no weight is in the mask: locate with a larger fraction"):
        trained(made, none, tmp_path)
    other = tmp_path / "other"
    save_masks(other, {"model.norm.weight": ("element", (31,), np.zeros(4, np.uint8))})
    with pytest.raises(DataError, match=r"model.norm.weight of \[31\] is \[32\] there"):
        trained(made, other, tmp_path)
