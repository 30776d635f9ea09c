"""A config's `source` values: local files count by content, Hub references by commit; no local path is recorded."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .hub_sync import provenance
from .hub_sync.errors import UsageError
from .hub_sync.files import manifest, sha256_file
from .hub_sync.pull import pull
from .hub_sync.refs import ArtifactRef

KEYS = ("source", "include_path")
ABSENT = "not a file here; paths are relative to the current folder"


def resolve_sources(config: BaseModel, where: str) -> tuple[dict[str, Any], dict[str, Any], BaseModel]:
    """(config for the record, hashes of local sources, config for the step).

    Every text value under a key `source` or `include_path`, at any depth, is looked at: a local file or folder is
    recorded by its name and SHA-256, a Hub reference is resolved to a commit, a URL or a builder's own word stays as
    it is. `where` names the config in errors. Raises UsageError for a path that does not exist.
    """
    recorded = config.model_dump(mode="json")
    values = config.model_dump(mode="json")
    sources: dict[str, Any] = {}
    changed = False
    for keys, text in list(_walk(recorded, ())):
        name = ".".join(str(k) for k in keys)
        path = Path(text).expanduser()
        if text.startswith(("http://", "https://")):
            continue
        if path.is_file():
            sources[name] = {"name": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size} | _below(
                text
            )
            _put(recorded, keys, path.name)
        elif path.is_dir():
            entries = manifest(path)
            digest = hashlib.sha256(provenance.canonical_json(entries)).hexdigest()
            sources[name] = {"name": path.name, "sha256": digest, "bytes": sum(e["size"] for e in entries)}
            sources[name] |= _below(text)
            _put(recorded, keys, path.name)
        elif _is_reference(text):
            ref = str(ArtifactRef.parse(text, "dataset").resolve())
            _put(recorded, keys, ref)
            _put(values, keys, ref)
            changed = True
        elif _is_absent(text):
            raise UsageError(f"{where}.{name}: {text!r} is {ABSENT}")
    return recorded, sources, type(config).model_validate(values) if changed else config


def missing_sources(config: BaseModel) -> Iterator[tuple[str, str]]:
    """(dotted key, value) of the `source` values that are paths of nothing here."""
    for keys, text in _walk(config.model_dump(mode="json"), ()):
        if _is_absent(text):
            yield ".".join(str(key) for key in keys), text


def _is_reference(text: str) -> bool:
    """Whether a value that is no path here is a repository: `org/name`, `org/name@v1.0.0`, no file such as a/b.csv."""
    file = re.fullmatch(r"\.[A-Za-z]\w*", Path(text).suffix)
    return "/" in text and "://" not in text and ("@" in text or not file)


def _is_absent(text: str) -> bool:
    """Whether a value is the path of a file that is not here. A word without `/` and ending is a builder's own."""
    path = Path(text).expanduser()
    named = "/" in text or bool(path.suffix)
    return named and "://" not in text and not _is_reference(text) and not path.exists()


def path_elsewhere(text: str) -> str:
    """A local path as it can be said elsewhere: one below the current folder as it is, of any other the name."""
    path = Path(text)
    below = not (path.is_absolute() or ".." in path.parts or text.startswith("~"))
    return path.as_posix() if below else path.name


def _below(text: str) -> dict[str, str]:
    path = path_elsewhere(text)
    return {"path": path} if "/" in path else {}


def places(values: Mapping[str, Any]) -> Iterator[Path | ArtifactRef]:
    """What the `source` values of a config name: files and folders here, and repositories. URLs are left out."""
    for _, text in _walk(values, ()):
        path = Path(text).expanduser()
        if path.exists():
            yield path
        elif _is_reference(text):
            with suppress(UsageError):  # refused where it is read
                yield ArtifactRef.parse(text, "dataset")


def find_recording(text: str, *, replay: bool) -> Path:
    """The folder of a recording: a local one, or the one that a published data set carries in `recording/`.

    Raises UsageError for a reference without `replay`: what is published is read only, a run would add to it.
    """
    path = Path(text).expanduser()
    if path.is_dir() or "/" not in text or path.is_absolute():
        return path
    if not replay:
        raise UsageError(f"--recording {text}: a published recording is for --replay; give a folder to record into")
    return pull(ArtifactRef.parse(text, "dataset"), allow_patterns=["recording/*"]) / "recording"


def _walk(value: Any, keys: tuple[str | int, ...]) -> Any:
    """(keys, text) of every text value under a key of `KEYS`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key in KEYS and isinstance(inner, str):
            yield (*keys, key), inner
        else:
            yield from _walk(inner, (*keys, key))


def _put(value: Any, keys: tuple[str | int, ...], new: str) -> None:
    for key in keys[:-1]:
        value = value[key]
    value[keys[-1]] = new
