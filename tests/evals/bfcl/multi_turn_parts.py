"""What the tests of BFCL's multi-turn tasks share: worlds, rows, and the whole data set if it is at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from bfcl_parts import CATEGORIES as SINGLE
from bfcl_parts import rows_of

SOURCES = {
    "long_context": "EXTRA = 1000",
    "ticket_api": """
import subprocess
from bfcl_eval.eval_checker.multi_turn_eval.func_source_code.long_context import EXTRA

class TicketAPI:
    def __init__(self):
        self.tickets, self._seen = {}, 0
    def _load_scenario(self, scenario, long_context=False):
        self.tickets = scenario.get("tickets", {})
        self.next = EXTRA if long_context else 1
    def create(self, title, priority=1):
        self._seen += 1
        self.tickets[str(self.next)] = {"title": title, "priority": priority}
        self.next += 1
        return {"id": self.next - 1}
    def show(self, value):
        return value if not isinstance(value, dict) else [value]
    def count(self):
        return len(self.tickets)
    def fail(self):
        raise ValueError("no such ticket")
    def kill(self):
        return "killed"
    def spin(self):
        while True: pass
""",
}

CATEGORIES = ("base", "miss_func", "miss_param", "long_context")
GOLD = [["create('a', priority=2)", "count()"], [], ["count()"]]
ROW = {
    "id": "multi_turn_miss_func_0",
    "turns": json.dumps([[{"role": "user", "content": "Open one."}], [{"role": "user", "content": "Close it."}], []]),
    "later_prompt": json.dumps({"2": "[{'name': 'count'}]\nAnd now?"}),
    "gold": json.dumps(GOLD),
    "classes": json.dumps(["TicketAPI"]),
    "config": json.dumps({"TicketAPI": {"tickets": {}}}),
    "prompt": "Reply with calls.",
}


def save(folder: Path, configs: dict[str, dict[str, Any]]) -> Path:
    """Config -> split -> rows, laid out as the builder's data set is published."""
    from datasets import Dataset

    head = []
    for config, splits in configs.items():
        (folder / config).mkdir(parents=True)
        for split, rows in splits.items():
            found = Dataset.from_list(rows) if isinstance(rows, list) else rows
            found.to_parquet(str(folder / config / f"{split}-00000-of-00001.parquet"))
        files = [{"split": s, "path": f"{config}/{s}-00000-of-00001.parquet"} for s in splits]
        head.append({"config_name": config, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': head})}---\n")
    return folder


def small(folder: Path, **changed: Any) -> Path:
    multi = {f"multi_turn_{c}": [ROW | {"id": f"multi_turn_{c}_0"} | changed] for c in CATEGORIES}
    worlds = [{"name": name, "source": source} for name, source in SOURCES.items()]
    single = {category: rows_of(category) for category in SINGLE}
    return save(folder, {"single_turn": single, "multi_turn": multi, "worlds": {"python": worlds}})
