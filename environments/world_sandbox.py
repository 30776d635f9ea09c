"""The worlds of `worlds/`, loaded in a sandbox, where builders make calls and evaluations play them."""

from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from .sandbox import Limits, Sandbox

# A sandbox is used for thousands of rows; a call takes well below a millisecond.
LIMITS = Limits(cpu_seconds=3600)


def open_worlds(seed: int = 0) -> Sandbox:
    """A sandbox with all worlds, none of them begun: `begin` makes a new state, `pools` lists what a user may state.

    Raises DataError if they cannot be loaded.
    """
    return Sandbox("", LIMITS, modules=["worlds"], paths=[Path(__file__).parent], seed=seed)


def wording_of(world: ModuleType) -> dict[str, dict[str, Any]]:
    """A world's tables `named`, `ask`, `tell` and so on, from its YAML file (worlds/__init__.py)."""
    path = Path(__file__).with_name("worlds") / f"{world.__name__.rpartition('.')[2]}.yaml"
    tables: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"named": {}, "carried": {}, "tests": {}, "changes": {}} | tables
