"""Xet: the hashes and formats against what hf-xet really sends, and what the server refuses."""

from __future__ import annotations

import hashlib
import os

import lz4.frame
import pytest
from blake3 import blake3
from conftest_server import chunked, plain_client, shard, xet_post
from huggingface_hub import HfApi
from huggingface_hub.utils import httpx

from hubwright.hub_sync.server import EmbeddedHub, xet, xet_format

UPLOAD = """
import os, hashlib
from huggingface_hub import HfApi, CommitOperationAdd
api = HfApi()
repo = api.create_repo({repo!r}, exist_ok=True).repo_id
path = 'data.bin'
with open(path, 'wb') as f:
    f.write({data})
api.upload_file(path_or_fileobj=path, path_in_repo={name!r}, repo_id=repo)
info, = api.get_paths_info(repo, {name!r})
assert info.lfs.sha256 == hashlib.sha256(open(path, 'rb').read()).hexdigest()
got = open(api.hf_hub_download(repo, {name!r}), 'rb').read()
assert got == open(path, 'rb').read()
print(len(got))
"""


def xorbs(server):
    return server.state.store.db.execute("SELECT COUNT(*) FROM xorbs").fetchone()[0]


def test_files_of_every_compressibility_arrive(server, run_python, name):
    """Random bytes are stored raw, text as LZ4, float weights byte-grouped: all three chunk encodings."""
    kinds = {
        "random.bin": "os.urandom(3_000_001)",
        "text.bin": "b''.join(b'line %d of text\\n' % i for i in range(200_000))",
        "floats.safetensors": "__import__('array').array('f', [i * 1e-6 for i in range(700_000)]).tobytes() + b'xyz'",
    }
    for path, data in kinds.items():
        out = run_python(UPLOAD.format(repo=f"acme/{name}", data=data, name=path), xet=True)
        assert int(out) > 1_000_000
    schemes = set()
    for row in server.state.store.db.execute("SELECT hash, chunks FROM xorbs").fetchall():
        data = xet._path(server.state, row["hash"]).read_bytes()
        schemes |= {data[chunk.offset + 4] for chunk in xet_format.unpack_index(row["chunks"])}
    assert schemes == {0, 1, 2}


def test_the_same_content_is_sent_once_and_reaches_a_second_repository(server, run_python, name):
    data = f"bytes(range(256)) * 4096 + b'{name}'"
    run_python(UPLOAD.format(repo=f"acme/{name}", data=data, name="w.bin"), xet=True)
    before = xorbs(server)
    run_python(UPLOAD.format(repo=f"acme/{name}-2", data=data, name="w.bin"), xet=True)
    assert xorbs(server) == before


def test_many_files_in_one_commit_and_a_pull_request(server, run_python, admin, name):
    code = f"""
import os
from huggingface_hub import HfApi, CommitOperationAdd
api = HfApi()
repo = api.create_repo('acme/{name}').repo_id
ops = [CommitOperationAdd(f'd/{{i}}.bin', os.urandom(5000 + i)) for i in range(20)]
info = api.create_commit(repo, ops, commit_message='m', create_pr=True)
api.merge_pull_request(repo, info.pr_num)
os.makedirs('f'); [open(f'f/{{i}}.bin', 'wb').write(os.urandom(100_000)) for i in range(5)]
api.upload_folder(repo_id=repo, folder_path='f', path_in_repo='f')
print(len(api.list_repo_files(repo)))
"""
    assert run_python(code, xet=True).strip() == "26"


@pytest.fixture
def cas(server, repo):
    """post(path, body) with a Xet token for `repo`."""
    return xet_post(server, repo)


def test_a_xorb_is_what_its_hash_says(server, cas):
    data = chunked(b"a" * 1000, os.urandom(500))
    name, chunks = xet_format.index_xorb(data)
    assert [chunk.length for chunk in chunks] == [1000, 500]
    assert cas(f"/v1/xorbs/default/{'0' * 64}", data).status_code == 400
    assert cas(f"/v1/xorbs/default/{name}", data[:-1]).status_code == 400
    assert cas(f"/v1/xorbs/default/{name}", data).json() == {"was_inserted": True}
    assert cas(f"/v1/xorbs/default/{name}", data).json() == {"was_inserted": False}
    assert cas("/v1/xorbs/default/../../x", data).status_code in (400, 404)


