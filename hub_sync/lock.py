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

    def __init__(self, path: Path, *, writable: bool = True, pins: Path | None = None) -> None:
        """Read the lock at `path`; the inputs of the lock at `pins`, one that was published, come before its own."""
        self.path = path
        self._writable = writable
        self.inputs, self.steps, self.sources = _read(path)
        if pins is not None:
            inputs, _, self.sources = _read(pins)
            self.inputs |= inputs

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
        write_atomic(self.path, lock_text(self.inputs, self.steps))


def lock_text(inputs: dict[str, str], steps: dict[str, dict[str, Any]], sources: dict[str, str] | None = None) -> str:
    """The text of a lock file; one that is published has the SHA-256 of local sources by name as well."""
    value = {"schema_version": SCHEMA_VERSION, "inputs": inputs, "steps": steps}
    value |= {"sources": sources} if sources else {}
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _read(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Any]], dict[str, str]]:
    if not path.is_file():
        return {}, {}, {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                f"{path} has schema version {value['schema_version']}; this hubwright reads "
                f"{SCHEMA_VERSION}: move the file away and run again"
            )
        return dict(value["inputs"]), dict(value["steps"]), dict(value.get("sources", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): remove it and run again") from error
