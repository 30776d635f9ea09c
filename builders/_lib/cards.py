"""Parts of a report that several builders fill in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ...hub_sync.context import Report
from .data_files import read_yaml

if TYPE_CHECKING:
    from datasets import Dataset


def describe(report: Report, module: str, name: str = "card", **values: object) -> None:
    """Fill a card's metadata, summary and descriptions of columns from the YAML file `name` beside a module.

    Args:
        module: its `__file__`.
        values: for the places `{name}` of the summary.
    """
    texts = read_yaml(module, f"{name}.yaml")
    report.card |= texts["card"]
    report.columns |= texts.get("columns", {})
    report.summary = texts["summary"].format_map(values)


def describe_columns(report: Report, module: str, configs: Iterable[Mapping[str, Dataset]]) -> None:
    """Fill in the descriptions of published columns from `columns.yaml` beside a module, which may hold more.

    Args:
        module: its `__file__`.
        configs: split -> rows of each.
    """
    texts = read_yaml(module, "columns.yaml")
    for splits in configs:
        report.columns |= {name: texts[name] for rows in splits.values() for name in rows.column_names}


def add_sources(report: Report, origins: Iterable[str], title: str = "Sources") -> None:
    """Append a section that lists where the files came from."""
    report.section(title, "\n".join(f"- {origin}" for origin in origins))
