"""The package's wheel and the data set that is built from it, for the tests of BFCL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bfcl_parts import package
from multi_turn_parts import save

from hubwright.recipe import shipped_recipes

WHEEL = "bfcl_eval-2026.3.23-py3-none-any.whl"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's wheel: of HUBWRIGHT_TEST_WHEELS, or else of pip's registry; skipped where neither has it."""
    if (found := package()) is not None:
        return found
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--timeout", "15", "--retries", "1", "download", "--quiet", "--no-deps"]
    done = subprocess.run([*pip, "--dest", str(folder), "bfcl-eval==2026.3.23"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot get the wheel of bfcl-eval: {done.stderr.strip()[-200:]}")
    return folder / WHEEL


@pytest.fixture(scope="module")
def real(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hubwright.builders.bfcl import BFCLConfig, build
    from hubwright.builders.bfcl.build import MULTI
    from hubwright.hub_sync.context import StepContext

    folder = tmp_path_factory.mktemp("bfcl")
    recipe = yaml.safe_load(shipped_recipes()["bfcl"].read_text())
    digest = recipe["steps"]["bfcl"]["with"]["expect_sha256"]
    config = BFCLConfig(source=str(wheel), categories=MULTI, expect_sha256=digest)
    return save(folder / "data", build(config, StepContext("bfcl", folder / "work", folder / "output")))
