"""Publishing to the embedded hub against hashing, copying and syncing the same bytes on the same disk.

The floor is what any durable content-addressed store must do: SHA-256 of every file, a copy, fsync. Two shapes: one
file of 256 MiB, and 1,000 files of 4 kB; then the same publish once more, which must send nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
import time
from pathlib import Path

from .timing import interleave, show

CARD = "---\nlicense: mit\n---\n# benchmark\n"


def main() -> None:
    """Start a hub in a process of its own, then time both shapes."""
    from hubwright.hub_sync.server.embedded import start_hub_process

    with tempfile.TemporaryDirectory(prefix="hubwright-bench-") as name:
        root = Path(name)
        hub = start_hub_process(root / "hub", 0)
        os.environ.update(hub.env)  # before huggingface_hub is first imported
        try:
            _case(root, "one file of 256 MiB", [256 << 20], rounds=5)
            _case(root, "1,000 files of 4 kB", [4096] * 1000, rounds=3)
        finally:
            hub.stop()


_numbers = itertools.count()


def _case(root: Path, title: str, sizes: list[int], rounds: int) -> None:
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    folders = []
    for _ in range(rounds + 1):  # fresh bytes every round: stored content is never sent twice
        folder = root / f"in{next(_numbers)}"
        folder.mkdir()
        for i, size in enumerate(sizes):
            (folder / f"f{i:05}.bin0").write_bytes(os.urandom(size))
        (folder / "README.md").write_text(CARD)
        folders.append(folder)
    ours, floor = iter(folders), iter(folders)
    last: list[tuple] = []

    def publish_one() -> None:
        folder = next(ours)
        last.append((folder, _publish(folder, f"bench/{folder.name}")))

    show(title, interleave(publish_one, {"hash + copy + fsync": lambda: _floor(next(floor), root)}, rounds))
    folder, first = last[-1]
    started = time.perf_counter()
    again = _publish(folder, first.ref.repo_id)
    print(f"\npublished again: {time.perf_counter() - started:.3f} s, new commit: {again.created}")
    for folder in folders:
        shutil.rmtree(folder)


def _publish(folder: Path, repo_id: str):
    from hubwright.hub_sync.publish import publish
    from hubwright.hub_sync.refs import ArtifactRef

    mark = hashlib.sha256(folder.name.encode()).hexdigest()
    return publish(folder, ArtifactRef.parse(repo_id, "dataset"), fingerprint=mark, title="benchmark", tag="v1")


def _floor(folder: Path, root: Path) -> None:
    target = root / f"copy{next(_numbers)}"
    target.mkdir()
    for path in sorted(folder.iterdir()):
        digest = hashlib.sha256()
        with path.open("rb") as source, (target / path.name).open("wb") as sink:
            while block := source.read(1 << 20):
                digest.update(block)
                sink.write(block)
            sink.flush()
            os.fsync(sink.fileno())
    shutil.rmtree(target)
