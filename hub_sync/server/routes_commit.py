"""Routes that write files: preupload (how to send each file) and commit.

preupload never tells a file's current hash: with it, a client that finds its content unchanged drops the operation
and never sends the commit, nor the parent it was prepared on, and a lost race goes unnoticed.
"""

import asyncio
import base64
import binascii
import json
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from . import cards, discussions, info, lfs, problems, repos
from .commits import MAX_OPERATIONS, Change, Operation, StaleParent, author_signature, commit_change, join_message
from .names import split_path
from .objects import GitObject, blob_hasher, encode_pointer, make_object, parse_pointer
from .patterns import is_ignored, is_lfs, parse_ignore, parse_lfs_rules
from .repos import Repo
from .routing import Call, route, stream_to

REGULAR_MAX_BYTES = 10 << 20  # larger files are asked for as LFS, and leave the database if they come anyway
COMMIT_MAX_BYTES = 300 << 20
SPOOL_BYTES = 1 << 20
PENDING_BYTES = 16 << 20
PREUPLOAD_MAX_FILES = 256


@route("POST", "/api/{T}/{repo}/preupload/{rev*}")
def preupload(call: Call) -> Response:
    repo = call.writable()
    body = call.json()
    files = body.get("files")
    if not isinstance(files, list) or len(files) > PREUPLOAD_MAX_FILES:
        raise problems.bad_request(f"files must be an array of at most {PREUPLOAD_MAX_FILES} items")
    commit = repos.resolve(call.hub.store, repo, call.params["rev"])
    tree = call.hub.store.read_commit(commit).tree
    lfs_rules = parse_lfs_rules(info.read_text(call.hub, tree, ".gitattributes") or "")
    ignore = body.get("gitIgnore")
    if not isinstance(ignore, str):
        ignore = info.read_text(call.hub, tree, ".gitignore")
    ignore_rules = parse_ignore(ignore or "")
    answer = []
    for file in files:
        path, size = (file.get("path"), file.get("size")) if isinstance(file, dict) else (None, None)
        split_path(path)
        assert isinstance(path, str)
        if not isinstance(size, int) or size < 0:
            raise problems.bad_request("size must be a number of bytes")
        large = size > REGULAR_MAX_BYTES or (size > 0 and is_lfs(lfs_rules, path))
        mode = "lfs" if large else "regular"
        answer.append({"path": path, "uploadMode": mode, "shouldIgnore": is_ignored(ignore_rules, path)})
    return JSONResponse({"files": answer})


