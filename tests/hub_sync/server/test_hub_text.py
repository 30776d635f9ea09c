"""Half a surrogate pair in what clients write: JSON can spell it, git and SQLite cannot hold it."""

from __future__ import annotations

import json
from typing import Any


def test_hub_commit_and_discussion_with_half_a_pair_are_taken(api: Any, namespace: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import build_hf_headers, get_session

    assert isinstance(api, HfApi)
    repo = api.create_repo(f"{namespace}/pairs").repo_id
    headers = build_hf_headers(token=api.token)
    lines = [
        {"key": "header", "value": {"summary": "a \ud83d b", "description": "\ude00"}},
        {"key": "file", "value": {"path": "x", "content": "eA==", "encoding": "base64"}},
    ]
    content = "\n".join(map(json.dumps, lines))
    done = get_session().post(
        f"{api.endpoint}/api/models/{repo}/commit/main",
        content=content,
        headers={**headers, "Content-Type": "application/x-ndjson"},
    )
    assert done.status_code == 200, done.text
    assert api.list_repo_commits(repo)[0].title == "a \ufffd b"
    asked = {"title": "half \ud83d of it", "description": "\ud83d", "pullRequest": False}
    done = get_session().post(
        f"{api.endpoint}/api/models/{repo}/discussions",
        content=json.dumps(asked),
        headers={**headers, "Content-Type": "application/json"},
    )
    assert done.status_code == 201, done.text
    assert [d.title for d in api.get_repo_discussions(repo)] == ["half \ufffd of it"]
