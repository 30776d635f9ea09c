"""`recipe.lock`: repository, commit and fingerprint of every artifact a recipe read or made."""

import json
from pathlib import Path
from typing import Any

from .errors import DataError
from .files import write_atomic

SCHEMA_VERSION = 1


class RecipeLock:
    """The lock file of one recipe; every change is on disk, atomically, before the call returns.

    `inputs` maps `"type org/name@revision"` to the commit it was resolved to, `steps` maps a step's name to what
    it published. A run reads its inputs at the locked commits until `--update` is given.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self._writable = writable
        self.inputs: dict[str, str] = {}
        self.steps: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                value = json.loads(path.read_text(encoding="utf-8"))
                if value["schema_version"] != SCHEMA_VERSION:
                    raise DataError(
                        f"{path} has schema version {value['schema_version']}; this hubwright reads "
                        f"{SCHEMA_VERSION}: move the file away and run again"
                    )
                self.inputs, self.steps = dict(value["inputs"]), dict(value["steps"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path} is damaged ({error}): remove it and run again") from error

    def pin(self, key: str, commit: str) -> None:
        """Remember which commit an outside reference meant."""
        if self.inputs.get(key) != commit:
            self.inputs[key] = commit
            self._write()

    def record(self, step: str, entry: dict[str, Any]) -> None:
        """Remember what a step published."""
        if self.steps.get(step) != entry:
            self.steps[step] = entry
            self._write()

    def _write(self) -> None:
        if not self._writable:
            return
        value = {"schema_version": SCHEMA_VERSION, "inputs": self.inputs, "steps": self.steps}
        write_atomic(self.path, json.dumps(value, indent=1, sort_keys=True) + "\n")
