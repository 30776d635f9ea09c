"""Tensors of a model folder, read a few rows at a time: safetensors, whole or in shards, with an adapter folded in.

No tensor is ever held whole, and nothing but safetensors is opened.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ...hub_sync.errors import DataError
from ...hub_sync.files import PICKLES
from .numbers import BYTES, NAMES, Array, Bytes, decode

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
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Number of rows: of a vector its elements, of a scalar 1."""
        return self.shape[0] if self.shape else 1

    @property
    def row(self) -> int:
        """Elements of a row: of one element of a vector, 1."""
        return math.prod(self.shape[1:])

    @property
    def bytes(self) -> int:
        """Size as stored."""
        return self.elements * BYTES[self.dtype]

    @property
    def floating(self) -> bool:
        """Whether it can be merged; other tensors are taken from the base as they are."""
        return self.dtype in NAMES


@dataclass(frozen=True)
class _Place:
    file: int  # descriptor
    offset: int


class _Files:
    """Descriptors of open files, closed with the last model that reads them."""

    def __init__(self) -> None:
        self.open: list[int] = []

    def add(self, path: Path) -> int:
        self.open.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return self.open[-1]

    def __del__(self) -> None:
        for descriptor in self.open:
            os.close(descriptor)


@dataclass
class Checkpoint:
    """A model's tensors.

    Attributes:
        called: how the model is named in errors.
        kinds: name -> kind, without reading any tensor.
        adapter: module -> (A, B, scale), float64, to be added to its weight.
    """

    called: str
    kinds: dict[str, Kind]
    _places: dict[str, _Place]
    _files: _Files
    adapter: dict[str, tuple[NDArray[np.float64], NDArray[np.float64], float]] = field(default_factory=dict)

    def lies_in(self, folder: Path) -> bool:
        """Whether a file that is read here is in this folder, under whatever name."""
        if not folder.is_dir():
            return False
        ours, theirs = map(os.fstat, self._files.open), [path.stat() for path in folder.iterdir() if path.is_file()]
        return any(os.path.samestat(one, other) for one in ours for other in theirs)

    def alias(self, name: str, other: str) -> None:
        """Let a tensor be read under another name as well."""
        self.kinds[name], self._places[name] = self.kinds[other], self._places[other]
        if other in self.adapter:
            self.adapter[name] = self.adapter[other]

    def rows(self, name: str, start: int, stop: int) -> Array:
        """Rows `start` to `stop` of a tensor (elements of a vector), float32; a scalar is a vector of one."""
        kind = self.kinds[name]
        numbers = decode(self.raw(name, start, stop), kind.dtype).reshape(stop - start, *kind.shape[1:])
        if name in self.adapter:
            a, b, scale = self.adapter[name]
            for first in range(start - start % _ADAPTER_ROWS, stop, _ADAPTER_ROWS):
                product = scale * (b[first : first + _ADAPTER_ROWS] @ a)
                lo, hi = max(first, start), min(first + _ADAPTER_ROWS, stop)
                numbers[lo - start : hi - start] += product[lo - first : hi - first]
        return numbers

    def raw(self, name: str, start: int, stop: int) -> Bytes:
        """The stored bytes of these rows, uint8."""
        kind, place = self.kinds[name], self._places[name]
        width = kind.row * BYTES[kind.dtype]
        raw = np.empty((stop - start) * width, np.uint8)
        left, offset = memoryview(raw), place.offset + start * width  # type: ignore[arg-type]
        while left:
            read = os.preadv(place.file, [left], offset)
            if not read:
                raise DataError(f"{self.called}: {name} ends early: the file was changed while it was read")
            left, offset = left[read:], offset + read
        return raw


