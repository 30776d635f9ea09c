"""Real models from packages that may be at hand: installed, in the seeds' cache, or wheels in HUBWRIGHT_TEST_WHEELS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def from_seed(name: str, read: Callable[[Any, Path | None], Path]) -> Path:
    """What `read(seed, folder of wheels)` gives; the test is skipped where that would have to be downloaded."""
    from hubwright.hub_sync.errors import HubError, HubwrightError
    from hubwright.hub_sync.server import seed, seed_wheels

    (one,) = seed.find_seeds([name])
    given = os.environ.get("HUBWRIGHT_TEST_WHEELS")

    def no_download(part, target):
        raise HubError("not here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seed_wheels, "_download", no_download)
        try:
            return read(one, Path(given) if given else None)
        except HubwrightError as error:
            pytest.skip(f"the package of {name} is not here: {error}")
