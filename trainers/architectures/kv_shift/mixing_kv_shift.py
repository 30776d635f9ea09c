"""The mix: y_t = sum over lags j of w_j x_(t-j). In the paper: two taps, on keys and values.

`mix_reference` says what it is. `mix` gives the same by the fastest way at hand: one Triton kernel on CUDA; elsewhere
an autograd function that makes no copy of its input; while compiling the reference, which the compiler fuses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from .configuration_kv_shift import ATTENTION_TARGETS, KVShiftConfig


def mix_reference(
    x: torch.Tensor, weight: torch.Tensor, left: torch.Tensor | None = None, keep: torch.Tensor | None = None
) -> torch.Tensor:
    """Mix every position with those before it.

    Args:
        x: (batch, length, heads, channels), any floating dtype.
        weight: (heads or heads * channels, taps): column j weighs the position j before. Products and sums are in the
            wider of the two dtypes (the model keeps weights in float32), the result is in that of `x`.
        left: (batch, at most taps - 1, heads, channels), the rows before `x`; what is missing is zero.
        keep: (batch or 1, length, taps - 1), bool: False where lag j + 1 would reach beyond the document's start.
    """
    length, heads = x.shape[1:3]
    taps = weight.shape[1]
    w = weight.view(heads, -1, taps)
    missing = taps - 1 - (0 if left is None else left.shape[1])
    rows = pad(x if left is None else torch.cat([left, x], dim=1), (0, 0, 0, 0, missing, 0))
    total = x * w[..., 0]
    for lag in range(1, taps):
        before = rows[:, taps - 1 - lag : taps - 1 - lag + length] * w[..., lag]
        total = total + (before if keep is None else before * keep[..., lag - 1, None, None])
    return total.to(x.dtype)


class _OnePass(torch.autograd.Function):
    """`mix_reference` without `left`, reading its input where it stands."""

    @staticmethod
    def forward(ctx, x, weight, keep):
        ctx.save_for_backward(x, weight, keep)
        w = weight.view(x.shape[2], -1, weight.shape[1])
        wide = torch.promote_types(x.dtype, weight.dtype)
        source = x.to(wide)
        total = source * w[..., 0]
        for lag in range(1, min(weight.shape[1], x.shape[1])):
            factor = w[..., lag] if keep is None else w[..., lag] * keep[:, lag:, lag - 1, None, None]
            total[:, lag:].addcmul_(source[:, :-lag], factor)
        return total.to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        x, weight, keep = ctx.saved_tensors
        w = weight.view(x.shape[2], -1, weight.shape[1])
        wide = torch.promote_types(x.dtype, weight.dtype)
        source, gradient = x.to(wide), gradient.to(wide)
        per_head = w.shape[1] == 1
        of_x = gradient * w[..., 0] if ctx.needs_input_grad[0] else None
        of_w = torch.zeros_like(weight)

        def share(a, b):
            """Sum of a * b over what shares a weight."""
            return torch.linalg.vecdot(a, b).sum((0, 1)) if per_head else (a * b).sum((0, 1)).flatten()

        of_w[:, 0] = share(gradient, source)
        for lag in range(1, min(weight.shape[1], x.shape[1])):
            later = gradient[:, lag:]
            if keep is not None:
                later = later * keep[:, lag:, lag - 1, None, None]
            if of_x is not None:
                of_x[:, :-lag].addcmul_(later, w[..., lag])
            of_w[:, lag] = share(later, source[:, :-lag])
        return None if of_x is None else of_x.to(x.dtype), of_w, None


def mix(
    x: torch.Tensor, weight: torch.Tensor, left: torch.Tensor | None = None, keep: torch.Tensor | None = None
) -> torch.Tensor:
    """`mix_reference` by the fastest way at hand; the same arguments and result."""
    if left is not None or torch.compiler.is_compiling():
        return mix_reference(x, weight, left, keep)
    if x.is_cuda:
        from .triton_kv_shift import available, mix_triton

        if available():
            return mix_triton(x, weight, keep)
    return _OnePass.apply(x, weight, keep)


class KVShift(nn.Module):
    """The mixes that share one place of a block, and the rows that decoding needs of what came before.

    A module of its own, so that `modules_to_save=["kv_shift"]` of PEFT, plans of tensor parallelism and the float32
    rule can name it.

    Args:
        widths: (heads, channels) by target, all of one place: some of query, key, value; or one input.
        layer_idx: layer in the cache.
        state_idx: state of that layer in which the rows of this place are kept.
    """

    def __init__(self, config: KVShiftConfig, widths: dict[str, tuple[int, int]], layer_idx: int, state_idx: int):
        super().__init__()
        self.taps = config.shift_kernel_size
        self.gate, self.start = config.shift_gate, config.shift_init
        self.residual = config.shift_residual
        self.layer_idx, self.state_idx = layer_idx, state_idx
        self.targets = list(widths)
        free = 1 if self.gate == "sigmoid" else self.taps
        for name, (heads, channels) in widths.items():
            rows = heads * channels if config.shift_per_channel else heads
            self.register_parameter(name, nn.Parameter(torch.empty(rows, free, dtype=torch.float32)))

    def weights(self, *names: str) -> torch.Tensor:
        """(heads or heads * channels of all, taps) as they are applied: column j for the position j before."""
        free = torch.cat([getattr(self, name) for name in names]) if len(names) > 1 else getattr(self, names[0])
        if self.gate == "sigmoid":
            now = torch.sigmoid(free)
            free = torch.cat([now, 1 - now], dim=1)
        elif self.gate == "clamp":
            free = free.clamp(0, 1)
        if self.residual:
            free = free + pad(torch.ones_like(free[:, :1]), (0, self.taps - 1))
        return free

    def forward(
        self,
        states: dict[str, torch.Tensor],
        keep: torch.Tensor | None = None,
        real: torch.Tensor | None = None,
        past_key_values=None,
    ) -> dict[str, torch.Tensor]:
        """Mix the targets among `states`, each (batch, length, heads, channels); the others are passed through.

        Args:
            keep: as in `mix_reference`.
            real: (batch, length), 0 for padding, whose rows no other position may see.
            past_key_values: a cache with convolution states; the last raw rows are kept in it.
        """
        mixed = [states[name] for name in self.targets]
        if real is not None:
            mixed = [x * real[..., None, None].to(x.dtype) for x in mixed]
        if past_key_values is None:
            left: list[torch.Tensor | None] = [None] * len(mixed)
        else:
            if mixed[0].shape[1] == 1 and not past_key_values.is_recording_past(self.layer_idx):
                kept = past_key_values.get_conv_state(self.layer_idx, state_idx=self.state_idx)
                if kept is not None:
                    return states | dict(zip(self.targets, self._one_step(mixed, kept, keep), strict=True))
            left = self._rows_before(mixed, past_key_values)
        weights = map(self.weights, self.targets)
        return states | {
            name: mix(x, weight, before, keep)
            for name, x, weight, before in zip(self.targets, mixed, weights, left, strict=True)
        }

    def _one_step(
        self, mixed: list[torch.Tensor], kept: torch.Tensor, keep: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """One more token for all targets at once, in few operations: at this length they cost more than their sums.

        Args:
            kept: (batch, channels of all targets, taps - 1), the rows before in the order of time; moved on in place.
        """
        rows = torch.cat(mixed, dim=2)  # (batch, 1, heads of all targets, channels)
        weight = self.weights(*self.targets).view(rows.shape[2], -1, self.taps).unbind(-1)
        # In the order of time. One row needs no unbinding.
        before = [kept.view_as(rows)] if self.taps == 2 else [x.view_as(rows) for x in kept.unbind(-1)]
        total = rows * weight[0]
        for lag in range(1, self.taps):
            seen = before[-lag] if keep is None else before[-lag] * keep[..., lag - 1, None, None]
            total.addcmul_(seen, weight[lag])
        for older, newer in zip(before, [*before[1:], rows], strict=True):
            older.copy_(newer)
        if total.dtype != rows.dtype:
            total = total.to(rows.dtype)
        return total.split_with_sizes([x.shape[2] for x in mixed], 2)

    def _rows_before(self, mixed: list[torch.Tensor], cache) -> list[torch.Tensor | None]:
        """The last raw rows of earlier calls by target, (batch, at most taps - 1, heads, channels); keeps these."""
        length = mixed[0].shape[1]
        rows = torch.cat([x.flatten(2) for x in mixed], dim=-1).transpose(1, 2)
        known = cache.update_conv_state(rows, self.layer_idx, state_idx=self.state_idx, conv_kernel_size=self.taps - 1)
        before = known[..., : known.shape[-1] - length][..., 1 - self.taps :].transpose(1, 2)
        if not before.shape[1]:
            return [None] * len(mixed)
        parts = before.split([x.shape[2] * x.shape[3] for x in mixed], dim=-1)
        return [part.unflatten(-1, x.shape[2:]) for x, part in zip(mixed, parts, strict=True)]


def attention_shift(config: KVShiftConfig, layer_idx: int) -> KVShift | None:
    """The mixes inside attention, or None where there are none."""
    heads = dict.fromkeys(ATTENTION_TARGETS, config.num_key_value_heads) | {"query": config.num_attention_heads}
    widths: dict[str, Any] = {n: (heads[n], config.head_dim) for n in ATTENTION_TARGETS if n in config.shift_targets}
    return KVShift(config, widths, layer_idx, config.shift_states.index("attention")) if widths else None


def input_shift(config: KVShiftConfig, layer_idx: int, name: str) -> KVShift | None:
    """The mix of one of a block's inputs, or None."""
    if name not in config.shift_targets:
        return None
    return KVShift(config, {name: (1, config.hidden_size)}, layer_idx, config.shift_states.index(name))
