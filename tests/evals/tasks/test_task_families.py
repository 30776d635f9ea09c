"""The task files lie by family, are named after it, and are those that the generators give."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hubwright.evals._lib.data import tasks_dir
from hubwright.evals._lib.task_files import task_files
from hubwright.evals.harness.command import list_tasks

FAMILIES = sorted(path for path in tasks_dir().iterdir() if path.is_dir() and path.name != "__pycache__")


class Loader(yaml.SafeLoader):
    """Reads tags as nothing."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


@pytest.mark.parametrize("family", ["button", "maet"])
def test_files_of_a_generator_are_the_committed_ones(family: str) -> None:
    folder = tasks_dir() / family
    files = task_files(folder)
    assert {name: (folder / f"{name}.yaml").read_text(encoding="utf-8") for name in files} == files
    by_hand = {path.stem for path in folder.glob("[!_]*.yaml")} - files.keys()
    assert by_hand == {folder.name}  # the group of the whole family


@pytest.mark.parametrize("family", FAMILIES, ids=lambda path: path.name)
def test_names_of_a_family_begin_with_its_own(family: Path) -> None:
    assert (family / "README.md").is_file() and list(tasks_dir().glob("*.yaml")) == []
    readme = (family / "README.md").read_text(encoding="utf-8")
    files = {
        path.stem: yaml.load(path.read_text(encoding="utf-8"), Loader=Loader) for path in family.glob("[!_]*.yaml")
    }
    members = {
        name
        for config in files.values()
        if isinstance(config["task"], list)
        for name in config["task"]
        if "group" in config and isinstance(name, str)
    }
    known = set(list_tasks())
    for name, config in files.items():
        assert name == config.get("group", config["task"]) and name.startswith(family.name) and name in known
        assert name in members or f"`{name}`" in readme
