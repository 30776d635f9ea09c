"""Data, evaluations of two models and their summary as one recipe on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from domain_parts import HUMANEVAL, mbpp, write_lawbench, write_lines, write_scieval
from tiny_model import save_tiny_model


@pytest.mark.slow
def test_builders_evaluations_and_summary_are_published(
    hubwright_in_process: Any, api: Any, namespace: str, tmp_path: Path, quiet_progress: None
) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        folder = save_tiny_model(tmp_path / name, seed=seed)
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(folder_path=str(folder), repo_id=f"{namespace}/{name}")
    law, science = write_lawbench(tmp_path / "law"), write_scieval(tmp_path / "science")
    problems = {"humaneval": HUMANEVAL, "mbpp": [mbpp(number) for number in (2, 3, 4, 11)]}
    files = {name: write_lines(tmp_path / f"{name}.jsonl", rows) for name, rows in problems.items()}
    licence = {"license": "cc0-1.0"}
    steps: dict[str, Any] = {
        "lawbench": {"uses": "lawbench", "with": {"source": str(law)}},
        "scieval": {"uses": "scieval", "with": {"source": str(science), **licence}},
        **{
            name: {"uses": "code_problems", "with": {"kind": name, "source": str(path)}}
            for name, path in files.items()
        },
    }
    data = {"name": "data", "namespace": namespace, "steps": steps}
    for name, step in steps.items():
        step["publish"] = {"dataset": name, "tag": "v1.0.0"}
    metadata = {name: f"{namespace}/{name}@v1.0.0" for name in steps}
    settings = {
        "tasks": ["versatune_lawbench", "versatune_scieval", "versatune_code"], "metadata": metadata, "threads": 1,
        "dtype": "float32", "device": "cpu", "gen_kwargs": {"max_gen_toks": 4}, "bootstrap_iters": 2,
    }  # fmt: skip
    scores = {
        f"scores_{name}": {
            "uses": "lm_eval", "inputs": {"model": f"{namespace}/{name}"}, "with": settings,
            "publish": {"dataset": f"scores-{name}", "accept_unlicensed": "a model with random weights"},
        }
        for name in ("one", "two")
    }  # fmt: skip
    summary = {
        "uses": "versatune_summary",
        "inputs": {"arm_two": "steps.scores_two", "arm_one": "steps.scores_one"},
        "publish": {"dataset": "summary", "accept_unlicensed": "a model with random weights"},
    }
    (tmp_path / "data.yaml").write_text(json.dumps(data))
    (tmp_path / "scores.yaml").write_text(
        json.dumps({"name": "scores", "namespace": namespace, "steps": scores | {"summary": summary}})
    )
    for recipe in ("data.yaml", "scores.yaml"):
        done = hubwright_in_process("run", recipe)
        assert done.returncode == 0, done.stdout + done.stderr
    folder = Path(api.snapshot_download(f"{namespace}/summary", repo_type="dataset"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "two, one on 1 model; the baseline is two." in card and "35.20 %" in card
    assert "4 of 12 benchmarks; in not all evaluations: LegalBench" in card
    assert (folder / "plots" / "abilities-by-domain.png").read_bytes()[:4] == b"\x89PNG"
    provenance = (folder / "provenance.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in provenance and '"order": [\n' in provenance
