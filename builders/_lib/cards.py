"""Parts of a report that several builders fill in the same way."""

from collections.abc import Iterable

from ...hub_sync.context import Report
from .data_files import read_yaml


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


def add_sources(report: Report, origins: Iterable[str], title: str = "Sources") -> None:
    """Append a section that lists where the files came from."""
    report.section(title, "\n".join(f"- {origin}" for origin in origins))
