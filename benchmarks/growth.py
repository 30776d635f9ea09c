"""How CPU, memory and disk grow with the work: each path at 1x, 10x and 100x, in a process of its own.

    python -m benchmarks growth                                     # every case, 100x where 10x says it takes < 2 min
    python -m benchmarks.growth rows corpus peer_datasets   # some of them
    python -m benchmarks.growth --out growth.json --times 1,10

CPU is that of the process tree. Anonymous memory is the tree's highest RssAnon, sampled every 20 ms, which leaves out
memory-mapped files. Disk is what lies in the case's folder at the end, its input aside. The growth exponent is
log(CPU ratio) / log(size ratio) between two sizes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import growth_cases, growth_evals, growth_hub, growth_training, growth_vision

CASES = growth_cases.CASES | growth_vision.CASES | growth_training.CASES | growth_hub.CASES | growth_evals.CASES
LIMIT = 120.0  # CPU seconds above which the next size is left out


@dataclass(frozen=True)
class Measure:
    """One run. Sizes in rows (or commits, files), times in seconds, memory and disk in MB."""

    case: str
    rows: int
    cpu: float
    wall: float
    peak_mb: float
    input_mb: float
    disk_mb: float
    exponent: float | None = None


def _tree(root: int) -> list[int]:
    """Process ids of a process and its descendants."""
    pids, index = [root], 0
    while index < len(pids):
        try:
            for task in Path(f"/proc/{pids[index]}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            pass
        index += 1
    return pids


def _anonymous_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


def _watch(pid: int, stop: threading.Event, peak: list[int]) -> None:
    before: set[int] = set()
    while not stop.wait(0.02):
        tree = set(_tree(pid))
        # A child that has not called exec yet shows its parent's memory as its own.
        peak[0] = max(peak[0], sum(map(_anonymous_kb, tree & before)))
        before = tree


def _size_mb(folder: Path) -> float:
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file() and not p.is_symlink()) / 1e6


def measure(case: str, rows: int, folder: Path) -> Measure:
    """Run a case in a process of its own. Exits with the process's messages if it fails."""
    source = folder / "input"
    source.mkdir(parents=True)
    CASES[case].write(source, rows)
    command = [sys.executable, "-m", "benchmarks.growth", "--one", case, str(rows), str(folder)]
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"MIMALLOC_PURGE_DELAY": "0"}  # as the hubwright command sets it
    started = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        stop, peak = threading.Event(), [0]
        watcher = threading.Thread(target=_watch, args=(process.pid, stop, peak))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        stop.set()
        watcher.join()
    wall = time.monotonic() - started
    if status:
        sys.exit(f"growth: {case} with {rows} rows failed:\n{(folder / 'log').read_text()[-3000:]}")
    inside = _size_mb(source)
    return Measure(
        case, rows, usage.ru_utime + usage.ru_stime, wall, peak[0] / 1024, inside, _size_mb(folder) - inside
    )


def grow(case: str, times: list[int], folder: Path, show: Callable[[Measure], None]) -> list[Measure]:
    """The case at each size, until one would take more than `LIMIT` CPU seconds."""
    results: list[Measure] = []
    for time_ in times:
        rows = CASES[case].rows * time_
        exponent = None
        if results:
            ratio = rows / results[-1].rows
            if (seconds := results[-1].cpu * ratio) > LIMIT:
                print(f"{case}: {rows:,} rows left out, about {seconds:.0f} CPU s: ask for them alone", flush=True)
                break
        work = folder / f"{case}-{rows}"
        result = measure(case, rows, work)
        shutil.rmtree(work)
        if results:
            exponent = math.log(result.cpu / results[-1].cpu) / math.log(rows / results[-1].rows)
        results.append(Measure(**{**asdict(result), "exponent": exponent}))
        show(results[-1])
    return results


def _row(m: Measure) -> str:
    exponent = "" if m.exponent is None else f"{m.exponent:.2f}"
    sizes = f"{m.peak_mb:.0f} | {m.input_mb:.0f} | {m.disk_mb:.0f}"
    return f"| {m.case} | {m.rows:,} | {m.cpu:.1f} | {exponent} | {sizes} |"


def main(arguments: list[str] | None = None) -> None:
    """Print a table; with --out also write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--times", default="1,10,100", help="multiples of the case's smallest size")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument(
        "--folder", type=Path, help="where inputs and outputs are written; default: a temporary folder"
    )
    parser.add_argument("--one", nargs=3, metavar=("CASE", "ROWS", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        case, rows, folder = options.one
        CASES[case].run(Path(folder), int(rows))
        return
    if unknown := sorted(set(options.cases) - set(CASES)):
        parser.error(f"{unknown[0]!r} is no case; known: {', '.join(CASES)}")
    print("| path | rows | CPU s | exponent | peak anonymous MB | input MB | disk MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    results: list[dict[str, Any]] = []

    def show(m: Measure) -> None:
        print(_row(m), flush=True)
        results.append(asdict(m))
        if options.out:
            options.out.write_text(json.dumps(results, indent=1) + "\n")

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for case in options.cases or CASES:
            grow(case, [int(t) for t in options.times.split(",")], Path(folder), show)


if __name__ == "__main__":
    main()
