"""Tensors without elements, scalars, empty slices and last blocks, in every reader of masks, weights and embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_parts import merged, put

from hubwright.trainers.maet.config import LocateConfig, TransferConfig
from hubwright.trainers.maet.importance import change
from hubwright.trainers.maet.masked import count_changes
from hubwright.trainers.maet.masks import Form, load_masks, save_masks
from hubwright.trainers.maet.select import key_neurons
from hubwright.trainers.maet.transfer import Parts, measure, select, transfer
from hubwright.trainers.merge.checkpoint import Checkpoint, open_checkpoint
from hubwright.trainers.merge.embeddings import align
from hubwright.trainers.merge.measure import Sum

ENDS = {"none": (0, 3), "flat": (4, 0), "nothing": (0,), "scalar": (), "one": (1,), "byte": (8,), "nine": (1, 9)}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """base, a = base + 1, b = base + 2, float32: small integers, so that sums are exact."""
    return {
        name: put(
            tmp_path / name,
            {key: torch.arange(int(np.prod(shape))).reshape(shape) + add for key, shape in ENDS.items()},
            torch.float32,
        )
        for add, name in enumerate(("base", "a", "b"))
    }


def whole(bits: np.ndarray, form: Form, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of every element, by numpy's own broadcasting."""
    spread = {"element": lambda: bits.reshape(shape), "row": lambda: bits.reshape(-1, *(1 for _ in shape[1:])),
              "column": lambda: bits[None]}[form]()  # fmt: skip
    return np.broadcast_to(spread, shape)


def same_slice(folder: Path, form: Form, shape: tuple[int, ...], first: int, last: int, seed: int) -> None:
    sizes = {"element": int(np.prod(shape)), "row": shape[0], "column": shape[-1]}
    bits = np.random.default_rng(seed).random(sizes[form]) < 0.5
    save_masks(folder, {"w": (form, shape, np.packbits(bits))})
    masks, wanted = load_masks(folder, "masks"), whole(bits, form, shape)
    found = np.broadcast_to(masks.rows("w", first, last), wanted[first:last].shape)
    assert np.array_equal(found, wanted[first:last]), (form, shape, first, last)
    assert masks.count("w") == wanted.sum()


SLICES = [
    ("element", (1, 8), 1, 1), ("element", (1, 8), 0, 0), ("element", (3, 8), 3, 3), ("element", (2, 5), 2, 2),
    ("element", (3, 7), 2, 3), ("element", (0, 3), 0, 0), ("element", (4, 0), 1, 3), ("element", (4, 0), 4, 4),
    ("row", (8,), 8, 8), ("row", (16, 2), 16, 16), ("row", (9, 2), 8, 9), ("row", (0, 2), 0, 0),
    ("row", (8, 0), 8, 8), ("column", (1, 8), 1, 1), ("column", (4, 0), 0, 4), ("column", (0, 8), 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("form", "shape", "first", "last"), SLICES)
def test_masks_rows_empty_slice_or_last_block_read(
    tmp_path: Path, form: Form, shape: tuple[int, ...], first: int, last: int
) -> None:
    same_slice(tmp_path, form, shape, first, last, 0)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.data())
def test_masks_rows_any_slice_is_numpys(tmp_path_factory: Any, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(0, 17), st.integers(0, 17)))
    first = data.draw(st.integers(0, shape[0]))
    last = data.draw(st.integers(first, shape[0]))
    form = data.draw(st.sampled_from(["element", "row", "column"]))
    same_slice(tmp_path_factory.mktemp("m"), form, shape, first, last, data.draw(st.integers(0, 99)))


def test_masks_of_a_scalar_are_read_and_counted(tmp_path: Path) -> None:
    save_masks(tmp_path, {"s": ("element", (), np.packbits([True]))})
    masks = load_masks(tmp_path, "masks")
    assert masks.whole("s").all() and masks.count("s") == 1


def test_checkpoint_rows_every_slice_is_read(models: dict[str, Path]) -> None:
    held = open_checkpoint(models["a"], "a")
    for name, shape in ENDS.items():
        wanted = (np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) + 1).reshape(shape or (1,))
        for first in range(len(wanted) + 1):
            for last in range(first, len(wanted) + 1):
                assert np.array_equal(held.rows(name, first, last), wanted[first:last]), (name, first, last)


