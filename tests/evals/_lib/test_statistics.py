"""Kappa and Wilson's interval against published examples and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from hubwright.evals._lib.statistics import kappa, wilson


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ((20, 5, 10, 15), 0.4),  # the worked example of the Wikipedia article on Cohen's kappa
        ((45, 15, 25, 15), 0.1304),  # the same article, two raters with equal agreement but different shares
        ((25, 35, 5, 35), 0.2593),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
    ],
)
def test_kappa_of_published_examples(table: tuple[int, ...], value: float) -> None:
    assert float(kappa(np.array(table))) == pytest.approx(value, abs=5e-5)


def test_wilson_interval() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
