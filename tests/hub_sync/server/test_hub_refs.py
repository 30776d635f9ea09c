"""Branches, tags, squashing, and pull requests from opening to merging."""

from __future__ import annotations

import pytest
from conftest_server import plain_client
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError


def put(api, repo, path, data, **kwargs):
    return api.create_commit(repo, [CommitOperationAdd(path, data)], commit_message=f"put {path}", **kwargs)


def read(api, repo, path, revision="main"):
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repo, path, revision=revision, endpoint=api.endpoint)
    answer = plain_client().get(url, headers={"Authorization": f"Bearer {api.token}"})
    return answer.content if answer.status_code == 200 else answer.status_code


def test_branches(admin, repo):
    start = admin.model_info(repo).sha
    admin.create_branch(repo, branch="exp/1")
    put(admin, repo, "b.txt", b"branch", revision="exp/1")
    assert read(admin, repo, "b.txt", "exp/1") == b"branch" and read(admin, repo, "b.txt") == 404
    admin.create_branch(repo, branch="old", revision=start[:12])
    branches = {ref.name: ref.target_commit for ref in admin.list_repo_refs(repo).branches}
    assert branches["old"] == branches["main"] == start and branches["exp/1"] != start
    with pytest.raises(HfHubHTTPError, match="already exists") as refused:
        admin.create_branch(repo, branch="exp/1")
    assert refused.value.response.status_code == 409
    admin.create_branch(repo, branch="exp/1", exist_ok=True)
    with pytest.raises(HfHubHTTPError):
        admin.create_branch(repo, branch="exp")  # git keeps refs as files: exp/1 is in the way
    admin.delete_branch(repo, branch="exp/1")
    with pytest.raises(RevisionNotFoundError):
        admin.delete_branch(repo, branch="exp/1")
    with pytest.raises(HfHubHTTPError) as refused:
        admin.delete_branch(repo, branch="main")
    assert refused.value.response.status_code == 403
    with pytest.raises(RevisionNotFoundError):
        admin.create_branch(repo, branch="x", revision="nope")


def test_revision_abbreviated_to_what_two_commits_share_is_not_found(admin, repo, server):
    """Git refuses an ambiguous abbreviation; a second commit with the same start cannot be made, so it is noted."""
    sha = admin.model_info(repo).sha
    assert read(admin, repo, ".gitattributes", sha[:7]) != 404
    number = server.state.store.db.execute("SELECT id FROM repos WHERE name=?", (repo.split("/")[1],)).fetchone()[0]
    twin = sha[:8] + ("0" if sha[8] != "0" else "1") * 32
    server.state.store.db.execute("INSERT INTO repo_commits VALUES (?,?)", (number, twin))
    assert read(admin, repo, ".gitattributes", sha[:8]) == 404
    assert read(admin, repo, ".gitattributes", sha[:9]) != 404


@pytest.mark.parametrize(
    "bad", ["a..b", "-a", "a b", "a.lock", "refs/pr/1", "a" * 40, "a~1", "x:y", "/", "é\x7f", "HEAD"]
)
def test_bad_ref_names_are_refused(admin, repo, bad):
    with pytest.raises(BadRequestError):
        admin.create_branch(repo, branch=bad)
    with pytest.raises(BadRequestError):
        admin.create_tag(repo, tag=bad)


def test_tags_light_and_annotated(admin, repo, server):
    first = put(admin, repo, "a", b"1").oid
    admin.create_tag(repo, tag="v1.0")
    admin.create_tag(repo, tag="v1.1", tag_message="with words", revision=first)
    put(admin, repo, "a", b"2")
    tags = {ref.name: ref.target_commit for ref in admin.list_repo_refs(repo).tags}
    assert tags == {"v1.0": first, "v1.1": first}
    assert read(admin, repo, "a", "v1.1") == b"1" and read(admin, repo, "a", "refs/tags/v1.0") == b"1"
    target = server.state.store.db.execute("SELECT target FROM refs WHERE name='refs/tags/v1.1' AND tip=?", (first,))
    assert b"with words" in server.state.store.read_object(target.fetchone()[0], "tag")
    with pytest.raises(HfHubHTTPError) as refused:
        admin.create_tag(repo, tag="v1.0")
    assert refused.value.response.status_code == 409
    admin.create_tag(repo, tag="v1.0", exist_ok=True)
    admin.delete_tag(repo, tag="v1.0")
    with pytest.raises(RevisionNotFoundError):
        admin.delete_tag(repo, tag="v1.0")
    with pytest.raises(BadRequestError, match="not a branch"):
        put(admin, repo, "a", b"3", revision="v1.1")


def test_squash_keeps_the_files(admin, repo):
    for i in range(3):
        put(admin, repo, f"f{i}", b"%d" % i)
    admin.super_squash_history(repo, commit_message="all of it")
    commits = admin.list_repo_commits(repo)
    assert [commit.title for commit in commits] == ["all of it"]
    assert {"f0", "f1", "f2"} <= set(admin.list_repo_files(repo))


