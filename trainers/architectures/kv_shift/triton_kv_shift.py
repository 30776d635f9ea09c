"""The mix in one Triton kernel: keys or values are read once and written once, forward and backward.

Products and sums are in float32. Gradients of the weights are summed per block first and the blocks in a fixed order
afterwards, so a run repeats bit by bit.
"""

from __future__ import annotations

import os

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # CPU builds of torch bring none
    triton = None

ROWS = 64  # positions a program handles (our choice)


def available() -> bool:
    """True where Triton is installed; HUBWRIGHT_KV_SHIFT_TRITON=0 switches it off."""
    return triton is not None and os.environ.get("HUBWRIGHT_KV_SHIFT_TRITON", "1") != "0"


if triton is not None:

    @triton.jit
    def _forward(
        x, weight, keep, out, length, heads, channels, keep_step,
        TAPS: tl.constexpr, PER_CHANNEL: tl.constexpr, HAS_KEEP: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
    ):  # fmt: skip
        t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        head, batch = tl.program_id(1), tl.program_id(2)
        d = tl.arange(0, WIDTH)
        inside = (t < length)[:, None] & (d < channels)[None, :]
        start = (batch.to(tl.int64) * length * heads + head) * channels
        total = tl.zeros((ROWS, WIDTH), dtype=tl.float32)
        for lag in tl.static_range(TAPS):
            seen = (t >= lag) & (t < length)
            if HAS_KEEP and lag > 0:
                seen = seen & (tl.load(keep + batch * keep_step + t * (TAPS - 1) + lag - 1, mask=seen, other=0) != 0)
            place = start + (t - lag)[:, None].to(tl.int64) * heads * channels + d[None, :]
            rows = tl.load(x + place, mask=seen[:, None] & (d < channels)[None, :], other=0.0).to(tl.float32)
            if PER_CHANNEL:
                w = tl.load(weight + (head * channels + d) * TAPS + lag, mask=d < channels, other=0.0)[None, :]
            else:
                w = tl.load(weight + head * TAPS + lag)
            total += rows * w
        place = start + t[:, None].to(tl.int64) * heads * channels + d[None, :]
        tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)

    @triton.jit
    def _backward(
        x, weight, keep, gradient, of_x, of_w, length, heads, channels, keep_step,
        TAPS: tl.constexpr, PER_CHANNEL: tl.constexpr, HAS_KEEP: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
    ):  # fmt: skip
        t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        head, batch = tl.program_id(1), tl.program_id(2)
        d = tl.arange(0, WIDTH)
        channel = (d < channels)[None, :]
        start = (batch.to(tl.int64) * length * heads + head) * channels
        block = (batch * tl.num_programs(0) + tl.program_id(0)) * heads
        here = start + t[:, None].to(tl.int64) * heads * channels + d[None, :]
        own = tl.load(gradient + here, mask=(t < length)[:, None] & channel, other=0.0).to(tl.float32)
        total = tl.zeros((ROWS, WIDTH), dtype=tl.float32)
        for lag in tl.static_range(TAPS):
            # What position t gives to t + lag.
            seen = t + lag < length
            if HAS_KEEP and lag > 0:
                ahead = tl.load(keep + batch * keep_step + (t + lag) * (TAPS - 1) + lag - 1, mask=seen, other=0)
                seen = seen & (ahead != 0)
            place = start + (t + lag)[:, None].to(tl.int64) * heads * channels + d[None, :]
            later = tl.load(gradient + place, mask=seen[:, None] & channel, other=0.0).to(tl.float32)
            if PER_CHANNEL:
                w = tl.load(weight + (head * channels + d) * TAPS + lag, mask=d < channels, other=0.0)[None, :]
            else:
                w = tl.load(weight + head * TAPS + lag)
            total += later * w
            # What position t took from t - lag.
            seen = (t >= lag) & (t < length)
            if HAS_KEEP and lag > 0:
                seen = seen & (tl.load(keep + batch * keep_step + t * (TAPS - 1) + lag - 1, mask=seen, other=0) != 0)
            place = start + (t - lag)[:, None].to(tl.int64) * heads * channels + d[None, :]
            taken = own * tl.load(x + place, mask=seen[:, None] & channel, other=0.0).to(tl.float32)
            if PER_CHANNEL:
                tl.store(of_w + ((block + head) * channels + d) * TAPS + lag, tl.sum(taken, axis=0), mask=d < channels)
            else:
                tl.store(of_w + (block + head) * TAPS + lag, tl.sum(taken))
        tl.store(of_x + here, total.to(of_x.dtype.element_ty), mask=(t < length)[:, None] & channel)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, keep):
        x, wide = x.contiguous(), weight.to(torch.float32).contiguous()
        flags = None if keep is None else keep.expand(keep.shape[0], x.shape[1], -1).to(torch.uint8).contiguous()
        out = torch.empty_like(x)
        grid, sizes, options = _launch(x, weight, flags)
        _forward[grid](x, wide, x if flags is None else flags, out, *sizes, **options)
        ctx.save_for_backward(x, wide, flags)
        ctx.weight_dtype = weight.dtype
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        x, weight, flags = ctx.saved_tensors
        gradient, of_x = gradient.contiguous(), torch.empty_like(x)
        grid, sizes, options = _launch(x, weight, flags)
        of_w = torch.empty((grid[0] * grid[2], *weight.shape), dtype=torch.float32, device=x.device)
        _backward[grid](x, weight, x if flags is None else flags, gradient, of_x, of_w, *sizes, **options)
        return of_x, of_w.sum(0).to(ctx.weight_dtype), None


def _launch(x, weight, flags):
    batch, length, heads, channels = x.shape
    grid = (triton.cdiv(length, ROWS), heads, batch)
    step = 0 if flags is None or flags.shape[0] == 1 else length * flags.shape[2]
    options = {
        "TAPS": weight.shape[1], "PER_CHANNEL": weight.shape[0] != heads or channels == 1,
        "HAS_KEEP": flags is not None, "ROWS": ROWS, "WIDTH": triton.next_power_of_2(channels),
    }  # fmt: skip
    return grid, (length, heads, channels, step), options


def mix_triton(x: torch.Tensor, weight: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
    """`mixing_kv_shift.mix_reference` without `left`: the same arguments, shapes and dtypes."""
    return _Fused.apply(x, weight, keep)
