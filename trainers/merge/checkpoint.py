"""Tensors of a model folder, read a few rows at a time: safetensors, whole or in shards, with an adapter folded in.

No tensor is ever held whole, and nothing but safetensors is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError

if TYPE_CHECKING:
    import torch

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
# Rows of an adapter's product that are computed at a time: fixed, so that no block size changes a bit.
_ADAPTER_ROWS = 64


@dataclass(frozen=True)
class Kind:
    """Shape and dtype of a tensor; dtype as safetensors writes it: F32, F16, BF16, I64, ..."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def floating(self) -> bool:
        """Whether it can be merged; other tensors are taken from the base as they are."""
        return self.dtype in ("F64", "F32", "F16", "BF16")


@dataclass
class Checkpoint:
    """A model's tensors.

    Attributes:
        called: how the model is named in errors.
        kinds: name -> kind, without reading any tensor.
        adapter: module -> (A, B, scale), float32, to be added to its weight.
    """

    called: str
    kinds: dict[str, Kind]
    _files: dict[str, Any]
    adapter: dict[str, tuple[torch.Tensor, torch.Tensor, float]] = field(default_factory=dict)

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of a tensor (elements of a vector), float32; a scalar whole."""
        import torch

        kind = self.kinds[name]
        found: torch.Tensor
        if not kind.shape:
            return self._files[name].get_tensor(name).to(torch.float32)
        found = self._files[name].get_slice(name)[start:stop].to(torch.float32)
        if name in self.adapter:
            a, b, scale = self.adapter[name]
            for first in range(start - start % _ADAPTER_ROWS, stop, _ADAPTER_ROWS):
                product = b[first : first + _ADAPTER_ROWS] @ a
                lo, hi = max(first, start), min(first + _ADAPTER_ROWS, stop)
                found[lo - start : hi - start] += scale * product[lo - first : hi - first]
        return found

    def whole(self, name: str) -> torch.Tensor:
        """A tensor as it is stored, for what is small or no floating-point number."""
        return self._files[name].get_tensor(name)


def open_checkpoint(folder: Path, called: str) -> Checkpoint:
    """The tensors of a model folder.

    Raises DataError in one line for a folder without safetensors (a pickle is named as what it is), a shard that is
    missing or damaged, and an index that does not say what the shards hold.
    """
    from safetensors import SafetensorError, safe_open

    files = _files_of(folder, called)
    kinds: dict[str, Kind] = {}
    handles: dict[str, Any] = {}
    for path, listed in files.items():
        if not path.is_file():
            raise DataError(f"{called}: {path.name} is missing, which {INDEX} names: download the model anew")
        try:
            handle = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise DataError(f"{called}: {path.name} is no safetensors file ({str(error).splitlines()[0]})") from error
        held = set(handle.keys())
        if listed is not None and listed - held:
            raise DataError(f"{called}: {min(listed - held)} is not in {path.name}, where {INDEX} says it is")
        for name in sorted(held):
            if name in kinds:
                raise DataError(f"{called}: {name} is in two files: {path.name} is one of them")
            part = handle.get_slice(name)
            kinds[name] = Kind(tuple(part.get_shape()), part.get_dtype())
            handles[name] = handle
    return Checkpoint(called, dict(sorted(kinds.items())), handles)


def _files_of(folder: Path, called: str) -> dict[Path, set[str] | None]:
    """File -> the tensors that the index says are in it; None where there is no index."""
    index = folder / INDEX
    if index.is_file():
        try:
            where = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            found: dict[Path, set[str]] = {}
            for name, file in sorted(where.items()):
                if Path(file).name != file or not file.endswith(".safetensors"):
                    raise DataError(f"{called}: {INDEX} names {file!r:.60}, which is no safetensors file beside it")
                found.setdefault(folder / file, set()).add(name)
            return dict(found)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{called}: {INDEX} cannot be read ({error}): download the model anew") from error
    if (folder / SINGLE).is_file():
        return {folder / SINGLE: None}
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth", ".pkl"))
    said = f"{pickles[0]} is a pickle, which may run code; convert it to safetensors" if pickles else f"no {SINGLE}"
    raise DataError(f"{called}: {said}")


def fold_adapter(base: Checkpoint, folder: Path, called: str) -> Checkpoint:
    """The base with a LoRA adapter added exactly: W + scale B A in float32, before anything is rounded.

    Raises DataError for other adapters than plain LoRA, and for modules or shapes that the base does not have.
    """
    import torch
    from safetensors.torch import load_file

    if not (folder / ADAPTER).is_file():
        raise DataError(f"{called}: no {ADAPTER}: save the adapter as safetensors")
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    for key, plain in (("peft_type", "LORA"), ("use_dora", False), ("fan_in_fan_out", False), ("bias", "none")):
        if config.get(key, plain) not in (plain, None):
            raise DataError(
                f"{called}: {key}={config[key]!r} cannot be folded in exactly: merge the adapter with PEFT"
            )
    for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices", "target_parameters"):
        if config.get(key):
            raise DataError(f"{called}: {key} is set, which cannot be folded in here: merge the adapter with PEFT")
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    held = {
        name.removeprefix("base_model.model."): tensor.to(torch.float32)
        for name, tensor in load_file(folder / ADAPTER).items()
    }
    adapter: dict[str, tuple[torch.Tensor, torch.Tensor, float]] = {}
    for name in sorted(held):
        module, _, rest = name.rpartition(".lora_A.")
        if not module:
            if ".lora_B." not in name:
                raise DataError(f"{called}: {name} is no matrix of LoRA")
            continue
        weight = f"{module}.weight"
        a, b = held[name], held.get(f"{module}.lora_B.{rest}")
        kind = base.kinds.get(weight)
        if b is None or kind is None or kind.shape != (b.shape[0], a.shape[1]):
            raise DataError(f"{called}: {module} does not fit {base.called}: is it an adapter of another model?")
        adapter[weight] = (a, b, scale)
    return Checkpoint(called, base.kinds, base._files, adapter)


def same_tensors(base: Checkpoint, others: Mapping[str, Checkpoint]) -> None:
    """Have all the same names and shapes? Raises DataError naming the first tensor that differs."""
    for other in others.values():
        for name in sorted(set(base.kinds) ^ set(other.kinds)):
            missing, there = (other, base) if name in base.kinds else (base, other)
            raise DataError(
                f"{missing.called} has no tensor {name}, which {there.called} has: merge models of one kind"
            )
        for name, kind in base.kinds.items():
            if other.kinds[name].shape != kind.shape:
                raise DataError(
                    f"{name}: {list(kind.shape)} in {base.called}, {list(other.kinds[name].shape)} in {other.called}"
                )
            if other.kinds[name].floating != kind.floating:
                raise DataError(f"{name}: {kind.dtype} in {base.called}, {other.kinds[name].dtype} in {other.called}")
