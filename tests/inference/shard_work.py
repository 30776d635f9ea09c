"""A worker for shards in other processes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hubwright.hub_sync.errors import DataError, HubwrightError
from hubwright.inference.model_shards import shards_of


class Doubler:
    """Twice each number; writes the first one of a shard into a log.

    Args:
        fail, end: the number over which it raises, or ends its process.
    """

    def __init__(self, log: Path, fail: int | None = None, end: int | None = None) -> None:
        self._log, self._fail, self._end = log, fail, end

    def __call__(self, numbers: Sequence[int]) -> list[dict[str, int]]:
        with self._log.open("a") as file:
            file.write(f"{numbers[0]}\n")
        if self._fail in numbers:
            raise DataError(f"no number {self._fail}")
        if self._end in numbers:
            os._exit(3)
        return [{"n": 2 * number} for number in numbers]


def refuse() -> Doubler:
    """A worker whose model cannot be loaded."""
    raise DataError("no model")


def main(path: Path) -> None:
    """Run what a JSON file says: `folder`, `log`, `count`, `engine` and `workers`, perhaps `fail` or `end`; the rows go
    to `folder/result.json`."""
    plan = json.loads(path.read_text())
    folder, faults = Path(plan["folder"]), {name: plan[name] for name in ("fail", "end") if name in plan}
    # Ray's workers import the class by its module's name, which is not __main__.
    from shard_work import Doubler as Work

    try:
        rows = shards_of(
            partial(Work, Path(plan["log"]), **faults), range(plan["count"]), {"a": 1}, folder, 4,
            workers=plan["workers"], engine=plan["engine"],
        )  # fmt: skip
        (folder / "result.json").write_text(json.dumps(list(rows)))
    except HubwrightError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
