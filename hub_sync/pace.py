"""How far long work is, as lines in the log: how much is done, how fast, and how long the rest takes."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

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


def plain_bars(first: float = 5.0, every: float = 10.0) -> None:
    """Let tqdm's bars, of whatever library, write lines into files and pipes instead of redrawing one line.

    In a terminal nothing changes. A line says how much is done, how fast, and how long the rest takes:

        Map:  34%|###4      | 34000/100000 [00:10<00:19, 3398.31 examples/s]

    Args:
        first: seconds in which a bar writes nothing; of shorter work there is no line.
        every: seconds between two lines of a bar.
    """
    from tqdm import std

    if are_plain():
        return
    redraw, close = std.tqdm.display, std.tqdm.close

    def is_plain(bar: Any) -> bool:
        isatty = getattr(bar.fp, "isatty", None)
        return not (isatty and isatty())

    def write(bar: Any) -> None:
        bar._line_at = bar._time()
        bar.fp.write(f"{str(bar).strip()}\n")

    def display(bar: Any, *args: Any, **options: Any) -> Any:
        if not is_plain(bar):
            return redraw(bar, *args, **options)
        if hasattr(bar, "start_t"):  # not while it is made
            last = getattr(bar, "_line_at", None)
            if bar._time() - (last or bar.start_t) >= (every if last else first):
                write(bar)
        return False

    def end(bar: Any) -> None:
        if not getattr(bar, "disable", True) and is_plain(bar):
            if hasattr(bar, "start_t") and bar._time() - bar.start_t >= first:
                write(bar)
            bar.leave = False  # which would end the line that was redrawn
        close(bar)

    std.tqdm.display, std.tqdm.close, std.tqdm._plain = display, end, True


def are_plain() -> bool:
    """Whether bars write lines, by `plain_bars`."""
    from tqdm import std

    return hasattr(std.tqdm, "_plain")
