"""Tables on stdout: aligned columns, names never cut."""

from collections.abc import Iterable, Sequence
from typing import Any


def text_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str | None = None) -> Any:
    """A `rich` table without lines. A long cell is folded, never cut."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*["" if cell is None else str(cell) for cell in row])
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table: folded to the width of a terminal, one line per row in a file or pipe."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    with console.capture() as capture:
        console.print(text_table(columns, rows))
    for line in capture.get().splitlines():
        print(line.rstrip())
