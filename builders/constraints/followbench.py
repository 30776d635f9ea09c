"""FollowBench (arXiv:2310.20410): instructions that gain a constraint with each of five levels, English and Chinese.

A row of level n has one criterion for each of the constraints that were added: "what version k asks beyond version
k - 1", with both texts; `versions` are the instructions of levels 0 to n. Rows of the category `example` have no
criteria, since rules decide them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...hub_sync.errors import DataError, RowRejected
from .._lib.rejections import Rejections
from .common import features as shared
from .common import number_of, text_of

LABELS = ("language", "category", "level")
CATEGORIES = ("content", "situation", "style", "format", "example", "mixed")
LEVELS = 5


def features() -> Any:
    """Columns and types."""
    from datasets import List, Value

    text, number = Value("string"), Value("int32")
    return shared(
        language=text, category=text, example_id=number, source=text, level=number, target=text, versions=List(text)
    )


def rows(name: str, records: list[Any], rejections: Rejections) -> Iterator[dict[str, Any]]:
    """A row for each instruction of level 1 to 5."""
    language = "zh" if name.startswith("data_zh") else "en"
    category = name.rpartition("/")[2].removesuffix("_constraints.json")  # records of `mixed` name their own
    if category not in CATEGORIES:
        raise DataError(f"{name}: is no file of FollowBench: they are {', '.join(CATEGORIES)}_constraints.json")
    versions: dict[int, str] = {}
    example = None

    def convert(record: Any) -> dict[str, Any] | None:
        nonlocal example
        level, number = number_of(record, "level"), number_of(record, "example_id")
        if level > LEVELS:
            raise RowRejected("level", f"level is {level}, not 0 to {LEVELS}")
        if number != example:
            example = number
            versions.clear()
        # Level 0 of what rules decide may be empty: there is nothing to be added to.
        versions[level] = text_of(record, "instruction") if level else str(record.get("instruction") or "")
        if not level:
            return None
        first = 1 if category == "example" else 0
        if list(versions) != list(range(first, level + 1)):
            raise RowRejected("order", f"example {number} has level {level} after {sorted(versions)[:-1]}")
        return {
            "id": f"fo-{language}-{category}-{number}-{level}",
            "messages": [{"role": "user", "content": versions[level]}],
            "criteria": [] if category == "example" else _criteria(versions, level, category),
            "reference": record.get("answer") or None, "language": language, "category": category,
            "example_id": number, "source": text_of(record, "source"), "level": level,
            "target": str(record.get("target") or ""), "versions": [versions[one] for one in sorted(versions)],
        }  # fmt: skip

    for row in rejections.convert(name, records, convert):
        if row is not None:
            yield row


def _criteria(versions: dict[int, str], level: int, category: str) -> list[dict[str, str]]:
    texts = [
        f"what the second instruction asks beyond the first\nFirst: {versions[one - 1]}\nSecond: {versions[one]}"
        for one in range(1, level + 1)
    ]
    return [{"text": text, "kind": category, "priority": "primary"} for text in texts]
