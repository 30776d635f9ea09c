"""The history is real git: exported objects pass git's own check, and encodings survive any input."""

from __future__ import annotations

import sqlite3
import subprocess
import zlib
from contextlib import closing

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from hypothesis import given
from hypothesis import strategies as st

from hubwright.hub_sync.errors import StorageError
from hubwright.hub_sync.server import EmbeddedHub, names, objects, store
from hubwright.hub_sync.server.patterns import Glob, is_ignored, is_lfs, parse_ignore, parse_lfs_rules
from hubwright.hub_sync.server.problems import Problem
from hubwright.hub_sync.server.routes_files import parse_range
from hubwright.hub_sync.server.state import open_hub
from hubwright.hub_sync.server.tree import TreeEditor, walk


def export(state, folder, repo_name):
    """Write the objects and refs of a hub into a bare repository with git's own tools."""
    git = ["git", "-C", str(folder)]
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    for row in state.store.db.execute("SELECT sha, kind, data, blob FROM objects"):
        if row["kind"] == "tree":
            data = state.store.read_object(row["sha"], "tree")
        else:
            data = bytes(row["data"]) if row["data"] is not None else b"".join(state.blobs.read(row["blob"]))
        made = folder / "objects" / row["sha"][:2] / row["sha"][2:]
        made.parent.mkdir(exist_ok=True)
        made.write_bytes(zlib.compress(b"%s %d\x00" % (row["kind"].encode(), len(data)) + data))
    rows = state.store.db.execute(
        "SELECT f.name, f.target FROM refs f JOIN repos r ON r.id = f.repo WHERE r.name=?", (repo_name,)
    )
    for row in rows.fetchall():
        subprocess.run([*git, "update-ref", row["name"], row["target"]], check=True)
    return git


def test_git_accepts_every_object(server, admin, repo, tmp_path):
    first = [CommitOperationAdd(p, p.encode()) for p in ("a.txt", "a/b", "a-b", "ab", "z/y/x/w", "ünï", "sp ace")]
    first[0:2] = [CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("a/b", b"b")]
    admin.create_commit(repo, first, commit_message="first", commit_description="body\n\nmore")
    admin.create_commit(
        repo,
        [CommitOperationAdd("w.bin", b"\x00" * 5000), CommitOperationDelete("z/y/x/w")],
        commit_message="second — with ünïcode",
    )
    admin.create_tag(repo, tag="v1", tag_message="annotated\n\nbody")
    admin.create_branch(repo, branch="side/1")
    admin.create_pull_request(repo, title="pull")
    admin.create_commit(repo, [CommitOperationAdd("p", b"p")], commit_message="p", revision="refs/pr/1")
    admin.merge_pull_request(repo, 1)
    git = export(server.state, tmp_path / "bare", repo.split("/")[1])
    fsck(git)
    log = subprocess.run([*git, "log", "--format=%s", "main"], capture_output=True, text=True, check=True).stdout
    assert log.splitlines() == ["pull (#1)", "second — with ünïcode", "first", "initial commit"]
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", "--name-only", "main"], capture_output=True, check=True)
    assert set(listed.stdout.decode().split("\0")[:-1]) == set(admin.list_repo_files(repo))
    tag = subprocess.run([*git, "rev-parse", "v1^{commit}"], capture_output=True, text=True, check=True).stdout.strip()
    assert tag == admin.list_repo_refs(repo).tags[0].target_commit


