"""The list of commits: pages by a cursor, each commit read once."""

from __future__ import annotations

import itertools

from huggingface_hub import CommitOperationAdd, HfApi


def put(api: HfApi, repo: str, path: str, content: bytes):
    return api.create_commit(repo, [CommitOperationAdd(path, content)], commit_message="put")


def test_history_pages(admin, repo):
    for i in range(60):
        put(admin, repo, "n.txt", b"%d" % i)
    commits = admin.list_repo_commits(repo)
    assert len(commits) == 61 and commits[-1].title == "initial commit"
    formatted = admin.list_repo_commits(repo, formatted=True)[0]
    assert formatted.formatted_title == "put" and formatted.authors == ["local"]
    with_body = admin.create_commit(
        repo, [CommitOperationAdd("b", b"b")], commit_message="title", commit_description="line 1\n\nline 2"
    )
    first = admin.list_repo_commits(repo)[0]
    assert (first.commit_id, first.title, first.message) == (with_body.oid, "title", "line 1\n\nline 2")


def test_history_of_many_pages_reads_each_commit_once_and_does_not_shift(server, admin, repo, http, monkeypatch):
    shas = [put(admin, repo, "n.txt", b"%d" % i).oid for i in range(12)]
    read = []
    original = type(server.state.store).read_commit
    monkeypatch.setattr(
        type(server.state.store), "read_commit", lambda self, sha: (read.append(sha), original(self, sha))[1]
    )
    answer, pages = http.get(f"/api/models/{repo}/commits/main", params={"limit": 3}), []
    while True:
        pages.append([item["id"] for item in answer.json()])
        if "next" not in answer.links:
            break
        following = answer.links["next"]["url"]
        if len(pages) == 1:
            put(admin, repo, "later.txt", b"x")
            read.clear()
        answer = http.get(following.removeprefix(server.endpoint))
    assert [len(page) for page in pages] == [3, 3, 3, 3, 1]
    listed = list(itertools.chain.from_iterable(pages))
    assert listed[:12] == shas[::-1] and sorted(read) == sorted(listed[3:])
    second = http.get(f"/api/models/{repo}/commits/{shas[-1]}", params={"limit": 3, "p": 1})
    assert [item["id"] for item in second.json()] == pages[1]
    assert http.get(f"/api/models/{repo}/commits/main", params={"cursor": "0" * 40}).status_code == 404
