"""The merge: every tensor in blocks, several tensors at a time; no byte depends on blocks, shards or threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...hub_sync.errors import DataError
from . import methods, sparsify
from .checkpoint import Checkpoint, Kind
from .config import MergeConfig, ModelSettings
from .measure import tile_rows
from .writer import Writer

if TYPE_CHECKING:
    import torch

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_TORCH = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def merge_tensors(
    config: MergeConfig,
    base: Checkpoint,
    models: Mapping[str, Checkpoint],
    folder: Path,
    plan: object,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the merged weights below `folder`, taking up what an earlier process with the same `plan` has written.

    Args:
        folder: private to this merge; what another plan has left there is removed.
        base: what changes are counted from; of `linear`, the model that says which tensors there are.
        models: the others, in the order in which they are summed.
        plan: what the output follows from (config and inputs), as JSON.
        told: called with the elements done and those in all.

    Raises DataError for a number that is not finite, of a model or of the output; StorageError where the disk is full.
    Nothing then looks like a model below `folder`.
    """
    import torch

    kinds = {
        name: Kind(kind.shape, DTYPES[config.dtype]) if config.dtype and kind.floating else kind
        for name, kind in base.kinds.items()
    }
    writer = Writer(folder, kinds, config.shard_bytes, plan)
    total = sum(kind.elements for kind in kinds.values())
    done = sum(kinds[name].elements for name in writer.done)
    # The largest first, so that no thread is left with one at the end.
    todo = sorted((n for n in kinds if n not in writer.done), key=lambda n: (-kinds[n].elements, n))
    threads = config.threads or len(os.sched_getaffinity(0))
    inner = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            running = {pool.submit(_merge_one, name, config, base, models, writer): name for name in todo}
            told(done, total)
            while running:
                ended, _ = wait(running, return_when=FIRST_EXCEPTION, timeout=0.2)
                try:
                    for one in ended:
                        done += kinds[running.pop(one)].elements
                        one.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
                told(done, total)
        writer.seal()
    finally:
        torch.set_num_threads(inner)
        writer.close()


def _merge_one(
    name: str, config: MergeConfig, base: Checkpoint, models: Mapping[str, Checkpoint], writer: Writer
) -> None:
    import torch

    kind = base.kinds[name]
    if not kind.floating:
        writer.write(name, 0, base.whole(name))
        writer.finish(name)
        return
    rows, step = _cut(kind, config.block_mb)
    checked = False

    def blocks() -> Iterator[methods.Block]:
        nonlocal checked
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            of_models = [_finite(model, name, start, stop, not checked) for model in models.values()]
            if config.method == "linear":
                yield of_models[0], of_models
            else:
                yield _finite(base, name, start, stop, not checked), of_models
        checked = True

    combine = _method(config, kind, blocks, name, list(models))
    dtype = getattr(torch, _TORCH[writer.kinds[name].dtype])
    first = 0
    for base_block, model_blocks in blocks():
        found = combine(base_block, model_blocks).to(dtype)
        if not torch.isfinite(found).all():
            raise DataError(
                f"{name}: the merged numbers are too large for {dtype}: set another dtype or other weights"
            )
        writer.write(name, first, found)
        first += found.numel()
    writer.finish(name)


def _cut(kind: Kind, block_mb: int) -> tuple[int, int]:
    """Rows of a tensor, and of a block: whole tiles, of about `block_mb`."""
    rows = kind.shape[0] if kind.shape else 1
    width = kind.elements // rows if rows else 0
    tile = tile_rows(kind.shape)
    step = max(1, block_mb * 250_000 // max(1, width * tile)) * tile
    return rows, step


def _finite(model: Checkpoint, name: str, start: int, stop: int, check: bool) -> torch.Tensor:
    found = model.rows(name, start, stop)
    if check and not found.sum().isfinite():  # quick, and wrong only where the sum itself is too large
        import torch

        if not torch.isfinite(found).all():
            raise DataError(f"{model.called}: {name} holds a number that is not finite: the model is damaged")
    return found if found.dim() else found.reshape(1)


def _method(config: MergeConfig, kind: Kind, blocks: methods.Blocks, name: str, names: list[str]) -> methods.Combine:
    settings = [config.models.get(one, ModelSettings()) for one in names]
    weights = [one.weight for one in settings]
    densities = [one.density for one in settings]
    shape = kind.shape or (1,)
    match config.method:
        case "linear":
            return methods.linear(weights, config.normalized)
        case "slerp":
            return methods.slerp(blocks, shape, float(config.t or 0))
        case "model_stock":
            return methods.model_stock(blocks, shape, len(names))
    keep: Any = sparsify.keep_all
    if config.method == "ties":
        keep = sparsify.trim(blocks, kind.elements, densities)
    elif config.method.startswith("breadcrumbs"):
        keep = sparsify.middle(blocks, kind.elements, densities, [one.gamma for one in settings])
    elif config.method.startswith("dare"):
        seeds = [f"{config.seed}:{one}:{name}" for one in names]
        keep = sparsify.dare(blocks, shape, densities, config.rescale, seeds)
    way = methods.ties if config.method.endswith("ties") else methods.task_arithmetic
    return way(weights, config.normalized, config.scale, keep)