def open_checkpoint(folder: Path, called: str, files: dict[Path, set[str] | None] | None = None) -> Checkpoint:
    """The tensors of a model folder, or of these `files` of it (file -> tensors that have to be in it; None: any).

    Raises DataError in one line for a folder without safetensors (a pickle is named as what it is), a shard that is
    missing or damaged, and an index that does not say what the shards hold.
    """
    listed = files or _files_of(folder, called)
    kinds: dict[str, Kind] = {}
    places: dict[str, _Place] = {}
    opened = _Files()
    for path, named in listed.items():
        if not path.is_file():
            raise DataError(f"{called}: {path.name} is missing, which {INDEX} names: download the model again")
        try:
            safe_open(path, framework="np")  # checks the header against itself and the file's size
        except (SafetensorError, OSError) as error:
            raise DataError(f"{called}: {path.name} is no safetensors file ({str(error).splitlines()[0]})") from error
        tensors, begin = _header(path)
        if missing := (named or set()) - set(tensors):
            raise DataError(f"{called}: {min(missing)} is not in {path.name}, where {INDEX} says it is")
        descriptor = opened.add(path)
        for name, tensor in sorted(tensors.items()):
            if name in kinds:
                raise DataError(f"{called}: {name} is in two files: {path.name} is one of them")
            if tensor["dtype"] not in BYTES:
                raise DataError(f"{called}: {name} is {tensor['dtype']}, which no merge can read: convert the model")
            kinds[name] = Kind(tuple(tensor["shape"]), tensor["dtype"])
            places[name] = _Place(descriptor, begin + tensor["data_offsets"][0])
    return Checkpoint(called, dict(sorted(kinds.items())), places, opened)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """What a file says of its tensors, and where their bytes begin."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return header, 8 + size


def _files_of(folder: Path, called: str) -> dict[Path, set[str] | None]:
    """File -> the tensors that the index says are in it; None where there is no index."""
    index = folder / INDEX
    if index.is_file():
        try:
            where = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files: dict[Path, set[str] | None] = {}
            for file in sorted(set(where.values())):
                if Path(file).name != file or not file.endswith(".safetensors"):
                    raise DataError(f"{called}: {INDEX} names {file!r:.60}, which is no safetensors file beside it")
                files[folder / file] = {name for name, place in where.items() if place == file}
            return files
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{called}: {INDEX} cannot be read ({error}): download the model again") from error
    if (folder / SINGLE).is_file():
        return {folder / SINGLE: None}
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLES)
    fault = f"{pickles[0]} is a pickle, which may run code; convert it to safetensors" if pickles else f"no {SINGLE}"
    raise DataError(f"{called}: {fault}")


def fold_adapter(base: Checkpoint, folder: Path, called: str) -> Checkpoint:
    """The base with a LoRA adapter added exactly: W + scale B A in float64, before anything is rounded. Raises
    DataError for other adapters than plain LoRA, and for modules or shapes that the base does not have."""
    if not (folder / ADAPTER).is_file():
        raise DataError(f"{called}: no {ADAPTER}: save the adapter as safetensors")
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8-sig"))
        rank, alpha = config["r"], config["lora_alpha"]
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DataError(
            f"{called}: {ADAPTER_CONFIG} cannot be read ({error!r:.80}): save the adapter again"
        ) from error
    for key, plain in (("peft_type", "LORA"), ("use_dora", False), ("fan_in_fan_out", False), ("bias", "none")):
        if config.get(key, plain) not in (plain, None):
            raise DataError(
                f"{called}: {key}={config[key]!r} cannot be folded in exactly: merge the adapter with PEFT"
            )
    for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices", "target_parameters"):
        if config.get(key):
            raise DataError(f"{called}: {key} is set, which cannot be folded in here: merge the adapter with PEFT")
    matrices = open_checkpoint(folder, called, {folder / ADAPTER: None})
    factors = {
        name.removeprefix("base_model.model."): matrices.rows(name, 0, kind.rows).astype("float64")
        for name, kind in matrices.kinds.items()
    }
    if other := sorted(name for name in factors if ".lora_A." not in name and ".lora_B." not in name):
        raise DataError(f"{called}: {other[0]} is no matrix of LoRA")
    adapter: dict[str, tuple[NDArray[np.float64], NDArray[np.float64], float]] = {}
    for name in sorted(name for name in factors if ".lora_A." in name):
        module, _, rest = name.rpartition(".lora_A.")
        weight = f"{module}.weight"
        a, b, kind = factors[name], factors.get(f"{module}.lora_B.{rest}"), base.kinds.get(weight)
        if b is None or kind is None or kind.shape != (b.shape[0], a.shape[1]):
            raise DataError(f"{called}: {module} does not fit {base.called}: is it an adapter of another model?")
        adapter[weight] = (a, b, scale)
    return Checkpoint(called, dict(base.kinds), dict(base._places), base._files, adapter)


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
