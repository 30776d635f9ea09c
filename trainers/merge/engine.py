"""The merge: every tensor in blocks, several tensors at a time; no byte depends on blocks, shards or threads."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...hub_sync.errors import DataError
from . import methods, sparsify
from .checkpoint import Checkpoint, Kind
from .config import MergeConfig, ModelSettings, OutputSettings
from .measure import tile_rows
from .numbers import BYTES, NAMES, Array, Bytes, encode, finite
from .writer import Writer

DTYPES = {name: dtype for dtype, name in NAMES.items()}
# A tensor's name, its kind and its blocks -> what makes a block of the output.
Method = Callable[[str, Kind, methods.Blocks], methods.Combine]


def merge_models(
    config: MergeConfig,
    base: Checkpoint,
    models: Mapping[str, Checkpoint],
    folder: Path,
    plan: object,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """`merge_tensors` by one of the methods of the config; `linear` is of the models alone, in the base's dtypes."""
    names, first = list(models), base
    if config.method == "linear":
        first, *others = models.values()
        models = dict(zip(names[1:], others, strict=True))
    merge_tensors(partial(_combine, config, names), config, first, models, folder, plan, progress, base)


def merge_tensors(
    method: Method,
    output: OutputSettings,
    base: Checkpoint,
    models: Mapping[str, Checkpoint],
    folder: Path,
    plan: object,
    progress: Callable[[int, int], None] = lambda done, total: None,
    like: Checkpoint | None = None,
) -> None:
    """Write the merged weights below `folder`, taking up what an earlier process with the same `plan` has written.

    Args:
        method: what is done with a tensor.
        base: what the blocks begin with; it says which tensors there are.
        models: the others of a block, in this order.
        folder: private to this merge; what another plan has left there is removed.
        plan: what the output follows from (config and inputs), as JSON.
        progress: called with the elements done and those in all.
        like: the model whose dtypes and tensors that are not floating the output has; None: `base`.

    Raises DataError for a number that is not finite, of a model or of the output, and for a folder in which one of the
    models lies; StorageError where the disk is full.
    Nothing then looks like a model below `folder`.
    """
    like = like or base
    for one in (base, like, *models.values()):
        if one.lies_in(folder):
            raise DataError(f"{folder} is where {one.called} lies: write to another folder")
    kinds = {
        name: Kind(kind.shape, DTYPES[output.dtype]) if output.dtype and kind.floating else kind
        for name, kind in like.kinds.items()
    }
    writer = Writer(folder, kinds, output.shard_bytes, plan)
    total = sum(kind.elements for kind in kinds.values())
    done = sum(kinds[name].elements for name in writer.done)
    # The largest first, so that no thread is left with one at the end.
    todo = sorted((n for n in kinds if n not in writer.done), key=lambda n: (-kinds[n].elements, n))
    try:
        progress(done, total)
        for name in each(todo, lambda n: _merge_one(n, method, output, base, models, writer, like), output.threads):
            done += kinds[name].elements
            progress(done, total)
        writer.seal()
    finally:
        writer.close()


def each(names: list[str], work: Callable[[str], object], threads: int | None) -> Iterator[str]:
    """Do the work for each name, several at a time, and give the names as they are done; the first error ends it.

    Args:
        threads: None: as many as this process has CPUs.
    """
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        running = {pool.submit(work, name): name for name in names}
        try:
            while running:
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for one in ended:
                    one.result()
                    yield running.pop(one)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def read_blocks(
    name: str, base: Checkpoint, models: Mapping[str, Checkpoint], block_mb: int, check: bool
) -> Iterator[methods.Block]:
    """A tensor's blocks, of whole tiles and of about `block_mb` for each model.

    Args:
        check: whether a number that is not finite is an error (DataError, with the model and the tensor).
    """
    kind = base.kinds[name]
    tile = tile_rows(kind.shape)
    step = max(1, block_mb * 250_000 // max(1, kind.row * tile)) * tile
    for start in range(0, kind.rows, step):
        stop = min(start + step, kind.rows)
        first, *others = (_read(one, name, start, stop, check) for one in (base, *models.values()))
        yield first, others


def _read(model: Checkpoint, name: str, start: int, stop: int, check: bool) -> Array:
    block = model.rows(name, start, stop)
    # The sum is quick, and wrong only where it is itself too large.
    if check and not np.isfinite(block.sum()) and not np.isfinite(block).all():
        raise DataError(f"{model.called}: {name} holds a number that is not finite: the model is damaged")
    return block


def _merge_one(
    name: str, method: Method, output: OutputSettings, base: Checkpoint, models: Mapping[str, Checkpoint],
    writer: Writer, like: Checkpoint,
) -> None:  # fmt: skip
    kind, dtype = base.kinds[name], writer.kinds[name].dtype
    checked = False

    def blocks() -> Iterator[methods.Block]:
        nonlocal checked
        yield from read_blocks(name, base, models, output.block_mb, not checked)
        checked = True

    def merged() -> Iterator[Bytes]:
        if not kind.floating:
            step = max(1, output.block_mb * 1_000_000 // max(1, kind.row * BYTES[dtype]))
            for start in range(0, kind.rows, step):
                yield like.raw(name, start, min(start + step, kind.rows))
            return
        with np.errstate(all="ignore"):  # numbers that are not finite are refused below
            combine = method(name, kind, blocks)
            for base_block, model_blocks in blocks():
                block = encode(combine(base_block, model_blocks), dtype)
                if not finite(block, dtype):
                    fault = f"{name}: the merged numbers are too large for {NAMES[dtype]}"
                    raise DataError(f"{fault}: set another dtype or other weights")
                yield block

    first = 0
    for block in merged():
        writer.write(name, first, block)
        first += len(block)
    writer.finish(name)


def _combine(config: MergeConfig, names: list[str], name: str, kind: Kind, blocks: methods.Blocks) -> methods.Combine:
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
