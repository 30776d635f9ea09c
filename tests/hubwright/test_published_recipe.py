"""The recipe that is published with a result: nothing of this machine in it, and the same when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hubwright.hub_sync.errors import HubError, UsageError
from hubwright.published_recipe import _Dumper, portable, refuse_secrets
from hubwright.recipe import find_recipe
from hubwright.sources import path_elsewhere
from hubwright.yaml_source import read_yaml


def test_settings_lose_the_paths_of_this_machine_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, config = tmp_path / "rows.jsonl", tmp_path / "accelerate.yaml"
    rows.touch()
    config.touch()
    settings = {
        "source": str(rows),
        "sources": [{"source": rows}, {"source": "org/data"}, {"source": "https://x.org/a.zip"}],
        "accelerate_config": str(config),
        "metadata": {"judge": f"replay:{rows}", "model": "org/model"},
        "system_instruction": f"Write to /tmp, never to {tmp_path.parent}.",
        "prefix": "/no_think",
        "splits": (0.9, 0.1),
        "seed": 3,
    }
    recorded = {
        "source": "rows.jsonl",
        "sources": [{"source": "rows.jsonl"}, {"source": f"org/data@{'a' * 40}"}, {"source": "https://x.org/a.zip"}],
        "accelerate_config": {"num_processes": 2},
    }
    assert portable(settings, recorded) == {
        **settings,
        **recorded,
        "metadata": {"judge": "replay:rows.jsonl", "model": "org/model"},
        "splits": [0.9, 0.1],
    }
    assert portable({"source": str(rows)}) == {"source": "rows.jsonl"}
    monkeypatch.chdir(tmp_path.parent)
    below = f"{tmp_path.name}/rows.jsonl"
    assert portable({"source": f"./{below}"}, {"source": "rows.jsonl"}) == {"source": below}
    assert path_elsewhere(f"../{below}") == "rows.jsonl"


NASTY = [
    "plain", "two\nlines\n", "  indented\nmore", "trailing \nblank", "# comment\nno", "tab\tand: colon\n- dash", "no", "2026",
    "\n\nblank first", "é ü 漢字 \U0001f600\nline", "a" * 2000, "'quotes' \"both\"\n", "x: |\n  y", "---\na", "",
]  # fmt: skip


def test_texts_are_read_as_they_were_written(tmp_path: Path) -> None:
    shared = ["en"]  # would become an anchor, which recipes refuse
    value: dict[str, Any] = {"texts": NASTY, "one": {"languages": shared}, "two": {"languages": shared}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
    assert read_yaml(path)[0] == value
    assert "|\n  two\n" in path.read_text() or "- |\n" in path.read_text()


SECRETS = {
    "a token of the Hub": {"card": {"contact": "hf_" + "a" * 34}},
    "a key of OpenAI in a text": {"metadata": {"judge": "openai:m@https://x.org sk-proj-" + "a1" * 20}},
    "a setting that is a key": {"model_args": {"api_key": "0123456789"}},
    "a password in an address": {"base_url": "https://me:secret@example.org/v1"},
}


@pytest.mark.parametrize("name", SECRETS)
def test_secret_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(UsageError, match=r"^\('[a-z]+', '?.*: this looks like a key or password, and recipes are"):
        refuse_secrets({"steps": [SECRETS[name]]}, str)


def test_what_only_looks_like_a_secret_is_taken() -> None:
    refuse_secrets(
        {"api_key_env": "OPENAI_API_KEY", "api_key": "EMPTY", "think_end_token": "</think>", "max_tokens": 12345678,
         "text": "sk-learn, me@example.org, https://example.org:8000/@user", "password": None}, str,
    )  # fmt: skip


def test_recipe_of_an_artifact_without_one_is_refused(api: Any, namespace: str) -> None:
    api.create_repo(f"{namespace}/bare", repo_type="dataset")
    with pytest.raises(UsageError, match=r"bare holds no recipe\.yaml: save the recipe on its card, and run that"):
        find_recipe(f"datasets/{namespace}/bare")
    with pytest.raises(HubError, match="not found"):
        find_recipe(f"datasets/{namespace}/absent@v1")
    with pytest.raises(UsageError, match="'org/name' is neither a recipe file nor a shipped recipe"):
        find_recipe("org/name")