@route("POST", "/api/{T}/{repo}/commit/{rev*}", streams=True)
async def commit(call: Call) -> Response:
    """Receive the NDJSON of a commit (spooled to disk beyond 1 MiB), then apply it in a worker thread. A commit whose
    answer could not be delivered and that is sent again is answered with the commit it made."""
    repo = await run_in_threadpool(call.writable)
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES, dir=str(call.hub.blobs.tmp)) as spool:
        size = 0

        def write(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size > COMMIT_MAX_BYTES:
                raise problems.too_large(f"A commit may carry {COMMIT_MAX_BYTES} bytes: send large files through LFS")
            spool.write(piece)

        await stream_to(call.request, write)
        spool.seek(0)
        try:
            answer = await run_in_threadpool(_commit, call, repo, spool)
        except StaleParent as stale:
            key = (repo.id, stale.head)
            # Perhaps the client lost the answer and sends again while the first request is still being finished.
            while stale.same and key in call.hub.unanswered:
                await asyncio.sleep(0.005)
            if stale.same and key in call.hub.undelivered:
                return _committed(call, repo, stale.head)
            raise
    key = (repo.id, answer.headers["X-Repo-Commit"])
    if await call.request.is_disconnected():
        call.hub.undelivered.append(key)
    call.hub.unanswered.discard(key)
    return answer


def _items(spool: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, value) of each line. Raises Problem 400 with the line's number."""
    for number, line in enumerate(spool, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if not isinstance(key, str) or not isinstance(value, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            problem = f"Line {number} of the commit is not a JSON object with key and value"
            raise problems.bad_request(problem) from None
        if number > MAX_OPERATIONS + 1:
            raise problems.bad_request(f"A commit may have at most {MAX_OPERATIONS} operations")
        yield key, value


class _Collector:
    """Turns the lines of a commit into operations, storing blobs on the way. Blobs are stored before the commit's
    transaction once 16 MiB are waiting, so that memory stays flat; nothing refers to them until the commit does."""

    def __init__(self, call: Call, repo: Repo) -> None:
        self._call = call
        self._repo = repo
        self.pending: list[GitObject] = []
        self._pending_bytes = 0
        self.large: list[tuple[str, int]] = []  # (sha256, size) of every large file the commit refers to

    def add(self, obj: GitObject) -> str:
        self.pending.append(obj)
        self._pending_bytes += len(obj.data)
        if self._pending_bytes > PENDING_BYTES:
            self.flush()
        return obj.sha

    def flush(self) -> None:
        self._call.hub.store.put_objects(self.pending)
        self.pending, self._pending_bytes = [], 0

    def regular(self, value: dict[str, Any]) -> str:
        content = value.get("content")
        if not isinstance(content, str) or value.get("encoding", "base64") not in ("base64", "utf-8"):
            raise problems.bad_request("A file needs content, in base64 or utf-8")
        try:
            data = content.encode() if value.get("encoding") == "utf-8" else base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise problems.bad_request(f"The content of {value.get('path')!a} is not valid base64") from None
        if len(data) > REGULAR_MAX_BYTES:
            return self._oversized(data)
        card = data.decode(errors="replace") if value.get("path") == "README.md" else ""
        if len(data) <= cards.CARD_MAX_BYTES:
            cards.check_card(card)
        pointer = parse_pointer(data)
        if pointer:  # a pointer sent as a file gives no more rights than one sent as lfsFile
            self.large.append(pointer)
        blob = make_object("blob", data)
        if card and not pointer and len(data) <= cards.CARD_MAX_BYTES:  # parsed once, by whoever sends it
            self._call.hub.store.card(blob.sha, lambda: cards.card_metadata(card))
        return self.add(blob)

    def _oversized(self, data: bytes) -> str:
        hub = self._call.hub
        sha = blob_hasher(len(data))
        sha.update(data)
        with hub.blobs.writer(len(data)) as writer:
            writer.write(data)
            sha256 = writer.commit()
        with hub.store.write():
            hub.store.link_blob(self._repo.id, sha256, len(data))
            hub.store.put_large_blob(sha.hexdigest(), len(data), sha256)
        return sha.hexdigest()

    def lfs_file(self, value: dict[str, Any]) -> str:
        oid, size = value.get("oid"), value.get("size")
        stored = lfs.usable_size(self._call.hub, self._call.who, self._repo, oid)
        if stored is None:
            raise problems.bad_request(f"LFS pointer pointed to a file that does not exist: {value.get('path')!a}")
        assert isinstance(oid, str)
        if size not in (None, stored):
            raise problems.bad_request(f"The size of {value.get('path')!a} is {stored} bytes, not {size}")
        self.large.append((oid, stored))
        return self.add(make_object("blob", encode_pointer(oid, stored)))

    def verify(self) -> None:
        """Inside the transaction: store what waits, and link every large file that the caller may use."""
        hub = self._call.hub
        self.flush()
        for sha256, size in dict(self.large).items():
            if lfs.usable_size(hub, self._call.who, self._repo, sha256) != size:
                raise problems.bad_request("LFS pointer pointed to a file that does not exist")
            hub.store.link_blob(self._repo.id, sha256, size)


def _read_change(call: Call, collector: _Collector, spool: IO[bytes]) -> tuple[Change, str]:
    """The change that the lines describe, and the description alone."""
    items = _items(spool)
    key, value = next(items, ("", {}))
    if key != "header":
        raise problems.bad_request("A commit starts with its header")
    parent = value.get("parentCommit")
    if parent is not None and not isinstance(parent, str):
        raise problems.bad_request("parentCommit must be a commit hash")
    description = value.get("description") or ""
    change = Change(join_message(value.get("summary"), description), author_signature(call.who.name), parent)
    for key, value in items:
        path = value.get("path")
        if key == "deletedFolder" and isinstance(path, str):
            path = path.rstrip("/")
        split_path(path)
        assert isinstance(path, str)
        if key == "file":
            change.operations.append(Operation("put", path, collector.regular(value)))
        elif key == "lfsFile":
            change.operations.append(Operation("put", path, collector.lfs_file(value)))
        elif key == "deletedFile":
            change.operations.append(Operation("delete", path))
        elif key == "deletedFolder":
            change.operations.append(Operation("delete_folder", path))
        else:
            raise problems.bad_request(f"Unknown operation {key[:40]!r}")
    return change, description if isinstance(description, str) else ""


def _commit(call: Call, repo: Repo, spool: IO[bytes]) -> Response:
    store, revision = call.hub.store, call.params["rev"]
    collector = _Collector(call, repo)
    change, description = _read_change(call, collector, spool)
    pull_url = None
    if call.flag("create_pr"):
        number, sha = discussions.open_with_commit(
            store, repo, call.who, revision, change, description, collector.verify
        )
        pull_url = f"{call.base_url}/{repo.hub_path}/discussions/{number}"
    else:
        ref = repos.head_ref(store, repo, revision)

        def verify() -> None:
            if ref.startswith(repos.PULL):
                discussions.require_open(store, repo, ref)
            collector.verify()

        with store.write():
            before = repos.resolve(store, repo, ref)
            sha = commit_change(store, repo.id, ref, change, verify)
            call.hub.unanswered.add((repo.id, sha))
            if sha != before and ref.startswith(repos.PULL):
                discussions.note_commit(store, repo, ref, call.who, sha)
    return _committed(call, repo, sha, pull_url)


def _committed(call: Call, repo: Repo, sha: str, pull_url: str | None = None) -> Response:
    answer = {"success": True, "commitUrl": f"{call.base_url}/{repo.hub_path}/commit/{sha}", "commitOid": sha}
    if pull_url:
        answer["pullRequestUrl"] = pull_url
    return JSONResponse(answer, headers={"X-Repo-Commit": sha})