def fsck(git):
    check = subprocess.run([*git, "fsck", "--full", "--strict"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "error" not in check.stderr and "warning" not in check.stderr


def test_large_folder_is_stored_as_differences_that_git_accepts(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHAIN_MOST", 5)
    with EmbeddedHub(tmp_path / "hub") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("acme/flat")
        files = {f"d/{number:03d}.txt" for number in range(0, 600, 2)}
        api.create_commit("acme/flat", [CommitOperationAdd(path, path.encode()) for path in files], commit_message="m")
        states = []
        for number in range(1, 16):
            gone = {f"d/{number * 2:03d}.txt", f"d/{number * 20:03d}.txt"} & files
            new = {f"d/{number * 2 - 1:03d}.txt", f"d/{number * 2:03d}.txt/below"}  # a file becomes a folder
            operations = [*map(CommitOperationDelete, gone), *(CommitOperationAdd(path, b"new") for path in new)]
            commit = api.create_commit("acme/flat", operations, commit_message=f"{number}")
            files = files - gone | new
            states.append((commit.oid, set(files)))
        rows = hub.state.store.db.execute(
            "SELECT base, size, LENGTH(data) AS stored FROM objects WHERE kind='tree' AND size > 4096"
        ).fetchall()
        assert len(rows) == 16 and [bool(row["base"]) for row in rows] == [False, *[True] * 5] * 2 + [
            False,
            *[True] * 3,
        ]
        assert sum(row["stored"] for row in rows if row["base"]) < 0.2 * rows[0]["size"]
        fsck(export(hub.state, tmp_path / "bare", "flat"))
    with EmbeddedHub(tmp_path / "hub") as hub:  # nothing of it in memory
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        for sha, expected in states:
            assert set(api.list_repo_files("acme/flat", revision=sha)) == {".gitattributes", *expected}


def test_root_of_schema_1_opens_and_takes_commits(tmp_path):
    root = tmp_path / "hub"
    add = [CommitOperationAdd(f"d/{number}.txt", b"old") for number in range(200)]
    with EmbeddedHub(root) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("acme/old")
        first = api.create_commit("acme/old", add, commit_message="old").oid
    with closing(sqlite3.connect(root / "hub.sqlite3")) as db:
        assert db.execute("SELECT COUNT(*) FROM objects WHERE base IS NOT NULL").fetchone() == (0,)
        db.execute("ALTER TABLE objects DROP COLUMN base")
        db.execute("PRAGMA user_version=1")
    with EmbeddedHub(root) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        assert len(api.list_repo_files("acme/old", revision=first)) == 201
        api.create_commit("acme/old", [CommitOperationAdd("d/0.txt", b"new")], commit_message="new")
        assert hub.state.store.db.execute("SELECT COUNT(*) FROM objects WHERE base IS NOT NULL").fetchone()[0] == 1
        fsck(export(hub.state, tmp_path / "bare", "old"))


def test_root_of_a_later_schema_is_refused_with_the_remedy(tmp_path):
    with closing(open_hub(tmp_path / "hub")) as hub:
        hub.store.db.execute("PRAGMA user_version=99")
    with pytest.raises(StorageError, match=r"schema 99.*serve it with the version that wrote it"):
        open_hub(tmp_path / "hub")


segments = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=20)
entries = st.dictionaries(
    segments, st.tuples(st.sampled_from(["100644", "40000"]), st.binary(min_size=20, max_size=20)), max_size=20
)


@given(entries, entries)
def test_difference_applied_to_a_tree_gives_the_other(before, after):
    one, two = (
        {name: objects.TreeEntry(mode, name, sha.hex()) for name, (mode, sha) in rows.items()}
        for rows in (before, after)
    )
    changes = objects.difference(one, two)
    objects.apply_difference(one, changes)
    assert objects.encode_tree(one.values()) == objects.encode_tree(two.values())


@given(entries)
def test_trees_survive_encoding(rows):
    tree = [objects.TreeEntry(mode, name, sha.hex()) for name, (mode, sha) in rows.items()]
    data = objects.encode_tree(tree)
    decoded = objects.decode_tree(data)
    assert sorted(decoded) == sorted(tree)
    assert objects.encode_tree(reversed(decoded)) == data


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), max_size=200))
def test_commits_survive_encoding(message):
    commit = objects.Commit("a" * 40, ("b" * 40,), objects.Signature("né <x>", "e@x", 7), message.strip("\n"))
    who = objects.Signature("né x", "e@x", 7)
    commit = objects.Commit(commit.tree, commit.parents, who, commit.message)
    assert objects.decode_commit(objects.encode_commit(commit)) == commit


@given(st.binary(max_size=300))
def test_broken_trees_raise_value_error_only(data):
    try:
        objects.decode_tree(data)
    except ValueError:
        pass


