"""Repositories, accounts and access, through unmodified clients and raw HTTP where the headers matter."""

from __future__ import annotations

import pytest
from conftest_server import commit_lines, regular
from huggingface_hub import HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from hubwright.hub_sync.server import auth


def test_whoami_names_the_user_and_the_role_of_the_token(server, admin, user):
    me = admin.whoami()
    assert me["name"] == "local" and me["auth"]["accessToken"]["role"] == "write"
    assert user("read").whoami()["auth"]["accessToken"]["role"] == "read"


def test_create_returns_the_address_and_exists_twice_only_on_request(server, admin, http, name):
    url = admin.create_repo(f"acme/{name}", private=True)
    assert url == f"{server.endpoint}/acme/{name}" and url.repo_id == f"acme/{name}"
    assert admin.create_repo(f"acme/{name}", exist_ok=True).repo_id == f"acme/{name}"
    with pytest.raises(HfHubHTTPError) as refused:
        admin.create_repo(f"acme/{name}")
    assert refused.value.response.status_code == 409
    assert refused.value.response.json()["url"] == url
    assert admin.model_info(f"acme/{name}").private is True
    assert admin.list_repo_files(f"acme/{name}") == [".gitattributes"]


def test_a_repository_without_a_namespace_goes_to_the_caller(admin, name):
    assert admin.create_repo(name).repo_id == f"local/{name}"


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_every_type_has_its_own_ids(admin, repo, kind, server):
    extra = {"space_sdk": "static"} if kind == "space" else {}
    url = admin.create_repo(repo, repo_type=kind, **extra)
    assert url == f"{server.endpoint}/{kind}s/{repo}"
    info = admin.repo_info(repo, repo_type=kind)
    assert info.id == repo and (kind == "dataset" or info.sdk == "static")
    admin.delete_repo(repo, repo_type=kind)
    assert admin.repo_exists(repo) and not admin.repo_exists(repo, repo_type=kind)


def test_settings_move_and_delete(admin, repo, name):
    admin.update_repo_settings(repo, private=True)
    assert admin.model_info(repo).private is True
    admin.move_repo(repo, f"other/{name}")
    assert admin.model_info(f"other/{name}").private is True
    assert not admin.repo_exists(repo)
    taken = admin.create_repo(repo).repo_id
    with pytest.raises(HfHubHTTPError, match="already exists") as refused:
        admin.move_repo(f"other/{name}", taken)
    assert refused.value.response.status_code == 409
    admin.delete_repo(f"other/{name}")
    with pytest.raises(RepositoryNotFoundError):
        admin.delete_repo(f"other/{name}")
    admin.delete_repo(f"other/{name}", missing_ok=True)


def test_names_are_not_case_sensitive_but_keep_their_case(admin, name):
    admin.create_repo(f"Acme/{name}-X")
    assert admin.model_info(f"acme/{name}-x").id.lower() == f"acme/{name}-x"
    with pytest.raises(HfHubHTTPError):
        admin.create_repo(f"acme/{name}-x")


@pytest.mark.parametrize("bad", ["a--b", "a..b", ".a", "a.git", "-a", "a/b", "", "x" * 97, "a b", "ä"])
def test_bad_names_are_refused(http, bad):
    answer = http.post("/api/repos/create", json={"name": bad, "organization": "acme"})
    assert answer.status_code == 400 and answer.headers["x-error-message"]


def test_reserved_namespaces_are_refused(http):
    for bad in ("api", "datasets", "_lfs"):
        assert http.post("/api/repos/create", json={"name": "x", "organization": bad}).status_code == 400


def test_one_segment_ids_are_unknown_repositories_not_routing_errors(http, anonymous):
    for path in ("/api/models/gpt2", "/api/models/gpt2/tree/main", "/gpt2/resolve/main/config.json"):
        assert http.get(path).status_code == 404, path
        assert http.get(path).headers["x-error-code"] == "RepoNotFound", path
        assert anonymous.get(path).status_code == 401
        assert anonymous.get(path).headers["x-error-code"] == "RepoNotFound"


