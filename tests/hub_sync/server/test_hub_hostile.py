"""One card, one shard or one folder mode must not stop the hub, fill its disk or open it to others."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import threading

import pytest
from conftest_server import chunked, commit_lines, plain_client, regular, shard, xet_post

from hubwright.hub_sync.card_yaml import HEAD_MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_metadata
from hubwright.hub_sync.errors import StorageError
from hubwright.hub_sync.server import EmbeddedHub, cards, xet, xet_format
from hubwright.hub_sync.server.routing import ClientGone, run_while_connected

HTML = {"Accept": "text/html"}

# Over a limit: refused at commit, and without metadata where an earlier version stored them.
TOO_MUCH = {
    "600 brackets": "x: " + "[" * 600 + "]" * 600,
    "100,000 levels": "x: " + "[" * 100_000 + "]" * 100_000,
    "100,000 braces": "{a: " * 100_000,
    "100,000 dashes": "- " * 100_000,
    "levels by indentation": "".join(" " * i + "a:\n" for i in range(1400)),
    "a hexadecimal number": "x: 0x" + "f" * 20_000,
    "a decimal number": "x: " + "9" * 20_000,
    "a sexagesimal number": "x: 1" + ":1" * 20_000,
    "a tagged number": "x: !!int '" + "9" * 20_000 + "'",
    "a number as a key": "9" * 5000 + ": x",
    "nodes": "x: [" + "a," * (MAX_NODES + 1) + "]",
    "size": "x: '" + "a" * HEAD_MAX_BYTES + "'",
}
# Not readable, but harmless: stored, and listed without metadata.
UNREADABLE = {
    "no YAML": "a: [",
    "an empty int": 'x: !!int ""',
    "an empty float": 'x: !!float ""',
    "a bool": "x: !!bool maybe",
    "a timestamp": "x: !!timestamp soon",
    "a date": "x: 2024-99-99",
    "a Python object": "x: !!python/object:os.system x",
    "a list": "- a",
    "an alias": "a: &x 1\nb: *x",
}


def card(head: str) -> bytes:
    return f"---\n{head}\n---\n# Title\n".encode()


def put_unchecked(server, monkeypatch, repo: str, content: bytes) -> None:
    """Commit a card as the version before the limits did."""
    with monkeypatch.context() as patch:
        patch.setattr(cards, "check_card", lambda text: None, raising=False)
        answer = plain_client().post(
            f"{server.endpoint}/api/models/{repo}/commit/main",
            content=commit_lines("card", regular("README.md", content)),
            headers={"Authorization": f"Bearer {server.token}"},
        )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", TOO_MUCH)
def test_commit_card_beyond_limits_is_refused_with_400(http, repo, name):
    lines = commit_lines("card", regular("README.md", card(TOO_MUCH[name])))
    for query in ("", "?create_pr=1"):
        answer = http.post(f"/api/models/{repo}/commit/main{query}", content=lines, timeout=30)
        assert answer.status_code == 400 and "README.md: " in answer.json()["error"], answer.text
        assert "\n" not in answer.json()["error"] and len(answer.json()["error"]) < 200
    body = {"content": card(TOO_MUCH[name]).decode(), "repoType": "model"}
    assert http.post("/api/validate-yaml", content=json.dumps(body)).status_code == 400


@pytest.mark.parametrize("name", [*TOO_MUCH, *UNREADABLE])
def test_list_with_unreadable_stored_card_answers_everyone_with_null_metadata(
    server, http, anonymous, repo, monkeypatch, name
):
    put_unchecked(server, monkeypatch, repo, card((TOO_MUCH | UNREADABLE)[name]))
    for client in (http, anonymous):
        answer = client.get("/api/models?full=true", timeout=30)
        assert answer.status_code == 200
        (mine,) = (item for item in answer.json() if item["id"] == repo)
        assert mine["cardData"] is None and mine["tags"] == []
        assert client.get(f"/api/models/{repo}").json()["cardData"] is None
        page = client.get(f"/{repo}", headers=HTML)
        assert page.status_code == 200 and "metadata error" in page.text


def test_model_info_with_unreadable_card_is_read_by_the_client(server, admin, repo, monkeypatch):
    put_unchecked(server, monkeypatch, repo, card("x: " + "[" * 600 + "]" * 600))
    assert admin.model_info(repo).card_data is None
    assert repo in {model.id for model in admin.list_models(cardData=True)}


def test_parse_metadata_at_the_limits_is_accepted():
    assert parse_metadata("x: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))["x"]
    assert parse_metadata("x: " + "9" * 100) == {"x": int("9" * 100)}
    configs = "".join(f"- config_name: c{i}\n  data_files: c{i}/*.parquet\n" for i in range(2000))
    assert len(parse_metadata(f"configs:\n{configs}")["configs"]) == 2000
    assert parse_metadata("x: " + "a" * 5000)["x"] == "a" * 5000
    assert parse_metadata("sha: '" + "9" * 5000 + "'")["sha"] == "9" * 5000


@pytest.mark.parametrize(
    "body",
    ["[" * (2 << 20), "<div>" * 100_000, "![" * (1 << 20), "*a " * 300_000, "| a " * 200_000],
    ids=lambda b: b[:5],
)
def test_page_of_hostile_card_renders_a_bounded_part_once(body):
    cards.render_markdown.cache_clear()
    html = cards.render_markdown(body, "/r/", "/b/")
    assert "The rest is in" in html and len(html) < 20 * cards.RENDER_MAX_CHARS
    assert cards.render_markdown(body, "/r/", "/b/") is html


def test_page_of_long_card_is_cut_at_a_line_and_links_to_the_file():
    line = "A *sentence* of a long card.\n\n"
    html = cards.render_markdown(line * 5000, "/r/", "/b/org/name/")
    count = html.count("<p>A <em>sentence</em> of a long card.</p>")
    assert count == cards.RENDER_MAX_CHARS // len(line) and 'href="/b/org/name/README.md"' in html
    assert "The rest is in" not in cards.render_markdown("short", "/r/", "/b/")


def test_list_with_large_cards_parses_none_of_them_again(server, admin, http, monkeypatch):
    """Five cards near every limit made each list take half a minute for everyone."""
    head = "x:\n" + "".join(f"- {{a{i}: [1, 2, {{b: [c]}}]}}\n" for i in range(900))
    for number in range(3):
        name = admin.create_repo(f"acme/large{number}").repo_id
        lines = commit_lines("card", regular("README.md", card(f"{head}n: {number}")))
        assert http.post(f"/api/models/{name}/commit/main", content=lines, timeout=60).status_code == 200
    from hubwright.hub_sync.server import info

    monkeypatch.setattr(info, "card_metadata", lambda text: pytest.fail("a card was parsed for a list"))
    found = http.get("/api/models?author=acme&search=large&full=true", timeout=60).json()
    assert [item["cardData"]["n"] for item in sorted(found, key=lambda item: item["id"])] == [0, 1, 2]
    assert len(found[0]["cardData"]["x"]) == 900


# Browser login


def test_browser_login_sticks_on_every_page_and_ends_with_logout(server, admin, name):
    from huggingface_hub.utils import httpx

    private = admin.create_repo(name, private=True).repo_id
    admin.upload_file(path_or_fileobj=b"secret", path_in_repo="a.txt", repo_id=private)
    with httpx.Client(base_url=server.endpoint, trust_env=False, headers=HTML) as browser:
        refused = browser.get(f"/{private}")
        assert refused.status_code == 401 and f"/_hub/login?next=/{private}" in refused.text
        form = browser.get(f"/_hub/login?next=/{private}")
        assert (
            form.status_code == 200 and f'value="/{private}"' in form.text and "WWW-Authenticate" not in form.headers
        )
        wrong = browser.post("/_hub/login", data={"token": "hf_wrong", "next": "/"})
        assert wrong.status_code == 401 and not browser.cookies
        done = browser.post("/_hub/login", data={"token": server.token, "next": f"/{private}"})
        assert done.status_code == 303 and done.headers["location"] == f"/{private}"
        cookie = done.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and server.token not in cookie
        for path in (f"/{private}", f"/{private}/blob/main/a.txt", f"/{private}/resolve/main/a.txt", "/"):
            page = browser.get(path)
            assert page.status_code == 200 and (private in page.text or page.text == "secret")
        assert browser.post("/_hub/logout").status_code == 303
        assert browser.get(f"/{private}").status_code == 401


def test_session_cookie_reads_but_never_writes(server, admin, repo):
    from huggingface_hub.utils import httpx

    with httpx.Client(base_url=server.endpoint, trust_env=False) as browser:
        browser.post("/_hub/login", data={"token": server.token})
        assert browser.get("/api/whoami-v2").status_code == 200
        lines = commit_lines("x", regular("a.txt", b"1"))
        assert browser.post(f"/api/models/{repo}/commit/main", content=lines).status_code == 401
        assert browser.post("/api/repos/create", content=b'{"name": "x"}').status_code == 401


def test_session_of_a_revoked_token_is_over_and_a_forged_one_nothing(server, name):
    from huggingface_hub.utils import httpx

    token = server.create_user(name)
    with httpx.Client(base_url=server.endpoint, trust_env=False) as browser:
        browser.post("/_hub/login", data={"token": token})
        assert browser.get("/api/whoami-v2").json()["name"] == name
        server.state.store.db.execute(
            "DELETE FROM tokens WHERE sha256=?", (hashlib.sha256(token.encode()).hexdigest(),)
        )
        assert browser.get("/api/whoami-v2").status_code == 401
        forged = {f"hubwright_{server.state.hub_id}": "e30.AAAA"}
        assert httpx.get(f"{server.endpoint}/", cookies=forged, headers=HTML, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "target", ["//evil.example/", "/\\evil.example", "https://evil.example", "javascript:x", "", "/a\r\nb: c"]
)
def test_login_to_a_foreign_target_goes_home(server, target):
    answer = plain_client().post(f"{server.endpoint}/_hub/login", data={"token": server.token, "next": target})
    assert answer.status_code == 303 and answer.headers["location"] == "/"


# The root's mode


def others_may_read(path, root) -> bool:
    """Whether another user gets to a file below `root` and may read it, by the modes alone."""
    inner = [path, *path.parents]
    inner = inner[: inner.index(root)]
    return all(stat.S_IMODE(one.stat().st_mode) & 0o055 for one in inner)


def test_root_with_mode_755_keeps_private_data_from_other_users(tmp_path):
    from huggingface_hub import HfApi

    root = tmp_path / "h"
    root.mkdir()
    root.chmod(0o755)
    umask = os.umask(0o022)
    try:
        with EmbeddedHub(root) as hub:
            api = HfApi(endpoint=hub.endpoint, token=hub.token)
            repo = api.create_repo("acme/private", private=True).repo_id
            api.upload_file(path_or_fileobj=os.urandom(5000), path_in_repo="w.safetensors", repo_id=repo)
            api.upload_file(path_or_fileobj=b"secret", path_in_repo="a.txt", repo_id=repo)
            assert (root / "hub.sqlite3-wal").stat().st_size > 0
            open_files = [p for p in root.rglob("*") if p.is_file() and others_may_read(p, root)]
    finally:
        os.umask(umask)
    assert {p.name for p in open_files} <= {"server.lock", "open.lock"}
    assert any(p.is_file() for p in (root / "blobs").rglob("*"))
    assert stat.S_IMODE(root.stat().st_mode) == 0o755, "a folder of the user's keeps its mode"


def test_root_with_open_folders_of_an_earlier_version_is_closed(tmp_path):
    root = tmp_path / "h"
    with EmbeddedHub(root):
        pass
    for name in ("blobs", "tmp"):
        (root / name).chmod(0o755)
    (root / "hub.sqlite3").chmod(0o644)
    with EmbeddedHub(root):
        open_files = {p.name for p in root.rglob("*") if p.is_file() and others_may_read(p, root)}
        assert open_files <= {"server.lock", "open.lock"}
        assert stat.S_IMODE((root / "blobs").stat().st_mode) == 0o700


def test_root_whose_folders_cannot_be_closed_is_refused(tmp_path):
    root = tmp_path / "h"
    root.mkdir()
    (root / "blobs").write_text("a file, where a folder must be")
    with pytest.raises(StorageError, match="--root"), EmbeddedHub(root):
        pass


# Shards


def test_shard_that_repeats_a_xorb_beyond_proportion_is_refused_before_writing(server, repo, monkeypatch):
    post = xet_post(server, repo)
    content = os.urandom(100_000)
    xorb, _ = xet_format.index_xorb(chunked(content))
    assert post(f"/v1/xorbs/default/{xorb}", chunked(content)).status_code == 200
    segments = [(xorb, 100_000, 0, 1)] * 30_000  # 3 GB out of 100 kB
    written = []
    monkeypatch.setattr(type(server.state.blobs), "writer", lambda *a: written.append(a))
    answer = post("/v1/shards", shard(None, segments))
    assert answer.status_code == 413 and "HF_HUB_DISABLE_XET=1" in answer.json()["error"]
    assert not written and not list(server.state.blobs.tmp.iterdir())


def test_shard_that_repeats_a_xorb_within_proportion_is_rebuilt(server, repo):
    post = xet_post(server, repo)
    content = bytes(100_000)
    xorb, _ = xet_format.index_xorb(chunked(content, scheme=1))
    post(f"/v1/xorbs/default/{xorb}", chunked(content, scheme=1))
    sha = hashlib.sha256(content * 50).hexdigest()
    assert post("/v1/shards", shard(sha, [(xorb, 100_000, 0, 1)] * 50)).json() == {"result": 1}
    assert server.state.blobs.size(sha) == 5_000_000


def test_shard_larger_than_the_free_disk_is_refused(server, repo, monkeypatch):
    post = xet_post(server, repo)
    content = os.urandom(1000)
    xorb, _ = xet_format.index_xorb(chunked(content))
    post(f"/v1/xorbs/default/{xorb}", chunked(content))
    real = xet.shutil.disk_usage
    monkeypatch.setattr(xet.shutil, "disk_usage", lambda path: real(path)._replace(free=999))
    answer = post("/v1/shards", shard(hashlib.sha256(content).hexdigest(), [(xorb, 1000, 0, 1)]))
    assert answer.status_code == 507 and "999 bytes free" in answer.json()["error"]


def test_shard_of_a_client_that_left_is_not_finished(server, repo):
    post = xet_post(server, repo)
    content = os.urandom(100_000)
    xorb, _ = xet_format.index_xorb(chunked(content))
    post(f"/v1/xorbs/default/{xorb}", chunked(content))
    repo_id = server.state.store.db.execute("SELECT id FROM repos WHERE name=?", (repo.split("/")[1],)).fetchone()[0]
    claims = {"repo": repo_id, "user": 1}
    sha = hashlib.sha256(content * 100).hexdigest()
    gone = threading.Event()
    gone.set()
    with pytest.raises(ClientGone):
        xet.store_shard(server.state, shard(sha, [(xorb, 100_000, 0, 1)] * 100), claims, gone)
    assert server.state.blobs.size(sha) is None and not list(server.state.blobs.tmp.iterdir())


def test_run_while_connected_after_disconnect_tells_the_work():
    from starlette.requests import ClientDisconnect, Request

    async def receive():
        return {"type": "http.disconnect"}

    def work(gone: threading.Event) -> None:
        assert gone.wait(30), "the work was never told"
        raise ClientGone

    async def run() -> None:
        with pytest.raises(ClientDisconnect):
            await run_while_connected(Request({"type": "http", "method": "POST", "headers": []}, receive), work)

    asyncio.run(run())


@pytest.mark.parametrize(("rows", "width"), [(0, 0), (1, 0), (0, 3)])
def test_xet_readers_of_nothing_refuse_in_one_line(rows, width):
    for data in (b"", bytes(rows), bytes(width), xet_format.FOOTER_MARK, bytes(48)):
        for read in (xet_format.index_xorb, xet_format.parse_shard, lambda d: xet_format.read_chunk(d, len(d))):
            with pytest.raises(xet_format.FormatError) as caught:
                read(data)
            assert "\n" not in str(caught.value)
    assert xet_format.unpack_index(b"") == [] and xet_format.tree_hash([]) == bytes(32)
