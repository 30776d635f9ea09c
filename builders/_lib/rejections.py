"""Records that make no row: counted by source and reason, limited to a share, shown on the card."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from pydantic import Field

from ...hub_sync.context import Report
from ...hub_sync.errors import DataError, RowRejected
from ...hub_sync.pace import Pace

T = TypeVar("T")
R = TypeVar("R")


def max_rejected_share(default: float) -> Any:
    """The field `max_rejected_share` of a builder's config."""
    return Field(default, ge=0, le=1, description="Refuse to build if more of a file's records than this make no row.")


def one_line(detail: object) -> str:
    """What is wrong with a record, in one line of at most 200 characters."""
    return " ".join(str(detail).split())[:200]


class Rejections:
    """Counts of records that make no row.

        >>> rejections = Rejections()
        >>> def convert(record):
        ...     if not record:
        ...         raise RowRejected("empty")
        ...     return record.upper()
        >>> list(rejections.convert("a.json", ["x", "", "y"], convert))
        ['X', 'Y']
        >>> rejections.read.total(), rejections.by_reason()
        (3, Counter({'empty': 1}))

    Attributes:
        read: source -> records.
        reasons: (source, reason) -> records.
    """

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self._invalid: dict[str, Counter[str]] = {}
        self._first: dict[str, tuple[int, RowRejected]] = {}

    def convert(self, source: str, records: Iterable[T], function: Callable[[T], R]) -> Iterator[R]:
        """What `function` makes of each record, except of those for which it raises RowRejected."""
        for record in Pace(source, "records").over(records):
            self.read[source] += 1
            try:
                yield function(record)
            except RowRejected as error:
                self.reject(source, error)

    def reject(self, source: str, error: RowRejected) -> None:
        """Count the record that was read last as rejected."""
        self.leave_out(source, error.reason)
        self._invalid.setdefault(source, Counter())[error.reason] += 1
        self._first.setdefault(source, (self.read[source], error))

    def leave_out(self, source: str, reason: str) -> None:
        """Count a valid record that the settings leave out; it does not count towards the limit."""
        self.reasons[source, reason] += 1

    def check(self, most: float) -> None:
        """Raise DataError if a source has no records, or more than the share `most` of them is invalid."""
        for source, invalid in self._invalid.items():
            if invalid.total() > most * self.read[source]:
                reason, count = invalid.most_common(1)[0]
                number, first = self._first[source]
                shown = one_line(first.detail or first.reason)
                raise DataError(
                    f"{source}: {invalid.total()} of {self.read[source]} records are rejected ({reason}: {count}; the "
                    f"first is record {number}: {shown}), more than max_rejected_share {most}: "
                    "look at the file, or raise it"
                )

    def by_reason(self) -> Counter[str]:
        """Reason -> records of all sources."""
        totals: Counter[str] = Counter()
        for (_, reason), count in self.reasons.items():
            totals[reason] += count
        return totals

    def describe(self, report: Report) -> None:
        """Put the counts first and the table last into a report."""
        by_reason = self.by_reason()
        counts = {"records_read": self.read.total(), "records_rejected": by_reason.total()}
        counts |= {f"rejected: {reason}": count for reason, count in sorted(by_reason.items())}
        report.counts = counts | report.counts
        if by_reason:
            rows = [[source, reason, count] for (source, reason), count in sorted(self.reasons.items())]
            columns = ["source", "reason", "records"]
            report.table("Records that were rejected", columns, rows)
