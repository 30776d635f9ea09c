"""How far long work is, as lines in the log: how much is done, how fast, and how long the rest takes."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

logger = logging.getLogger("hubwright")
T = TypeVar("T")


class Pace:
    """Counts what is done, and tells it every few seconds.

        >>> pace = Pace("call_graphs", "rows", total=5000)
        >>> for row in pace.over(rows):
        ...     writer.write("train", row)
        call_graphs: 1,200 of 5,000 rows, 60 a second, about 63 s left

    Args:
        what: what works, the line's beginning.
        unit: of what is counted.
        total: how many there will be; None where nobody knows.
        every: seconds between two lines; work that takes less says nothing.
    """

    def __init__(
        self, what: str, unit: str, *, total: int | None = None, every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.what, self.unit, self.total, self.done = what, unit, total, 0
        self._every, self._clock, self._begun = every, clock, clock()
        self._next = self._begun + every

    def add(self, number: int = 1) -> None:
        """So many more are done."""
        self.done += number
        now = self._clock()
        if now >= self._next:
            self._next = now + self._every
            logger.info("%s", self.line(now - self._begun))

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each counted when the next is asked for."""
        for item in items:
            yield item
            self.add()

    def line(self, seconds: float) -> str:
        """What is told after so many seconds."""
        rate = self.done / seconds
        known = f"{self.done:,} of {self.total:,}" if self.total else f"{self.done:,}"
        left = f", about {duration((self.total - self.done) / rate)} left" if self.total and rate else ""
        return f"{self.what}: {known} {self.unit}, {rate:,.{0 if rate >= 10 else 1}f} a second{left}"


def duration(seconds: float) -> str:
    """A duration in its largest fitting unit.

    >>> duration(63), duration(600), duration(9000)
    ('63 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
