"""At which points trainings are killed, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

KILLS = {
    "before_the_first_checkpoint": ["step:2"],
    "half_an_optimizer": ["torch_save:6"],
    "before_the_manifest": ["seal:2"],
    "after_the_manifest": ["sealed:2"],
    "between_checkpoints": ["step:6"],
    "while_publishing": ["publish:1"],
    "three_times": ["step:4", "seal:1", "torch_save:2"],
    "sigterm": ["sigterm:3"],
}


def check(case: dict, whole: dict) -> None:
    assert case["digest"] == whole["digest"] != ""
    for point, code in zip(case["points"], case["codes"], strict=False):
        assert code == (130 if point.startswith("sigterm") else -9)


def cases_of(names: list[str], methods: dict[str, tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Cases NAME-KILL of settings by name (method, settings), each setting's uninterrupted run (NAME-whole) first."""
    cases = []
    for name in [*dict.fromkeys(f"{name.split('-')[0]}-whole" for name in names), *names]:
        setting, _, kill = name.partition("-")
        method, extra = methods[setting]
        cases.append({"name": name, "method": method, "points": KILLS.get(kill, []), "extra": extra})
    return cases


def drive(folder: Path, inputs: dict[str, str], cases: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Outcome of each case by its name: codes of its processes, digest of the model."""
    job = folder / "job.json"
    job.write_text(json.dumps({"folder": str(folder), "inputs": inputs, "cases": cases}))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kill_driver.py")), str(job)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results = {case["name"]: case for case in map(json.loads, done.stdout.splitlines())}
    for case in results.values():
        assert case["codes"][-1] == 0, (case, done.stderr[-4000:])
    return results
