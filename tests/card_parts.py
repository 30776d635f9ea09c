"""A small recipe with cards, and what its repositories on the hub then hold."""

from __future__ import annotations

import copy
from typing import Any

import yaml

import hubwright as hw
from hubwright.hub_sync.pull import pull
from hubwright.hub_sync.refs import ArtifactRef

AUTHOR = {
    "title": "Drills of mine",
    "text": "Some **drills**.",
    "tags": ["mine"],
    "authors": ["Ada Lovelace"],
    "contact": "ada@example.org",
    "citation": "@misc{drills, title={Drills}}",
    "intended_use": "Tests.",
    "limits": "Templates.",
    "language": "en",
    "columns": {"prompt": "two turns with feedback"},
}
RECIPE: dict[str, Any] = {
    "name": "small",
    "card": {"contact": "the-lab@example.org", "tags": ["lab"], "limits": "All is small."},
    "steps": {
        "drills": {"uses": "own_steps:drills", "publish": {"dataset": "drills", "tag": "v1.0.0", "card": AUTHOR}},
        "pairs": {"uses": "own_steps:drills", "inputs": {"dataset": "steps.drills"}, "publish": {"dataset": "pairs"}},
    },
}


STEPS = """
import numpy
from datasets import Dataset, DatasetDict
from pydantic import BaseModel
from safetensors.numpy import save_file
from hubwright.hub_sync.step import Role, StepSpec

class Config(BaseModel):
    seed: int = 0
    max_steps: int = -1

def build(config, context):
    context.report.card |= {"license": "cc0-1.0", "language": ["de"], "tags": ["two"]}
    return DatasetDict(train=Dataset.from_dict({"prompt": [str(config.seed), "b"], "answer": ["1", "2"]}))

def train(config, context):
    save_file({"w": numpy.zeros(2)}, context.output / "model.safetensors")
    context.report.card["license"] = "apache-2.0"

DATA = {"dataset": Role("dataset", optional=True)}
drills = StepSpec("builder", "own_steps:Config", "own_steps:build", "dataset", "two rows", DATA)
zeros = StepSpec("trainer", "own_steps:Config", "own_steps:train", "model", "two zeros")
"""


def with_card(value: dict[str, Any], step: str, **fields: Any) -> dict[str, Any]:
    """A copy of a recipe with other fields on the card of a step."""
    changed = copy.deepcopy(value)
    publish = changed["steps"][step]["publish"]
    publish["card"] = publish.get("card", {}) | fields
    return changed


def run(value: dict[str, Any], namespace: str, **options: Any) -> dict[str, Any]:
    return hw.run(value, namespace=namespace, progress=False, **options)


def card_at(repo_id: str, revision: str = "main", repo_type: str = "dataset") -> str:
    return (pull(ArtifactRef.parse(f"{repo_id}@{revision}", repo_type)) / "README.md").read_text()


def header_of(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def commits(api: Any, repo_id: str, repo_type: str = "dataset") -> list[str]:
    return [commit.commit_id for commit in api.list_repo_commits(repo_id, repo_type=repo_type)]


def tags(api: Any, repo_id: str, repo_type: str = "dataset") -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id, repo_type=repo_type).tags}
