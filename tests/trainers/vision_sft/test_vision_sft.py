"""Training of a vision-language model: what is learnt, what is published, and that nothing of an image is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from row_parts import learnt
from trainer_parts import QUICK, context, make_model
from vision_parts import chats, drawing, drawings, make_tower, save_rows

from hubwright.hub_sync.errors import UsageError
from hubwright.trainers import vision_sft
from hubwright.trainers.vision_sft.trainer import fit

Prepared = Callable[..., Any]
TEXT = {"chat_template": "keep", "learning_rate": 5e-3}


def run(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> tuple[Any, Any]:
    """(trainer, context) of a whole training."""
    step = context(folder, inputs, name)
    config = vision_sft.VisionSFTConfig(**(QUICK | {"chat_template": "chatml_tools"} | settings))
    trainers: list[Any] = []
    vision_sft.train(config, step, lambda *arguments: trainers.append(fit(*arguments)))
    return trainers[0], step


def ask(folder: Path, image: Any, question: str = "What is it?") -> str:
    """What a published model says of an image, by stock transformers."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    turn = {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": question}]}
    batch = processor.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    made = model.generate(**batch, max_new_tokens=20, do_sample=False)
    return str(processor.decode(made[0, batch["input_ids"].shape[1] :], skip_special_tokens=True))


def test_every_image_has_all_its_tokens_and_none_is_learnt(prepared: Prepared) -> None:
    trainer, step = prepared(chats(6))
    row = trainer.train_dataset[2]
    image = trainer.processing_class.image_token_id
    assert row["input_ids"].count(image) == 5 == (28 // 14) ** 2 + 1  # patches and the class token
    assert learnt(trainer, row) == ["red bar<|im_end|>"]
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(3)])
    assert (
        batch["pixel_values"].shape == (3, 3, 28, 28) and (batch["labels"][batch["input_ids"] == image] == -100).all()
    )
    features = trainer.model.get_image_features(pixel_values=batch["pixel_values"]).pooler_output
    assert sum(map(len, features)) == int((batch["input_ids"] == image).sum())
    assert step.report.counts["train_images"] == step.report.counts["train_rows_used"] == 6


