"""Run the cases named on the command line, or all of them."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys

CASES = (
    "cli_help", "publish", "hub", "judge", "inference", "inference_limits", "kv_shift", "call_graphs",
    "button_throughput", "merge", "growth", "text_games",
)  # fmt: skip


def run() -> None:
    """Each case in a process of its own: an import or a cache of one must not help the other."""
    wanted = sys.argv[1:] or list(CASES)
    unknown = sorted(set(wanted) - set(CASES))
    if unknown:
        sys.exit(f"benchmarks: {unknown[0]!r} is no case; known: {', '.join(CASES)}")
    if len(wanted) == 1:
        importlib.import_module(f"benchmarks.{wanted[0]}").main()
        return
    print(f"Python {platform.python_version()}, {platform.machine()}")
    for case in wanted:
        subprocess.run([sys.executable, "-m", "benchmarks", case], check=True)


run()
