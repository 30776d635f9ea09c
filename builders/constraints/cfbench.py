"""CFBench (arXiv:2408.01122): 1,000 Chinese prompts with primary and secondary criteria."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...hub_sync.errors import RowRejected
from .._lib.rejections import Rejections
from .common import features as shared
from .common import number_of, one_of, text_of

LABELS = ("level", "domain")
PRIORITIES = {"主需": "primary", "次需": "secondary"}


def features() -> Any:
    """Columns and types."""
    from datasets import Value

    text = Value("string")
    return shared(level=text, domain=text, scenario=text, origin=text)


def rows(name: str, records: list[Any], rejections: Rejections) -> Iterator[dict[str, Any]]:
    """A row for each prompt."""
    return rejections.convert(name, records, _row)


def _row(record: Any) -> dict[str, Any]:
    prompt = text_of(record, "prompt")
    criteria = record.get("criteria")
    if not isinstance(criteria, list) or not criteria:
        raise RowRejected("no criteria", "criteria is no list with something in it")
    return {
        "id": f"cf-{number_of(record, 'idx')}", "messages": [{"role": "user", "content": prompt}],
        "criteria": [_criterion(one) for one in criteria], "reference": record.get("gold") or None,
        "level": one_of(record, "split", {"easy": "easy", "hard": "hard"}), "domain": str(record.get("doamin") or ""),
        "scenario": str(record.get("scenario") or ""), "origin": str(record.get("source") or ""),
    }  # fmt: skip


def _criterion(one: Any) -> dict[str, str]:
    if not isinstance(one, list) or len(one) < 3 or not all(isinstance(part, str) for part in one[:3]):
        raise RowRejected("criterion", f"a criterion is {one!r:.60}, not [text, priority, kind, ...]")
    if one[1] not in PRIORITIES:
        raise RowRejected("criterion", f"a criterion's priority is {one[1]!r:.20}, not one of {', '.join(PRIORITIES)}")
    return {"text": one[0], "kind": one[2], "priority": PRIORITIES[one[1]]}
