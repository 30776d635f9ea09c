"""The mix against its definition, its gradients against finite differences, its fast paths against the reference."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hubwright.trainers.architectures.kv_shift.mixing_kv_shift import _OnePass, mix, mix_reference


def by_definition(x, weight, left=None, keep=None):
    """Loops over everything, straight from y_t = sum_j w_j x_(t-j)."""
    batch, length, heads, channels = x.shape
    taps = weight.shape[1]
    y = torch.zeros_like(x)
    for b in range(batch):
        for t in range(length):
            for h in range(heads):
                for d in range(channels):
                    row = weight[h] if len(weight) == heads else weight[h * channels + d]
                    for lag in range(taps):
                        at = t - lag
                        if lag and keep is not None and not keep[b % len(keep), t, lag - 1]:
                            continue
                        if at >= 0:
                            y[b, t, h, d] += row[lag] * x[b, at, h, d]
                        elif left is not None and -at <= left.shape[1]:
                            y[b, t, h, d] += row[lag] * left[b, at, h, d]
    return y


@st.composite
def cases(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    batch, length, heads, channels = (draw(st.integers(1, top)) for top in (2, 6, 3, 3))
    taps = draw(st.integers(2, 4))
    rows = heads * (channels if draw(st.booleans()) else 1)
    x = torch.randn(batch, length, heads, channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(rows, taps, generator=generator, dtype=torch.float64)
    kept = draw(st.sampled_from([None, 1, batch]))
    keep = None if kept is None else torch.rand(kept, length, taps - 1, generator=generator) > 0.4
    before = draw(st.integers(0, taps - 1))
    left = torch.randn(batch, before, heads, channels, generator=generator, dtype=torch.float64) if before else None
    return x, weight, left, keep


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_mix_is_its_definition(case):
    x, weight, left, keep = case
    expected = by_definition(x, weight, left, keep)
    torch.testing.assert_close(mix_reference(x, weight, left, keep), expected)
    torch.testing.assert_close(mix(x, weight, left, keep), expected)


@pytest.mark.parametrize("rows", [2, 6])
@pytest.mark.parametrize("keep", [False, True])
def test_gradients_are_those_of_finite_differences(rows: int, keep: bool):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(rows, 3, dtype=torch.float64, requires_grad=True)
    flags = torch.rand(1, 5, 2) > 0.4 if keep else None
    assert torch.autograd.gradcheck(lambda a, b: _OnePass.apply(a, b, flags), (x, weight))


def test_bfloat16_is_summed_in_float32():
    torch.manual_seed(0)
    x = torch.randn(2, 33, 2, 8).bfloat16()
    weight = torch.rand(2, 2)
    exact = by_definition(x.double(), weight.double())
    for result in (mix(x, weight), mix_reference(x, weight)):
        assert result.dtype == torch.bfloat16
        # One rounding of the result: half a unit in the last place of 8 bits.
        assert ((result.double() - exact).abs() <= exact.abs() * 2**-8).all()


def test_weights_that_change_nothing_change_no_bit():
    x = torch.randn(2, 9, 2, 8)
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert torch.equal(mix(x.to(dtype), weight), x.to(dtype))


TRITON = """
import torch
from hubwright.trainers.architectures.kv_shift.mixing_kv_shift import mix_reference
from hubwright.trainers.architectures.kv_shift.triton_kv_shift import mix_triton

torch.manual_seed(0)
for batch, length, heads, channels, rows, taps, kept in [
    (2, 70, 3, 16, 3, 2, 0), (2, 130, 2, 24, 2, 2, 2), (2, 9, 2, 8, 16, 4, 1), (1, 65, 1, 20, 20, 3, 1), (1, 1, 1, 1, 1, 2, 0)
]:
    x, w = torch.randn(batch, length, heads, channels), torch.randn(rows, taps)
    keep = torch.rand(kept, length, taps - 1) > 0.3 if kept else None
    a, b, c, d = (t.clone().requires_grad_() for t in (x, w, x, w))
    ours, theirs = mix_triton(a.to(DEVICE), b.to(DEVICE), keep.to(DEVICE) if kept else None), mix_reference(c, d, None, keep)
    gradient = torch.randn_like(theirs)
    ours.backward(gradient.to(DEVICE)), theirs.backward(gradient)
    torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(a.grad, c.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(b.grad, d.grad, rtol=1e-4, atol=1e-4)
print("equal")
"""


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_triton_kernel_is_the_reference(device: str):
    """On a GPU as it is; without one in Triton's interpreter, where Triton is installed."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", f"DEVICE = {device!r}\n{TRITON}"],
        env=os.environ | ({"TRITON_INTERPRET": "1"} if device == "cpu" else {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "equal" in done.stdout, done.stderr
