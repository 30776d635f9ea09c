"""Scoring and judging must not pay for what they do not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "lm_eval", "datasets", "openai", "pandas", "pyarrow", "huggingface_hub")


@pytest.mark.parametrize(
    "module",
    [
        "hubwright.cli_eval",
        "hubwright.evals",
        "hubwright.evals.data",
        "hubwright.evals.fbbench.scorer",
        "hubwright.evals.fbbench.judge",
        "hubwright.evals.fbbench.answers",
        "hubwright.evals.fbbench.metrics",
        "hubwright.evals.answering",
        "hubwright.evals.agreement_step",
        "hubwright.evals.judge_step",
        "hubwright.evals.metric_step",
        "hubwright.evals.judging.agreement",
        "hubwright.evals.judging.stage",
        "hubwright.evals.harness",
        "hubwright.evals.run",
        "hubwright.inference.client",
        "hubwright.builders.fbbench",
    ],
)
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
