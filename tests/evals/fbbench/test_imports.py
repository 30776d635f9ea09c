"""Scoring and judging must not pay for what they do not use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "lm_eval", "datasets", "openai", "pandas", "pyarrow", "huggingface_hub")


MODULES = (
    "hubwright.cli.evaluation",
    "hubwright.evals",
    "hubwright.evals._lib.data",
    "hubwright.evals.fbbench.scorer",
    "hubwright.evals._lib.judging.judge",
    "hubwright.evals.fbbench.step",
    "hubwright.evals.fbbench.answers",
    "hubwright.evals.fbbench.metrics",
    "hubwright.evals.answers.step",
    "hubwright.evals.agreement.step",
    "hubwright.evals.judge.step",
    "hubwright.evals.metric.step",
    "hubwright.evals._lib.judging.agreement",
    "hubwright.evals._lib.judging.stage",
    "hubwright.evals.harness.step",
    "hubwright.evals.harness.command",
    "hubwright.inference.client",
    "hubwright.builders.fbbench",
)


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """The heavy packages that each module is the first to import, all in one process."""
    code = (
        "import importlib, json, sys\n"
        "seen, heavy = set(), set(sys.argv[1].split())\n"
        "for module in sys.argv[2:]:\n"
        "    importlib.import_module(module)\n"
        "    print(json.dumps([module, sorted(heavy & set(sys.modules) - seen)]))\n"
        "    seen |= heavy & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, " ".join(HEAVY), *MODULES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("module", MODULES)
def test_nothing_heavy_is_imported(module: str, imported: dict[str, list[str]]) -> None:
    assert imported[module] == []
