"""The games of `odd_games`, offered as an installed package would."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubwright.environments.text import registry


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Makes a package installed with an entry point "name = target"; `odd_games` can be imported beside it."""

    def put(name: str, target: str) -> None:
        folder = tmp_path / f"{name}_games-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-games\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[hubwright.environments]\n{name} = {target}\n")
        shutil.copy(Path(__file__).with_name("odd_games.py"), tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))

    registry.families.cache_clear()
    yield put
    registry.families.cache_clear()


@pytest.fixture
def odd(offer: Callable[[str, str], None], tmp_path: Path) -> dict[str, str]:
    """The parameters of the game "odd", which is installed."""
    offer("odd", "odd_games:Odd")
    return {"folder": str(tmp_path)}
