"""From a recipe to the hub and back: what a dry run finds, and what unmodified clients load."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from trainer_parts import make_model
from vision_parts import chats, drawing, make_tower, save_rows

ORG = "sight"
CARD = "---\nlicense: mit\n---\n"
SETTINGS = {
    "chat_template": "chatml_tools", "max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True, "bf16": False,
    "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Towers, a language model, and data sets with and without images on the hub."""
    folder = tmp_path_factory.mktemp("artifacts")
    made = {
        ("tower", "model"): make_tower(folder / "tower"),
        ("siglip", "model"): make_tower(folder / "siglip", "siglip"),
        ("lm", "model"): make_model(folder / "lm"),
        ("seen", "dataset"): save_rows(folder / "seen", chats(8)),
    }
    save_rows(folder / "seen", chats(2), "test")
    for name, columns in {
        "blind": {"messages": [chats(1)[0]["messages"]]},
        "named": {"image": ["a.png"], "text": ["a"]},
        "bare": {"image": [{"bytes": b"", "path": None}]},
    }.items():
        import datasets

        (folder / name / "data").mkdir(parents=True)
        datasets.Dataset.from_dict(columns).to_parquet(folder / name / "data" / "train-00000-of-00001.parquet")
        made[name, "dataset"] = folder / name
    for (name, kind), path in made.items():
        (path / "README.md").write_text(CARD)
        HfApi().create_repo(f"{ORG}/{name}", repo_type=kind)
        HfApi().upload_folder(repo_id=f"{ORG}/{name}", repo_type=kind, folder_path=path)


def write(folder: Path, inputs: dict[str, str], settings: dict[str, Any], **more: Any) -> str:
    """A recipe of one training."""
    inputs = {role: f"{ORG}/{name}" for role, name in inputs.items()}
    step = {"uses": "vision_sft", "inputs": inputs, "with": SETTINGS | settings, "publish": {"model": "seer"}}
    steps = {"seer": step, **more}
    (folder / "sight.yaml").write_text(yaml.safe_dump({"name": "sight", "namespace": ORG, "steps": steps}))
    return "sight.yaml"


PARTS = {"language_model": "lm", "vision_tower": "tower", "dataset": "seen"}


@pytest.mark.parametrize(
    ("inputs", "settings", "line"),
    [(PARTS | {"dataset": "blind"}, {}, "has neither `image` nor `images`: its columns are messages"),
     (PARTS | {"dataset": "named"}, {}, "column `image` holds string, and no images"),
     (PARTS | {"dataset": "bare"}, {}, "has none of `messages`, `prompt` + `completion` and `text`"),
     ({"model": "lm", "dataset": "seen"}, {}, "reads no images: name it as `language_model`"),
     (PARTS | {"vision_tower": "lm"}, {}, "is a model of language: name a vision model"),
     (PARTS | {"language_model": "siglip"}, {}, "is no language model of text alone"),
     (PARTS, {"image_size": 50}, "image_size: 50 is no multiple of the 14 pixels of a patch"),
     (PARTS, {"chat_template": "keep"}, "does not mark assistant turns"),
     (PARTS, {"lora": {"r": 2}}, "lora: an adapter of a model that is assembled here has no base"),
     ({"language_model": "lm", "dataset": "seen"}, {}, "inputs: name a vision-language `model`, or"),
     (PARTS, {"eval_split": "absent"}, "no split 'absent'")],
)  # fmt: skip
def test_a_dry_run_finds_what_does_not_fit(
    hubwright_in_process: Callable[..., Any],
    tmp_path: Path,
    inputs: dict[str, str],
    settings: dict[str, Any],
    line: str,
) -> None:
    done = hubwright_in_process("run", write(tmp_path, inputs, settings), "--dry-run")
    assert done.returncode != 0 and line in done.stderr.replace("\n", " "), done.stderr


def test_published_by_a_recipe_and_loaded_by_stock_clients(
    hubwright_in_process: Callable[..., Any], tmp_path: Path, api: HfApi
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    done = hubwright_in_process("run", write(tmp_path, PARTS, {"eval_split": "test"}))
    assert done.returncode == 0, done.stderr[-2000:]
    model, processor = (auto.from_pretrained(f"{ORG}/seer") for auto in (AutoModelForImageTextToText, AutoProcessor))
    turn = {
        "role": "user",
        "content": [{"type": "image", "image": drawing("red", "bar")}, {"type": "text", "text": "What?"}],
    }
    batch = processor.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert model.generate(**batch, max_new_tokens=3, do_sample=False).shape[1] == batch["input_ids"].shape[1] + 3
    card = Path(api.hf_hub_download(f"{ORG}/seer", "README.md")).read_text()
    assert "pipeline_tag: image-text-to-text" in card and f"- {ORG}/tower" in card and f"- {ORG}/lm" in card
    assert "AutoModelForImageTextToText" in card and "AutoProcessor" in card and "AutoModelForCausalLM" not in card
    (record,) = json.loads(Path(api.hf_hub_download(f"{ORG}/seer", "provenance.json")).read_text())["records"]
    assert record["report"]["metrics"]["tokens_per_image"] == 5


LM_EVAL = """
task: what_is_it
dataset_path: parquet
dataset_kwargs: {data_files: DATA}
test_split: train
output_type: generate_until
doc_to_text: "<image>What is it?"
doc_to_image: [image]
doc_to_target: answer
generation_kwargs: {until: ["<|im_end|>"], max_gen_toks: 4}
metric_list: [{metric: exact_match}]
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_lm_eval_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's own class for models of images and text, with the chat template, on what was published to a folder."""
    import datasets
    import lm_eval
    from lm_eval.tasks import TaskManager
    from trainer_parts import QUICK, context

    from hubwright.trainers import vision_sft

    parts = {"vision_tower": make_tower(tmp_path / "tower"), "language_model": make_model(tmp_path / "lm")}
    data = save_rows(tmp_path / "data", chats(8))
    step = context(tmp_path, {"dataset": data, **parts})
    vision_sft.train(vision_sft.VisionSFTConfig(**(QUICK | {"chat_template": "chatml_tools"})), step)
    rows = [{"image": row["image"], "answer": row["messages"][1]["content"]} for row in chats(4)]
    test = save_rows(tmp_path / "test", rows) / "data" / "train-00000-of-00001.parquet"
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)  # nobody is told
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "what.yaml").write_text(LM_EVAL.replace("DATA", str(test)))
    results = lm_eval.simple_evaluate(
        model="hf-multimodal", model_args={"pretrained": str(step.output), "dtype": "float32", "device": "cpu"},
        tasks=["what_is_it"], apply_chat_template=True, log_samples=True, batch_size=2, bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
    )  # fmt: skip
    assert 0 <= results["results"]["what_is_it"]["exact_match,none"] <= 1
    sample = results["samples"]["what_is_it"][0]
    assert sample["arguments"][0][0].startswith("<|im_start|>user\n<image>What is it?<|im_end|>")
    assert len(results["samples"]["what_is_it"]) == 4
