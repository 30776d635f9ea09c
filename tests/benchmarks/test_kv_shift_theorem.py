"""Theorem 3 of the paper on its own set-up: counted by hand and measured with the mix itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.kv_theorem import POINTS, measured, predicted  # noqa: E402


@pytest.mark.parametrize("length", [8, 16, 64])
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_the_loss_is_the_one_that_is_counted(point, length):
    assert measured(*point, length, 0, 0) == pytest.approx(predicted(*point, length), abs=1e-12)


def test_random_tokens_come_near(length=16):
    found = [measured(0.2, 0.8, length, 8192, seed) for seed in range(4)]
    assert sum(found) / 4 == pytest.approx(predicted(0.2, 0.8, length), abs=0.01)


@pytest.mark.parametrize("length", [8, 16, 64, 256])
def test_the_induction_corner_is_the_lowest(length):
    grid = [(a / 10, b / 10) for a in range(11) for b in range(11)]
    assert min(grid, key=lambda point: predicted(*point, length)) == (0.0, 1.0)