@pytest.mark.parametrize("form", ["messages", "turns", "text"])
def test_batches_are_those_of_trl(prepared: Prepared, form: str) -> None:
    """The same tokens, pixels and labels as TRL's own collator makes as it trains; but it learns tokens of images."""
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    rows = chats(4)
    if form != "messages":
        rows = [
            {"image": row["image"], "prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in rows
        ]
    if form == "text":
        rows = [
            {"image": r["image"], "prompt": "<image>It is a ", "completion": r["completion"][0]["content"]}
            for r in rows
        ]
    trainer, _ = prepared(rows)
    ours = trainer.data_collator(list(trainer.train_dataset))
    processor = trainer.processing_class
    theirs = DataCollatorForVisionLanguageModeling(
        processor, assistant_only_loss=form == "messages", completion_only_loss=form != "messages"
    )
    examples: list[dict[str, Any]] = []
    for row in rows:
        example: dict[str, Any] = {"images": [row["image"]]}
        for name in row.keys() - {"image"}:
            value = row[name]
            if not isinstance(value, str):
                value = [turn | {"content": turn["content"].replace("<image>", "")} for turn in value]
            elif name == "completion":
                value += processor.tokenizer.eos_token
            example[name] = value
        examples.append(example)
    batch = theirs(examples)
    for name in ("input_ids", "labels", "attention_mask", "pixel_values"):
        assert torch.equal(ours[name], batch[name]), name


@pytest.mark.parametrize(
    ("settings", "moved"),
    [({}, {"projector"}), ({"trained": "language_model"}, {"projector", "language"}),
     ({"trained": "all"}, {"projector", "language", "tower"}),
     ({"lora": {"r": 4, "alpha": 8}, "merge_adapter": True}, {"projector", "language"})],
    ids=["projector", "language_model", "all", "lora"],
)  # fmt: skip
def test_what_is_trained_moves_and_the_rest_stays(
    tmp_path: Path, parts: dict[str, Path], settings: dict[str, Any], moved: set[str]
) -> None:
    from safetensors.torch import load_file
    from transformers import LlavaForConditionalGeneration

    data = save_rows(tmp_path / "data", chats(4))
    _, step = run(tmp_path, {"dataset": data, **parts}, save_dtype="as_trained", **settings)
    tower = load_file(parts["vision_tower"] / "model.safetensors")
    language = load_file(parts["language_model"] / "model.safetensors")
    model = LlavaForConditionalGeneration.from_pretrained(step.output)
    after = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    changed = set()
    for name, before in tower.items():
        name = name.replace("attention.attention.query", "attention.q_proj")
        name = name.replace("attention.attention.key", "attention.k_proj")
        name = name.replace("attention.attention.value", "attention.v_proj")
        name = name.replace("attention.output.dense", "attention.o_proj")
        changed |= set() if torch.equal(before, after[f"vision_tower.{name}"]) else {"tower"}
    for name, before in language.items():
        now = after[f"language_model.{name.removeprefix('model.')}"][: before.shape[0]]
        changed |= set() if torch.equal(before, now) else {"language"}
    assert changed == moved - {"projector"}
    assert step.report.metrics["trainable_parameters"] > 0


def test_published_model_is_the_trained_one_bit_for_bit(tmp_path: Path, parts: dict[str, Path]) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaProcessor

    data = save_rows(tmp_path / "data", chats(8))
    trainer, step = run(tmp_path, {"dataset": data, **parts}, trained="all")
    model, info = AutoModelForImageTextToText.from_pretrained(step.output, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    processor = AutoProcessor.from_pretrained(step.output)
    assert isinstance(processor, LlavaProcessor) and model.config.vision_feature_select_strategy == "full"
    assert model.config.image_seq_length == 5 and processor.num_additional_image_tokens == 1
    assert model.generation_config.eos_token_id == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    batch = processor(
        images=[drawing("red", "bar"), drawing("blue", "cross")], text=["<image>a", "b<image>"], padding=True,
        return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        assert torch.equal(trainer.model.eval()(**batch).logits, model.eval()(**batch).logits)
    assert step.report.card["pipeline_tag"] == "image-text-to-text"
    assert step.report.card["base_model"] == ["org/language_model", "org/vision_tower"]


def test_weights_are_published_in_the_type_of_the_language_model(tmp_path: Path, parts: dict[str, Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    AutoModelForCausalLM.from_pretrained(parts["language_model"], dtype=torch.bfloat16).save_pretrained(
        tmp_path / "lm"
    )
    for path in parts["language_model"].glob("tok*"):
        (tmp_path / "lm" / path.name).write_bytes(path.read_bytes())
    data = save_rows(tmp_path / "data", chats(2))
    trainer, step = run(tmp_path, {"dataset": data, **parts, "language_model": tmp_path / "lm"}, max_steps=1)
    model = AutoModelForImageTextToText.from_pretrained(step.output)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    batch = trainer.processing_class(images=drawing("red", "bar"), text="<image>a", return_tensors="pt")
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    with torch.no_grad():
        assert torch.equal(trainer.model.eval()(**batch).logits, model.eval()(**batch).logits)


def test_an_assembled_model_is_trained_further(tmp_path: Path, parts: dict[str, Path]) -> None:
    """The second stage: what the first published is `model`; an adapter is published alone, and pulled back."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    data = save_rows(tmp_path / "data", chats(4))
    _, first = run(tmp_path, {"dataset": data, **parts}, "one", max_steps=1)
    trainer, second = run(
        tmp_path, {"dataset": data, "model": first.output}, "two", lora={"r": 4, "alpha": 8}, learning_rate=0.05
    )
    names = {path.name for path in second.output.iterdir()}
    assert "adapter_model.safetensors" in names and "model.safetensors" not in names
    assert second.report.card["base_model"] == "org/model"
    base = AutoModelForImageTextToText.from_pretrained(first.output)
    batch = AutoProcessor.from_pretrained(second.output)(
        images=drawing("red", "bar"), text="<image>What is it?", return_tensors="pt"
    )
    with torch.no_grad():
        plain = base.eval()(**batch).logits
        tuned = PeftModel.from_pretrained(base, second.output).eval()(**batch).logits
        mine = trainer.model.eval()(**batch).logits
    assert torch.equal(mine, tuned) and not torch.equal(plain, tuned)
    from hubwright.hub_sync.context import Input

    step = context(tmp_path, {"dataset": data, "model": second.output}, "three")
    step.inputs["model.base"] = Input(step.inputs["model"].ref, first.output)  # type: ignore[index]
    config = vision_sft.VisionSFTConfig(
        **(QUICK | {"chat_template": "chatml_tools", "max_steps": 1, "learning_rate": 1e-9})
    )
    vision_sft.train(config, step)
    folded = AutoModelForImageTextToText.from_pretrained(step.output).eval()
    with torch.no_grad():
        assert (folded(**batch).logits - tuned).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_overfits_32_pairs(tmp_path: Path) -> None:
    """A random tower and a random language model learn 32 drawings by heart, and stock transformers names them."""
    pairs = [*drawings(), *[(drawing(*name.split(), side=56).rotate(90), f"big {name}") for _, name in drawings()]]
    rows = [
        {"image": image, "messages": [
            {"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": name}
        ]}
        for image, name in pairs
    ]  # fmt: skip
    parts = {
        "vision_tower": make_tower(tmp_path / "tower"),
        "language_model": make_model(tmp_path / "lm", dropout=0.0),
    }
    data = save_rows(tmp_path / "data", rows)
    _, step = run(
        tmp_path, {"dataset": data, **parts}, trained="all", max_steps=600, per_device_train_batch_size=16,
        learning_rate=4e-3, logging_steps=50, save_steps=600, lr_scheduler_type="cosine",
    )  # fmt: skip
    assert step.report.metrics["train_loss_last"] < 0.05
    right = [ask(step.output, image) == name for image, name in pairs]
    assert sum(right) >= 31, right


def test_a_longer_text_cuts_no_image_in_silence(prepared: Prepared) -> None:
    rows = chats(4)
    rows[1]["messages"][0]["content"] = "What is it? " * 20 + "<image>"
    with pytest.raises(UsageError, match=r"1 of 4 rows of the train split have (no supervised|an image that)"):
        prepared(rows, max_length=64)
    _, step = prepared(rows, max_length=64, max_unsupervised_share=0.5)
    assert step.report.counts["train_rows_used"] == 3
    rows[1]["messages"].insert(0, {"role": "user", "content": "Hello"})
    rows[1]["messages"].insert(1, {"role": "assistant", "content": "Hello"})
    with pytest.raises(UsageError, match="1 of 4 rows of the train split have an image that max_length 64 cuts"):
        prepared(rows, max_length=64)
    _, step = prepared(rows, max_length=64, max_unsupervised_share=0.5)
    counts = step.report.counts
    assert (counts["train_rows"], counts["train_rows_used"], counts["train_rows_with_a_cut_image"]) == (4, 3, 1)


@pytest.mark.parametrize("settings", [{}, {"loss_type": "dft"}, {"dtype": "bfloat16"}], ids=["nll", "dft", "bfloat16"])
def test_it_trains_and_evaluates(tmp_path: Path, parts: dict[str, Path], settings: dict[str, Any]) -> None:
    data = save_rows(tmp_path / "data", chats(4))
    save_rows(data, chats(3), "test")
    _, step = run(tmp_path, {"dataset": data, **parts}, eval_split="test", max_steps=2, **settings)
    assert step.report.metrics["eval_loss"] > 0 and step.report.counts["eval_images"] == 3
    assert step.report.metrics["tokens_per_image"] == 5
