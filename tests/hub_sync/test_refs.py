from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubwright.hub_sync.errors import HubError, UsageError
from hubwright.hub_sync.refs import ArtifactRef

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_word = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_]{0,20}", fullmatch=True)


@given(_word, _word, st.sampled_from(["main", "v1.0.0", COMMIT, "refs/pr/3"]))
def test_round_trip(org, name, revision):
    ref = ArtifactRef.parse(f"{org}/{name}@{revision}", "dataset")
    assert ArtifactRef.parse(str(ref), "dataset") == ref
    assert ref.pinned == (revision == COMMIT)


@pytest.mark.parametrize(
    "text", ["", "a", "/b", "a/", "a/b/c", "a/b@", "a b/c", "../x", "a/..", "a/b.git", "a/b--c", "-a/b"]
)
def test_refused(text):
    with pytest.raises(UsageError, match="write org/name"):
        ArtifactRef.parse(text, "model")


def test_type_is_checked():
    with pytest.raises(UsageError, match="dataset, model, space"):
        ArtifactRef.parse("a/b", "bucket")


def test_resolve(api, namespace):
    api.create_repo(f"{namespace}/x", repo_type="dataset")
    ref = ArtifactRef.parse(f"{namespace}/x", "dataset").resolve()
    assert ref.pinned and ref.revision == api.repo_info(f"{namespace}/x", repo_type="dataset").sha
    assert ref.resolve() is ref
    with pytest.raises(HubError, match="this revision does not exist"):
        ArtifactRef.parse(f"{namespace}/x@v9", "dataset").resolve()
    with pytest.raises(HubError, match="not found on"):
        ArtifactRef.parse(f"{namespace}/y", "dataset").resolve()
