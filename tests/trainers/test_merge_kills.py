"""A merge that is killed at any moment leaves no model or a whole one, and run again ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from merge_parts import KILLED, put, tensors

from hubwright.hub_sync.errors import DataError
from hubwright.trainers.merge.checkpoint import open_checkpoint

COMMAND = [sys.executable, "-c", KILLED, str(Path(__file__).parent)]
ENV = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = tensors(0)
    put(folder / "base", base)
    for n, name in enumerate("abc", 1):
        put(folder / name, tensors(n, base))
    return folder


def same(one: Path, other: Path) -> None:
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def killed_after(out: Path, models: Path, seconds: float) -> bool:
    """Run until `seconds` after the journal is there, kill it. Returns whether it was still at work."""
    process = subprocess.Popen([*COMMAND, str(out), str(models)], env=ENV, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out / "journal.jsonl").exists():
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return (out / "journal.jsonl").exists()


def test_no_tensor_that_was_noted_is_lost(tmp_path: Path, models: Path) -> None:
    subprocess.run([*COMMAND, str(tmp_path / "whole"), str(models)], check=True, env=ENV)
    out = tmp_path / "cut"
    for wait in (0.0, 0.05, 0.2):
        if not killed_after(out, models, wait):
            break
        # While it is not whole there is no index, and no process takes the folder for a model.
        assert not (out / "model.safetensors.index.json").exists()
        with pytest.raises(DataError):
            open_checkpoint(out, "cut")
    subprocess.run([*COMMAND, str(out), str(models)], check=True, env=ENV)
    same(tmp_path / "whole", out)


@pytest.mark.slow
def test_killed_ten_times_at_random(tmp_path: Path, models: Path) -> None:
    """Each time from nothing: absent or complete, and run again identical."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, str(tmp_path / "whole"), str(models)], check=True, env=ENV)
    longest = time.perf_counter() - start
    draw, cut = random.Random(0), 0
    for n in range(10):
        out = tmp_path / str(n)
        process = subprocess.Popen([*COMMAND, str(out), str(models)], env=ENV, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.2, 1.0) * longest)
        process.kill()
        process.wait()
        if (out / "model.safetensors.index.json").exists():
            open_checkpoint(out, "whole")
        elif out.exists():
            cut += 1
            with pytest.raises(DataError):
                open_checkpoint(out, "cut")
        subprocess.run([*COMMAND, str(out), str(models)], check=True, env=ENV)
        same(tmp_path / "whole", out)
    assert cut, "no kill fell into the work"
