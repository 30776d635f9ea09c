"""Which checkpoint may be resumed from: the newest one that is proven whole.

transformers writes checkpoints in place, so a run killed while it saves leaves a folder with the right name and
half its files, and the next run stops at it. Here a checkpoint counts only once its manifest is there, which is
written last and holds every file's size and SHA-256. All else is moved aside, never deleted unseen.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from ...hub_sync.errors import UsageError
from ...hub_sync.files import fsync_path, sha256_file, write_atomic

MANIFEST = "hubwright_manifest.json"
QUARANTINE = "quarantine"
_NAME = re.compile(r"^checkpoint-(\d+)$")


def seal(checkpoint: Path, layout: dict[str, int]) -> None:
    """Declare a checkpoint whole: flush all its files, then write the manifest in one rename.

    Args:
        checkpoint: folder `checkpoint-N`, written completely by all processes.
        layout: what fixes the order of the data (processes, batch, accumulation), to be equal on resume.
    """
    entries = {}
    for path in sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != MANIFEST):
        fsync_path(path)
        entries[path.relative_to(checkpoint).as_posix()] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
    write_atomic(checkpoint / MANIFEST, json.dumps({"files": entries, "layout": layout}, indent=1))


def defect(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None where it is whole."""
    try:
        manifest: dict[str, Any] = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
    except FileNotFoundError:
        return "not finished"
    except (ValueError, KeyError, TypeError):
        return "its manifest cannot be read"
    for name, entry in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["size"] or sha256_file(path) != entry["sha256"]:
            return f"{name} has changed"
    return None


def latest_complete(folder: Path, layout: dict[str, int]) -> tuple[Path | None, list[str]]:
    """The newest whole `checkpoint-N` below `folder`; broken newer ones are moved to `quarantine/`.

    Returns (checkpoint or None, one line per quarantined folder). Raises UsageError where the checkpoint was written
    with another layout: the order of the data, and so the result, would differ from an uninterrupted run.
    """
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _NAME.match(path.name))]
    notes: list[str] = []
    for _, checkpoint in sorted(numbered, reverse=True):
        fault = defect(checkpoint)
        if fault is None:
            saved = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["layout"]
            for key in sorted(layout.keys() | saved.keys()):
                if layout.get(key) != saved.get(key):
                    raise UsageError(
                        f"{checkpoint.name} was trained with {key} {saved.get(key)}, now it is "
                        f"{layout.get(key)}: go on with {saved.get(key)}, or start the step afresh"
                    )
            return checkpoint, notes
        aside = folder / QUARANTINE
        aside.mkdir(exist_ok=True)
        number = sum(1 for p in aside.glob(f"{checkpoint.name}.*"))
        shutil.move(checkpoint, aside / f"{checkpoint.name}.{number}")
        notes.append(f"{checkpoint.name} set aside: {fault}")
    return None, notes
