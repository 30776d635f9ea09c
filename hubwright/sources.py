"""A config's `source` values: local files count by content, Hub references by commit; no local path is recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .hub_sync import provenance
from .hub_sync.errors import UsageError
from .hub_sync.files import manifest, sha256_file
from .hub_sync.pull import pull
from .hub_sync.refs import ArtifactRef


def resolve_sources(config: BaseModel, where: str) -> tuple[dict[str, Any], dict[str, Any], BaseModel]:
    """(config for the record, hashes of local sources, config for the step).

    Every text value under a key `source`, at any depth, is looked at: a local file or folder is recorded by its name
    and SHA-256, a Hub reference is resolved to a commit, a URL or a builder's own word stays as it is. `where` names
    the config in errors. Raises UsageError for a path that does not exist.
    """
    recorded = config.model_dump(mode="json")
    given = config.model_dump(mode="json")
    sources: dict[str, Any] = {}
    changed = False
    for keys, said in list(_walk(recorded, ())):
        name = ".".join(str(k) for k in keys)
        path = Path(said).expanduser()
        if said.startswith(("http://", "https://")):
            continue
        if path.is_file():
            sources[name] = {"name": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size}
            _put(recorded, keys, path.name)
        elif path.is_dir():
            entries = manifest(path)
            digest = hashlib.sha256(provenance.canonical_json(entries)).hexdigest()
            sources[name] = {"name": path.name, "sha256": digest, "bytes": sum(e["size"] for e in entries)}
            _put(recorded, keys, path.name)
        elif "/" in said and not path.suffix:
            ref = str(ArtifactRef.parse(said, "dataset").resolve())
            _put(recorded, keys, ref)
            _put(given, keys, ref)
            changed = True
        elif "/" in said or path.suffix:
            raise UsageError(f"{where}.{name}: {said!r} is not a file here; paths are relative to the current folder")
    return recorded, sources, type(config).model_validate(given) if changed else config


def find_traffic(said: str, *, replay: bool) -> Path:
    """The folder of recorded traffic: a local one, or the one that a published data set carries in `traffic/`.

    Raises UsageError for a reference without `replay`: what is published is read only, a run would add to it.
    """
    path = Path(said).expanduser()
    if path.is_dir() or "/" not in said or path.is_absolute():
        return path
    if not replay:
        raise UsageError(f"--traffic {said}: published traffic is for --replay; give a folder to record into")
    return pull(ArtifactRef.parse(said, "dataset"), allow_patterns=["traffic/*"]) / "traffic"


def _walk(value: Any, keys: tuple[str | int, ...]) -> Any:
    """(keys, text) of every text value under a key called `source`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key == "source" and isinstance(inner, str):
            yield (*keys, key), inner
        else:
            yield from _walk(inner, (*keys, key))


def _put(value: Any, keys: tuple[str | int, ...], new: str) -> None:
    for key in keys[:-1]:
        value = value[key]
    value[keys[-1]] = new