def test_a_shard_makes_exactly_the_file_it_claims(server, cas, repo):
    content = os.urandom(3000)
    pieces = [content[:1000], content[1000:2500], content[2500:]]
    name, _ = xet_format.index_xorb(chunked(*pieces))
    sha = hashlib.sha256(content).hexdigest()
    missing = cas("/v1/shards", shard(sha, [(name, 3000, 0, 3)]))
    assert missing.status_code == 400 and "upload it first" in missing.json()["error"]
    cas(f"/v1/xorbs/default/{name}", chunked(*pieces))
    for wrong in (
        shard("0" * 64, [(name, 3000, 0, 3)]),
        shard(sha, [(name, 3000, 0, 4)]),
        shard(sha, [(name, 2999, 0, 3)]),
        shard(sha, [(name, 2500, 0, 2)]),
        shard(sha, [(name, 0, 2, 1)]),
        shard(sha, [(name, 3000, 0, 3)])[:-60],
        b"",
        b"\xff" * 200,
    ):
        assert cas("/v1/shards", wrong).status_code == 400
    store = server.state.store
    repo_id = store.db.execute("SELECT id FROM repos WHERE name=?", (repo.split("/")[1],)).fetchone()[0]
    assert store.linked_size(repo_id, sha) is None and list(server.state.blobs.tmp.iterdir()) == []
    assert cas("/v1/shards", shard(sha, [(name, 1000, 0, 1), (name, 2000, 1, 3)])).json() == {"result": 1}
    assert store.linked_size(repo_id, sha) == 3000
    assert cas("/v1/shards", shard(sha, [(name, 3000, 0, 3)])).json() == {"result": 0}


def test_nobody_builds_files_from_chunks_of_others(server, cas, user, admin, name):
    content = os.urandom(2000)
    xorb, _ = xet_format.index_xorb(chunked(content))
    cas(f"/v1/xorbs/default/{xorb}", chunked(content))
    other = user()
    mine = other.create_repo(name).repo_id
    answer = (
        plain_client()
        .get(
            f"{server.endpoint}/api/models/{mine}/xet-write-token/main",
            headers={"Authorization": f"Bearer {other.token}"},
        )
        .json()
    )
    headers = {"Authorization": f"Bearer {answer['accessToken']}"}
    body = shard(hashlib.sha256(content).hexdigest(), [(xorb, 2000, 0, 1)])
    assert plain_client().post(answer["casUrl"] + "/v1/shards", content=body, headers=headers).status_code == 400
    # Nor with the right token at another user's address, nor with an account token.
    assert cas("/v1/shards", body, answer["accessToken"]).status_code == 401
    assert cas("/v1/shards", body, server.token).status_code == 401
    assert other.token and plain_client().post(answer["casUrl"] + "/v1/shards", content=body).status_code == 401


def test_readers_get_no_upload_token(server, user, repo):
    for key, status in ((user().token, 403), (user("read").token, 403)):
        answer = plain_client().get(
            f"{server.endpoint}/api/models/{repo}/xet-write-token/main", headers={"Authorization": f"Bearer {key}"}
        )
        assert answer.status_code == status


def test_newer_calls_answer_404_so_that_clients_fall_back(cas):
    for path in ("/v1/xorb-grants/default/" + "0" * 64, "/v2/shards", "/v1/telemetry"):
        assert cas(path, b"x" * 1000).status_code == 404


def test_chunks_cannot_expand_beyond_their_limit():
    bomb = lz4.frame.compress(bytes(64 << 20))
    header = bytes([0]) + len(bomb).to_bytes(3, "little") + bytes([1]) + (131072).to_bytes(3, "little")
    with pytest.raises(xet_format.FormatError):
        xet_format.index_xorb(header + bomb)
    for broken in (
        b"",
        b"\x01" * 20,
        bytes(8),
        chunked(b"abc", scheme=1)[:-2],
        chunked(b"abc").replace(b"abc", b"ab"),
    ):
        with pytest.raises(xet_format.FormatError):
            xet_format.index_xorb(broken)


def test_hashes_follow_the_published_scheme():
    """Two leaves are one node over `hash : length` lines; one leaf is its own root."""
    leaf = xet_format.chunk_hash(b"hello")
    assert leaf == blake3(b"hello", key=xet_format.DATA_KEY).digest()
    assert xet_format.tree_hash([(leaf, 5)]) == leaf
    line = f"{xet_format.hash_to_hex(leaf)} : 5\n"
    assert xet_format.tree_hash([(leaf, 5)] * 2) == blake3((line * 2).encode(), key=xet_format.NODE_KEY).digest()
    assert xet_format.hash_to_hex(bytes(range(32))).startswith("07060504030201000f0e")


def test_old_xorbs_are_dropped_with_a_new_address(tmp_path):
    with EmbeddedHub(tmp_path / "h") as hub:
        HfApi(endpoint=hub.endpoint, token=hub.token).create_repo("acme/x")
        name, _ = xet_format.index_xorb(chunked(b"x" * 100))

        def write_token():
            address = f"{hub.endpoint}/api/models/acme/x/xet-write-token/main"
            return httpx.get(address, headers={"Authorization": f"Bearer {hub.token}"}).json()

        def send(token):
            headers = {"Authorization": f"Bearer {token['accessToken']}"}
            content = chunked(b"x" * 100)
            return httpx.post(f"{token['casUrl']}/v1/xorbs/default/{name}", content=content, headers=headers)

        first = write_token()
        assert send(first).json() == {"was_inserted": True} and send(first).json() == {"was_inserted": False}
        assert not xet.expire(hub.state)
        with hub.state.store.write() as db:
            db.execute("UPDATE xorbs SET created=0")
        assert xet.expire(hub.state)
        assert write_token()["casUrl"] != first["casUrl"]
        answer = send(first)
        assert answer.status_code == 401 and "no longer valid" in answer.text
        assert not list((tmp_path / "h" / "xorbs").rglob(name))
