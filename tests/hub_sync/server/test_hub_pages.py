"""The pages a browser sees, and that a card cannot run or load anything."""

from __future__ import annotations

import base64
import re

import pytest

from hubwright.hub_sync import card_yaml
from hubwright.hub_sync.server import cards, routes_pages

HTML = {"Accept": "text/html"}

HOSTILE = """---
license: mit
tags: ["<script>alert(1)</script>"]
---
# Title <script>alert(1)</script>

[click](javascript:alert(1)) [data](data:text/html,x) [ok](other.md#part) ![pic](img/a.png) ![far](https://evil.example/a.png)

<img src=x onerror=alert(1)> <a href="JaVaScRiPt:alert(1)">x</a> <iframe src="//evil.example"></iframe>
<style>body{display:none}</style> <svg onload=alert(1)></svg> <form action="/x"><input name=a></form> <base href="//evil.example">
<div style="position:fixed" onclick="x()">div</div> <a href="vbscript:x">v</a> <math><mi xlink:href="javascript:x">m</mi></math>

| a | b |
|---|---|
| 1 | 2 |

```python
print("<b>")
```
"""


def test_a_hostile_card_is_harmless():
    html = cards.render_markdown(card_yaml.split_card(HOSTILE)[1], "/r/", "/b/")
    # What the parser refused stays as text; no tag and no attribute may carry it.
    tags = " ".join(re.findall(r"<[^>]*>", html.lower()))
    hostile = ("script", "javascript:", "onerror", "onclick", "onload", "iframe", "style", "svg", "form", "input", "base",
               "vbscript:", "data:", "evil.example", "math")  # fmt: skip
    assert [bad for bad in hostile if bad in tags] == []
    assert '<img src="/r/img/a.png" alt="pic">' in html and 'href="/b/other.md#part"' in html
    assert "<table>" in html and "&lt;b&gt;" in html


@pytest.mark.parametrize("head", ["", "a: [", "- x", "a: &x 1\nb: *x", "? {a: 1}\n: 2", "x: 2026-01-01", "\x00"])
def test_any_head_is_read_or_refused_in_one_line(head):
    text = f"---\n{head}\n---\nbody"
    cards.card_metadata(text)
    errors, _ = cards.validate(text, "model")
    assert all("\n" not in error for error in errors)


def test_pages_show_the_repository(admin, repo, anonymous, server):
    admin.upload_file(path_or_fileobj=HOSTILE.encode(), path_in_repo="README.md", repo_id=repo)
    admin.upload_file(path_or_fileobj=b"\x89PNG" * 1000, path_in_repo="img/a.png", repo_id=repo)
    admin.create_tag(repo, tag="v1")
    admin.create_pull_request(repo, title="a <b>pull</b>")
    sha = admin.model_info(repo).sha
    index = anonymous.get("/", headers=HTML)
    assert index.status_code == 200 and repo in index.text
    for path, expected in {
        f"/{repo}": ["v1", "refs/pr/1", "img/", "from_pretrained", "README.md"],
        f"/{repo}/tree/main": ["img/"],
        f"/{repo}/tree/v1/img": ["a.png", "4 kB", "LFS"],
        f"/{repo}/blob/main/README.md": ["&lt;script&gt;"],
        f"/{repo}/blob/main/img/a.png": [f"/{repo}/resolve/{sha}/img/a.png"],
        f"/{repo}/commits/main": ["initial commit"],
        f"/{repo}/commit/{sha}": ["added", "img/a.png"],
        f"/{repo}/discussions": ["a &lt;b&gt;pull"],
        f"/{repo}/discussions/1": ["refs/pr/1"],
        "/_hub/style.css": ["--bg"],
    }.items():
        page = anonymous.get(path, headers=HTML)
        assert page.status_code == 200, (path, page.text[:300])
        for text in expected:
            assert text in page.text, (path, text)
        assert "<script" not in page.text.lower()
        if not path.endswith(".css"):
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy


def test_history_page_links_to_the_older_and_the_newest_commits(admin, repo, anonymous, monkeypatch):
    monkeypatch.setattr(routes_pages, "COMMITS_SHOWN", 2)
    for number in range(3):
        admin.upload_file(
            path_or_fileobj=b"%d" % number, path_in_repo="n", repo_id=repo, commit_message=f"put {number}"
        )
    commits = admin.list_repo_commits(repo)
    first = anonymous.get(f"/{repo}/commits/main", headers=HTML).text
    assert "put 2" in first and "put 0" not in first and f"?cursor={commits[2].commit_id}" in first
    second = anonymous.get(f"/{repo}/commits/main?cursor={commits[2].commit_id}", headers=HTML).text
    assert "put 0" in second and "initial commit" in second and "newest" in second and "older" not in second


def test_pages_of_data_sets_and_spaces(admin, name, anonymous):
    for kind, extra in (("dataset", {}), ("space", {"space_sdk": "static"})):
        admin.create_repo(f"acme/{name}", repo_type=kind, **extra)
        page = anonymous.get(f"/{kind}s/acme/{name}", headers=HTML)
        assert page.status_code == 200 and ("load_dataset" if kind == "dataset" else "snapshot_download") in page.text


def test_private_pages_need_the_token(admin, repo, anonymous, server):
    admin.update_repo_settings(repo, private=True)
    hidden = anonymous.get(f"/{repo}", headers=HTML)
    assert hidden.status_code == 401 and "log in" in hidden.text and repo not in anonymous.get("/", headers=HTML).text
    basic = {"Authorization": "Basic " + base64.b64encode(f"me:{server.token}".encode()).decode(), **HTML}
    assert anonymous.get(f"/{repo}", headers=basic).status_code == 200
    assert repo in anonymous.get("/", headers=basic).text


def test_pages_never_answer_for_the_api(anonymous, repo):
    for path in (
        "/api/nothing/here",
        f"/api/models/{repo}/nothing",
        f"/{repo}/resolve/main/nope",
        "/api/models/no/repo",
    ):
        answer = anonymous.get(path, headers=HTML)
        assert answer.headers["content-type"] == "application/json", path
    for path in ("/nowhere", f"/{repo}/tree/nope", f"/{repo}/blob/main/nope", f"/{repo}/commit/zzz"):
        answer = anonymous.get(path, headers=HTML)
        assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/html"), path
