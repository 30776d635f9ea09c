"""What BUTTON's checks find in conversations of other makes.

    python -m benchmarks.button_checks glaive_toolcall_en_demo.json glaive_toolcall_zh_demo.json

Files are those that the builder `toolcalls` reads (recipe `toolcalls`). A row may fail several checks. `--port`
first rewrites every row into what the public re-implementation of BUTTON's pipeline stores: results as turns of the
assistant.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

from hubwright.builders._lib.conversation_checks import faults, run_checks
from hubwright.builders._lib.conversation_rows import CHECKS, Row, call
from hubwright.builders._lib.near_duplicates import MinHashIndex
from hubwright.builders._lib.sources import parse_records
from hubwright.builders._lib.tool_rows import convert
from hubwright.hub_sync.errors import RowRejected


def with_ids(row: Row) -> Row:
    """The row in our form: calls have ids, and results name the call that they answer, in order."""
    messages, number, waiting = [], 0, []
    for message in row["messages"]:
        message = dict(message)
        if message.get("tool_calls"):
            functions = [one.get("function") or one for one in message["tool_calls"]]
            message["tool_calls"] = [call(number + n, f["name"], f["arguments"]) for n, f in enumerate(functions)]
            number += len(functions)
            waiting += [one["id"] for one in message["tool_calls"]]
        if message["role"] == "tool":
            message["tool_call_id"] = waiting.pop(0) if waiting else ""
        messages.append(message)
    return row | {"messages": messages}


def as_port(row: Row) -> Row:
    """Results stored as the assistant's words."""
    messages = [{"role": "assistant", "content": m["content"]} if m["role"] == "tool" else m for m in row["messages"]]
    return row | {"messages": messages}


def main() -> None:
    """Print a table for every file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--port", action="store_true", help="as the public re-implementation would store them")
    arguments = parser.parse_args()
    for path in arguments.files:
        seen, failed, reasons = MinHashIndex(), Counter[str](), Counter[tuple[str, str]]()
        refused: Counter[str] = Counter()
        whole = total = 0
        for record in parse_records(path.read_bytes(), path.name):
            total += 1
            try:
                row = with_ids(convert(record))
            except RowRejected as reason:
                refused[str(reason)] += 1
                continue
            found = faults(run_checks(as_port(row) if arguments.port else row, earlier=seen))
            failed.update(found.keys())
            # Names and values aside, so that reasons can be counted.
            reasons.update((name, re.sub(r"\S*[=_'\d]\S*", "*", said)) for name, said in found.items())
            whole += not found
        print(f"\n### {path.name}: {whole} of {total} pass everything\n")
        print("| check | rows it rejects | most often because |\n|---|---:|---|")
        told = ", ".join(f"{reason} {n}" for reason, n in refused.most_common())
        print(f"| cannot be read as calls and results | {sum(refused.values())} | {told or '–'} |")
        for name in CHECKS:
            most = [f"{said} ({n})" for (check, said), n in reasons.most_common() if check == name][:2]
            print(f"| {name} | {failed[name]} | {'; '.join(most) or '–'} |")


if __name__ == "__main__":
    main()
