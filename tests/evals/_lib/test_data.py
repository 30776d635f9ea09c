"""Where a task's rows come from, and that a reference is read at the commit it meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubwright.evals._lib.data import TaskData, locate, stream_parquet, write_parquet
from hubwright.hub_sync.errors import DataError, HubError, HubwrightError

DATA = TaskData("test_rows", build="demo")


def parquet(folder: Path, count: int) -> Path:
    import datasets

    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = datasets.Dataset.from_list([{"number": number} for number in range(count)])
    rows.to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


def test_metadata_wins_over_the_environment_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DATA.variable == "HUBWRIGHT_DATA_TEST_ROWS"
    monkeypatch.delenv(DATA.variable, raising=False)
    assert DATA.source({}) == "hubwright/test-rows" and TaskData("test_rows", "a/c").source(None) == "a/c"
    monkeypatch.setenv(DATA.variable, "a/b")
    assert DATA.source(None) == "a/b"
    assert DATA.source({"dataset": "x"}) == "x"


def test_columns_that_are_absent_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'text'; build it with `hubwright run demo") as caught:
        DATA.rows({"dataset": parquet(tmp_path, 2)}, columns=("number", "text"))
    assert DATA.variable in str(caught.value) and "\n" not in str(caught.value)


def test_folders_and_files(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "rows", 3)
    (folder / "results.json").write_text("{}")
    assert len(DATA.rows({"dataset": str(folder)})) == 3
    assert len(DATA.rows({"dataset": folder})) == 3
    assert len(DATA.rows({"dataset": str(folder / "data/test-00000-of-00001.parquet")})) == 3
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps({"number": number}) + "\n" for number in range(2)))
    assert list(DATA.rows({"dataset": str(lines)})["number"]) == [0, 1]


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("no/such/place", DataError, "no such file or folder"),
        ("nobody/nothing", HubError, "not found .*; build it with `hubwright run demo"),
        ("rows.txt", DataError, "cannot read this kind of file"),
        ("broken.parquet", DataError, "cannot be read"),
        ("empty.jsonl", DataError, "broken|no rows|cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    source: str, error: type[HubwrightError], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rows.txt", "broken.parquet"):
        (tmp_path / name).write_text("x")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(error, match=said) as caught:
        DATA.rows({"dataset": source})
    assert "\n" not in str(caught.value)


def test_a_missing_split_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split 'train' cannot be read") as caught:
        DATA.rows({"dataset": str(parquet(tmp_path, 2))}, split="train")
    assert "\n" not in str(caught.value)


def test_a_reference_is_read_at_its_own_commit(api: Any, namespace: str, tmp_path: Path, quiet_progress: None) -> None:
    """A later commit on the branch does not change what a tag or a commit gives."""
    repo = f"{namespace}/rows"
    api.create_repo(repo, repo_type="dataset")
    first = api.upload_folder(folder_path=str(parquet(tmp_path / "a", 3)), repo_id=repo, repo_type="dataset").oid
    api.create_tag(repo, tag="v1", repo_type="dataset")
    api.upload_folder(folder_path=str(parquet(tmp_path / "b", 5)), repo_id=repo, repo_type="dataset")
    assert len(DATA.rows({"dataset": repo})) == 5
    assert len(DATA.rows({"dataset": f"{repo}@v1"})) == 3
    assert len(DATA.rows({"dataset": f"{repo}@{first}"})) == 3
    assert locate(f"{repo}@v1")[1] == f"{repo}@{first}"


def test_stream_parquet_in_batches_gives_the_bytes_of_rows_in_memory(tmp_path: Path) -> None:
    from datasets import Json, List, Value

    rows = [{"id": f"{n}\ud800", "n": n, "tool_calls": [{"a": n}] * (n % 3), "answer": None} for n in range(2345)]
    types = {"id": Value("string"), "n": Value("int64"), "tool_calls": List(Json()), "answer": Value("string")}
    write_parquet(rows, tmp_path / "memory", "answers")
    assert stream_parquet(iter(rows), tmp_path / "stream", "answers", types) == len(rows)
    name = "answers-00000-of-00001.parquet"
    assert (tmp_path / "stream" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [name, name, "memory", "stream"]
