"""Training in which only the weights of a mask move; all others keep their bits.

Gradients outside of the mask are set to zero before accumulation and clipping see them, and the optimiser holds the
weights of the mask alone, so that its moments need 8 bytes of each of them and none of the others. Parameters without
any weight in the mask are frozen, and cost neither gradients nor optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hub_sync.errors import DataError
from ..merge.checkpoint import Checkpoint
from .masks import Masks

if TYPE_CHECKING:
    import torch


def restrict(model: Any, masks: Masks) -> dict[str, torch.Tensor]:
    """Let only the masked weights of a model move. Returns parameter -> mask, bool, of its shape or with 1 in a
    dimension in which all are alike.

    Raises DataError where a mask belongs to no parameter, or to one of another shape.
    """
    import torch

    parameters = dict(model.named_parameters())
    moving: dict[str, torch.Tensor] = {}
    for name, shape in sorted(masks.shapes.items()):
        if name not in parameters or tuple(parameters[name].shape) != shape:
            raise DataError(
                f"{masks.called}: {name} of {list(shape)} is no parameter of the model: locate in this model"
            )
        mask = torch.from_numpy(masks.whole(name).copy())
        if mask.any():
            moving[name] = mask.to(parameters[name].device)
    if not moving:
        raise DataError(f"{masks.called}: no weight is in the mask: locate with a larger fraction")
    for name, parameter in parameters.items():
        if name in moving:
            parameter.register_hook(_Inside(moving[name]))
        else:
            parameter.requires_grad_(False)
    return moving


class _Inside:
    """A gradient's hook: zero outside of the mask, never minus zero."""

    def __init__(self, mask: torch.Tensor) -> None:
        self.outside = ~mask

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        self.outside = self.outside.to(gradient.device)
        return gradient.masked_fill(self.outside, 0.0)


def mask_optimizer(optimizer: Any, masks: Mapping[int, torch.Tensor]) -> None:
    """Let an optimiser hold the masked weights alone: it steps on vectors of them, which are put back afterwards.

    What it keeps of every weight, and what it does without a gradient, as weight decay, is then inside of the masks.

    Args:
        masks: id of a parameter -> its mask.
    """
    import torch

    vectors: list[tuple[torch.nn.Parameter, torch.Tensor, torch.nn.Parameter]] = []
    for group in optimizer.param_groups:
        for place, parameter in enumerate(group["params"]):
            mask = masks[id(parameter)].to(parameter.device)
            group["params"][place] = torch.nn.Parameter(parameter.detach().masked_select(mask))
            vectors.append((parameter, mask, group["params"][place]))

    def take(*_: Any) -> None:
        for parameter, mask, own in vectors:
            own.data = parameter.detach().masked_select(mask)
            own.grad = None if parameter.grad is None else parameter.grad.masked_select(mask)

    def put_back(*_: Any) -> None:
        for parameter, mask, own in vectors:
            parameter.detach().masked_scatter_(mask, own.detach())
            parameter.grad = own.grad = None

    optimizer.register_step_pre_hook(take)
    optimizer.register_step_post_hook(put_back)


def count_changes(base: Checkpoint, trained: Checkpoint, masks: Masks, block: int = 1 << 20) -> tuple[int, int]:
    """How many weights are in the mask, and how many of them moved.

    Args:
        block: elements that are compared at a time, about.

    Raises DataError naming the first tensor in which a weight outside of the mask is not bit for bit the base's.
    """
    inside = changed = 0
    for name, kind in base.kinds.items():
        if not kind.floating or name not in trained.kinds:
            continue
        step = max(1, block // max(1, kind.row))
        for start in range(0, kind.rows, step):
            stop = min(start + step, kind.rows)
            before, after = (one.rows(name, start, stop).view(np.uint32) for one in (base, trained))
            differ = before != after
            mask = np.broadcast_to(masks.rows(name, start, stop), differ.shape)
            if (differ & ~mask).any():
                raise DataError(f"{name}: weights outside of {masks.called} have moved: this is a defect, report it")
            inside += int(mask.sum())
            changed += int(differ.sum())
    return inside, changed
