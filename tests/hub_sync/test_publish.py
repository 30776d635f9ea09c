"""Publishing over HTTP to the embedded hub: atomic, idempotent, never overwriting somebody else's work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hubwright.hub_sync import publish as module
from hubwright.hub_sync.errors import ConflictError, DataError
from hubwright.hub_sync.publish import Match, add_tag, find_match, find_published, publish, publish_card
from hubwright.hub_sync.refs import ArtifactRef

CARD = "---\nlicense: mit\n---\n# A test\n"


def folder_of(path: Path, files: dict[str, str | bytes], card: str = CARD) -> Path:
    for name, content in {"README.md": card, **files}.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def target(namespace) -> ArtifactRef:
    return ArtifactRef.parse(f"{namespace}/data", "dataset")


def names(api, target, revision="main") -> set[str]:
    files = api.list_repo_files(target.repo_id, repo_type=target.repo_type, revision=revision)
    return set(files) - {".gitattributes"}


def commits(api, target) -> list[str]:
    return [c.commit_id for c in api.list_repo_commits(target.repo_id, repo_type=target.repo_type)]


def test_one_commit_then_the_tag(api, tmp_path, target):
    folder = folder_of(tmp_path / "a", {"data/x.txt": "1", "big.parquet": os.urandom(100_000)})
    done = publish(folder, target, fingerprint="f1", title="first", tag="v1.0.0")
    assert done.created
    assert names(api, target, "v1.0.0") == {"README.md", "data/x.txt", "big.parquet"}
    history = commits(api, target)
    assert len(history) == 2 and history[0] == done.ref.revision  # the hub's own first commit, and ours
    again = publish(folder, target, fingerprint="f1", title="first", tag="v1.0.0")
    assert not again.created and again.ref == done.ref
    assert commits(api, target) == history


def test_missing_tag_is_added(api, tmp_path, target):
    folder = folder_of(tmp_path / "a", {"x.txt": "1"})
    done = publish(folder, target, fingerprint="f1", title="first")
    tagged = publish(folder, target, fingerprint="f1", title="first", tag="v1")
    assert not tagged.created
    refs = api.list_repo_refs(target.repo_id, repo_type="dataset")
    assert {t.name: t.target_commit for t in refs.tags} == {"v1": done.ref.revision}


def test_a_tag_is_never_moved(api, tmp_path, target):
    publish(folder_of(tmp_path / "a", {"x.txt": "1"}), target, fingerprint="f1", title="first", tag="v1")
    before = commits(api, target)
    with pytest.raises(ConflictError, match=r"tag v1 already names commit .* raise the version"):
        publish(folder_of(tmp_path / "b", {"x.txt": "2"}), target, fingerprint="f2", title="second", tag="v1")
    assert commits(api, target) == before


def test_replaces_or_adds(api, tmp_path, target):
    publish(folder_of(tmp_path / "a", {"old.txt": "1", "same.txt": "s"}), target, fingerprint="f1", title="first")
    publish(folder_of(tmp_path / "b", {"new.txt": "2", "same.txt": "s"}), target, fingerprint="f2", title="second")
    assert names(api, target) == {"README.md", "new.txt", "same.txt"}
    folder = folder_of(tmp_path / "c", {"more.txt": "3"})
    publish(folder, target, fingerprint="f3", title="third", keep_other_files=True)
    assert names(api, target) == {"README.md", "new.txt", "same.txt", "more.txt"}
    assert find_published(target, "f2").revision == commits(api, target)[1]


def test_find_published_stops_at_the_newest_match(api, tmp_path, target, monkeypatch):
    from huggingface_hub import utils

    read: list[str] = []
    original = utils.paginate

    def counted(*args, **kwargs):
        for commit in original(*args, **kwargs):
            read.append(commit["id"])
            yield commit

    for number in range(3):
        folder = folder_of(tmp_path / f"{number}", {"x.txt": f"{number}"})
        publish(folder, target, fingerprint=f"f{number}", title="t")
    monkeypatch.setattr(utils, "paginate", counted)
    for fingerprint, count in (("f2", 1), ("f1", 2), ("absent", 4)):
        read.clear()
        match = find_published(target, fingerprint)
        assert read == commits(api, target)[:count] and (match is None) == (fingerprint == "absent")
    assert find_published(ArtifactRef("dataset", f"{target.repo_id}-none"), "f1") is None


def test_card_alone_is_replaced_and_the_content_keeps_its_commit(api, tmp_path, target):
    content = publish(folder_of(tmp_path / "a", {"x.txt": "1"}), target, fingerprint="f1", title="a", card="c1").ref
    match = find_match(target, "f1")
    assert match == Match(content, content, content.revision, "c1")
    card = publish_card(
        folder_of(tmp_path / "b", {}, f"{CARD}Other words."), match, fingerprint="f1", title="card", card="c2"
    )
    assert names(api, target) == {"README.md", "x.txt"}
    assert find_match(target, "f1") == Match(content, card, card.revision, "c2")
    with pytest.raises(ConflictError):
        publish_card(folder_of(tmp_path / "c", {"y": "2"}), match, fingerprint="f1", title="card", card="c3")
    for ref in (content, card):
        add_tag(ref, "v1")
    assert api.repo_info(**target.place, revision="v1").sha == content.revision
    later = publish(folder_of(tmp_path / "d", {"x.txt": "2"}), target, fingerprint="f2", title="b").ref
    assert find_match(target, "f1") == Match(content, card, later.revision, "c2")
    assert find_match(target, "f2") == Match(later, later, later.revision, "none")


def test_stale_parent_is_refused(api, tmp_path, target):
    first = publish(folder_of(tmp_path / "a", {"x.txt": "1"}), target, fingerprint="f1", title="first")
    publish(folder_of(tmp_path / "b", {"x.txt": "2"}), target, fingerprint="f2", title="second")
    folder = folder_of(tmp_path / "c", {"x.txt": "3"})
    with pytest.raises(ConflictError):
        publish(folder, target, fingerprint="f3", title="third", parent_commit=first.ref.revision)
    assert len(commits(api, target)) == 3


def test_writers_side_by_side_lose_nothing(api, tmp_path, target):
    publish(folder_of(tmp_path / "a", {"x.txt": "0"}), target, fingerprint="f0", title="first")
    errors: list[BaseException] = []

    def write(i: int) -> None:
        try:
            folder = folder_of(tmp_path / f"w{i}", {f"w{i}.txt": str(i)})
            publish(folder, target, fingerprint=f"writer{i}", title=f"w{i}", keep_other_files=True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert names(api, target) == {"README.md", "x.txt", *(f"w{i}.txt" for i in range(4))}
    assert len(commits(api, target)) == 2 + 4


BAD = {
    "pickle": ({"model.bin": b"x"}, CARD, "use safetensors"),
    "token": ({"config.json": '{"token": "hf_' + "a" * 34 + '"}'}, CARD, "looks like a Hub token"),
    "litter": ({"data/.tmpAbC123": b"x"}, CARD, "left-over temporary file"),
    "no header": ({}, "# no metadata\n", "no metadata block"),
    "bad yaml": ({}, "---\nlicense: [mit\n---\n", "not valid YAML"),
    "no licence": ({}, "---\ntags: [x]\n---\n", "has no 'license'"),
    "bad licence": ({}, "---\nlicense: no-such-licence\n---\n", "is not a licence id of the Hub"),
}


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "pkl", "pickle", "ckpt", "dill", "PT", "Pkl"])
def test_check_folder_with_any_pickle_is_refused(tmp_path, suffix):
    folder = folder_of(tmp_path, {f"weights/model.{suffix}": b"x"})
    with pytest.raises(DataError, match=rf"weights/model\.{suffix}.*use safetensors"):
        module.check_folder(folder)


@pytest.mark.parametrize("name", BAD)
def test_bad_content_sends_nothing(api, tmp_path, target, name):
    files, card, said = BAD[name]
    with pytest.raises(DataError, match=said) as caught:
        publish(folder_of(tmp_path / "a", files, card), target, fingerprint="f", title="t")
    assert "\n" not in str(caught.value)
    assert not api.repo_exists(target.repo_id, repo_type="dataset")


def test_links_and_missing_cards(tmp_path, target):
    folder = folder_of(tmp_path / "a", {})
    (folder / "link").symlink_to(folder / "README.md")
    with pytest.raises(DataError, match="symbolic link"):
        publish(folder, target, fingerprint="f", title="t")
    (folder / "link").unlink()
    (folder / "README.md").unlink()
    with pytest.raises(DataError, match=r"README\.md is missing"):
        publish(folder, target, fingerprint="f", title="t")


def test_private_is_not_silently_public(api, tmp_path, target):
    folder = folder_of(tmp_path / "a", {"x": "1"})
    publish(folder, target, fingerprint="f1", title="t")
    with pytest.raises(ConflictError, match="is public and the recipe says private"):
        publish(folder, target, fingerprint="f2", title="t", private=True)


def test_large_upload_reaches_main_in_one_step(api, tmp_path, target, monkeypatch):
    monkeypatch.setattr(module, "LARGE_FILES", 5)
    monkeypatch.setattr(module, "STAGE_FILES", 4)
    publish(folder_of(tmp_path / "a", {"gone.txt": "1"}), target, fingerprint="f0", title="small")
    folder = folder_of(tmp_path / "b", {f"d/{i}.txt": str(i) for i in range(10)})
    heads: list[str] = []
    original = module._verify_remote

    def spy(folder, ref):
        heads.append(api.repo_info(target.repo_id, repo_type="dataset").sha)
        original(folder, ref)

    monkeypatch.setattr(module, "_verify_remote", spy)
    before = commits(api, target)
    done = publish(folder, target, fingerprint="f1", title="large", tag="v1")
    assert heads[0] == before[0], "main moved before everything was staged"
    assert names(api, target, "v1") == {"README.md", *(f"d/{i}.txt" for i in range(10))}
    assert not publish(folder, target, fingerprint="f1", title="large", tag="v1").created
    assert done.ref.revision == commits(api, target)[0]
    match = find_match(target, "f1")
    assert match.ref == done.ref and match.card is None, "a merge commit tells its title alone"


def test_interrupted_staging_is_continued(api, tmp_path, target, monkeypatch):
    monkeypatch.setattr(module, "LARGE_FILES", 5)
    monkeypatch.setattr(module, "STAGE_FILES", 3)
    folder = folder_of(tmp_path / "b", {f"d/{i}.txt": str(i) for i in range(10)})
    real = module._operations
    calls = []

    def fail_after_first_part(folder, paths, gone):
        calls.append(1)
        operations = real(folder, paths, gone)
        if len(calls) == 1:
            operations[5:] = [object()]  # the client refuses this in the second part, as a kill would stop it
        return operations

    monkeypatch.setattr(module, "_operations", fail_after_first_part)
    with pytest.raises(Exception):
        publish(folder, target, fingerprint="f1", title="large")
    assert names(api, target) == set()
    publish(folder, target, fingerprint="f1", title="large")
    assert len(names(api, target)) == 11
    requests = list(api.get_repo_discussions(target.repo_id, repo_type="dataset", discussion_type="pull_request"))
    assert len(requests) == 1


PROXY = """
import http.server, sys, urllib.request, urllib.error
HUB = sys.argv[1]
dropped = []
class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)) or None
        request = urllib.request.Request(HUB + self.path, body, method=self.command)
        for k, v in self.headers.items():
            if k.lower() not in ("host", "content-length", "connection"):
                request.add_header(k, v)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        if "/commit/" in self.path and self.command == "POST" and not dropped:
            dropped.append(1)
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(answer.status)
        for k, v in answer.headers.items():
            if k.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(k, v)
        size = answer.headers.get("content-length") if self.command == "HEAD" else len(content)
        self.send_header("content-length", str(size or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

PUBLISH = """
import sys
from pathlib import Path
from hubwright.hub_sync.publish import publish
from hubwright.hub_sync.refs import ArtifactRef
done = publish(Path(sys.argv[1]), ArtifactRef.parse(sys.argv[2], "dataset"), fingerprint="lost", title="t", tag="v1")
print(done.ref.revision)
"""


def test_lost_answer_makes_no_second_commit(api, hub, tmp_path, target):
    folder = folder_of(tmp_path / "a", {"x.txt": "1"})
    proxy = subprocess.Popen([sys.executable, "-c", PROXY, hub.endpoint], stdout=subprocess.PIPE, text=True)
    try:
        port = int(proxy.stdout.readline())
        env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{port}"}
        run = subprocess.run(
            [sys.executable, "-c", PUBLISH, str(folder), target.repo_id], env=env, capture_output=True, text=True
        )
    finally:
        proxy.kill()
        proxy.wait()
    assert run.returncode == 0, run.stderr[-2000:]
    history = commits(api, target)
    assert len(history) == 2
    assert run.stdout.strip() == history[0]
    assert names(api, target, "v1") == {"README.md", "x.txt"}
