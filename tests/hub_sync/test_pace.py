"""Lines about long work."""

from __future__ import annotations

import io
import logging

import pytest

from hubwright.hub_sync.pace import Pace, duration, plain_bars


def test_pace_tells_every_few_seconds_how_much_is_done_and_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hubwright")
    now = [0.0]
    known, unknown = (
        Pace(name, "rows", total=total, clock=lambda: now[0]) for name, total in (("a", 5000), ("b", None))
    )
    for _ in known.over(range(20)):
        now[0] += 1.0
        unknown.add(100)
    assert caplog.messages == [
        "b: 1,000 rows, 100 a second", "a: 10 of 5,000 rows, 1.0 a second, about 83 min left",
        "b: 2,000 rows, 100 a second", "a: 20 of 5,000 rows, 1.0 a second, about 83 min left",
    ]  # fmt: skip


def test_pace_of_short_work_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hubwright")
    assert list(Pace("a", "rows", total=3).over(range(3))) == [0, 1, 2] and not caplog.messages


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (63.4, "63 s"), (600, "10 min"), (9000, "2.5 h")])
def test_duration_is_in_its_largest_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_bars_write_lines_into_a_file_and_nothing_for_short_work(monkeypatch):
    from tqdm import std

    for name in ("display", "close"):
        monkeypatch.setattr(std.tqdm, name, getattr(std.tqdm, name))  # put back after the test
    monkeypatch.setattr(std.tqdm, "_plain", True, raising=False)
    monkeypatch.delattr(std.tqdm, "_plain")
    now = [0.0]
    monkeypatch.setattr(std, "time", lambda: now[0])
    plain_bars()
    long, short = io.StringIO(), io.StringIO()
    for file, seconds in ((long, 0.5), (short, 0.01)):
        for _ in std.tqdm(range(50), desc="Rows", file=file, mininterval=0, miniters=1, maxinterval=0):
            now[0] += seconds
    lines = long.getvalue().splitlines()
    assert "\r" not in long.getvalue() and len(lines) == 4 and lines[-1].startswith("Rows: 100%")
    assert "10/50 [00:05<00:20" in lines[0] and "30/50 [00:15<00:10" in lines[1]
    assert short.getvalue() == ""
