"""How many requests may be in flight: as many as allowed, fewer if that makes the server push back less.

A server pushes back with 429, 503, 529 or a time-out. Halving the limit at each (AIMD) goes down to 1 with a provider
that refuses a share of the requests whatever the load. So a smaller limit is an experiment here (our choice), judged
by the share of tries that were pushed back: if that falls clearly, the load was the cause and the limit goes on down
until hardly any are; else the limit goes back to where the experiment began and rests there, twice as long each time.
Without push-back it grows by 1/8 per epoch, up to the maximum.

The first step down starts from the mean number in flight: if refusals come at once, few places are ever taken.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

SHRINK, GENTLE = 0.7, 0.85  # of the limit, at a step down: to find out, and where the load is known to matter
CLEARLY = 0.7  # of the share pushed back: below this a step has helped
QUIET, TOO_MANY = 0.02, 0.05  # shares pushed back: below the first the limit grows, above the second it shrinks
FLOOD, PATIENCE = 0.5, 3  # above this share one step may be too small to show, so so many are tried
REST, LONGEST_REST = 8, 64  # epochs
EPOCH, CALM_EPOCH = 32, 8  # tries at least, before a share is believed and before the limit grows


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
        self._good = self._pushed = 0
        self._resting, self._rest = 0, REST
        self._trial: tuple[int, float, int] | None = None  # limit before the first step, last share, steps in vain
        self._began = self._changed = clock()
        self._left_over = 0  # tries that began before the last step down and tell nothing about it
        self._loaded = False  # a smaller limit has helped before
        self._area = 0.0  # place-seconds taken in this epoch

    async def acquire(self, *, ahead: bool = False) -> None:
        """Wait for a place, first come, first served; `ahead` of all who wait, for what was tried before."""
        if self.running < self.limit and not self._waiting:
            self._count(1)
            return
        ticket = asyncio.get_running_loop().create_future()
        if ahead:
            self._waiting.appendleft(ticket)
        else:
            self._waiting.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._leave()
            raise

    def release(self, *, good: bool, pushed_back: bool) -> None:
        """Give the place back and say how the try went; one that is neither tells nothing about the load."""
        if self._left_over:
            self._left_over -= 1
        else:
            self._good += good
            self._pushed += pushed_back
        tries = self._good + self._pushed
        # Refusals come back before the answers that were sent with them, so a verdict needs more than one round.
        calm = not self._pushed and self._trial is None
        if tries >= (max(CALM_EPOCH, self.limit) if calm else max(EPOCH, 2 * self.limit)):
            self._adapt()
        self._leave()

    def _count(self, change: int) -> None:
        now = self._clock()
        self._area += self.running * (now - self._changed)
        self._changed = now
        self.running += change

    def _leave(self) -> None:
        self._count(-1)
        while self._waiting and self.running < self.limit:
            ticket = self._waiting.popleft()
            if not ticket.done():
                self._count(1)
                ticket.set_result(None)

    def _adapt(self) -> None:
        self._count(0)
        share = self._pushed / (self._good + self._pushed)
        taken = self._area / max(self._changed - self._began, 1e-9)
        if share < QUIET:
            if self._trial:
                self._mended()
            elif not self._resting:
                self.limit = min(self.maximum, self.limit + max(1, self.limit // (16 if self._loaded else 8)))
        elif self._resting:
            pass
        elif self._trial is None:
            if share > TOO_MANY:
                self._trial = (self.limit, share, 0)
                self._shrink(self.limit if self._loaded else min(self.limit, taken))
        else:
            before, last, vain = self._trial
            vain = 0 if share < CLEARLY * last else vain + 1
            if share <= TOO_MANY:
                self._mended()
            elif vain >= (PATIENCE if self._loaded or share > FLOOD else 1):
                # Not the load. Where it was held to be so before, this is to be confirmed first.
                self.limit = before if self._loaded else min(self.maximum, 2 * before)
                self._trial, self._loaded = None, False
                self._resting, self._rest = self._rest + 1, min(LONGEST_REST, 2 * self._rest)
            else:
                self._trial = (before, min(share, last), vain)
                self._shrink(self.limit)
        self._resting = max(0, self._resting - 1)
        self._good = self._pushed = 0
        self._area, self._began = 0.0, self._changed

    def _mended(self) -> None:
        self._trial, self._rest, self._loaded = None, REST, True

    def _shrink(self, base: float) -> None:
        self._left_over = self.running
        self.limit = max(1, int(base * (GENTLE if self._loaded else SHRINK)))
        self.lowest = min(self.lowest, self.limit)
