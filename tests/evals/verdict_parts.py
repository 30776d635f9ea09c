"""FB-Bench's verdicts in a file, as its scorer takes them."""

from __future__ import annotations

from pathlib import Path

from hubwright.evals._lib.judging.verdicts import read_stored
from hubwright.evals.fbbench.verdicts import Judged, judged_of, official_rows


def read_judged(source: str | Path) -> list[Judged]:
    """The samples of our verdict file or of an official judgement file."""
    return judged_of(read_stored(source, (official_rows,)))
