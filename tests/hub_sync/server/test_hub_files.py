"""Files in and out: commits, LFS, listings, downloads, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from pathlib import Path

import pytest
from conftest_server import commit_lines, plain_client, regular
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import httpx


def fetch(api: HfApi, repo: str, path: str, revision: str = "main", **headers: str):
    url = hf_hub_url(repo, path, revision=revision, endpoint=api.endpoint)
    return plain_client().get(url, headers={"Authorization": f"Bearer {api.token}", **headers})


def put(api: HfApi, repo: str, **files: bytes):
    operations = [CommitOperationAdd(path.replace("__", "."), data) for path, data in files.items()]
    return api.create_commit(repo, operations, commit_message="put")


@pytest.fixture
def download(admin, tmp_path):
    """Download through the client into a private cache; return the bytes."""

    def get(repo: str, path: str) -> bytes:
        return Path(admin.hf_hub_download(repo, path, cache_dir=tmp_path / "cache")).read_bytes()

    return get


def test_small_files_are_git_blobs(admin, repo, download):
    commit = admin.upload_file(path_or_fileobj=b"hello\n", path_in_repo="a/b/c.txt", repo_id=repo)
    assert download(repo, "a/b/c.txt") == b"hello\n"
    head = plain_client().head(hf_hub_url(repo, "a/b/c.txt", endpoint=admin.endpoint))
    assert head.headers["etag"] == '"ce013625030ba8dba906f756967f9e9ca394464a"'  # git hash-object of hello
    assert head.headers["x-repo-commit"] == commit.oid and head.headers["content-length"] == "6"
    assert "x-linked-etag" not in head.headers and not head.content


@pytest.mark.parametrize("size", [1_000, 9 << 20])
def test_large_files_go_through_lfs_in_one_or_many_parts(admin, repo, download, tmp_path, size):
    data = os.urandom(size)
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    admin.upload_file(path_or_fileobj=path, path_in_repo="w.safetensors", repo_id=repo)
    assert download(repo, "w.safetensors") == data
    (info,) = admin.get_paths_info(repo, "w.safetensors")
    sha = hashlib.sha256(data).hexdigest()
    assert (info.size, info.lfs.sha256, info.lfs.size) == (size, sha, size)
    head = plain_client().head(hf_hub_url(repo, "w.safetensors", endpoint=admin.endpoint)).headers
    assert (head["x-linked-etag"], head["x-linked-size"], head["content-length"]) == (f'"{sha}"', str(size), str(size))


def test_parts_are_kept_on_disk_only_while_they_are_needed(server, admin, repo):
    admin.upload_file(path_or_fileobj=os.urandom(9 << 20), path_in_repo="w.bin", repo_id=repo)
    assert list(server.state.blobs.tmp.iterdir()) == []
    assert server.state.store.db.execute("SELECT COUNT(*) FROM parts").fetchone()[0] == 0


def _lfs_actions(http, repo, data, size=None):
    oid = hashlib.sha256(data).hexdigest()
    body = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": size or len(data)}]}
    return http.post(f"/{repo}.git/info/lfs/objects/batch", json=body).json()["objects"][0]


def test_wrong_content_is_refused_and_leaves_nothing(server, http, anonymous, repo):
    data = os.urandom(2000)
    href = _lfs_actions(http, repo, data)["actions"]["upload"]["href"]
    for wrong in (data[::-1], data[:-1], data + b"x", b""):
        answer = anonymous.put(href, content=wrong)
        assert answer.status_code in (400, 413), answer.text
    oid = hashlib.sha256(data).hexdigest()
    refused = http.post(
        f"/api/models/{repo}/commit/main", content=commit_lines("x", ("lfsFile", {"path": "w", "oid": oid}))
    )
    assert refused.status_code == 400 and "does not exist" in refused.json()["error"]
    assert http.post(f"/{repo}.git/info/lfs/objects/verify", json={"oid": oid, "size": 2000}).status_code == 404
    assert list(server.state.blobs.tmp.iterdir()) == []
    assert anonymous.put(href, content=data).status_code == 200
    assert "actions" not in _lfs_actions(http, repo, data)


def test_signed_addresses_cannot_be_altered(http, anonymous, repo):
    href = _lfs_actions(http, repo, b"abc")["actions"]["upload"]["href"]
    base, packed = href.rsplit("/", 1)
    body, mac = packed.split(".")
    for forged in (f"{body}.{mac[::-1]}", f"{body[:-2]}AA.{mac}", "x", f"{body}."):
        assert anonymous.put(f"{base}/{forged}", content=b"abc").status_code == 401
    assert anonymous.put(href.replace("/put/", "/part/"), content=b"abc").status_code == 401


def test_knowing_a_hash_gives_no_access(server, admin, user, http, repo, name):
    """Neither through lfsFile, nor a pointer sent as a file, nor the batch call."""
    admin.update_repo_settings(repo, private=True)
    data = os.urandom(5000)
    admin.upload_file(path_or_fileobj=data, path_in_repo="w.bin", repo_id=repo)
    oid = hashlib.sha256(data).hexdigest()
    other = user()
    mine = other.create_repo(name).repo_id
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 5000\n".encode()
    with httpx.Client(
        base_url=server.endpoint, headers={"Authorization": f"Bearer {other.token}"}, trust_env=False
    ) as raw:
        for item in (("lfsFile", {"path": "w.bin", "oid": oid, "size": 5000}), regular("w.bin", pointer)):
            assert raw.post(f"/api/models/{mine}/commit/main", content=commit_lines("x", item)).status_code == 400
        assert "actions" in _lfs_actions(raw, mine, data)
    assert not other.file_exists(mine, "w.bin")


def test_what_one_can_read_one_can_refer_to(admin, repo, http):
    data = os.urandom(5000)
    admin.upload_file(path_or_fileobj=data, path_in_repo="w.bin", repo_id=repo)
    second = admin.create_repo(repo + "-copy").repo_id
    assert "actions" not in _lfs_actions(http, second, data)
    admin.upload_file(path_or_fileobj=data, path_in_repo="w.bin", repo_id=second)
    assert fetch(admin, second, "w.bin").content == data


def test_copies_and_deletions(admin, repo):
    put(admin, repo, a__txt=b"1", w__bin=b"\x00" * 5000, **{"d/x": b"x", "d/y": b"y", "e/z": b"z"})
    admin.create_commit(
        repo,
        [
            CommitOperationCopy("w.bin", "copy/w2.bin"),
            CommitOperationCopy("a.txt", "copy/a2.txt"),
            CommitOperationDelete("d/"),
            CommitOperationDelete("e/z"),
        ],
        commit_message="change",
    )
    assert sorted(admin.list_repo_files(repo)) == [".gitattributes", "a.txt", "copy/a2.txt", "copy/w2.bin", "w.bin"]
    assert fetch(admin, repo, "copy/w2.bin").content == b"\x00" * 5000
    with pytest.raises(EntryNotFoundError):
        admin.delete_file("nope.txt", repo)
    with pytest.raises(EntryNotFoundError):
        admin.delete_folder("nope", repo)
    admin.create_commit(repo, [CommitOperationDelete("copy", is_folder=False)], commit_message="a folder all the same")
    assert sorted(admin.list_repo_files(repo)) == [".gitattributes", "a.txt", "w.bin"]


def test_a_commit_that_changes_nothing_is_none(admin, repo):
    first = put(admin, repo, a__txt=b"1", w__bin=b"\x01" * 2000).oid
    assert put(admin, repo, a__txt=b"1", w__bin=b"\x01" * 2000).oid == first
    assert len(admin.list_repo_commits(repo)) == 2


def test_a_commit_on_an_old_parent_is_refused(admin, repo):
    parent = admin.model_info(repo).sha
    put(admin, repo, a__txt=b"1")
    with pytest.raises(HfHubHTTPError) as refused:
        admin.create_commit(repo, [CommitOperationAdd("b", b"2")], commit_message="m", parent_commit=parent)
    assert refused.value.response.status_code == 412
    # Even where it would change nothing: the client must learn that it lost.
    with pytest.raises(HfHubHTTPError):
        admin.create_commit(repo, [CommitOperationAdd("a.txt", b"1")], commit_message="other", parent_commit=parent)


def test_a_commit_whose_answer_was_lost_can_be_sent_again(server, admin, repo, http):
    parent = admin.model_info(repo).sha
    body = commit_lines("once", regular("a.txt", b"1"), parent=parent)
    host, port = server.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        head = f"POST /api/models/{repo}/commit/main HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        raw.sendall(f"{head}Authorization: Bearer {server.token}\r\n\r\n".encode() + body)
    # The client is gone; it sends the same commit again.
    again = http.post(f"/api/models/{repo}/commit/main", content=body)
    commits = admin.list_repo_commits(repo)
    assert again.status_code == 200 and again.json()["commitOid"] == commits[0].commit_id
    assert [commit.title for commit in commits] == ["once", "initial commit"]


def test_the_loser_of_a_race_between_equal_commits_learns_it(admin, repo, http):
    """It looks like a replay, but the first answer was delivered: somebody else took this step."""
    parent = admin.model_info(repo).sha
    body = commit_lines("once", regular("a.txt", b"1"), parent=parent)
    assert http.post(f"/api/models/{repo}/commit/main", content=body).status_code == 200
    assert http.post(f"/api/models/{repo}/commit/main", content=body).status_code == 412
    assert len(admin.list_repo_commits(repo)) == 2


def test_eight_writers_lose_no_increment(admin, repo):
    put(admin, repo, counter=b"0")
    errors = []

    def work():
        api = HfApi(endpoint=admin.endpoint, token=admin.token)
        done = 0
        while done < 4:
            head = api.model_info(repo).sha
            value = int(fetch(api, repo, "counter", head).content)
            try:
                operation = CommitOperationAdd("counter", str(value + 1).encode())
                api.create_commit(repo, [operation], commit_message="increment", parent_commit=head)
                done += 1
            except HfHubHTTPError as error:
                if error.response.status_code != 412:
                    errors.append(error)
                    return

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert fetch(admin, repo, "counter").content == b"32"
    assert len(admin.list_repo_commits(repo)) == 34


def test_ranges_and_conditions(admin, repo):
    data = bytes(range(256)) * 20
    put(admin, repo, w__bin=data, t__txt=data)
    for path in ("w.bin", "t.txt"):
        for spec, expected in (
            ("0-9", data[:10]),
            ("100-", data[100:]),
            ("-7", data[-7:]),
            ("5110-9999", data[5110:]),
        ):
            answer = fetch(admin, repo, path, Range=f"bytes={spec}")
            assert (answer.status_code, answer.content) == (206, expected), spec
            start = data.index(expected) if spec == "0-9" else len(data) - len(expected)
            assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(data)}"
        beyond = fetch(admin, repo, path, Range="bytes=99999-")
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
        etag = fetch(admin, repo, path).headers["etag"]
        assert fetch(admin, repo, path, **{"If-None-Match": etag}).status_code == 304
        assert fetch(admin, repo, path, Range="bytes=0-1", **{"If-Range": '"old"'}).status_code == 200


def test_a_missing_entry_tells_the_commit(admin, repo):
    sha = admin.model_info(repo).sha
    for path in ("nope.txt", "a/b", ".gitattributes/x"):
        answer = fetch(admin, repo, path)
        assert answer.status_code == 404
        assert (answer.headers["x-error-code"], answer.headers["x-repo-commit"]) == ("EntryNotFound", sha)
    assert fetch(admin, repo, "x", "nope").headers["x-error-code"] == "RevisionNotFound"


def test_listings_page_expand_and_recurse(admin, repo, http):
    operations = [CommitOperationAdd(f"d{i % 3}/f{i:04d}.txt", b"%d" % i) for i in range(1500)]
    admin.create_commit(repo, operations, commit_message="many")
    put(admin, repo, **{"d0/new.txt": b"new"})
    files = [entry for entry in admin.list_repo_tree(repo, recursive=True) if hasattr(entry, "size")]
    assert len(files) == 1502 and len({entry.path for entry in files}) == 1502
    assert {entry.path for entry in admin.list_repo_tree(repo)} == {".gitattributes", "d0", "d1", "d2"}
    by_path = {entry.path: entry for entry in admin.list_repo_tree(repo, "d0", expand=True)}
    assert by_path["d0/new.txt"].last_commit.title == "put" and by_path["d0/f0000.txt"].last_commit.title == "many"
    with pytest.raises(EntryNotFoundError):
        list(admin.list_repo_tree(repo, "nope"))
    infos = admin.get_paths_info(repo, ["d0", "d0/new.txt", "missing"], expand=True)
    assert [info.path for info in infos] == ["d0", "d0/new.txt"]
    assert infos[1].last_commit.title == "put"


def test_ignored_files_are_left_out(admin, repo, tmp_path):
    put(admin, repo, **{".gitignore": b"*.log\n/build/\n!keep.log\n"})
    for path in ("a.txt", "b.log", "keep.log", "build/x", "src/build/x"):
        (tmp_path / "up" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / path).write_text("x")
    admin.upload_folder(repo_id=repo, folder_path=tmp_path / "up")
    assert set(admin.list_repo_files(repo)) == {".gitattributes", ".gitignore", "a.txt", "keep.log", "src/build/x"}


def test_a_large_file_that_comes_as_base64_leaves_the_database(server, admin, repo, http):
    data = os.urandom(11 << 20)
    answer = http.post(
        f"/api/models/{repo}/commit/main", content=commit_lines("big", regular("big.txt", data)), timeout=60
    )
    assert answer.status_code == 200
    assert fetch(admin, repo, "big.txt").content == data
    assert fetch(admin, repo, "big.txt", Range="bytes=5-14").content == data[5:15]
    sha = hashlib.sha256(data).hexdigest()
    assert server.state.blobs.size(sha) == len(data)


def test_empty_files_and_odd_names(admin, repo):
    names = [
        "empty.bin",
        "with space.txt",
        "ünïcode/文件.txt",
        "percent%41.txt",
        "plus+&?#.txt",
        "-dash",
        "a'b\"c.txt",
    ]
    admin.create_commit(
        repo, [CommitOperationAdd(n, b"" if n == "empty.bin" else n.encode()) for n in names], commit_message="m"
    )
    for n in names:
        assert fetch(admin, repo, n).content == (b"" if n == "empty.bin" else n.encode()), n
    assert {info.path for info in admin.get_paths_info(repo, names)} == set(names)


MALICIOUS = [
    "../x", "a/../../x", "/abs", "a//b", "a/./b", ".git/config", "a/.GIT/hooks/x", "git~1/x", ".git./x", "a\\b",
    "a\x00b", "a\nb", "x/" * 600 + "x", "n" * 256, "", ".", "..", "a/", ".g\u200cit/x", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("path", MALICIOUS, ids=[str(i) for i in range(len(MALICIOUS))])
def test_malicious_paths_are_refused(admin, repo, http, path):
    before = admin.model_info(repo).sha
    for item in (regular(path, b"x"), ("deletedFile", {"path": path}), ("lfsFile", {"path": path, "oid": "0" * 64})):
        answer = http.post(f"/api/models/{repo}/commit/main", content=commit_lines("x", item))
        assert answer.status_code in (400, 422), (path, answer.status_code)
    files = {"files": [{"path": path, "sample": "", "size": 1}]}
    body = json.dumps(files).encode()
    assert http.post(f"/api/models/{repo}/preupload/main", content=body).status_code == 422
    assert admin.model_info(repo).sha == before


def test_a_file_and_a_folder_cannot_share_a_name(admin, repo):
    put(admin, repo, **{"a/b": b"x"})
    with pytest.raises(BadRequestError, match="folder"):
        put(admin, repo, a=b"x")
    with pytest.raises(BadRequestError, match="file"):
        put(admin, repo, **{"a/b/c": b"x"})
    admin.create_commit(
        repo, [CommitOperationDelete("a/"), CommitOperationAdd("a", b"now a file")], commit_message="replace"
    )
    assert fetch(admin, repo, "a").content == b"now a file"


def test_broken_commit_bodies_are_refused_as_a_whole(admin, repo, http):
    before = admin.model_info(repo).sha
    ok = regular("ok", b"ok")
    bodies = [
        b"", b"{}\n", b"not json\n", commit_lines("", ok), commit_lines("x", ok, ("nonsense", {"path": "p"})),
        commit_lines("x", ok, ("file", {"path": "p", "content": "***", "encoding": "base64"})),
        commit_lines("x", ok, ("file", {"path": "p"})), commit_lines("x", ok, ("deletedFile", {"path": "missing"})),
        commit_lines("x", ok, ("lfsFile", {"path": "p", "oid": "xyz"})), commit_lines("x", ok)[40:],
    ]  # fmt: skip
    for body in bodies:
        answer = http.post(f"/api/models/{repo}/commit/main", content=body)
        assert answer.status_code in (400, 404), body[:80]
    assert http.post(f"/api/models/{repo}/commit/nope", content=commit_lines("x", ok)).status_code == 404
    sha = http.post(f"/api/models/{repo}/commit/{before}", content=commit_lines("x", ok))
    assert sha.status_code == 400  # commits go to branches
    assert admin.model_info(repo).sha == before


def test_preupload_never_tells_a_hash(admin, repo, http):
    put(admin, repo, a__txt=b"1")
    body = {
        "files": [{"path": p, "sample": "", "size": s} for p, s in (("a.txt", 1), ("w.bin", 1), ("c.csv", 11 << 20))]
    }
    files = http.post(f"/api/models/{repo}/preupload/main", json=body).json()["files"]
    assert [f["uploadMode"] for f in files] == ["regular", "lfs", "lfs"]
    assert all(set(f) == {"path", "uploadMode", "shouldIgnore"} for f in files)


def test_preupload_at_the_largest_regular_size_is_regular_and_one_byte_more_is_lfs(repo, http):
    """10 MiB, as the Hub documents it for files that go with the commit."""
    body = {"files": [{"path": "c.csv", "sample": "", "size": size} for size in (10 << 20, (10 << 20) + 1)]}
    files = http.post(f"/api/models/{repo}/preupload/main", json=body).json()["files"]
    assert [f["uploadMode"] for f in files] == ["regular", "lfs"]


def test_html_is_never_run(admin, repo):
    put(admin, repo, **{"x.html": b"<script>1</script>", "x.svg": b"<svg/>", "x.js": b"1"})
    for path in ("x.html", "x.js"):
        answer = fetch(admin, repo, path)
        assert answer.headers["content-type"].startswith("text/plain")
        assert "sandbox" in answer.headers["content-security-policy"]


def test_snapshot_download_reads_a_revision_as_it_was(admin, repo, tmp_path):
    first = put(admin, repo, a__txt=b"1", w__bin=b"\x00" * 3000).oid
    admin.create_tag(repo, tag="v1")
    put(admin, repo, a__txt=b"2")
    folder = Path(admin.snapshot_download(repo, revision="v1", cache_dir=tmp_path))
    assert folder.name == first
    assert (folder / "a.txt").read_text() == "1" and (folder / "w.bin").stat().st_size == 3000
