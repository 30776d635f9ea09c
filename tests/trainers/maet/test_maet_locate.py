"""Importance and its highest scores: against sums by hand, and against a sort of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from column_parts import check_columns
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrain_parts import documents, save
from pydantic import ValidationError
from safetensors.torch import load_file
from trainer_parts import QUICK, context, make_model

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers.maet.config import LocateConfig
from hubwright.trainers.maet.importance import Scores, measure
from hubwright.trainers.maet.locate import locate
from hubwright.trainers.maet.masks import Masks, load_masks, save_masks
from hubwright.trainers.maet.select import key_neurons
from hubwright.trainers.merge.checkpoint import Kind, open_checkpoint

RUN: dict[str, Any] = QUICK | {"max_length": 64, "warmup_steps": 0, "max_steps": 3}
NET = {
    "model.layers.0.mlp.gate_proj.weight": (9, 5), "model.layers.0.mlp.up_proj.weight": (9, 5),
    "model.layers.0.mlp.down_proj.weight": (5, 9), "model.layers.1.mlp.gate_proj.weight": (9, 5),
    "model.layers.1.mlp.up_proj.weight": (9, 5), "model.layers.1.mlp.down_proj.weight": (5, 9),
    "model.embed_tokens.weight": (20, 5), "model.norm.weight": (5,),
}  # fmt: skip


def scores(seed: int, levels: int | None = None) -> dict[str, np.ndarray]:
    """Scores of NET's tensors; with `levels` many are equal."""
    random = np.random.default_rng(seed)
    held = {name: random.random(shape, np.float32) for name, shape in NET.items()}
    return held if levels is None else {n: np.floor(one * levels).astype(np.float32) for n, one in held.items()}


def chosen(held: dict[str, np.ndarray], folder: Path, **said: Any) -> Masks:
    of = Scores(
        {name: Kind(one.shape, "F32") for name, one in held.items()}, lambda name, lo, hi: held[name][lo:hi].copy()
    )
    save_masks(folder, key_neurons(LocateConfig(**said), of))
    return load_masks(folder, "masks")


def spread(masks: Masks, name: str) -> np.ndarray:
    return np.broadcast_to(masks.whole(name), NET[name])


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32 - 1), st.floats(0.01, 1), st.sampled_from([None, 3]), st.sampled_from(["global", "tensor"])
)
def test_elements_are_those_of_a_stable_sort(
    tmp_path_factory, seed: int, fraction: float, levels: Any, scope: Any
) -> None:
    held = scores(seed, levels)
    folder = tmp_path_factory.mktemp("masks")
    groups = [sorted(NET)] if scope == "global" else [[name] for name in sorted(NET)]
    wanted: dict[str, np.ndarray] = {}
    for group in groups:
        flat = np.concatenate([held[name].reshape(-1) for name in group])
        bits = np.zeros(len(flat), bool)
        bits[np.argsort(-flat, kind="stable")[: int(fraction * len(flat))]] = True
        if bits.any():
            cuts = np.cumsum([held[name].size for name in group])[:-1]
            wanted |= dict(zip(group, np.split(bits, cuts), strict=True))
    if not wanted:
        with pytest.raises(UsageError, match="no tensor is left to look at by element"):
            chosen(held, folder, fraction=fraction, scope=scope)
        return
    found = chosen(held, folder, fraction=fraction, scope=scope)
    assert set(found.shapes) == set(wanted)
    for name, bits in wanted.items():
        assert np.array_equal(spread(found, name), bits.reshape(NET[name])), name


def best(units: list[tuple[float, int, Any]], fraction: float) -> set[Any]:
    """The units (mean, size, key) with the highest means, while they hold no more than the share."""
    left = fraction * sum(size for _, size, _ in units)
    taken = set()
    for _, size, key in sorted(units, key=lambda unit: -unit[0]):
        left -= size
        if left < -1e-9:
            break
        taken.add(key)
    return taken


