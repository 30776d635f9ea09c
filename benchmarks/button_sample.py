"""Rows of a BUTTON data set as Markdown, for people to read.

    python -m benchmarks.button_sample DATA --rows 20 > docs/reference/button-sample.md

DATA is a folder of a published data set. Rows are drawn by seed, in turn from every variant.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

HEAD = """# A sample of executed call graphs

{rows} of the {all:,} train rows of recipe `{recipe}`, drawn in turn from every variant by seed {seed}; nobody chose
them. Written by `python -m benchmarks.button_sample DATA --rows {rows}`.
"""


def shown(number: int, row: dict[str, Any]) -> str:
    """One row."""
    offered = ", ".join(f"`{tool['function']['name']}`" for tool in row["tools"])
    mode = "calls may stand side by side" if row["parallel"] else "one call a turn"
    lines = [
        f"## {number}. {row['composition'].replace('_', ' ')}, {row['variant'].replace('_', ' ')}\n",
        f"Row `{row['id']}`, {mode}. Offered: {offered}.\n",
    ]
    for message in row["messages"]:
        if message["role"] == "tool":
            lines.append(f"    {message['content']}\n")
            continue
        lines.append(f"**{message['role']}**: {message['content']}\n")
        for one in message.get("tool_calls") or ():
            call = one["function"]
            lines.append(f"    {call['name']} {json.dumps(call['arguments'], ensure_ascii=False)}\n")
    return "\n".join(lines)


def main() -> None:
    """Print the sample."""
    import datasets

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="call_graphs")
    arguments = parser.parse_args()
    rows = datasets.load_dataset(str(arguments.data), split="train")
    by_variant: dict[str, list[int]] = defaultdict(list)
    for number, variant in enumerate(rows["variant"]):
        by_variant[variant].append(number)
    rng = random.Random(arguments.seed)
    variants = sorted(by_variant)
    chosen = [rng.choice(by_variant[variants[n % len(variants)]]) for n in range(arguments.rows)]
    print(HEAD.format(rows=arguments.rows, all=len(rows), seed=arguments.seed, recipe=arguments.recipe))
    print("\n".join(shown(number, rows[place]) for number, place in enumerate(chosen, 1)))


if __name__ == "__main__":
    main()
