"""What the tests of BFCL share: functions, replies, rows, and the package if it is at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hubwright.evals._lib.data import tasks_dir

FUNCTION = {
    "name": "book",
    "parameters": {
        "type": "dict",
        "properties": {
            "city": {"type": "string"},
            "nights": {"type": "integer"},
            "rate": {"type": "float"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "guest": {"type": "dict"},
            "guests": {"type": "array", "items": {"type": "dict"}},
        },
        "required": ["city"],
    },
}
GOLD = [
    {
        "book": {
            "city": ["New York, NY", "NYC"],
            "nights": [2, ""],
            "rate": [1.5, ""],
            "tags": [["quiet", "sea-view"], ""],
            "guest": [{"name": ["Ada"], "age": [36, ""]}, ""],
            "guests": [[{"name": ["Ada"]}], ""],
        }
    }
]


def package() -> Path | None:
    """A folder in which bfcl_eval can be imported: a wheel, which Python reads as it is."""
    folder = os.environ.get("HUBWRIGHT_TEST_WHEELS")
    return next(iter(sorted(Path(folder).glob("bfcl_eval-*.whl"))), None) if folder else None


REPLY = "[book(city='NYC', nights=2)]"
CATEGORIES = sorted(p.stem.removeprefix("button_bfcl_fc_") for p in tasks_dir().glob("button/button_bfcl_fc_*.yaml"))


def rows_of(category: str) -> list[dict[str, Any]]:
    gold = "" if "relevance" in category else json.dumps(GOLD)
    messages = [{"role": "user", "content": "Two nights in NYC, please."}]
    row = {"messages": messages, "functions": [FUNCTION], "gold": gold, "prompt": "Reply with calls."}
    with_system = row | {"messages": [{"role": "system", "content": "Be brief."}, *messages]}
    return [
        {
            key: item if isinstance(item, str) else json.dumps(item)
            for key, item in {"id": f"{category}_{n}", **r}.items()
        }
        for n, r in enumerate((row, with_system))
    ]
