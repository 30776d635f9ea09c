"""Every benchmark's README shows a document, a reply and its score, and the examples give what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from hubwright.evals._lib.data import tasks_dir

GENERIC = {"_lib", "agreement", "answers", "harness", "judge", "metric", "tasks", "__pycache__"}
BENCHMARKS = sorted(p for p in tasks_dir().parent.iterdir() if p.is_dir() and p.name not in GENERIC)


@pytest.mark.parametrize("folder", BENCHMARKS, ids=lambda path: path.name)
def test_example_of_a_readme_gives_the_score_it_shows(folder: Path) -> None:
    # Two answers are compared in AlpacaEval's judgements; of lm-eval's models one answers.
    assert (folder / "task.py").is_file() or folder.name == "alpaca_eval"
    done = doctest.testfile(str(folder / "README.md"), module_relative=False)
    upstream = folder.name == "kv_shifting"  # prompts and scores are upstream's
    assert done.failed == 0 and (done.attempted or upstream)
