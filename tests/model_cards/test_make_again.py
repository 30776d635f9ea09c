"""A card says how to make its artifact again, and which rows were used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

RECIPE = """
name: small
namespace: {namespace}
steps:
  drills:
    uses: feedback_drills
    with: {{train_rows: 32, test_rows: 8}}
    publish: {{dataset: drills, tag: v1.0.0}}
  mixed:
    uses: rows
    with: {{license: mit, format: messages, source: {source}}}
    publish: {{dataset: mixed}}
"""


def run(path: Path, folder: Path) -> list[Any]:
    from hubwright.recipe import load_plan
    from hubwright.runner import default_settings
    from hubwright.runner import run as run_plan

    plan = load_plan(path)
    return run_plan(plan, default_settings(plan, runs=folder / "runs", lock_path=folder / f"{path.stem}.lock"))


def test_recipe_on_card_makes_the_same_artifact(api: Any, namespace: str, tmp_path: Path, monkeypatch: Any) -> None:
    """What a stranger has is the card: its recipe has the fingerprint of what is published, so it is skipped."""
    from hubwright.hub_sync.pull import pull

    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"instruction": "a ```` fence", "output": "b"}\n')
    Path("small.yaml").write_text(RECIPE.format(namespace=namespace, source="rows.jsonl"))
    made = {outcome.step: outcome for outcome in run(Path("small.yaml"), tmp_path / "first")}
    for outcome in made.values():
        card = (pull(outcome.ref) / "README.md").read_text()
        _, text = re.search(r"^(`{3,})yaml\n(.*?)^\1$", card, re.MULTILINE | re.DOTALL).groups()  # type: ignore[union-attr]
        Path("recipe.yaml").write_text(text)
        again = run(Path("recipe.yaml"), tmp_path / "second")[0]
        assert (again.state, again.fingerprint, again.ref) == ("skipped", outcome.fingerprint, outcome.ref)
        assert "small.yaml" not in card


def test_counts_of_rows_are_on_the_card(api: Any, namespace: str, tmp_path: Path, monkeypatch: Any) -> None:
    from hubwright.hub_sync.pull import pull

    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 5 + '{"instruction": "a", "output": ""}\n')
    Path("small.yaml").write_text(
        RECIPE.format(namespace=namespace, source="rows.jsonl").replace(
            "license: mit,", "license: mit, max_rejected_share: 1,"
        )
    )
    card = (pull(run(Path("small.yaml"), tmp_path)[1].ref) / "README.md").read_text()
    assert "| records read | 6 |" in card and "| rejected: no text for the turn of role assistant | 1 |" in card
    assert "| train rows | 1 |" in card and "| rejected: duplicate | 4 |" in card
