"""The folders in which steps work."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubwright import workdir
from hubwright.hub_sync.errors import UsageError


def test_begin_other_settings_ask_for_fresh_only_where_there_is_something_to_go_on_with(tmp_path: Path) -> None:
    first, second = (workdir.step_folder(tmp_path, "tuned", mark * 16) for mark in "ab")
    assert workdir.begin(first, "tuned", {"with": {"seed": 1}}, fresh=False) == []
    (first / "work").mkdir()
    assert workdir.begin(second, "tuned", {"with": {"seed": 2}}, fresh=False) == [] and not first.exists()
    (second / "work" / "checkpoint").mkdir(parents=True)
    (second / "work" / "checkpoint" / "weights").touch()
    with pytest.raises(UsageError, match=r"with.seed was 2, now 3; .*--fresh"):
        workdir.begin(workdir.step_folder(tmp_path, "tuned", "c" * 16), "tuned", {"with": {"seed": 3}}, fresh=False)
