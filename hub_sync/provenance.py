"""`provenance.json`: who made an artifact, from which commits, with which config, on what.

Every published repository carries one. It is a list of records, one per step that wrote to the repository, the
newest last: a model that was trained and then evaluated has two. The card is rendered from it and from nothing
else, so no figure in a card can differ from what the step measured.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import DataError
from .files import FileEntry, canonical_json
from .refs import ArtifactRef
from .text import utf8, well_formed

FILE_NAME = "provenance.json"
SCHEMA_VERSION = 1
RECIPE_FILES = ("recipe.yaml", "recipe.lock")
# Written when a result is published, from its record and its recipe: they are no part of what the step made.
DERIVED_FILES = frozenset({FILE_NAME, "README.md", ".gitattributes", *RECIPE_FILES})
_PACKAGES = (
    "accelerate", "bitsandbytes", "datasets", "deepspeed", "huggingface_hub", "liger-kernel", "lm-eval", "numpy",
    "peft", "pyarrow", "safetensors", "tokenizers", "torch", "transformers", "trl", "vllm",
)  # fmt: skip
_REQUIRED = ("step", "config", "inputs", "fingerprint", "code", "files", "report")


def fingerprint(
    uses: str,
    method_version: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, ArtifactRef],
    sources: Mapping[str, str],
) -> str:
    """SHA-256 (hex) over what determines a step's result: kind, method version, config without settings of speed
    (`speed.py`), input commits, source hashes.

    Two steps with one fingerprint make the same artifact, so the second is skipped. Every input must be pinned.
    """
    for role, ref in inputs.items():
        if not ref.pinned:
            raise AssertionError(f"input {role} ({ref}) is not resolved to a commit")
    value = {
        "uses": uses,
        "method_version": method_version,
        "config": config,
        "inputs": {role: [r.repo_type, r.repo_id, r.revision] for role, r in sorted(inputs.items())},
        "sources": dict(sources),
    }
    return hashlib.sha256(canonical_json(value)).hexdigest()


def recompute_fingerprint(record: Mapping[str, Any]) -> str:
    """The fingerprint that follows from a record's own fields; differs from the stated one if they were edited."""
    inputs = {i["role"]: ArtifactRef(i["type"], i["repo_id"], i["commit"]) for i in record["inputs"]}
    step = record["step"]
    sources = {name: s["sha256"] for name, s in record.get("sources", {}).items()}
    return fingerprint(step["uses"], step["method_version"], record["config"], inputs, sources)


def card_mark(author: Mapping[str, Any]) -> str:
    """What tells one author's part of a card from another: 16 hex digits of its SHA-256; "none" for an empty one."""
    return hashlib.sha256(canonical_json(author)).hexdigest()[:16] if author else "none"


def file_entry(path: str, text: str) -> FileEntry:
    """The line of a manifest for a file with this text."""
    content = utf8(well_formed(text))
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def environment() -> dict[str, Any]:
    """Code version, package versions and hardware of this process; no host name, user name or path."""
    packages = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "code": {"hubwright": metadata.version("hubwright")},
        "packages": packages,
        "python": platform.python_version(),
        "hardware": {"machine": platform.machine(), "cores": cores, "accelerator": _accelerator()},
    }


def _accelerator() -> str | None:
    """The CUDA device's name if the step itself loaded torch and one is present."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name(0)) if torch and torch.cuda.is_available() else None


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def dump(records: list[dict[str, Any]]) -> str:
    """The text of provenance.json."""
    value = {"schema_version": SCHEMA_VERSION, "records": records}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def load(path: Path) -> list[dict[str, Any]]:
    """The records of a provenance.json. Raises DataError in one line where it is absent or malformed."""
    if not path.is_file():
        raise DataError(f"{path.name} is missing: this repository was not published by hubwright")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path.name} is not valid JSON ({error})") from error
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        version = value.get("schema_version") if isinstance(value, dict) else None
        raise DataError(f"{path.name} has schema version {version!r}; this hubwright reads version {SCHEMA_VERSION}")
    records = value.get("records")
    if not isinstance(records, list) or not records:
        raise DataError(f"{path.name} holds no records")
    for record in records:
        absent = [key for key in _REQUIRED if key not in record]
        if absent:
            raise DataError(f"{path.name}: a record lacks {', '.join(absent)}")
    return records


def source_columns(folder: Path, repo_id: str, names: Iterable[str]) -> dict[str, str]:
    """What columns of a pulled data set hold, as its provenance and its author's card say, else that they are its."""
    path, known = folder / FILE_NAME, dict[str, str]()
    if path.is_file():
        record = load(path)[0]
        known = record["report"].get("columns", {}) | record.get("author", {}).get("columns", {})
    return {name: known.get(name, f"as in `{repo_id}`") for name in names}
