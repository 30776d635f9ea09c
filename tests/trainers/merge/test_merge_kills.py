"""A merge that is killed at any state leaves no model or a whole one, and run again ends with the same bytes.

The program kills itself with SIGKILL at a state of its work (the k-th block, half of a block, a tensor on the disk that
is or is not noted, a file that has its name), never at a time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from merge_parts import put, tensors

from hubwright.hub_sync.errors import DataError
from hubwright.trainers.merge.checkpoint import open_checkpoint

# State at which the process dies -> whether the folder is a model's then. There are 6 tensors in 6 or more blocks,
# and 5 files. The counts are of the process, so the second kill of a run that was resumed comes later in the work.
POINTS = {
    "write:1": False, "half:1": False, "half:3": False, "write:5": False, "half:6": False,
    "finish:1": False, "noted:1": False, "noted:3": False, "finish:4": False, "noted:6": False,
    "torn:2": False, "rename:1": False, "rename:3": False, "index:1": False, "unlink:1": True,
}  # fmt: skip
# The kills of one merge that is begun again after each.
AGAIN = ["noted:1"] * 6 + ["rename:2", "rename:4", "index:1", "unlink:1"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = tensors(0)
    put(folder / "base", base)
    for n, name in enumerate("abc", 1):
        put(folder / name, tensors(n, base))
    return folder


def run(models: Path, cases: dict[str, list[str | None]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Case -> for each of its kills and the run after them: status, whether a model was there, tensors noted."""
    driver = Path(__file__).with_name("merge_kill_driver.py")
    job = json.dumps({"models": str(models), "folder": str(folder), "cases": cases})
    done = subprocess.run(
        [sys.executable, str(driver)], input=job, text=True, capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(driver.parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def same(one: Path, other: Path) -> None:
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


@pytest.fixture(scope="module")
def runs(tmp_path_factory, models: Path) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """(folder of the merges, what `run` returns) of all cases of this file, by one driver."""
    cases: dict[str, list[str | None]] = {"whole": []}
    cases |= {point.replace(":", "-"): [point] for point in POINTS}
    cases["again"] = [*AGAIN]
    cases["midway"] = ["noted:3", None]  # None: is left as the kill left it
    folder = tmp_path_factory.mktemp("runs")
    return folder, run(models, cases, folder)


def test_merge_killed_at_each_state_ends_with_the_same_bytes(runs) -> None:
    folder, found = runs
    for point, model in POINTS.items():
        cut, end = found[point.replace(":", "-")]
        assert (cut["status"], end["status"]) == (-9, 0), (point, cut, end)
        # A folder is a model's with its index, and with the index all of its files are there.
        assert cut["model"] == model, (point, cut)
        same(folder / "whole", folder / point.replace(":", "-"))
    open_checkpoint(folder / "whole", "whole")


def test_merge_killed_again_and_again_loses_no_noted_tensor(runs) -> None:
    """Each process notes one tensor more and dies: 6 tensors need 6 kills, and none is made twice."""
    folder, found = runs[0], runs[1]["again"]
    assert [one["status"] for one in found] == [-9] * len(AGAIN) + [0]
    assert [one["noted"] for one in found[:6]] == [1, 2, 3, 4, 5, 6]
    assert not any(one["model"] for one in found[:9])
    same(folder / "whole", folder / "again")


def test_merge_killed_midway_is_no_model(runs) -> None:
    with pytest.raises(DataError, match=r"cut: no model\.safetensors"):
        open_checkpoint(runs[0] / "midway", "cut")
