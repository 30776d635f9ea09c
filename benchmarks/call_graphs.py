"""Rows a second and peak memory of executed call graphs: for some rows, for ten times as many, and with two workers.

    python -m benchmarks call_graphs

Memory must not grow with the number of rows: rows go to disk as they are made (aim: ten times the rows, less than 1.2
times the memory). Two workers take at most 0.8 of one's time where two processors are idle: draws are one chain.
"""

from __future__ import annotations

import json
import subprocess
import sys

ROWS = 500
AIM, WORKERS_AIM = 1.2, 0.8
CODE = """
import json, resource, sys, tempfile, time
from pathlib import Path
import datasets
from hubwright.builders.call_graphs.build import CallGraphsConfig, build
from hubwright.hub_sync.context import StepContext
datasets.disable_progress_bars()
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    config = CallGraphsConfig(train_rows=int(sys.argv[1]), workers=int(sys.argv[2]))
    build(config, StepContext("call_graphs", Path(folder), Path(folder)))
    seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def main() -> None:
    """Measure and print a table."""
    found = {}
    print("\n### Executed call graphs\n")
    print("| rows | workers | seconds | rows a second | peak memory, MiB |\n|---:|---:|---:|---:|---:|")
    for rows, workers in ((ROWS, 1), (10 * ROWS, 1), (10 * ROWS, 2)):
        command = [sys.executable, "-c", CODE, str(rows), str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[rows, workers] = seconds, memory = json.loads(done.stdout)
        print(f"| {rows:,} | {workers} | {seconds:.1f} | {rows / seconds:.0f} | {memory:.0f} |")
    few, one, two = found.values()
    for what, ratio, aim in (
        ("Ten times the rows", one[1] / few[1], AIM),
        ("Two workers", two[0] / one[0], WORKERS_AIM),
    ):
        kind = "memory" if aim == AIM else "seconds"
        print(f"\n{what}: {ratio:.2f} times the {kind} (at most {aim}): {'met' if ratio <= aim else 'NOT MET'}.")


if __name__ == "__main__":
    main()