def test_what_is_not_here_says_so(http, repo):
    for method, path in (
        ("POST", f"/api/models/{repo}/like"),
        ("GET", "/api/collections/x"),
        ("GET", "/api/settings/webhooks"),
        ("POST", "/api/buckets/acme/x"),
        ("GET", f"/api/models/{repo}/user-access-request/pending"),
        ("PUT", f"/api/models/{repo}/resource-group"),
    ):
        answer = http.request(method, path)
        assert (answer.status_code, answer.headers.get("x-error-code")) == (501, "NotImplemented"), path
    assert http.put(f"/api/models/{repo}/settings", json={"gated": "auto"}).status_code == 501
    assert http.patch(f"/api/models/{repo}").status_code == 405


def test_every_answer_has_a_request_id(http):
    assert http.get("/api/whoami-v2").headers["x-request-id"]
    assert http.get("/api/models/no/where", headers={"X-Request-Id": "abc"}).headers["x-request-id"] == "abc"


def test_private_repositories_do_not_exist_for_others(server, admin, repo, user, http, anonymous):
    admin.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=repo)
    admin.update_repo_settings(repo, private=True)
    other = user()
    nobody = HfApi(endpoint=server.endpoint, token=False)
    for client, status in ((other, 404), (nobody, 401)):
        with pytest.raises(RepositoryNotFoundError) as refused:
            client.model_info(repo)
        assert refused.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            client.upload_file(path_or_fileobj=b"y", path_in_repo="y", repo_id=repo)
        assert repo not in [m.id for m in client.list_models()]
    missing = anonymous.get("/api/models/acme/no-such-repo")
    hidden = anonymous.get(f"/api/models/{repo}")
    assert (missing.status_code, missing.json()) == (hidden.status_code, hidden.json())
    assert anonymous.get(f"/{repo}/resolve/main/x.txt").status_code == 401
    assert repo in [m.id for m in admin.list_models()]


def test_public_repositories_are_read_by_all_and_written_by_members(server, repo, user, name):
    other = user()
    nobody = HfApi(endpoint=server.endpoint, token=False)
    assert nobody.model_info(repo).id == repo
    other.auth_check(repo)
    with pytest.raises(HfHubHTTPError) as refused:
        other.upload_file(path_or_fileobj=b"y", path_in_repo="y", repo_id=repo)
    assert refused.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError):
        other.auth_check(repo, write=True)
    with pytest.raises(HfHubHTTPError):
        other.create_repo(f"acme/{name}")
    mine = other.create_repo(name).repo_id
    other.upload_file(path_or_fileobj=b"y", path_in_repo="y", repo_id=mine)


def test_a_read_only_token_reads_private_and_writes_nothing(server, admin, user, name):
    owner = user()
    me = owner.whoami()["name"]
    mine = owner.create_repo(name, private=True).repo_id
    reader = HfApi(endpoint=server.endpoint, token=server.create_token(me, "read"))
    assert reader.model_info(mine).private
    with pytest.raises(HfHubHTTPError) as refused:
        reader.upload_file(path_or_fileobj=b"y", path_in_repo="y", repo_id=mine)
    assert refused.value.response.status_code == 403
    assert "read-only" in refused.value.response.headers["x-error-message"]
    with pytest.raises(HfHubHTTPError):
        reader.delete_repo(mine)


def test_members_act_by_their_role(server, user, name):
    writer, reader = user(), user()
    auth.create_user(server.state.store, name, kind="org")
    auth.add_member(server.state.store, name, writer.whoami()["name"], "write")
    auth.add_member(server.state.store, name, reader.whoami()["name"], "read")
    assert [org["name"] for org in writer.whoami()["orgs"]] == [name]
    made = writer.create_repo(f"{name}/x", private=True).repo_id
    assert reader.model_info(made).id == made
    with pytest.raises(HfHubHTTPError) as refused:
        reader.create_branch(made, branch="b")
    assert refused.value.response.status_code == 403


def test_an_unknown_or_expired_token_is_named_as_such(server, repo, user):
    expired = server.create_token("local", lifetime_s=0.001)
    for token in ("hf_wrong", expired):
        with pytest.raises(HfHubHTTPError) as refused:
            HfApi(endpoint=server.endpoint, token=token).model_info(repo)
        assert not isinstance(refused.value, RepositoryNotFoundError)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["x-error-message"] == "Invalid credentials in Authorization header"


