"""A package of someone else's, installed by pip beside hubwright: its builder, trainer and task in one recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import save_tiny_model

HERE = Path(__file__).resolve().parent / "reversed_words"


@pytest.mark.slow
def test_package_of_a_stranger_builds_trains_and_evaluates(
    hubwright: Callable[..., Any], api: Any, namespace: str, tmp_path: Path
) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download
    from safetensors.torch import load_file

    # pip builds in the source folder: a copy keeps this one clean.
    subprocess.run(["cp", "-r", str(HERE), str(tmp_path / "source")], check=True)
    command = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run([sys.executable, *command, str(tmp_path / "source")], check=True)
    save_tiny_model(tmp_path / "tiny")
    (tmp_path / "tiny" / "README.md").write_text("---\nlicense: mit\n---\n")
    api.create_repo(f"{namespace}/tiny")
    api.upload_folder(folder_path=tmp_path / "tiny", repo_id=f"{namespace}/tiny")
    (tmp_path / "recipe.yaml").write_text((HERE / "recipe.yaml").read_text().replace("me/tiny", f"{namespace}/tiny"))
    installed = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])}
    arguments = ["run", "recipe.yaml", "--set", f"namespace={namespace}", "--format", "json"]

    done = hubwright(*arguments, env=installed, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [step["state"] for step in json.loads(done.stdout)["steps"]] == ["published"] * 3
    tuned = load_file(hf_hub_download(f"{namespace}/reversed-tuned", "model.safetensors"))
    before = load_file(tmp_path / "tiny" / "model.safetensors")
    assert {name for name in before if not (before[name] == tuned[name]).all()} == {n for n in before if "norm" in n}
    scores = Path(snapshot_download(f"{namespace}/reversed-scores", revision="v1.0.0", repo_type="dataset"))
    record = json.loads((scores / "provenance.json").read_text())["records"][-1]
    assert {path.name for path in (scores / "tasks").rglob("*.*")} == {"words_backwards.yaml", "words.py"}
    assert str(tmp_path) not in json.dumps(record)
    assert "include_path: reversed_words:tasks" in (scores / "recipe.yaml").read_text()

    again = hubwright(*arguments, env=installed)
    assert [step["state"] for step in json.loads(again.stdout)["steps"]] == ["skipped"] * 3
    lost = hubwright(*arguments)
    assert lost.returncode == 2 and "'reversed_words' is no known step" in lost.stderr
