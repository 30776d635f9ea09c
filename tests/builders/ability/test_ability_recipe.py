"""The shipped recipe over small files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ability_parts import COLUMNS, RECIPE, SHARED, lines, written


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """The shipped recipe over the small files, which no digest knows."""
    told: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    step = told["steps"]["ability"]
    step["with"]["sources"] = [
        source | written(tmp_path / "raw", source["kind"]) | {"license": source["license"], "expect_sha256": {}}
        for source in step["with"]["sources"]
    ]
    (tmp_path / "raw" / "parallel_questions.jsonl").write_bytes(lines([{"t2": ["e0"]}]))
    step["with"]["sources"][3] |= {"parallel": {"source": "raw/parallel_questions.jsonl"}, "subjects": ["Biology"]}
    return told


def test_the_recipe_publishes_what_datasets_reads(
    hubwright_in_process: Any, namespace: str, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    import datasets

    from hubwright.hub_sync.pull import pull
    from hubwright.hub_sync.refs import ArtifactRef

    folders = []
    for name in ("once", "again"):
        path = tmp_path / f"{name}.yaml"
        recipe["steps"]["ability"]["publish"]["dataset"] = name
        path.write_text(yaml.safe_dump(recipe | {"namespace": namespace, "name": name}))
        run = hubwright_in_process("run", str(path), "--fresh")
        assert run.returncode == 0, run.stderr[-2000:]
        folders.append(pull(ArtifactRef.parse(f"{namespace}/{name}@v1.0.0", "dataset")))
    digests = [
        {p.relative_to(f).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(f.rglob("*.parquet"))}
        for f in folders
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 12
    card = (folders[0] / "README.md").read_text()
    assert "none-stated-by-upstream" in card and "nearly the same" in card and str(tmp_path) not in card
    names = datasets.get_dataset_config_names(str(folders[0]))
    assert sorted(names) == ["arc_en", "exams_de", "gsm8k_en", "mgsm_en", "mgsm_es", "msvamp_de", "msvamp_en"]
    for name in names:
        for rows in datasets.load_dataset(str(folders[0]), name).values():
            assert rows.column_names == COLUMNS and all(isinstance(choices, list) for choices in rows["choices"])


def test_a_source_without_a_licence_is_not_published_in_public(
    hubwright_in_process: Any, namespace: str, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    del recipe["steps"]["ability"]["publish"]["private"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe | {"namespace": namespace}))
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode != 0 and "states no licence" in run.stderr


def test_general_texts_are_kept_apart_from_it_whatever_its_licence(
    hubwright_in_process: Any, namespace: str, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    """What is only left out of the corpus does not make it private."""
    import datasets

    from hubwright.hub_sync.pull import pull
    from hubwright.hub_sync.refs import ArtifactRef

    kept = "A long enough text about ducks and ponds that asks nothing at all. " * 3
    (tmp_path / "texts.txt").write_text(f"{kept}\n\nOnce more: {SHARED['question']} {kept}")
    said = {"source": "texts.txt", "format": "text", "name": "ducks", "license": "mit"}
    recipe["steps"]["general"] = {
        "uses": "corpus",
        "inputs": {"decontaminate_against": "steps.ability"},
        "with": {"sources": [said], "valid_share": 0, "test_share": 0},
        "publish": {"dataset": "general", "tag": "v1.0.0"},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe | {"namespace": namespace}))
    run = hubwright_in_process("run", "r.yaml")
    assert run.returncode == 0, run.stderr[-2000:]
    folder = pull(ArtifactRef.parse(f"{namespace}/general@v1.0.0", "dataset"))
    rows = datasets.load_dataset(str(folder))["train"]
    assert rows["text"] == [kept.strip()] and "of a question of a test set | 1 |" in (folder / "README.md").read_text()
    checked = hubwright_in_process("verify", f"datasets/{namespace}/general@v1.0.0")
    assert checked.returncode == 0, checked.stdout
