"""The builders' READMEs: each has an example row and recipes whose settings are valid."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from hubwright.builders.steps import STEPS

FOLDER = Path(__file__).parents[2] / "builders"
NAMES = sorted(path.name for path in FOLDER.iterdir() if (path / "__init__.py").is_file() and path.name != "_lib")


@pytest.mark.parametrize("name", NAMES)
def test_readme_recipe_has_valid_settings(name: str) -> None:
    text = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    steps = [step for block in blocks for step in yaml.safe_load(block)["steps"].values()]
    assert steps
    for step in steps:
        module, _, config = STEPS[step["uses"]].config.partition(":")
        importlib.import_module(module)
        getattr(sys.modules[module], config).model_validate(step.get("with", {}))
        assert all(STEPS[step["uses"]].role(role) for role in step.get("inputs", {}))
