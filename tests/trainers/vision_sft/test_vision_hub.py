"""From a recipe to the hub and back: what a dry run finds, and what unmodified clients load."""

from __future__ import annotations

import json
import re
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
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "<image>What is it?"
doc_to_image: [image]
doc_to_target: "{{messages[1]['content']}}"
generation_kwargs: {until: ["<|im_end|>"], max_gen_toks: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_lm_eval_asks_it_about_images(
    hubwright_in_process: Callable[..., Any], tmp_path: Path, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm-eval's own class for models of images and text, as a step; the same documents have the same hashes twice."""
    import datasets
    from pyarrow import parquet

    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)  # nobody is told
    test = save_rows(tmp_path / "test", chats(2)) / "data" / "train-00000-of-00001.parquet"
    (tmp_path / "what.yaml").write_text(LM_EVAL.replace("DATA", str(test)))
    settings = {"backend": "hf-multimodal", "tasks": ["what_is_it"], "include_path": "what.yaml", "batch_size": 2,
                "dtype": "float32", "device": "cpu", "threads": 1}  # fmt: skip
    for name in ("one", "two"):
        scores = {
            "uses": "lm_eval", "inputs": {"model": "steps.seer"}, "with": settings, "publish": {"dataset": f"scores-{name}"}
        }  # fmt: skip
        done = hubwright_in_process("run", write(tmp_path, PARTS, {"max_steps": 3}, scores=scores))
        assert done.returncode == 0, done.stderr[-2000:]
    rows = []
    for name in ("one", "two"):
        repo = f"{ORG}/scores-{name}"
        (path,) = [one for one in api.list_repo_files(repo, repo_type="dataset") if one.endswith(".parquet")]
        table = parquet.read_table(api.hf_hub_download(repo, path, repo_type="dataset"))
        rows.append(table.select(["doc", "doc_hash", "prompt_hash", "resps", "arguments"]).to_pylist())
    assert rows[0] == rows[1] and len(rows[0]) == 2
    assert re.search(r'"image": "[0-9a-f]{64}"', rows[0][0]["doc"])
    assert "<|im_start|>user\\n<image>What is it?<|im_end|>" in rows[0][0]["arguments"]
    results = json.loads(
        Path(api.hf_hub_download(f"{ORG}/scores-one", "results.json", repo_type="dataset")).read_text()
    )
    assert results["tasks"]["what_is_it"]["n"] == 2
