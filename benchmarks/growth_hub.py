"""The paths of the hub and its client that `benchmarks.growth` measures."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .growth_cases import Case


def _hub(changes: Callable[[int], Iterator[dict[str, bytes]]]) -> Callable[[Path, int], None]:
    """A hub's root with the dataset bench/data: a commit per dict of {path: content}, its number as fingerprint."""

    def write(folder: Path, rows: int) -> None:
        from contextlib import closing

        from hubwright.hub_sync.publish import TRAILER
        from hubwright.hub_sync.server import commits, repos
        from hubwright.hub_sync.server.auth import Principal
        from hubwright.hub_sync.server.objects import make_object
        from hubwright.hub_sync.server.state import LOCAL_USER, open_hub

        with closing(open_hub(folder / "hub")) as hub:
            who = Principal(1, LOCAL_USER, True, "write")
            repo = repos.create(hub.store, who, "dataset", "bench", "data", private=False, sdk=None)
            for number, files in enumerate(changes(rows)):
                blobs = {path: make_object("blob", content) for path, content in files.items()}
                operations = [commits.Operation("put", path, blob.sha) for path, blob in blobs.items()]
                message = f"commit {number}\n\n{TRAILER}{number:08d}"
                change = commits.Change(message, commits.author_signature(LOCAL_USER), None, operations)
                with hub.store.write():
                    hub.store.put_objects(blobs.values())
                    commits.commit_change(hub.store, repo.id, "refs/heads/main", change)

    return write


def _on_hub(use: Callable[[int], None]) -> Callable[[Path, int], None]:
    """`use(rows)` beside a hub in a process of its own, on the root that the input holds or else the output."""

    def run(folder: Path, rows: int) -> None:
        from hubwright.hub_sync.server import start_hub_process

        (folder / "output").mkdir()
        root = folder / "input" / "hub"
        with start_hub_process(root if root.exists() else folder / "output" / "hub", 0) as hub:
            os.environ.update(hub.env | {"HF_HOME": str(folder / "output" / "home")})
            use(rows)

    return run


def _find_published(rows: int) -> None:
    """Ten steps whose result is the newest commit, and ten that are not published yet."""
    from hubwright.hub_sync.publish import find_published
    from hubwright.hub_sync.refs import ArtifactRef

    find_published(ArtifactRef("dataset", "bench/none"), "absent")  # imports what it needs
    for fingerprint, is_published in ((f"{rows - 1:08d}", True), ("absent", False)):
        started = time.perf_counter()
        for _ in range(10):
            assert (find_published(ArtifactRef("dataset", "bench/data"), fingerprint) is not None) == is_published
        _note("find", fingerprint, started, 10)


def _flat_folder(rows: int) -> None:
    """Fifty commits of an unmodified client into one folder; then the files of the head and of an old commit listed,
    and one of them read."""
    from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download

    api, place = HfApi(), {"repo_id": "bench/data", "repo_type": "dataset"}
    api.create_repo(**place)
    numbers, old = random.Random(0).sample(range(rows), rows), ""
    started = time.perf_counter()
    for commit in range(50):
        part = numbers[commit * rows // 50 : (commit + 1) * rows // 50]
        files = [CommitOperationAdd(f"data/file{number:06d}.txt", b"%d" % number) for number in part]
        head = api.create_commit(**place, operations=files, commit_message=f"commit {commit}").oid
        old = head if commit == 24 else old
    _note("commit", "all", started, 50)
    for revision, count in ((head, rows), (old, rows // 2)):
        started = time.perf_counter()
        assert sum(1 for _ in api.list_repo_tree(**place, path_in_repo="data", revision=revision)) == count
        _note("list", revision[:7], started, 1)
        started = time.perf_counter()
        hf_hub_download(**place, filename=f"data/file{numbers[0]:06d}.txt", revision=revision)
        _note("read", revision[:7], started, 1)


def _pull(rows: int) -> None:
    from hubwright.hub_sync.pull import pull
    from hubwright.hub_sync.refs import ArtifactRef

    for name in ("first", "again"):
        started = time.perf_counter()
        assert len(list((pull(ArtifactRef("dataset", "bench/data")) / "data").iterdir())) == rows
        _note("pull", name, started, rows)


def _peer_snapshot(rows: int) -> None:
    from huggingface_hub import snapshot_download

    for name in ("first", "again"):
        started = time.perf_counter()
        assert len(list(Path(snapshot_download("bench/data", repo_type="dataset"), "data").iterdir())) == rows
        _note("snapshot", name, started, rows)


def _note(what: str, which: str, started: float, times: int) -> None:
    """A line in the case's log, shown with --verbose."""
    print(f"{what} {which}: {(time.perf_counter() - started) / times * 1000:.3f} ms each", flush=True)


def _small_files(rows: int) -> Iterator[dict[str, bytes]]:
    yield {f"data/{number:06d}.json": json.dumps({"number": number}).encode() for number in range(rows)}


CASES: dict[str, Case] = {
    "hub_commits": Case(
        200, _hub(lambda rows: ({"n.txt": b"%d" % number} for number in range(rows))), _on_hub(_find_published)
    ),
    "hub_flat_folder": Case(5_000, lambda folder, rows: None, _on_hub(_flat_folder)),
    "pull_small_files": Case(1_000, _hub(_small_files), _on_hub(_pull)),
    "peer_snapshot": Case(1_000, _hub(_small_files), _on_hub(_peer_snapshot)),
}
