"""A run that replaces cards, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from card_parts import RECIPE, STEPS, card_at, commits, tags, with_card

import hubwright as hw


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_run_killed_while_it_replaces_cards_ends_right(api: Any, hub: Any, namespace: str, tmp_path: Path) -> None:
    """SIGKILL at moments spread over a run that replaces a card and gives a tag; each time it is run again."""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "hubwright", "run", "small.yaml", "--set", f"namespace={namespace}"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    (tmp_path / "own_steps.py").write_text(STEPS)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(RECIPE))
    started = time.monotonic()
    start().communicate()
    seconds = time.monotonic() - started
    content, repo, hits = commits(api, f"{namespace}/drills")[0], f"{namespace}/drills", 0
    for number in range(5):
        changed = with_card(RECIPE, "drills", text=f"Words {number}.")
        changed["steps"]["drills"]["publish"]["tag"] = f"v1.1.{number}"
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(changed))
        process = start()
        time.sleep(seconds * (0.45 + 0.1 * number))
        process.kill()
        process.communicate()
        hits += process.returncode == -signal.SIGKILL
        again = start()
        _, errors = again.communicate()
        assert again.returncode == 0, errors.decode()
        assert f"Words {number}." in card_at(repo) and tags(api, repo)[f"v1.1.{number}"] == commits(api, repo)[0]
        assert len(commits(api, repo)) == 3 + number, "one commit for each text"
        hw.verify(f"datasets/{repo}@main")
    assert hits >= 2 and tags(api, repo)["v1.0.0"] == content
    assert len(commits(api, f"{namespace}/pairs")) == 2