def test_aligned_rows_every_slice_is_read(tmp_path: Path) -> None:
    base = open_checkpoint(put(tmp_path / "base", {"wte.weight": torch.zeros(8, 2)}, torch.float32), "base")
    rows = torch.arange(16).reshape(8, 2)
    model = open_checkpoint(put(tmp_path / "m", {"wte.weight": rows}, torch.float32), "m")
    own, wanted = ({f"t{(n + by) % 8}": n for n in range(8)} for by in (0, 3))
    found = align(model, base, own, wanted)
    expected = np.roll(rows.numpy(), -3, axis=0)
    for first in range(9):
        for last in range(first, 9):
            assert np.array_equal(found.rows("wte.weight", first, last), expected[first:last]), (first, last)


WEIGHT = {name: {"weight": 1.0} for name in "ab"}
SPARSE = {name: {"weight": 1.0, "density": 0.5} for name in "ab"}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("linear", {"models": WEIGHT}), ("task_arithmetic", {"models": WEIGHT}), ("ties", {"models": SPARSE}),
        ("breadcrumbs", {"models": SPARSE}), ("breadcrumbs_ties", {"models": SPARSE}),
        ("dare_linear", {"models": SPARSE}), ("dare_ties", {"models": SPARSE, "rescale": "l1"}),
        ("model_stock", {}), ("slerp", {"t": 0.5}),
    ],
)  # fmt: skip
def test_merge_tensors_without_elements_keep_their_shapes(
    tmp_path: Path, models: dict[str, Path], method: str, said: Any
) -> None:
    near = {name: models[name] for name in ("a" if method == "slerp" else "ab")}
    for block in (1, 50):
        found = merged(tmp_path / f"out{block}", models["base"], near, method=method, block_mb=block, **said)
        assert {name: tuple(one.shape) for name, one in found.items()} == ENDS
    if method in ("linear", "task_arithmetic"):
        # (0+1 + 0+2)/2 = 1.5 in the mean; 0 + 1 + 2 = 3 in the sum of changes.
        assert float(found["scalar"]) == {"linear": 1.5, "task_arithmetic": 3.0}[method]
        assert float(found["nine"][0, 8]) == {"linear": 9.5, "task_arithmetic": 11.0}[method]


def test_sum_of_a_tensor_without_columns_is_zero() -> None:
    total = Sum((4, 0))
    total.add(np.empty((4, 0), np.float32))
    assert total.value == 0


@pytest.mark.parametrize("granularity", ["element", "row", "column"])
@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_locate_and_transfer_tensors_without_elements(
    tmp_path: Path, models: dict[str, Path], granularity: str, scope: str
) -> None:
    held: dict[str, Checkpoint] = {name: open_checkpoint(path, name) for name, path in models.items()}
    config = LocateConfig(granularity=granularity, scope=scope, fraction=1.0, max_steps=1)
    save_masks(tmp_path / "masks", key_neurons(config, change(held["base"], held["a"])))
    masks = load_masks(tmp_path / "masks", "masks")
    sizes = {"element": 19, "row": 18, "column": 9}  # scalar 1, one 1, byte 8, nine 9; a scalar has no rows
    assert sum(masks.count(name) for name in masks.shapes) == sizes[granularity]
    assert all(masks.whole(name).all() for name in masks.shapes)
    if granularity == "element":
        assert count_changes(held["base"], held["a"], masks) == (19, 19)
    ability = {"alpha": 1.0, "beta": 0.0, "gamma": 1.0}
    config = TransferConfig(abilities={"x": ability}, select={"keep": "all"})
    parts = Parts(held["base"], {"x": held["a"]}, {}, {"x": masks}, {"l": held["b"]})
    transfer(config, parts, select(config, measure(config, parts)), tmp_path / "out", "plan")
    found = open_checkpoint(tmp_path / "out", "out")
    assert {name: kind.shape for name, kind in found.kinds.items()} == ENDS
    assert found.rows("nine", 0, 1).tolist() == [[n + 3.0 for n in range(9)]]