def test_a_pull_request_is_merged_in_one_step(admin, repo, server):
    base = put(admin, repo, "keep", b"k").oid
    pull = admin.create_pull_request(repo, title="Two commits", description="why")
    assert (pull.num, pull.status, pull.git_reference, pull.target_branch) == (
        1,
        "draft",
        "refs/pr/1",
        "refs/heads/main",
    )
    put(admin, repo, "one", b"1", revision="refs/pr/1")
    head = admin.create_commit(
        repo,
        [CommitOperationAdd("two", b"2"), CommitOperationDelete("keep")],
        commit_message="two",
        revision="refs/pr/1",
    ).oid
    assert admin.model_info(repo).sha == base and read(admin, repo, "one", "refs/pr/1") == b"1"
    refs = admin.list_repo_refs(repo, include_pull_requests=True)
    assert [(r.name, r.target_commit) for r in refs.pull_requests] == [("refs/pr/1", head)]
    details = admin.get_discussion_details(repo, 1)
    assert details.conflicting_files == [] and [e.type for e in details.events] == ["comment", "commit", "commit"]
    assert "+" in details.diff or "diff --git" in details.diff
    admin.merge_pull_request(repo, 1, comment="thanks")
    commits = admin.list_repo_commits(repo)
    assert [c.title for c in commits][:2] == ["Two commits (#1)", "put keep"] and "put one" in commits[0].message
    assert set(admin.list_repo_files(repo)) == {".gitattributes", "one", "two"}
    merged = admin.get_discussion_details(repo, 1)
    assert merged.status == "merged" and merged.merge_commit_oid == commits[0].commit_id == admin.model_info(repo).sha
    for refused in (
        lambda: admin.merge_pull_request(repo, 1),
        lambda: put(admin, repo, "z", b"", revision="refs/pr/1"),
    ):
        with pytest.raises(HfHubHTTPError):
            refused()


def test_main_may_have_moved_where_nothing_clashes(admin, repo):
    put(admin, repo, "shared", b"0")
    admin.create_pull_request(repo, title="side")
    put(admin, repo, "side", b"s", revision="refs/pr/1")
    put(admin, repo, "main", b"m")
    admin.merge_pull_request(repo, 1)
    assert {"main", "side", "shared"} <= set(admin.list_repo_files(repo))


def test_conflicts_are_named_and_nothing_is_merged(admin, repo):
    put(admin, repo, "shared", b"0")
    admin.create_pull_request(repo, title="side")
    put(admin, repo, "shared", b"theirs", revision="refs/pr/1")
    put(admin, repo, "fine", b"f", revision="refs/pr/1")
    head = put(admin, repo, "shared", b"ours").oid
    assert admin.get_discussion_details(repo, 1).conflicting_files == ["shared"]
    with pytest.raises(HfHubHTTPError, match="shared") as refused:
        admin.merge_pull_request(repo, 1)
    assert refused.value.response.status_code == 409
    assert admin.model_info(repo).sha == head and "fine" not in admin.list_repo_files(repo)
    assert admin.get_discussion_details(repo, 1).status == "draft"
    put(admin, repo, "shared", b"ours", revision="refs/pr/1")  # the same on both sides is no conflict
    admin.merge_pull_request(repo, 1)


def test_a_commit_can_open_its_pull_request(admin, repo):
    info = put(admin, repo, "x", b"x", create_pr=True, parent_commit=admin.model_info(repo).sha)
    assert (info.pr_num, info.pr_revision) == (1, "refs/pr/1")
    assert read(admin, repo, "x", "refs/pr/1") == b"x" and read(admin, repo, "x") == 404
    (pull,) = admin.get_repo_discussions(repo)
    assert pull.is_pull_request and pull.status == "open" and pull.url.endswith("/discussions/1")
    admin.change_discussion_status(repo, 1, "closed", comment="no")
    assert [d.num for d in admin.get_repo_discussions(repo, discussion_status="open")] == []
    with pytest.raises(HfHubHTTPError):
        admin.merge_pull_request(repo, 1)
    assert admin.comment_discussion(repo, 1, "a word").content == "a word"
    assert admin.rename_discussion(repo, 1, "better title").new_title == "better title"


def test_a_folder_goes_up_as_a_pull_request(admin, repo, tmp_path):
    (tmp_path / "d").mkdir()
    for i in range(5):
        (tmp_path / "d" / f"{i}.txt").write_text(str(i))
    info = admin.upload_folder(repo_id=repo, folder_path=tmp_path / "d", create_pr=True)
    assert info.pr_num == 1
    admin.merge_pull_request(repo, 1)
    assert len(admin.list_repo_files(repo)) == 6


def test_plain_discussions_are_open_to_readers_only_writers_open_pull_requests(admin, repo, user):
    other = user()
    assert other.create_discussion(repo, title="a question").status == "open"
    with pytest.raises(HfHubHTTPError):
        other.create_pull_request(repo, title="a change")
    with pytest.raises(HfHubHTTPError):
        other.merge_pull_request(repo, 1)
    with pytest.raises(HfHubHTTPError):
        admin.merge_pull_request(repo, 1)  # not a pull request


def test_a_pull_request_can_aim_at_another_branch(admin, repo):
    admin.create_branch(repo, branch="dev")
    info = put(admin, repo, "x", b"x", create_pr=True, revision="dev")
    assert admin.get_discussion_details(repo, info.pr_num).target_branch == "refs/heads/dev"
    admin.merge_pull_request(repo, info.pr_num)
    assert read(admin, repo, "x", "dev") == b"x" and read(admin, repo, "x") == 404
    admin.delete_branch(repo, branch="dev")
    assert admin.get_discussion_details(repo, info.pr_num).status == "merged"
    for revision in ("dev", admin.model_info(repo).sha):
        with pytest.raises(RevisionNotFoundError):
            put(admin, repo, "y", b"y", create_pr=True, revision=revision)
