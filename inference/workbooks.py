"""Rows of a workbook (.xlsx) by the names in its first row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..hub_sync.errors import DataError, UsageError


def read_sheet(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row of the sheet, cell by column) of the first sheet; empty rows are passed over.

    Args:
        name: of the workbook, for errors.

    Raises DataError for a file that is no workbook, UsageError where openpyxl is not installed.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise UsageError(f"{name}: workbooks need openpyxl: pip install 'hubwright[eval]'") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = book.worksheets[0].iter_rows(values_only=True)
        columns = [str(cell) for cell in next(rows, ())]
        for number, cells in enumerate(rows, 2):
            if any(cell is not None for cell in cells):
                yield number, dict(zip(columns, cells, strict=False))
    except Exception as error:  # openpyxl raises anything from KeyError to its own classes
        raise DataError(f"{name}: is no workbook that can be read ({type(error).__name__}: {error})") from error
