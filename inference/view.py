"""What a stage shows while it runs: one line on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .budget import Usage

if TYPE_CHECKING:
    from rich.progress import Progress


class StageView:
    """Rows done, requests a second, tokens, retries and the limit in flight."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self._bar: Progress | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = ("{task.description}", "{task.fields[figures]}")
            self._bar = Progress(
                TextColumn(columns[0]),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(columns[1]),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self.title, total=self.total, figures="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, usage: Usage, limit: int) -> None:
        """The state now: rows done, use so far, requests that may be in flight."""
        if self._bar is not None:
            rate = usage.requests / max(time.monotonic() - self._began, 1e-9)
            figures = f"{rate:,.1f} req/s  {usage.tokens:,} tokens  {usage.retries:,} retries  limit {limit}"
            self._bar.update(self._task, completed=done, figures=figures)
