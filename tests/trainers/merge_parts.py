"""Small checkpoints, and every method over again on whole tensors: plain torch, written from the papers' formulas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hubwright.trainers.merge.checkpoint import Checkpoint, open_checkpoint
from hubwright.trainers.merge.config import MergeConfig
from hubwright.trainers.merge.engine import merge_models

Tensors = dict[str, torch.Tensor]
SHAPES: dict[str, tuple[int, ...]] = {
    "embed": (3000, 64), "wide": (3, 70_001), "vector": (70_001,), "few": (3,), "scalar": (), "deep": (2, 3, 4, 5),
}  # fmt: skip


def tensors(seed: int, near: Tensors | None = None, by: float = 0.1) -> Tensors:
    """Random tensors of SHAPES, or such that differ from `near` by about `by`; a third of the elements do not."""
    random = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in SHAPES.items():
        drawn = torch.randn(shape, generator=random)
        if near is not None:
            drawn = near[name] + by * drawn * (torch.rand(shape, generator=random) < 0.66)
        found[name] = drawn
    return found


def put(folder: Path, held: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.bfloat16) -> Path:
    """A model folder with one file of weights."""
    folder.mkdir(parents=True)
    save_file({name: one.to(dtype).contiguous() for name, one in held.items()}, folder / "model.safetensors")
    return folder


def opened(folders: Mapping[str, Path]) -> dict[str, Checkpoint]:
    return {name: open_checkpoint(folder, name) for name, folder in folders.items()}


def merged(folder: Path, base: Path, near: Mapping[str, Path], **settings: Any) -> Tensors:
    """What the engine writes below `folder`, as float32 unless `dtype` says otherwise."""
    config = MergeConfig(**{"dtype": "float32"} | settings)
    merge_models(config, open_checkpoint(base, "base"), opened(near), folder, settings)
    return read(folder)


def read(folder: Path) -> Tensors:
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def trimmed(change: torch.Tensor, density: float) -> torch.Tensor:
    """The largest elements of a change, the first of equal ones."""
    k = max(1, int(density * change.numel()))
    kept = torch.zeros(change.numel())
    kept[change.abs().reshape(-1).argsort(descending=True, stable=True)[:k]] = 1
    return change * kept.reshape(change.shape)


def in_the_middle(change: torch.Tensor, density: float, gamma: float) -> torch.Tensor:
    """A change without its largest and its smallest elements."""
    count = change.numel()
    target = int(density * count)
    begin = max(0, count - target - int(gamma * count))
    kept = torch.zeros(count)
    kept[change.abs().reshape(-1).sort(stable=True).indices[begin : begin + target]] = 1
    return change * kept.reshape(change.shape)


def elected(base: torch.Tensor, changes: list[torch.Tensor], weights: list[float]) -> torch.Tensor:
    """TIES' election and mean."""
    weighted = torch.stack([change * weight for change, weight in zip(changes, weights, strict=True)])
    agree = weighted.sign() == torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    of = torch.tensor(weights).reshape((-1,) + (1,) * base.dim())
    divisor = (of * agree).sum(0)
    divisor[divisor == 0] = 1
    return base + (weighted * agree).sum(0) / divisor


def arc(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """SLERP in float64."""
    x, y = a.double(), b.double()
    cosine = float((x * y).sum() / (x.norm() * y.norm()))
    if abs(cosine) > 0.9995:
        return (1 - t) * x + t * y
    angle = torch.acos(torch.tensor(cosine, dtype=torch.float64))
    return (torch.sin((1 - t) * angle) * x + torch.sin(t * angle) * y) / torch.sin(angle)


def stock(base: torch.Tensor, models: list[torch.Tensor]) -> torch.Tensor:
    """Model Stock in float64, the mean cosine of all pairs."""
    changes = [(model - base).double().reshape(-1) for model in models]
    pairs = [(a, b) for n, a in enumerate(changes) for b in changes[n + 1 :]]
    cosine = sum(float(torch.dot(a, b) / max(a.norm() * b.norm(), 1e-6)) for a, b in pairs) / len(pairs)
    t = len(models) * cosine / (1 + (len(models) - 1) * cosine)
    return t * torch.stack([model.double() for model in models]).mean(0) + (1 - t) * base.double()


# A program that merges: arguments are the tests' folder, the output and the folder of base, a, b and c.
KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from merge_parts import merged
near = {name: Path(sys.argv[3]) / name for name in "abc"}
said = {name: {"weight": 0.5, "density": 0.3} for name in near}
merged(Path(sys.argv[2]), Path(sys.argv[3]) / "base", near, method="ties", models=said, shard_size="300KB", threads=1)
"""
