"""The author's part of a card on the embedded hub: changed without a run, with reports and tags, killed, made again."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from card_parts import RECIPE, STEPS, card_at, commits, header_of, run, tags, with_card

import hubwright as hw
from hubwright.hub_sync import provenance
from hubwright.hub_sync.errors import ConflictError, DataError
from hubwright.hub_sync.pull import pull
from hubwright.hub_sync.refs import ArtifactRef


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with steps that take no time."""
    (tmp_path / "own_steps.py").write_text(STEPS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_steps", raising=False)
    monkeypatch.chdir(tmp_path)


@contextmanager
def requests() -> Iterator[list[str]]:
    """Method and path of every request to the hub."""
    from huggingface_hub.utils import httpx

    sent: list[str] = []
    original = httpx.Client.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        sent.append(f"{request.method} {request.url.path}")
        return original(self, request, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "send", send)
        yield sent


def test_text_changed_after_publishing_replaces_the_card_alone(api: Any, namespace: str) -> None:
    first = run(RECIPE, namespace)
    repo = f"{namespace}/drills"
    card = card_at(repo, first["drills"].ref.revision)
    header = header_of(card)
    assert header["pretty_name"] == "Drills of mine" and header["language"] == ["en"]
    assert "mine" in header["tags"] and "lab" not in header["tags"], "a step's own field comes first"
    assert card.index("# Drills of mine\n\nSome **drills**.") < card.index("## Use it")
    assert "| prompt | two turns with feedback | " in card and "## Intended use\n\nTests." in card
    assert "```bibtex\n@misc{drills" in card and "Ada Lovelace" in card and "Contact: ada@example.org" in card
    pairs = card_at(f"{namespace}/pairs")
    assert "Contact: the-lab@example.org" in pairs and "## Limits\n\nAll is small." in pairs
    with requests() as sent:
        again = run(RECIPE, namespace)
    assert {outcome.state for outcome in again.values()} == {"skipped"}
    assert sent == [
        "HEAD /",
        f"GET /api/datasets/{repo}/commits/main",
        f"GET /api/datasets/{repo}/refs",
        f"GET /api/datasets/{namespace}/pairs/commits/main",
    ]

    changed = with_card(RECIPE, "drills", text="Other words.", tags=["mine", "new"])
    assert run(changed, namespace, dry_run=True)["drills"].state == "card" and len(commits(api, repo)) == 2
    outcomes = run(changed, namespace)
    assert {name: one.state for name, one in outcomes.items()} == {"drills": "card", "pairs": "skipped"}
    assert {name: one.ref for name, one in outcomes.items()} == {name: one.ref for name, one in first.items()}
    newest = commits(api, repo)[0]
    assert newest != first["drills"].ref.revision and len(commits(api, repo)) == 3
    card = card_at(repo)
    assert "Other words." in card and "Some **drills**." not in card and "new" in header_of(card)["tags"]
    assert "Other words." in (pull(ArtifactRef("dataset", repo)) / "recipe.yaml").read_text()
    assert tags(api, repo) == {"v1.0.0": first["drills"].ref.revision}
    for revision in ("main", "v1.0.0"):
        hw.verify(f"datasets/{repo}@{revision}")
    assert {one.state for one in run(changed, namespace).values()} == {"skipped"}
    del changed["steps"]["drills"]["publish"]["card"]
    assert run(changed, namespace)["drills"].state == "card"
    assert "Other words." not in card_at(repo) and "the-lab@example.org" in card_at(repo)


def test_new_tag_names_the_new_card_and_an_old_one_stays(api: Any, namespace: str, monkeypatch: Any) -> None:
    from hubwright import runner

    first = run(RECIPE, namespace, only="drills")["drills"]
    changed = with_card(RECIPE, "drills", text="Other words.")
    changed["steps"]["drills"]["publish"]["tag"] = "v1.0.1"
    with monkeypatch.context() as patch:  # as if killed behind the commit
        patch.setattr(runner, "add_tag", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(changed, namespace, only="drills")
    repo = f"{namespace}/drills"
    newest = commits(api, repo)[0]
    assert tags(api, repo) == {"v1.0.0": first.ref.revision}
    assert run(changed, namespace, only="drills")["drills"].state == "skipped"
    assert tags(api, repo) == {"v1.0.0": first.ref.revision, "v1.0.1": newest} and commits(api, repo)[0] == newest
    assert 'revision="v1.0.1"' in card_at(repo) and 'revision="v1.0.0"' in card_at(repo, "v1.0.0")
    hw.verify(f"datasets/{repo}@v1.0.1")
    changed["steps"]["drills"]["publish"]["tag"] = "v1.0.2"  # a tag alone
    run(changed, namespace, only="drills")
    assert 'revision="v1.0.2"' in card_at(repo, "v1.0.2") and run(changed, namespace)["drills"].ref == first.ref


def test_text_changed_between_work_and_publishing_is_published(api: Any, namespace: str, monkeypatch: Any) -> None:
    from hubwright import making, runner

    with monkeypatch.context() as patch:
        patch.setattr(runner, "publish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(RECIPE, namespace, only="drills")
    monkeypatch.setattr(making, "run_function", lambda spec: pytest.fail("the step worked again"))
    run(with_card(RECIPE, "drills", text="Other words."), namespace, only="drills")
    assert "Other words." in card_at(f"{namespace}/drills") and len(commits(api, f"{namespace}/drills")) == 2


def test_main_that_moves_is_read_again_once(api: Any, namespace: str, monkeypatch: Any) -> None:
    from hubwright import cards

    run(RECIPE, namespace, only="drills")
    original, calls = cards.publish_card, []

    def publish_card(folder: Path, match: Any, **options: Any) -> Any:
        calls.append(match.head)
        if len(calls) <= moves:
            api.upload_file(
                path_or_fileobj=f"{moves} {len(calls)}".encode(), path_in_repo="x.txt", repo_id=f"{namespace}/drills",
                repo_type="dataset",
            )  # fmt: skip
        return original(folder, match, **options)

    monkeypatch.setattr(cards, "publish_card", publish_card)
    moves = 1
    changed = with_card(RECIPE, "drills", text="Other words.")
    assert run(changed, namespace, only="drills")["drills"].state == "card"
    assert len(calls) == 2 and "Other words." in card_at(f"{namespace}/drills")
    calls.clear()
    moves = 2
    with pytest.raises(ConflictError):
        run(with_card(RECIPE, "drills", text="Third words."), namespace, only="drills")
    assert "Other words." in card_at(f"{namespace}/drills")


def test_card_of_a_later_result_is_left(api: Any, namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    run(RECIPE, namespace, only="drills")
    later = copy.deepcopy(RECIPE)
    later["steps"]["drills"]["with"] = {"seed": 9}
    later["steps"]["drills"]["publish"]["tag"] = "v2.0.0"
    run(later, namespace, only="drills")
    before = commits(api, f"{namespace}/drills")
    assert run(with_card(RECIPE, "drills", text="Other words."), namespace, only="drills")["drills"].state == "skipped"
    assert "main holds a later result, whose card is left as it is" in caplog.text
    assert commits(api, f"{namespace}/drills") == before


@pytest.fixture
def trained_with_report(api: Any, namespace: str, tmp_path: Path) -> dict[str, Any]:
    """A recipe that trains a model, which is published, and reports a result about it, which is not."""
    value: dict[str, Any] = {
        "name": "trained",
        "card": {"authors": "Ada"},
        "steps": {
            "tuned": {
                "uses": "own_steps:zeros",
                "with": {"max_steps": 20},
                "publish": {"model": "tuned", "card": {"text": "First words."}},
            }
        },
    }
    commit = run(value, namespace)["tuned"].ref.revision
    folder = tmp_path / "result"
    folder.mkdir()
    metrics = {"accuracy": {"value": 0.75, "stderr": 0.1, "higher_is_better": True}}
    (folder / "results.json").write_text(json.dumps({"tasks": {"drills": {"metrics": metrics, "n": 16}}}))
    about = {"role": "model", "type": "model", "repo_id": f"{namespace}/tuned", "commit": commit}
    record: dict[str, Any] = {"step": {}, "config": {}, "inputs": [about], "fingerprint": "f", "code": {}, "files": []}
    record["report"] = {"chance": {"drills/accuracy": 0.25}}
    (folder / "provenance.json").write_text(provenance.dump([record]))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    api.create_repo(f"{namespace}/result", repo_type="dataset")
    api.upload_folder(repo_id=f"{namespace}/result", folder_path=folder, repo_type="dataset")
    value["steps"]["report"] = {
        "uses": "report",
        "inputs": {"model": "steps.tuned", "result": f"{namespace}/result"},
        "publish": {"model": "tuned", "tag": "v1.0.0"},
    }
    return value


def test_report_survives_a_changed_text(api: Any, namespace: str, trained_with_report: dict[str, Any]) -> None:
    value, repo = trained_with_report, f"{namespace}/tuned"
    first = run(value, namespace)
    assert {name: one.state for name, one in first.items()} == {"tuned": "skipped", "report": "published"}
    card = card_at(repo, repo_type="model")
    assert "First words." in card and "Ada." in card and "| accuracy | 0.75 (0.554 to 0.946) | 0.25 |" in card
    assert yaml.safe_load((pull(ArtifactRef("model", repo)) / "recipe.yaml").read_text())["steps"].keys() == {
        "tuned", "report",
    }  # fmt: skip
    assert "**A trial**: the training was ended after 20 optimiser steps" in card and "| own_steps | `" in card
    hw.verify(f"models/{repo}@v1.0.0")

    changed = with_card(value, "tuned", text="Other words.")
    again = run(changed, namespace)
    assert {name: one.state for name, one in again.items()} == {"tuned": "card", "report": "skipped"}
    card = card_at(repo, repo_type="model")
    assert "Other words." in card and "| accuracy | 0.75" in card
    hw.verify(f"models/{repo}@main")

    changed = with_card(changed, "report", limits="Sixteen documents.")
    changed["steps"]["report"]["publish"]["tag"] = "v1.0.1"
    again = run(changed, namespace)
    assert {name: one.state for name, one in again.items()} == {"tuned": "skipped", "report": "card"}
    card = card_at(repo, "v1.0.1", "model")
    assert "Other words." in card and "Sixteen documents." in card and "| accuracy | 0.75" in card and "Ada." in card
    assert tags(api, repo, "model") == {
        "v1.0.0": first["report"].ref.revision, "v1.0.1": commits(api, repo, "model")[0],
    }  # fmt: skip
    hw.verify(f"models/{repo}@v1.0.1")
    assert {one.state for one in run(changed, namespace).values()} == {"skipped"}


def test_report_built_before_the_text_changed_shows_the_new_one(
    api: Any, namespace: str, trained_with_report: dict[str, Any], monkeypatch: Any
) -> None:
    from hubwright import runner

    value = trained_with_report
    with monkeypatch.context() as patch:
        patch.setattr(runner, "publish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(value, namespace)
    run(with_card(value, "tuned", text="Other words."), namespace)
    card = card_at(f"{namespace}/tuned", repo_type="model")
    assert "Other words." in card and "First words." not in card and "| accuracy | 0.75" in card
    hw.verify(f"models/{namespace}/tuned@main")


def test_recipe_of_a_card_makes_the_same_elsewhere(
    api: Any, namespace: str, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In an empty folder, below another namespace: with the commits of the lock and nothing of this machine."""
    rows = tmp_path / "secret-client" / "rows.jsonl"
    rows.parent.mkdir()
    rows.write_text('{"question": "a", "answer": "b"}\n')
    messages = {"uses": "rows", "with": {"source": str(rows), "format": "messages", "license": "mit"}}
    value: dict[str, Any] = {"name": "small", "steps": {"drills": RECIPE["steps"]["drills"]}}
    value["steps"]["mine"] = messages | {"publish": {"dataset": f"{namespace}/mine"}}
    value["steps"]["mixed"] = {
        "uses": "mix",
        "inputs": {"part_a": "steps.mine", "part_b": f"{namespace}-else/outside"},
        "publish": {"dataset": "mixed"},
    }
    outside = {"name": "outside", "steps": {"outside": messages | {"publish": {"dataset": "outside"}}}}
    run(outside, f"{namespace}-else")
    run(value, namespace, only="mine")
    made = run(value, namespace, only="mixed")["mixed"].ref
    folder = pull(made)
    text = (folder / "recipe.yaml").read_text()
    assert "secret-client" not in text and str(tmp_path) not in text and "drills" not in text
    published = yaml.safe_load(text)
    assert published["namespace"] == namespace and published["steps"].keys() == {"mine", "mixed"}
    assert published["steps"]["mine"]["publish"] == {"dataset": "mine"}
    assert published["steps"]["mine"]["with"]["source"] == "rows.jsonl"
    lock = json.loads((folder / "recipe.lock").read_text())
    assert list(lock["inputs"]) == [f"dataset {namespace}-else/outside@main"]
    assert lock["steps"].keys() == {"mine"} and "127.0.0.1" not in (folder / "recipe.lock").read_text()
    card = (folder / "README.md").read_text()
    command = f"hubwright run datasets/{namespace}/mixed --set namespace=YOU"
    assert command in card and "| rows.jsonl | `" in card and "It needs these" in card

    outside["steps"]["outside"]["with"] = messages["with"] | {"language": ["en"]}
    run(outside, f"{namespace}-else")  # main moves on; the lock does not
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    monkeypatch.chdir(empty)
    (empty / "rows.jsonl").write_text(rows.read_text())
    plan = hw.load_recipe(f"datasets/{namespace}/mixed", namespace=f"{namespace}-you")
    assert run(plan, None, dry_run=True)["mixed"].state == "pending" and not (empty / "small.lock").exists()
    again = run(plan, None)["mixed"].ref
    assert again.repo_id == f"{namespace}-you/mixed" and (empty / "small.lock").is_file()
    parquet = [sorted(path.read_bytes() for path in pull(ref).glob("data/*.parquet")) for ref in (made, again)]
    assert parquet[0] == parquet[1]
    assert {one.state for one in run(plan, None).values()} == {"skipped"}
    (empty / "rows.jsonl").write_text(rows.read_text() * 2 + "\n")
    run(plan, None, dry_run=True)
    assert "step mine: rows.jsonl is not the file that the published result was made from (SHA-256 " in caplog.text


def test_columns_and_plots_that_the_result_has_not_are_refused_before_publishing(api: Any, namespace: str) -> None:
    for fields, message in (
        ({"columns": {"promt": "x"}}, "no column 'promt'; did you mean 'prompt'"),
        ({"text": "![loss](plots/loss.png)"}, "the result has no 'plots/loss.png'; it has no plots"),
    ):
        with pytest.raises(DataError, match=message) as refused:
            run(with_card(RECIPE, "drills", **fields), namespace, only="drills")
        assert "\n" not in str(refused.value)
        assert not api.repo_exists(f"{namespace}/drills", repo_type="dataset")
    first = run(RECIPE, namespace, only="drills")["drills"]
    with pytest.raises(DataError, match="no column 'promt'"):
        run(with_card(RECIPE, "drills", columns={"promt": "x"}), namespace, only="drills")
    assert commits(api, f"{namespace}/drills")[0] == first.ref.revision
