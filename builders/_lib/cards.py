"""Parts of a report that several builders fill in the same way."""

from collections.abc import Iterable, Sequence
from typing import Any

from ...hub_sync.context import Report
from .data_files import read_yaml


def describe(report: Report, module: str, name: str = "card", **values: object) -> None:
    """Fill a card's metadata and summary from the YAML file `name` beside a module.

    Args:
        module: its `__file__`.
        values: for the places `{name}` of the summary.
    """
    texts = read_yaml(module, f"{name}.yaml")
    report.card |= texts["card"]
    report.summary = texts["summary"].format_map(values)


def add_table(
    report: Report, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = ""
) -> None:
    """Append a table; a note without text is left out."""
    table = {"title": title, "columns": list(columns), "rows": list(rows)}
    report.tables.append(table | ({"note": note} if note else {}))


def add_sources(report: Report, origins: Iterable[str], title: str = "Sources") -> None:
    """Append a section that lists where the files came from."""
    report.sections.append({"title": title, "body": "\n".join(f"- {origin}" for origin in origins)})
