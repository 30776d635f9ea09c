"""Every step that publishes a data set says on its card what each column holds."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from hubwright.builders.steps import STEPS as BUILDERS
from hubwright.evals.steps import STEPS as EVALS
from hubwright.making import warn_of_columns
from hubwright.trainers.steps import STEPS as TRAINERS

ROOT = Path(__file__).parents[2]
STEPS = [name for name, spec in (BUILDERS | TRAINERS | EVALS).items() if spec.publishes == "dataset"]
CONFIGS = {"default": {"train": {"columns": [["a", "int64"], ["b", "string"]]}}}


@pytest.fixture(scope="module")
def checked() -> set[str]:
    """The steps that a test calls `check_columns` for, by the call's first argument."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py")))
    return {name for text in texts for name in re.findall(r"\bcheck_columns\(\s*\"(\w+)\"", text)}


@pytest.mark.parametrize("name", STEPS)
def test_a_test_checks_the_descriptions_of(name: str, checked: set[str]) -> None:
    assert name in checked, f'call column_parts.check_columns("{name}", result, report) in a test of the step'


@pytest.mark.parametrize("path", sorted(ROOT.glob("builders/*/columns.yaml")), ids=lambda path: path.parent.name)
def test_no_shared_description_is_dead(path: Path) -> None:
    """Names of columns that several configs or cards share occur in the code that publishes them."""
    code = "".join(one.read_text(encoding="utf-8") for one in path.parent.glob("*.py"))
    assert not [name for name in yaml.safe_load(path.read_text()) if not re.search(rf"\b{name}\b", code)]


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({}, ""),  # a step of somebody else that describes nothing
        ({"a": "one", "b": "two"}, ""),
        ({"a": "one"}, "step mine: the card says nothing of columns b"),
        ({"a": "one", "b": "two", "c": "x", "d": "y"}, "the report describes columns that the result has not: c, d"),
    ],
)
def test_the_runner_warns(described: dict[str, str], message: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hubwright"):
        warn_of_columns(SimpleNamespace(name="mine"), CONFIGS, described)  # type: ignore[arg-type]
    assert message in caplog.text and bool(message) == bool(caplog.records)
