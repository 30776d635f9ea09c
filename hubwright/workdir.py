"""The folders below `runs/NAME/` in which steps work, and what each of their files proves.

STEP-FINGERPRINT/step.json   the settings of the step; there before any work
STEP-FINGERPRINT/work        shards and checkpoints; survive a kill
STEP-FINGERPRINT/output      what will be published; the card is written when it is
STEP-FINGERPRINT/done.json   the step is built: a manifest of `output` and the provenance record
STEP-FINGERPRINT/set-aside   `--fresh` restarted with other settings; stays until `hubwright clean`
recording/                     requests and answers of all steps (inference.store)

A folder is removed once its step is published, unless `keep_work`.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .hub_sync.errors import UsageError
from .hub_sync.files import list_files, manifest, write_atomic
from .hub_sync.provenance import DERIVED_FILES

RECORDING = "recording"
_STEP_FOLDER = re.compile(r"-[0-9a-f]{16}$")


def step_folder(base: Path, step: str, mark: str) -> Path:
    """The folder of one step with one fingerprint."""
    return base / f"{step}-{mark[:16]}"


def built(folder: Path, mark: str) -> dict[str, Any] | None:
    """The record of a finished but perhaps unpublished step, if its files are unchanged."""
    done = folder / "done.json"
    try:
        value = json.loads(done.read_text(encoding="utf-8"))
        files = [entry for entry in value["output"] if entry["path"] not in DERIVED_FILES]
        if value["fingerprint"] == mark and files == manifest(folder / "output", DERIVED_FILES):
            return value["record"]
    except (OSError, ValueError, KeyError):
        pass
    done.unlink(missing_ok=True)
    return None


def begin(folder: Path, step: str, settings: Mapping[str, Any], fresh: bool) -> list[Path]:
    """Make the step's folder, or go on in it. Gives the folders that `fresh` set aside.

    Args:
        settings: the step as JSON: config, input commits, source hashes.

    Raises:
        UsageError: the step was begun with other settings and is unfinished. Going on would waste that work without a
            word, so the change is named; `fresh` says that it is meant.
    """
    aside: list[Path] = []
    if not folder.exists():
        for other in _unfinished(folder, step):
            if not list_files(other / "work"):  # killed before there was anything to go on with
                shutil.rmtree(other)
                continue
            changed = difference(json.loads((other / "step.json").read_text(encoding="utf-8")), settings)
            if changed and not fresh:
                raise UsageError(
                    f"step {step} has unfinished work in {other} with other settings: {changed}; go back to them to "
                    "finish it, or begin anew beside it with --fresh"
                )
            (other / "set-aside").touch()
            aside.append(other)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "step.json", json.dumps(settings, ensure_ascii=False, sort_keys=True))
    return aside


def give_up(folder: Path) -> None:
    """Forget a step that ended in an error and has nothing to go on with: no shard, no checkpoint."""
    if not list_files(folder / "work"):
        shutil.rmtree(folder, ignore_errors=True)


def _unfinished(folder: Path, step: str) -> list[Path]:
    folders = sorted(folder.parent.glob(f"{step}-*")) if folder.parent.is_dir() else []
    return [
        other
        for other in folders
        if other.name.rpartition("-")[0] == step  # not a step whose name begins with this one
        and (other / "step.json").is_file()
        and not (other / "done.json").is_file()
        and not (other / "set-aside").exists()
    ]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`with.seed was 3, now 4`, at most three of them."""
    old, new = _flat(before), _flat(now)
    changes = [
        f"{name} was {_short(old.get(name))}, now {_short(new.get(name))}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        parts = (_flat(item, f"{name}.{key}" if name else str(key)) for key, item in value.items())
        return {key: item for part in parts for key, item in part.items()}
    return {name: value}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def leftovers(base: Path, published: Mapping[str, str]) -> list[tuple[Path, str]]:
    """Folders of steps and their states: published, set aside, built (but not published) or unfinished.

    Args:
        published: step name -> fingerprint, of the lock.
    """
    known = {step_folder(base, name, mark) for name, mark in published.items()}
    folders = sorted(path for path in base.iterdir() if _STEP_FOLDER.search(path.name) and path.is_dir())
    return [(path, _state(path, path in known)) for path in folders]


def _state(folder: Path, published: bool) -> str:
    if published:
        return "published"
    if (folder / "set-aside").exists():
        return "set aside"
    return "built" if (folder / "done.json").is_file() else "unfinished"
