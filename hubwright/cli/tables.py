"""Tables on stdout: aligned columns, names never cut."""

from collections.abc import Iterable, Sequence
from typing import Any


def text_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str | None = None) -> Any:
    """A `rich` table without lines. Names stay whole; of a column with blanks a long cell is folded."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        names = all(" " not in row[number] for row in cells)
        table.add_column(column, overflow="fold", no_wrap=names)
    for row in cells:
        table.add_row(*row)
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table: folded to the width of a terminal where names allow it, one line per row in a file or pipe."""
    from rich.console import Console
    from rich.measure import Measurement

    console, table = Console(highlight=False, markup=False), text_table(columns, rows)
    least = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    console.width = max(console.width, least) if console.is_terminal else 10_000
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())
