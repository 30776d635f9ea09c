"""About how long a step takes, from the records of what it made before. Without such a record nothing is estimated."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .hub_sync import provenance
from .hub_sync.errors import DataError, HubError
from .hub_sync.pull import pull
from .recipe import PlannedStep


@dataclass(frozen=True)
class Estimate:
    """Seconds that a step takes, and what that is based on."""

    seconds: float
    basis: str


def estimate(step: PlannedStep, base: Path) -> Estimate | None:
    """By the newest earlier result of this step in its repository or below `base`, the folder of the recipe's runs.

    Settings that can count their work have `work() -> int | None`, a number that the time grows with; the earlier time
    is multiplied by what it has become.
    """
    names = {"name": step.name, "uses": step.uses}
    timed = {"started_at", "finished_at", "hardware"}
    records = [r for r in _records(step, base) if names.items() <= r["step"].items() and timed <= r.keys()]
    if not records:
        return None
    record = max(records, key=lambda r: r["finished_at"])
    begun, ended = (datetime.fromisoformat(record[name]) for name in ("started_at", "finished_at"))
    seconds = max(1.0, (ended - begun).total_seconds())
    hardware = record["hardware"]
    basis = f"{seconds:,.0f} s on {ended:%Y-%m-%d} ({hardware['accelerator'] or str(hardware['cores']) + ' cores'})"
    then, now = _work(type(step.config), record["config"]), _work(type(step.config), step.config)
    if then and now:
        return Estimate(seconds * now / then, f"{basis} times {now:,}/{then:,}, its work")
    return Estimate(seconds, f"{basis}, with other settings or inputs")


def _records(step: PlannedStep, base: Path) -> Iterator[Mapping[str, Any]]:
    with suppress(HubError, DataError):  # nothing is published there yet, or nothing of ours
        yield from provenance.load(pull(step.target, [provenance.FILE_NAME]) / provenance.FILE_NAME)
    for path in base.glob(f"{step.name}-*/done.json"):
        with suppress(OSError, ValueError, KeyError):
            yield json.loads(path.read_text(encoding="utf-8"))["record"]


def _work(config_class: type[Any], values: Any) -> int | None:
    """The work of settings, given as a model or as a record's JSON; None if they cannot count it."""
    if not hasattr(config_class, "work"):
        return None
    with suppress(ValueError):  # a record of an earlier version
        return config_class.model_validate(values).work()
    return None
