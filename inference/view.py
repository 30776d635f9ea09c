"""The progress of a stage: one line on a terminal, nothing elsewhere."""

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .budget import Usage


class StageView:
    """Rows done, requests per second, tokens, retries and the limit in flight."""

    def __init__(self, title: str, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(title, total=total, figures="")
        self._start_s = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int, usage: Usage, limit: int) -> None:
        rate = usage.requests / max(time.monotonic() - self._start_s, 1e-9)
        figures = f"{rate:,.1f} req/s  {usage.tokens:,} tokens  {usage.retries:,} retries  limit {limit}"
        self._progress.update(self._task, completed=done, figures=figures)
