"""Rejected records: counted by source and reason, limited for each source, shown on the card."""

from __future__ import annotations

import pytest

from hubwright.builders._lib.rejections import Rejections
from hubwright.hub_sync.context import Report
from hubwright.hub_sync.errors import DataError, RowRejected


def upper(text: str) -> str:
    if not text.isalpha():
        raise RowRejected("no letters", f"text is {text!r}")
    return text.upper()


def test_convert_rejected_records_are_counted_by_source_and_reason() -> None:
    rejections, report = Rejections(), Report(counts={"rows": 3})
    assert list(rejections.convert("a.json", ["x", "1", "y"], upper)) == ["X", "Y"]
    assert list(rejections.convert("b.json", ["z"], upper)) == ["Z"]
    rejections.leave_out("b.json", "another language")
    rejections.describe(report)
    assert report.counts == {
        "records_read": 4, "records_rejected": 2, "rejected: another language": 1, "rejected: no letters": 1, "rows": 3,
    }  # fmt: skip
    assert report.tables[0]["rows"] == [["a.json", "no letters", 1], ["b.json", "another language", 1]]


def test_check_share_of_one_source_above_the_limit_is_refused() -> None:
    rejections = Rejections()
    list(rejections.convert("a.json", ["x", "1"], upper))
    list(rejections.convert("b.json", ["x"] * 8, upper))
    rejections.leave_out("b.json", "another language")  # valid: does not count towards the limit
    rejections.check(0.5)
    said = r"a\.json: 1 of 2 records are rejected \(no letters: 1; the first is record 2: text is '1'\), more than max_reje"
    with pytest.raises(DataError, match=said):
        rejections.check(0.4)


def test_row_rejected_detail_is_shown_and_reason_is_kept() -> None:
    assert (str(RowRejected("no list", 5)), RowRejected("no list", 5).reason) == ("no list (5)", "no list")
    assert str(RowRejected("no list")) == "no list" and len(str(RowRejected("", "x" * 500))) < 90