@pytest.mark.parametrize("granularity", ["row", "column", "ffn_channel"])
@pytest.mark.parametrize("fraction", [0.1, 0.37, 1.0])
def test_units_are_those_with_the_highest_means(tmp_path: Path, granularity: str, fraction: float) -> None:
    held = scores(3)
    found = chosen(held, tmp_path, granularity=granularity, fraction=fraction)
    units: list[tuple[float, int, Any]] = []
    if granularity == "ffn_channel":
        for layer in range(2):
            gate, up, down = (held[f"model.layers.{layer}.mlp.{part}_proj.weight"] for part in ("gate", "up", "down"))
            for j in range(9):
                mean = np.concatenate([gate[j], up[j], down[:, j]]).astype(np.float64).mean()
                units.append((mean, 15, (layer, j)))
    else:
        for name, one in held.items():
            lines = one if granularity == "row" else one.T
            if one.ndim == 2 or granularity == "row":
                units += [(np.mean(line, dtype=np.float64), np.size(line), (name, j)) for j, line in enumerate(lines)]
    taken = best(units, fraction)
    assert taken
    for name, shape in NET.items():
        wanted = np.zeros(shape, bool)
        for key, j in taken:
            if granularity == "ffn_channel":
                if name.startswith(f"model.layers.{key}.mlp"):
                    wanted[(slice(None), j) if "down" in name else j] = True
            elif key == name:
                wanted[j if granularity == "row" else (slice(None), j)] = True
        there = spread(found, name) if name in found.shapes else np.zeros(shape, bool)
        assert np.array_equal(there, wanted), name


def test_what_is_excluded_is_not_looked_at(tmp_path: Path) -> None:
    found = chosen(scores(0), tmp_path, exclude=["embed", "norm"], fraction=0.5)
    assert set(found.shapes) == {name for name in NET if "mlp" in name}
    assert sum(found.count(name) for name in found.shapes) == 135
    with pytest.raises(UsageError, match="no tensor is left to look at by ffn_channel"):
        chosen({"w": np.ones((3, 3), np.float32)}, tmp_path, granularity="ffn_channel")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": make_model(folder / "model", dropout=0.0),
        "dataset": save(folder / "data", train=documents(40, seed=1)),
    }


