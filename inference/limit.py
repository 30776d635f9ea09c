"""How many requests may be in flight: as many as asked for, fewer while the server pushes back.

A server pushes back with 429, 503, 529 or a time-out. Halving the limit at each (AIMD) would go down to 1 with a
provider that refuses a fixed share of requests whatever the load. So the rule here looks at what a smaller limit costs
(our choice): while there is push-back, the limit shrinks by 30 % an epoch as long as the rate of good answers stays;
where the rate fell with it, the last step is taken back and the limit rests for some epochs. Without push-back it
grows by 1/8 an epoch, up to the maximum. An epoch is as many finished tries as the limit, at least 8.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

SHRINK, KEEP, REST, MIN_EPOCH = 0.7, 0.9, 8, 8


class AdaptiveLimit:
    """An async gate with a moving width between 1 and `maximum`.

    Attributes:
        limit: tries that may run at once now.
        lowest: the smallest limit so far.
    """

    def __init__(self, maximum: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum = self.limit = self.lowest = maximum
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._clock = clock
        self._good = self._pushed = self._resting = 0
        self._began = clock()
        self._before: tuple[int, float] | None = None  # limit and rate before the last shrinking

    async def acquire(self) -> None:
        """Wait for a place, first come, first served."""
        if self.running < self.limit and not self._waiting:
            self.running += 1
            return
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._leave()
            raise

    def release(self, *, good: bool, pushed_back: bool) -> None:
        """Give the place back and say how the try went; one that is neither tells nothing about the load."""
        self._good += good
        self._pushed += pushed_back
        if self._good + self._pushed >= max(MIN_EPOCH, self.limit):
            self._adapt()
        self._leave()

    def _leave(self) -> None:
        self.running -= 1
        while self._waiting and self.running < self.limit:
            ticket = self._waiting.popleft()
            if not ticket.done():
                self.running += 1
                ticket.set_result(None)

    def _adapt(self) -> None:
        now = self._clock()
        rate = self._good / max(now - self._began, 1e-9)
        if self._resting:
            self._resting -= 1
        elif self._before and rate < KEEP * self._before[1]:
            self.limit, self._resting, self._before = self._before[0], REST, None
        elif self._pushed:
            self._before = (self.limit, rate)
            self.limit = max(1, int(self.limit * SHRINK))
        else:
            self._before = None
            self.limit = min(self.maximum, self.limit + max(1, self.limit // 8))
        self.lowest = min(self.lowest, self.limit)
        self._good = self._pushed = 0
        self._began = now
