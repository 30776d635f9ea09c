"""`hubwright --help` against the help of trl, lm_eval and hf, and against a bare interpreter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from .timing import interleave, show

LIMIT = 0.35  # seconds; quality target for our own command
PEERS = ("hf", "trl", "lm_eval")


def main() -> None:
    """Time every command as a whole process."""
    folder = Path(sys.executable).parent
    found = {name: shutil.which(name, path=str(folder)) for name in PEERS}
    peers = {f"{n} --help": _command(p, "--help") for n, p in found.items() if p}
    peers["python -c pass"] = _command(sys.executable, "-c", "pass")
    ratios = interleave(_command(str(folder / "hubwright"), "--help"), peers, rounds=9)
    show("`hubwright --help`, whole process", ratios)
    ours = ratios[0].ours
    print(f"\nmedian {ours:.3f} s, limit {LIMIT} s: {'met' if ours <= LIMIT else 'NOT MET'}")


def _command(*arguments: str):
    return lambda: subprocess.run(arguments, check=True, capture_output=True)