@pytest.mark.parametrize("importance", ["gradient", "fisher", "activation"])
def test_sums_are_those_of_a_loop_by_hand(tmp_path: Path, inputs: dict[str, Path], importance: str) -> None:
    """The same batches through the model, gradients and activations summed by hand; nothing has moved."""
    from transformers import AutoModelForCausalLM

    seen: list[dict[str, torch.Tensor]] = []
    step = context(tmp_path, inputs)
    from hubwright.trainers.pretrain.trainer import PretrainTrainer

    original = PretrainTrainer.compute_loss

    def listen(self: Any, model: Any, batch: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        seen.append({key: value.clone() for key, value in batch.items()})
        return original(self, model, batch, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainTrainer, "compute_loss", listen)
        found = measure(LocateConfig(**RUN, importance=importance), step)
    model = AutoModelForCausalLM.from_pretrained(inputs["model"], dtype=torch.float32)
    model.train()
    wanted: dict[str, torch.Tensor] = {}
    linear = {name + ".weight": one for name, one in model.named_modules() if isinstance(one, torch.nn.Linear)}
    squares: dict[str, torch.Tensor] = {}
    for name, layer in linear.items():
        layer.register_forward_pre_hook(
            lambda _, given, name=name: squares.__setitem__(
                name, squares.get(name, 0) + given[0].detach().reshape(-1, given[0].shape[-1]).pow(2).sum(0)
            )
        )
    assert len(seen) == 3
    for batch in seen:
        batch.pop("tokens", None)
        model.zero_grad()
        model(**batch, use_cache=False).loss.backward()
        for name, parameter in model.named_parameters():
            gradient = parameter.grad.abs() if importance == "gradient" else parameter.grad.pow(2)
            wanted[name] = wanted.get(name, 0) + gradient
    if importance == "activation":
        wanted = {n: model.get_parameter(n).detach().abs() * squares[n].sqrt() for n in linear if "lm_head" not in n}
    names = set(found.kinds) - ({"model.embed_tokens.weight"} if importance == "activation" else set())
    assert names == set(wanted)
    for name, one in wanted.items():
        rows = found.rows(name, 0, len(one))
        assert np.allclose(rows, one.numpy(), rtol=2e-4, atol=1e-7 * float(one.max())), name
    # A run that was killed after its last step has its sums in the checkpoint.
    again = measure(LocateConfig(**RUN, importance=importance), context(tmp_path, inputs))
    assert all(np.array_equal(again.rows(n, 0, 1), found.rows(n, 0, 1)) for n in names)
    base, after = (
        open_checkpoint(inputs["model"], "base"),
        open_checkpoint(tmp_path / "run" / "work" / "trained", "after"),
    )
    for name, kind in base.kinds.items():
        assert np.array_equal(base.rows(name, 0, kind.shape[0]), after.rows(name, 0, kind.shape[0])), name


def test_the_step_publishes_masks_and_where_they_are(tmp_path: Path, inputs: dict[str, Path]) -> None:
    from datasets import load_dataset

    step = context(tmp_path, inputs)
    locate(LocateConfig(**RUN, fraction=0.1, exclude=["embed"]), step)
    check_columns("maet_locate", step.output, step.report)
    masks = load_masks(step.output, "masks")
    rows = load_dataset(str(step.output), split="train", cache_dir=str(tmp_path / "cache")).to_list()
    weights = sum(row["weights"] for row in rows)
    assert sum(row["in_mask"] for row in rows) == int(0.1 * weights) == step.report.metrics["weights_in_mask"]
    assert {row["tensor"] for row in rows} == set(masks.shapes) and not any("embed" in row["tensor"] for row in rows)
    assert step.report.metrics["weights_not_looked_at"] > 0
    assert any("mlp.up_proj" in curve for curve in step.report.curves[-1]["series"])
    # The weights of the mask are those that the run moved most.
    base, after = open_checkpoint(inputs["model"], "base"), open_checkpoint(step.workdir / "trained", "after")
    inside, outside = [], []
    for name in masks.shapes:
        rows_ = base.kinds[name].shape[0]
        change = abs(after.rows(name, 0, rows_) - base.rows(name, 0, rows_))
        bits = np.broadcast_to(masks.whole(name), change.shape)
        inside.append(change[bits])
        outside.append(change[~bits])
    assert np.concatenate(inside).min() >= np.concatenate(outside).max() > 0


def test_settings_without_a_meaning_are_refused() -> None:
    for said, reason in (
        ({"architecture": {"model_type": "llama"}}, "architecture: the masks belong to the model as it is"),
        ({"retrofit": {"model_type": "kv_shift"}}, "retrofit: the masks belong to the model as it is"),
        ({"importance": "activation", "num_processes": 2}, "importance: activation is summed in one process"),
        ({"fraction": 0.0}, "fraction"),
        ({"fsdp": True}, "fsdp"),
    ):
        with pytest.raises(ValidationError, match=reason):
            LocateConfig(**said)


@pytest.mark.slow
@pytest.mark.parametrize("importance", ["gradient", "fisher"])
def test_locate_in_two_processes_sums_what_one_sums(tmp_path: Path, inputs: dict[str, Path], importance: str) -> None:
    found = []
    for name, split in (("one", {"per_device_train_batch_size": 2}),
                        ("two", {"per_device_train_batch_size": 1, "num_processes": 2})):  # fmt: skip
        step = context(tmp_path, inputs, name)
        locate(LocateConfig(**RUN | split, importance=importance, fraction=0.1), step)
        found.append(load_file(step.workdir / "run" / "importance" / "model.safetensors"))
    for name, one in found[0].items():
        assert torch.allclose(one, found[1][name], rtol=1e-3, atol=1e-7), name
