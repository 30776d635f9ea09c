"""The `hubwright` command without a process: its exit status, stdout and stderr."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock


def run_in_process(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess:
    """Result of `hubwright ARGUMENTS` in `folder`. An error that the command does not handle is raised here."""
    from hubwright.cli import main

    out, err = io.StringIO(), io.StringIO()
    with _process_state(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(["hubwright", *arguments], code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _process_state(folder: Path) -> Iterator[None]:
    """What a command changes in its process, restored afterwards: environment, folder, logging, progress bars."""
    import datasets
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from tqdm import std

    bar = {name: vars(std.tqdm).get(name) for name in ("display", "close", "_plain")}
    root, ours = logging.getLogger(), logging.getLogger("hubwright")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    hub_bars, bars = not are_progress_bars_disabled(), datasets.is_progress_bar_enabled()
    with mock.patch.dict(os.environ), contextlib.chdir(folder):
        root.handlers[:] = []  # or the command would not install a handler of its own
        disable_progress_bars()
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            for name, value in bar.items():
                if value is not None:
                    setattr(std.tqdm, name, value)
                elif name in vars(std.tqdm):
                    delattr(std.tqdm, name)
            root.handlers[:] = handlers
            root.setLevel(levels[0])
            ours.setLevel(levels[1])
            if hub_bars:
                enable_progress_bars()
            if bars:
                datasets.enable_progress_bars()