@given(st.text(max_size=80))
def test_accepted_paths_stay_inside_any_folder(path):
    """Whatever is accepted, joined to a folder, stays below it, and never touches a .git folder."""
    try:
        parts = names.split_path(path)
    except Problem as problem:
        assert problem.status == 422
        return
    assert "/".join(parts) == path and all(parts)
    assert not {".", ".."} & set(parts) and ".git" not in [part.lower() for part in parts]
    assert not path.startswith("/") and "\\" not in path and "\x00" not in path
    path.encode()


paths = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(st.tuples(st.booleans(), paths, st.sampled_from(["1" * 40, "2" * 40])), max_size=20))
def test_the_tree_editor_agrees_with_a_dictionary(server, steps):
    """Random puts and deletions (of files and whole folders) give the same files as a plain dict, or the same refusal."""
    store = server.state.store
    model: dict[str, str] = {}
    editor = TreeEditor(store, objects.EMPTY_TREE)
    for put, path, sha in steps:
        parts = path.split("/")
        if put:
            above = any("/".join(parts[:i]) in model for i in range(1, len(parts)))
            below = any(other.startswith(path + "/") for other in model)
            if above or below:
                with pytest.raises(Problem):
                    editor.set_file(parts, sha)
            else:
                editor.set_file(parts, sha)
                model[path] = sha
        elif path in model:
            editor.delete(parts, folder=False)
            del model[path]
        elif any(other.startswith(path + "/") for other in model):
            editor.delete(parts, folder=False)
            model = {other: blob for other, blob in model.items() if not other.startswith(path + "/")}
        else:
            with pytest.raises(Problem):
                editor.delete(parts, folder=False)
    tree, made = editor.write()
    store.put_objects(made)
    assert {entry.name: entry.sha for entry in walk(store, tree) if not entry.is_tree} == model


@pytest.mark.parametrize(
    "glob,path,expected",
    [
        ("*.bin", "a/b/c.bin", True), ("*.bin", "a.binx", False), ("/a.txt", "a.txt", True), ("/a.txt", "b/a.txt", False),
        ("a/*.txt", "a/b.txt", True), ("a/*.txt", "a/b/c.txt", False), ("a/**/c", "a/c", True), ("a/**/c", "a/x/y/c", True),
        ("**/c", "c", True), ("a/**", "a/b/c", True), ("a/**", "a", False), ("?.t", "x.t", True), ("[ab].t", "b.t", True),
        ("[!ab].t", "b.t", False), (r"\*.t", "*.t", True), (r"\*.t", "x.t", False), ("saved_model/**/*", "saved_model/a/b", True),
    ],
)  # fmt: skip
def test_globs_match_as_in_git(glob, path, expected):
    assert Glob(glob).matches(path.split("/")) is expected


def test_a_glob_full_of_stars_is_quick():
    assert not Glob("*a" * 100).matches(["a" * 200 + "b"])
    assert not Glob("**/a/" * 60 + "b").matches(["a"] * 400)


def test_ignore_and_attribute_files():
    rules = parse_ignore("# c\n*.log\n!keep.log\nbuild/\n\n")
    assert [is_ignored(rules, p) for p in ("x.log", "keep.log", "build/keep.log", "build", "a/x.log")] == [
        True, False, True, False, True,
    ]  # fmt: skip
    lfs = parse_lfs_rules("*.bin filter=lfs -text\nsmall/*.bin -filter\n")
    assert [is_lfs(lfs, p) for p in ("a.bin", "x/a.bin", "small/a.bin", "a.txt")] == [True, True, False, False]


def test_pointers_are_exactly_pointers():
    text = objects.encode_pointer("a" * 64, 12)
    assert objects.parse_pointer(text) == ("a" * 64, 12)
    assert objects.parse_pointer(text + b"x\n") is None and objects.parse_pointer(b" " + text) is None


@given(st.text(max_size=20), st.integers(0, 50))
def test_ranges_never_leave_the_file(text, size):
    try:
        found = parse_range(f"bytes={text}", size)
    except Problem as problem:
        assert problem.status == 416
        return
    assert found is None or 0 <= found[0] < found[1] <= size
