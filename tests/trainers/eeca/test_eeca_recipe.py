"""The shipped recipe on a hub, with models in miniature in the place of its own: published, pulled, and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from eeca_parts import landmarks
from huggingface_hub import HfApi
from trainer_parts import make_model
from vision_parts import drawing, make_tower, save_rows

from hubwright.recipe import shipped_recipes

CARD = """---
license: mit
configs:
- config_name: questions
  data_files:
  - {split: train, path: data/train-*}
  - {split: validation, path: data/validation-*}
---
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_shipped_recipe_from_questions_to_two_models(
    hubwright_in_process: Callable[..., Any], tmp_path: Path, api: HfApi, namespace: str
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    for name, folder in {"tower": make_tower(tmp_path / "tower"), "lm": make_model(tmp_path / "lm")}.items():
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder)
    data = save_rows(tmp_path / "data", landmarks(16))
    save_rows(data, landmarks(8, turns=2)[8:], "validation")
    (data / "README.md").write_text(CARD)
    api.create_repo(f"{namespace}/landmarks", repo_type="dataset")
    api.upload_folder(repo_id=f"{namespace}/landmarks", folder_path=data, repo_type="dataset")
    text = shipped_recipes()["eeca"].read_text()
    names = {
        "facebook/dinov2-small": "tower",
        "HuggingFaceTB/SmolLM2-135M-Instruct": "lm",
        "me/landmarks\n": "landmarks\n",
    }
    for official, name in names.items():
        assert official in text
        text = text.replace(official, f"{namespace}/{name}")
    for setting in ("image_size: 112", "max_steps: 150", "max_steps: 100"):
        assert setting in text
        text = text.replace(setting, {"i": "image_size: 28", "m": "max_steps: 3"}[setting[0]])
    (tmp_path / "eeca.yaml").write_text(text)
    done = hubwright_in_process("run", "eeca.yaml", "--set", f"namespace={namespace}")
    assert done.returncode == 0, done.stderr[-3000:]
    logits = []
    for name in ("landmarks-aligned", "landmarks-tuned"):
        repo = f"{namespace}/{name}"
        model = AutoModelForImageTextToText.from_pretrained(repo, trust_remote_code=True).eval()
        batch = AutoProcessor.from_pretrained(repo)(images=drawing("red", "bar"), text="<image>a", return_tensors="pt")
        with torch.no_grad():
            logits.append(model(**batch).logits)
        assert hasattr(model, "heads") == (name == "landmarks-aligned")
        [record] = json.loads(Path(api.hf_hub_download(repo, "provenance.json")).read_text())["records"][:1]
        assert record["report"]["counts"]["train_rows_used"] == 16
        assert record["report"]["metrics"]["eval_loss_hc"] > 0
        card = Path(api.hf_hub_download(repo, "README.md")).read_text()
        assert "## Image tokens and losses" in card or "Image tokens and losses" in card
        assert "trust_remote_code=True" in card
    assert not torch.equal(*logits)
