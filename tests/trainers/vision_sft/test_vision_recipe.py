"""The shipped recipe from end to end, with models in miniature in the place of its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from trainer_parts import make_model
from vision_parts import captioned, encoded, make_text_tower, make_tower

from hubwright.recipe import shipped_recipes


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_shipped_recipe_from_a_folder_to_two_models(
    hubwright_in_process: Callable[..., Any], tmp_path: Path, api: HfApi, namespace: str
) -> None:
    from transformers import AutoModel, AutoModelForImageTextToText

    for name, folder in {
        "tower": make_tower(tmp_path / "tower"),
        "text": make_text_tower(tmp_path / "text"),
        "lm": make_model(tmp_path / "lm"),
    }.items():
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        api.create_repo(f"{namespace}/{name}")
        api.upload_folder(repo_id=f"{namespace}/{name}", folder_path=folder)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with (pictures / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "caption"])
        for number, row in enumerate(captioned(2)):
            (pictures / f"{number}.png").write_bytes(encoded(row["image"]))
            writer.writerow([f"{number}.png", row["text"]])
    text = shipped_recipes()["vision"].read_text()
    for official, name in {
        "facebook/dinov2-small": "tower",
        "sentence-transformers/all-MiniLM-L6-v2": "text",
        "HuggingFaceTB/SmolLM2-135M-Instruct": "lm",
    }.items():
        assert official in text
        text = text.replace(official, f"{namespace}/{name}")
    small = text.replace("image_size: 112", "image_size: 28").replace("max_steps: 60", "max_steps: 3")
    (tmp_path / "vision.yaml").write_text(small)
    done = hubwright_in_process("run", "vision.yaml", "--set", f"namespace={namespace}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert AutoModel.from_pretrained(f"{namespace}/finder").config.model_type == "vision-text-dual-encoder"
    assert AutoModelForImageTextToText.from_pretrained(f"{namespace}/seer").config.image_seq_length == 5
    for name in ("finder", "seer"):
        records = json.loads(Path(api.hf_hub_download(f"{namespace}/{name}", "provenance.json")).read_text())[
            "records"
        ]
        counts = records[0]["report"]["counts"]
        assert counts["train_rows_used"] + counts["eval_rows_used"] == 32
        card = Path(api.hf_hub_download(f"{namespace}/{name}", "README.md")).read_text()
        assert "AutoProcessor" in card and "## Training" in card
