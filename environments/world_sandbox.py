"""The worlds of `worlds/`, loaded in a sandbox, where builders make calls and evaluations play them."""

from __future__ import annotations

from pathlib import Path

from .sandbox import Limits, Sandbox

# A sandbox is used for thousands of rows; a call takes well below a millisecond.
LIMITS = Limits(cpu_seconds=3600)


def open_worlds(seed: int = 0) -> Sandbox:
    """A sandbox with all worlds, none of them begun: `begin` makes a new state, `pools` tells what a user may say.

    Raises DataError where they cannot be loaded.
    """
    return Sandbox("", LIMITS, modules=["worlds"], paths=[Path(__file__).parent], seed=seed)
