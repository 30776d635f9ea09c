"""What the builder `landmarks` makes of the two sets of photographs: rows, refusals, splits, coverage, leakage.

python experiments/landmarks/statistics.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from hubwright.builders._lib.context import local_context
from hubwright.builders.landmarks import LandmarksConfig, build

SETS: dict[str, dict[str, Any]] = {
    "ten landmarks": {"source": "itsandywang/landmark-classification/data", "format": "table", "unseen": 0.2},
    "Vietnam": {
        "source": "huynhtiennhat0403/vietnamese-landmark-classifier", "format": "folder", "languages": ["en", "vi"],
    },
}  # fmt: skip


def show(name: str, data: Path, distance: int) -> None:
    context = local_context()
    settings = {"license": "other", "unlicensed_pixels": "local", "hierarchy": "builtin", "phash_distance": distance}
    settings |= SETS[name] | {"source": str(data / SETS[name]["source"])}
    started = time.process_time()
    built = build(LandmarksConfig.model_validate(settings), context)
    seconds = time.process_time() - started
    print(f"## {name}, phash_distance {distance}: {seconds:.1f} CPU s")
    for part in ("pairs", "questions"):
        print(part, {split: len(rows) for split, rows in built[part].items()})
    print({key: value for key, value in context.report.counts.items() if "reject" in key or "read" in key})
    print(context.report.metrics)
    for table in context.report.tables:
        if table["title"] in ("Splits", "Questions", "Leakage"):
            print(table["title"], *table["rows"], sep="\n  ")
    for row in built["landmarks"]["train"]:
        print("  ", row["landmark_id"], row["name"], row["images"], row["listed"], row["split"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the two repositories")
    chosen = parser.parse_args()
    for one in SETS:
        for bits in (3, 8):
            show(one, chosen.data, bits)
