"""Word lists, phrases, prompts and card texts: YAML files beside the module that uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...hub_sync.context import Report


def read_yaml(module: str, name: str) -> Any:
    """The value of the YAML file `name` beside a module, whose `__file__` is given."""
    return yaml.safe_load(Path(module).with_name(name).read_text(encoding="utf-8"))


def describe(report: Report, module: str, **values: object) -> None:
    """Fill a card's metadata and summary from `card.yaml` beside a module.

    Args:
        module: its `__file__`.
        values: for the places `{name}` of the summary.
    """
    texts = read_yaml(module, "card.yaml")
    report.card |= texts["card"]
    report.summary = texts["summary"].strip().format_map(values)
