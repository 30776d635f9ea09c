"""Rows a second and peak memory of executed call graphs, for some rows and for ten times as many.

    python -m benchmarks call_graphs

Memory must not grow with the number of rows: rows go to disk as they are made (aim: ten times the rows, less than 1.2
times the memory).
"""

from __future__ import annotations

import json
import subprocess
import sys

ROWS = 500
AIM = 1.2
CODE = """
import json, resource, sys, tempfile, time
from pathlib import Path
import datasets
from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.hub_sync.context import StepContext
datasets.disable_progress_bars()
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    build(CallGraphsConfig(train_rows=int(sys.argv[1])), StepContext("call_graphs", Path(folder), Path(folder)))
    seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def main() -> None:
    """Measure and print a table."""
    found = {}
    for rows in (ROWS, 10 * ROWS):
        done = subprocess.run([sys.executable, "-c", CODE, str(rows)], capture_output=True, text=True, check=True)
        found[rows] = json.loads(done.stdout)
    print("\n### Executed call graphs\n\n| rows | seconds | rows a second | peak memory, MiB |\n|---:|---:|---:|---:|")
    for rows, (seconds, memory) in found.items():
        print(f"| {rows:,} | {seconds:.1f} | {rows / seconds:.0f} | {memory:.0f} |")
    ratio = found[10 * ROWS][1] / found[ROWS][1]
    print(
        f"\nTen times the rows, {ratio:.2f} times the memory (less than {AIM}): {'met' if ratio < AIM else 'NOT MET'}."
    )


if __name__ == "__main__":
    main()
