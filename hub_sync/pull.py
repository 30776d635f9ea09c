"""Pull an artifact: pinned to a commit, cached by huggingface_hub, and verified against the hub's own hashes."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from .errors import HubError
from .files import canonical_json, git_blob_sha1, sha256_file, write_atomic
from .hub import translate_errors
from .provenance import DERIVED_FILES
from .refs import ArtifactRef


@dataclass(frozen=True)
class RemoteFile:
    """What the hub says of one file: size in bytes, git blob id, SHA-256 where it is in LFS."""

    path: str
    size: int
    blob_id: str
    sha256: str | None


def list_remote_files(ref: ArtifactRef) -> dict[str, RemoteFile]:
    """Every file of a revision by path, with the hashes the hub recorded at commit time."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with translate_errors(f"{ref.repo_type} {ref}"):
        tree = HfApi().list_repo_tree(**ref.place, revision=ref.revision, recursive=True)
        return {
            f.path: RemoteFile(f.path, f.size, f.blob_id, f.lfs.sha256 if f.lfs else None)
            for f in tree
            if isinstance(f, RepoFile)
        }


def matches(path: Path, remote: RemoteFile | None) -> bool:
    """True where a local file has exactly the content the hub recorded; False where the hub has no such file."""
    if remote is None or not path.is_file() or path.stat().st_size != remote.size:
        return False
    if remote.sha256 is not None:
        return sha256_file(path) == remote.sha256
    return git_blob_sha1(path) == remote.blob_id


def same_model(one: ArtifactRef, other: ArtifactRef) -> bool:
    """True where two commits of a model repository hold the same weights, tokenizer and settings. Compared are the
    files at the root that `from_pretrained` reads; cards, provenance and plots may differ."""
    if one == other:
        return True
    beside = DERIVED_FILES
    one_files, other_files = (
        {path: file.blob_id for path, file in list_remote_files(ref).items() if "/" not in path and path not in beside}
        for ref in (one, other)
    )
    return one_files == other_files


def pull(ref: ArtifactRef, allow_patterns: list[str] | None = None) -> Path:
    """Download `ref` (resolved first if it is not a commit) and return its local, read-only folder.

    Args:
        allow_patterns: fetch and check only files that match one of these (as huggingface_hub matches them); the
            folder may hold others from earlier pulls, unchecked by this one.

    Every file is compared with the hash the hub recorded at commit time: SHA-256 for LFS files, the git blob id
    for the others. A file that differs is taken out of the cache and fetched once more; if it still differs,
    HubError. The result is remembered by size and modification time, so a second pull of a commit reads nothing
    and asks nothing of the network.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import filter_repo_objects

    ref = ref.resolve()
    label = f"{ref.repo_type} {ref}"

    def download() -> Path:
        with translate_errors(label):
            return Path(snapshot_download(**ref.place, revision=ref.revision, allow_patterns=allow_patterns))

    stamp = _stamp_path(ref, allow_patterns)
    folder = Path(constants.HF_HUB_CACHE).resolve() / repo_folder_name(**ref.place) / "snapshots" / ref.revision
    if _stamp_holds(stamp, folder):  # snapshot_download looks at every file in several places
        return folder
    folder = download()
    listed = list_remote_files(ref)
    remote = {path: listed[path] for path in filter_repo_objects(listed, allow_patterns=allow_patterns)}
    if allow_patterns and not remote:
        raise HubError(f"{label} has no file {', '.join(allow_patterns)}")
    bad = [path for path, file in remote.items() if not matches(folder / path, file)]
    if bad:
        _evict(folder, bad)
        download()
        still = [path for path in bad if not matches(folder / path, remote[path])]
        if still:
            _evict(folder, still)
            raise HubError(
                f"{label}: {still[0]} does not have the hash the hub recorded for it; "
                "it was removed from the cache and not used"
            )
    write_atomic(stamp, json.dumps({path: _identity(folder / path) for path in sorted(remote)}))
    return folder


def _evict(folder: Path, paths: list[str]) -> None:
    """Remove links and the blobs behind them, so that a wrong download cannot poison the cache."""
    for path in paths:
        link = folder / path
        blob = link.resolve()
        link.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)


def _stamp_path(ref: ArtifactRef, patterns: list[str] | None) -> Path:
    from huggingface_hub import constants

    name = f"{ref.repo_type}--{ref.repo_id.replace('/', '--')}"
    part = f"-{hashlib.sha256(canonical_json(patterns)).hexdigest()[:16]}" if patterns is not None else ""
    return Path(constants.HF_HOME) / "hubwright" / "verified" / name / f"{ref.revision}{part}.json"


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _stamp_holds(stamp: Path, folder: Path) -> bool:
    """True where every file is still the one that was verified, judged by size and modification time."""
    try:
        stamped = json.loads(stamp.read_text())
        return bool(stamped) and all(_identity(folder / path) == identity for path, identity in stamped.items())
    except (OSError, ValueError):
        return False
