"""The ends of the methods: directions that are none, densities from a half on, tiles, ids beyond the rows."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from merge_parts import merged, put

from hubwright.trainers.merge.checkpoint import open_checkpoint
from hubwright.trainers.merge.embeddings import align
from hubwright.trainers.merge.measure import TILE


def one(folder: Path, numbers: torch.Tensor) -> Path:
    return put(folder, {"w": numbers}, torch.float32)


@pytest.mark.parametrize("size", [0.0, 1e-12])
def test_slerp_tensor_without_length_is_at_a_right_angle(tmp_path: Path, size: float) -> None:
    """A vector of (nearly) zero length has no direction: its cosine is 0, so w = sin((1-t) pi/2) a + sin(t pi/2) b."""
    other = torch.tensor([3.0, -4.0, 12.0])
    none = one(tmp_path / "none", torch.full((3,), size))
    far = one(tmp_path / "far", other)
    found = merged(tmp_path / "out", none, {"a": far}, method="slerp", t=0.3)["w"]
    assert torch.allclose(found, other * math.sin(0.3 * math.pi / 2), rtol=1e-6)
    found = merged(tmp_path / "back", far, {"a": none}, method="slerp", t=0.3)["w"]
    assert torch.allclose(found, other * math.sin(0.7 * math.pi / 2), rtol=1e-6)
    found = merged(tmp_path / "both", none, {"a": none}, method="slerp", t=0.3)["w"]
    assert torch.isfinite(found).all() and found.abs().max() <= 2 * size


@pytest.mark.parametrize("density", [0.25, 0.5, 0.75, 0.9])
def test_dare_expected_every_density_is_divided_by(tmp_path: Path, density: float) -> None:
    """DARE (arXiv 2311.03099): what is kept is change / density, for every density below 1."""
    base, near = one(tmp_path / "base", torch.zeros(5000)), one(tmp_path / "a", torch.ones(5000))
    said = {"models": {"a": {"density": density}}, "rescale": "expected"}
    found = merged(tmp_path / "out", base, {"a": near}, method="dare_linear", **said)["w"]
    assert set(found.unique().tolist()) == {0.0, np.float32(1 / density)}
    assert abs(float(found.mean()) - 1) < 5 * math.sqrt((1 - density) / density / 5000)


def test_dare_density_one_drops_and_rescales_nothing(tmp_path: Path) -> None:
    base, near = one(tmp_path / "base", torch.zeros(5000)), one(tmp_path / "a", torch.ones(5000))
    for rescale in ("none", "expected", "l1"):
        said = {"models": {"a": {"density": 1.0}}, "rescale": rescale}
        assert merged(tmp_path / rescale, base, {"a": near}, method="dare_linear", **said)["w"].eq(1).all()


@pytest.mark.parametrize("shape", [(3 * TILE,), (3 * 64, TILE // 64)])
def test_dare_every_tile_has_its_own_draw(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """An element is kept by Philox with the seed's hash and the tile's number for its key, as numpy itself draws it."""
    base, near = one(tmp_path / "base", torch.zeros(shape)), one(tmp_path / "a", torch.ones(shape))
    said = {"models": {"a": {"density": 0.5}}, "rescale": "none", "seed": 7}
    found = merged(tmp_path / "out", base, {"a": near}, method="dare_linear", **said)["w"].reshape(3, TILE).numpy()
    key = int.from_bytes(hashlib.sha256(b"7:a:w").digest()[:8], "big")
    for tile in range(3):
        stream = np.random.Philox(key=np.array([key, tile], np.uint64))
        assert np.array_equal(found[tile] != 0, np.random.Generator(stream).random(TILE) < 0.5), tile
    # Of two independent draws half agree.
    assert all(abs((found[0] == found[n]).mean() - 0.5) < 0.02 for n in (1, 2))


def test_align_id_beyond_the_rows_keeps_the_bases_row(tmp_path: Path) -> None:
    """A tokenizer may have more tokens than the embeddings have rows: the first id without a row is their number."""
    base = open_checkpoint(one_of_tokens(tmp_path / "base", 6, -1.0), "base")
    model = open_checkpoint(one_of_tokens(tmp_path / "m", 4, 1.0), "m")
    wanted = {f"t{n}": n for n in range(6)}
    found = align(model, base, {f"t{n}": n for n in range(5)}, wanted)
    assert found.rows("wte.weight", 0, 6)[:, 0].tolist() == [1, 1, 1, 1, -1, -1]


def one_of_tokens(folder: Path, rows: int, number: float) -> Path:
    return put(folder, {"wte.weight": torch.full((rows, 2), number), "x": torch.full((4,), 9.0)}, torch.float32)
