"""The figures that experiments are summed up by, on curves whose answer is plain."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.kv_tables import gains, pairs, share_of_steps, table  # noqa: E402


def test_the_share_of_steps_lies_on_the_line_between_two_points():
    curve = [[0, 8.0], [50, 6.0], [100, 5.0]]
    assert share_of_steps(curve, 5.5) == pytest.approx(0.75)
    assert share_of_steps(curve, 6.0) == pytest.approx(0.5)
    assert share_of_steps(curve, 9.0) == 0.0
    assert share_of_steps(curve, 4.9) is None


def test_differences_are_taken_seed_by_seed_at_the_same_rate():
    results = {
        f"S, {variant}, 0.1#{seed}": {"loss": [[0, 9.0], [100, base + gain * (1 + seed / 10)]], "metrics": {}}
        for variant, gain in (("plain", 0.0), ("mixed", -0.1))
        for seed, base in enumerate((5.0, 6.0, 7.0))
    }
    results["S, mixed, 0.2#0"] = {"loss": [[0, 9.0], [100, 1.0]], "metrics": {}}  # nothing to compare with
    *_, line = gains(results, "plain").splitlines()
    # -0.10, -0.11, -0.12: mean -0.11, standard deviation 0.01, 4.303 x 0.01 / sqrt(3) = 0.0248
    assert line.startswith("| S, mixed, 0.1 | 3 | -0.1100 (-0.1348 to -0.0852) | 0.9")


def test_a_run_that_diverged_is_counted_and_not_averaged():
    whole = {"accuracy": [[25, 0.5], [50, 0.96]], "metrics": {"train_seconds": 3.0}}
    *_, line = table("induction", {"A#0": whole, "A#1": {"diverged": "the loss is nan"}}).splitlines()
    assert line == "| A | 2 | 0.9600, 1 diverged | 50, 1 of 2 | 3 |"


def test_pairs_are_added_up_over_seeds():
    counts = {"kv_pairs_now": 1, "kv_pairs_induction": 2, "kv_pairs_value_before": 0, "kv_pairs_before": 1}
    *_, line = pairs({f"A#{n}": {"metrics": counts} for n in range(2)} | {"B#0": {"metrics": {}}}).splitlines()
    assert line == "| A | 8 | 2 (25%) | 4 (50%) | 0 (0%) | 2 (25%) |"
