"""A sheet of images with a few lines under each, as a PNG file for a card."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

THUMB, MARGIN, LINE = 160, 12, 15
COLUMNS, CHARACTERS = 5, 26


def contact_sheet(items: Iterable[tuple[Any, Sequence[str]]], path: Path, columns: int = COLUMNS) -> int:
    """Write the sheet; the number of images on it, 0 if there is none and no file.

    Args:
        items: PIL.Image and the lines under it, which are wrapped and cut.
        path: of the PNG file.
    """
    from PIL import Image, ImageDraw, ImageFont

    cells = [(image.copy(), _wrapped(lines)) for image, lines in items]
    if not cells:
        return 0
    font = ImageFont.load_default(12)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [THUMB + MARGIN + LINE * max(len(lines) for _, lines in row) for row in rows]
    width = MARGIN + min(columns, len(cells)) * (THUMB + MARGIN)
    sheet = Image.new("RGB", (width, MARGIN + sum(heights) + MARGIN * len(rows)), (250, 250, 250))
    pen, top = ImageDraw.Draw(sheet), MARGIN
    for row, height in zip(rows, heights, strict=True):
        for place, (image, lines) in enumerate(row):
            left = MARGIN + place * (THUMB + MARGIN)
            image.thumbnail((THUMB, THUMB))
            sheet.paste(image, (left + (THUMB - image.width) // 2, top + THUMB - image.height))
            for number, line in enumerate(lines):
                pen.text((left, top + THUMB + 4 + LINE * number), line, (30, 30, 30), font)
        top += height + MARGIN
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return len(cells)


def _wrapped(lines: Sequence[str], most: int = 4) -> list[str]:
    result: list[str] = []
    for line in lines:
        parts = textwrap.wrap(" ".join(line.split()), CHARACTERS) or [""]
        result += (
            parts[:most] if len(parts) <= most else [*parts[: most - 1], f"{parts[most - 1][: CHARACTERS - 3]}..."]
        )
    return result
