"""Small games, and data sets of them in the layout of the Hub."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hubwright.environments.text import registry
from hubwright.hub_sync.parquet import load_split
from hubwright.making import write_dataset

MOODY = """
import os
from hubwright.environments.text.interface import Outcome, TextGame

class Moody(TextGame):
    '''Ends well in one process and not in the next, except where its task is calm.'''
    name, instructions, max_steps = "moody", "Ring the bell.", 3

    def tasks(self, split): return {"train": ["calm", "moody"], "dev": ["moody 2"], "test": ["silent"]}[split]
    def begin(self, seed, task):
        self.rung, self.task = False, task
        return "A bell hangs here."
    def admissible(self): return ["ring", "wait"]
    def expert(self): return None if self.task == "silent" else "ring"
    def score(self): return float(self.rung)
    def act(self, action):
        mood = "moody" in self.task and os.path.exists(MARK)
        open(MARK, "w").close()
        self.rung = action == "ring" and not mood
        return Outcome("It rings.", float(self.rung), action == "ring")
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed game that is not the same twice."""
    folder = tmp_path / "moody_games-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: moody-games\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[hubwright.environments]\nmoody = moody_games:Moody\n")
    (tmp_path / "moody_games.py").write_text(MOODY.replace("MARK", repr(str(tmp_path / "mark"))))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    registry.families.cache_clear()
    yield
    registry.families.cache_clear()
    sys.modules.pop("moody_games", None)


def save(dataset: Any, folder: Path) -> Path:
    """A data set as it is published, without its card's text."""
    write_dataset(dataset, folder)
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in splits)
        for config, splits in dataset.items()
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return folder


def rows_of(folder: Path, config: str, split: str, cache: Path) -> list[dict[str, Any]]:
    return list(load_split(folder, config, split, cache))
