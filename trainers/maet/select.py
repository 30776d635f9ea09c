"""The key neurons: the weights, rows, columns or channels with the highest scores, streamed, without a sort of all.

Of equal scores those that come first, by the tensor's name and then by place.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hub_sync.errors import UsageError
from ..merge.measure import kth_magnitudes, tile_rows
from ..merge.numbers import Array
from .config import LocateConfig
from .importance import Scores
from .masks import Form

Chosen = dict[str, tuple[Form, tuple[int, ...], NDArray[np.uint8]]]

# Feed-forward projections by the names of the models that transformers has: into the channels, and out of them.
_INTO = re.compile(r"(.*)\.(?:gate_proj|up_proj|w1|w3|fc1|c_fc|fc_in|wi|wi_0|wi_1|dense_h_to_4h)\.weight")
_OUT = re.compile(r"(.*)\.(?:down_proj|w2|fc2|c_proj|fc_out|wo|dense_4h_to_h)\.weight")


def key_neurons(config: LocateConfig, scores: Scores) -> Chosen:
    """Tensor -> form, shape, and the packed bits of its elements, rows or columns, of all tensors that are looked at.
    Raises UsageError where no tensor is left to look at."""
    filled = [name for name, kind in sorted(scores.kinds.items()) if kind.elements]
    names = [name for name in filled if not any(part in name for part in config.exclude)]
    ways = {"element": _elements, "row": _lines, "column": _lines, "ffn_channel": _channels}
    chosen = ways[config.granularity](config, scores, names)
    if not chosen:
        raise UsageError(f"no tensor is left to look at by {config.granularity}: see `exclude` and the names")
    return chosen


def _blocks(scores: Scores, name: str, elements: int = 1 << 20) -> Iterator[Array]:
    """Scores of a tensor in blocks of whole tiles."""
    kind = scores.kinds[name]
    rows, tile = kind.rows, tile_rows(kind.shape)
    step = max(1, elements // max(1, kind.row * tile)) * tile
    for start in range(0, rows, step):
        yield scores.rows(name, start, min(start + step, rows))


def _groups(config: LocateConfig, names: Iterable[str]) -> list[list[str]]:
    """What the share is of: all together, or each alone."""
    return [list(names)] if config.scope == "global" else [[name] for name in names]


def _elements(config: LocateConfig, scores: Scores, names: Sequence[str]) -> Chosen:
    chosen: Chosen = {}
    for group in _groups(config, names):
        k = int(config.fraction * sum(scores.kinds[name].elements for name in group))
        if not k:
            continue
        rank = kth_magnitudes(partial(_side_by_side, scores, group), [k])[0]
        left = k - rank.above  # of those exactly at the threshold
        for name in group:
            parts = []
            for block in _blocks(scores, name):
                flat = block.reshape(-1)
                bits = flat > rank.value
                equal = (flat == rank.value).nonzero()[0][:left]
                bits[equal] = True
                left -= len(equal)
                parts.append(bits)
            chosen[name] = "element", scores.kinds[name].shape, np.packbits(np.concatenate(parts))
    return chosen


def _side_by_side(scores: Scores, names: Sequence[str]) -> Iterator[Sequence[Array]]:
    return ([block] for name in names for block in _blocks(scores, name))


def _lines(config: LocateConfig, scores: Scores, names: Sequence[str]) -> Chosen:
    """Rows, or columns of matrices."""
    form: Form = "row" if config.granularity == "row" else "column"
    axis = 1 if form == "row" else 0
    shapes = {name: scores.kinds[name].shape for name in names}
    shapes = {name: shape for name, shape in shapes.items() if (shape if axis else len(shape) == 2)}
    units = {name: _means(scores, name, axis) for name in shapes}
    sizes = {name: scores.kinds[name].row if axis else shape[0] for name, shape in shapes.items()}
    return {name: (form, shapes[name], np.packbits(bits)) for name, bits in _best(config, units, sizes).items()}


def _channels(config: LocateConfig, scores: Scores, names: Sequence[str]) -> Chosen:
    """A channel is a row of every projection into it and a column of the one out of it."""
    nets: dict[str, dict[str, int]] = {}  # feed-forward net -> projection -> axis that is not a channel
    for name in names:
        for pattern, axis in ((_INTO, 1), (_OUT, 0)):
            if (match := pattern.fullmatch(name)) and len(scores.kinds[name].shape) == 2:
                nets.setdefault(match[1], {})[name] = axis
    units, sizes = {}, {}
    for net, parts in nets.items():
        widths = {scores.kinds[name].shape[1 - axis] for name, axis in parts.items()}
        if set(parts.values()) != {0, 1} or len(widths) != 1:
            continue
        sizes[net] = sum(scores.kinds[name].shape[axis] for name, axis in parts.items())
        sums = [_means(scores, name, axis) * scores.kinds[name].shape[axis] for name, axis in parts.items()]
        units[net] = sum(sums) / sizes[net]
    return {
        name: ("row" if axis else "column", scores.kinds[name].shape, np.packbits(bits))
        for net, bits in _best(config, units, sizes).items()
        for name, axis in nets[net].items()
    }


def _means(scores: Scores, name: str, axis: int) -> Any:
    """Mean score of each row (axis 1) or column (axis 0), float64."""
    shape = scores.kinds[name].shape
    if axis:
        return np.concatenate(
            [block.reshape(len(block), -1).mean(1, dtype=np.float64) for block in _blocks(scores, name)]
        )
    total = np.zeros(shape[1], np.float64)
    tile = tile_rows(shape)
    for block in _blocks(scores, name):
        for start in range(0, len(block), tile):
            total += block[start : start + tile].sum(0, dtype=np.float64)
    return total / shape[0]


def _best(config: LocateConfig, units: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The units with the highest scores, until they hold the share of the weights; the one that would hold more is
    not taken."""
    best: dict[str, Any] = {}
    for group in _groups(config, units):
        if not group:
            continue
        score = np.concatenate([units[name] for name in group])
        size = np.concatenate([np.full(len(units[name]), sizes[name]) for name in group])
        order = np.argsort(-score, kind="stable")
        taken = np.zeros(len(score), np.bool_)
        taken[order[np.cumsum(size[order]) <= config.fraction * size.sum()]] = True
        ends = np.cumsum([len(units[name]) for name in group])[:-1]
        best |= zip(group, np.split(taken, ends), strict=True)
    return best