def test_lists_filter_sort_and_page(admin, http, name):
    for i in range(3):
        admin.create_repo(f"{name}/m{i}")
    card = b"---\nlicense: mit\ntags: [zebra]\npipeline_tag: text-generation\n---\n# hi\n"
    admin.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=f"{name}/m1")
    assert {m.id for m in admin.list_models(author=name)} == {f"{name}/m{i}" for i in range(3)}
    assert [m.id for m in admin.list_models(author=name, search="M2")] == [f"{name}/m2"]
    assert [m.id for m in admin.list_models(filter=["zebra", "license:mit"])] == [f"{name}/m1"]
    assert [m.pipeline_tag for m in admin.list_models(author=name, pipeline_tag="text-generation")] == [
        "text-generation"
    ]
    page = http.get("/api/models", params={"author": name, "limit": 2})
    assert len(page.json()) == 2 and 'rel="next"' in page.headers["link"]
    rest = http.get(page.headers["link"].split(">")[0][1:])
    assert len(rest.json()) == 1 and "link" not in rest.headers
    (full,) = admin.list_models(author=name, search="m1", full=True, cardData=True)
    assert full.card_data.license == "mit" and "README.md" in [s.rfilename for s in full.siblings]
    admin.create_repo(f"{name}/d", repo_type="dataset")
    assert [d.id for d in admin.list_datasets(author=name)] == [f"{name}/d"]


def test_info_carries_card_files_and_sizes(admin, repo):
    card = b"---\nlicense: apache-2.0\nlanguage: [en]\ndate: 2026-01-01\n---\n"
    admin.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo)
    info = admin.model_info(repo, files_metadata=True)
    assert info.card_data.license == "apache-2.0" and "license:apache-2.0" in info.tags
    sizes = {s.rfilename: s.size for s in info.siblings}
    assert sizes["README.md"] == len(card)
    assert admin.model_info(repo, expand=["sha"]).siblings is None
    assert admin.model_info(repo, revision=info.sha[:10]).sha == info.sha
    with pytest.raises(RevisionNotFoundError):
        admin.model_info(repo, revision="nope")


def test_cards_are_checked_on_the_way_in(admin, repo, http):
    with pytest.raises(ValueError, match=r"(?i)invalid metadata"):
        admin.upload_file(path_or_fileobj=b"---\na: [1\n---\n", path_in_repo="README.md", repo_id=repo)
    bomb = "---\na: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n---\n"
    assert http.post("/api/validate-yaml", json={"content": bomb, "repoType": "model"}).status_code == 400
    fine = http.post("/api/validate-yaml", json={"content": "# no head", "repoType": "model"})
    assert fine.status_code == 200 and fine.json()["warnings"]


def test_a_hash_is_no_key_to_another_repository(admin, repo, name, user):
    admin.update_repo_settings(repo, private=True)
    secret = admin.upload_file(path_or_fileobj=b"secret", path_in_repo="s.txt", repo_id=repo).oid
    other = user()
    mine = other.create_repo(name).repo_id
    with pytest.raises(RevisionNotFoundError):
        other.model_info(mine, revision=secret)
    with pytest.raises(RevisionNotFoundError):
        other.create_branch(mine, branch="steal", revision=secret)


def test_foreign_hosts_and_foreign_sites_are_refused(http, repo):
    assert http.get("/api/models", headers={"Host": "evil.example:80"}).status_code == 421
    body = commit_lines("x", regular("a", b"a"))
    refused = http.post(f"/api/models/{repo}/commit/main", content=body, headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403


def test_bad_json_is_a_bad_request(http):
    for body in (b"{", b"[]", b"[" * 100_000):
        assert http.post("/api/repos/create", content=body).status_code == 400
    with pytest.raises(BadRequestError):
        raise_for(http.post("/api/repos/create", json={"name": "x", "type": "nonsense"}))


def raise_for(response):
    from huggingface_hub.utils import hf_raise_for_status

    hf_raise_for_status(response)
