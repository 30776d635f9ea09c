"""Towers and language models of several kinds: the right number of tokens for each, and a line for what does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_parts import make_model, make_tokenizer
from vision_parts import chats, drawing, make_tower

from hubwright.hub_sync.errors import DataError, UsageError

Prepared = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "more"), [("dinov2", 1), ("dinov2_with_registers", 5), ("siglip", 0), ("clip", 1)], ids=str
)
@pytest.mark.parametrize("side", [None, 56, 14])
def test_no_token_of_a_tower_is_dropped(
    prepared: Prepared, parts: dict[str, Path], tmp_path: Path, kind: str, more: int, side: int | None
) -> None:
    """With a class token, with registers, without; at the tower's own size, at a larger and at a smaller one."""
    tower = make_tower(tmp_path / "t", kind)
    trainer, _ = prepared(chats(2), {**parts, "vision_tower": tower}, image_size=side, max_length=600)
    size = side or 28
    wanted = (size // 14) ** 2 + more
    model, processor = trainer.model, trainer.processing_class
    assert model.config.image_seq_length == wanted and processor.num_additional_image_tokens == more
    batch = trainer.data_collator([trainer.train_dataset[0]])
    assert batch["pixel_values"].shape == (1, 3, size, size)
    assert int((batch["input_ids"] == processor.image_token_id).sum()) == wanted
    with torch.no_grad():
        before = model.eval()(**batch).logits
        # Every token reaches the logits: moving any patch moves them.
        for row in (0, size - 14):
            pixels = batch["pixel_values"].clone()
            pixels[..., row : row + 14, row : row + 14] += 1
            assert not torch.equal(before, model(**batch | {"pixel_values": pixels}).logits)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    from transformers import AutoModelForImageTextToText

    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, before)


def test_resized_position_embeddings_are_the_towers_own_interpolation(
    prepared: Prepared, parts: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import SiglipVisionModel

    tower = make_tower(tmp_path / "t", "siglip")
    trainer, _ = prepared(chats(1), {**parts, "vision_tower": tower}, image_size=56, max_length=600)
    pixels = torch.randn(1, 3, 56, 56)
    plain = SiglipVisionModel.from_pretrained(tower).eval()
    with torch.no_grad():
        expected = plain(pixels, interpolate_pos_encoding=True).last_hidden_state
        resized = trainer.model.eval().model.vision_tower(pixels).last_hidden_state
    assert torch.allclose(expected, resized, atol=1e-5)


@pytest.mark.parametrize("layer", [-1, 0, (-2, -1), (0, 3)])
def test_feature_layers(prepared: Prepared, layer: Any) -> None:
    trainer, _ = prepared(chats(1), feature_layer=layer)
    width = trainer.model.model.multi_modal_projector.linear_1.in_features
    assert width == 32 * (2 if isinstance(layer, tuple) else 1)


def test_a_layer_that_is_not_there_is_refused(prepared: Prepared) -> None:
    with pytest.raises(UsageError, match=r"feature_layer: org/vision_tower@.* has the layers 0 to 3, and no 7"):
        prepared(chats(1), feature_layer=7)


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(prepared: Prepared) -> None:
    with pytest.raises(UsageError, match=r"image_size: 30 is no multiple of the 14 pixels of a patch of .*: write 28"):
        prepared(chats(1), image_size=30)


def test_a_tower_of_a_fixed_size_is_refused_at_another(
    prepared: Prepared, parts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

    monkeypatch.delattr(CLIPVisionEmbeddings, "interpolate_pos_encoding")
    tower = make_tower(tmp_path / "t", "clip")
    with pytest.raises(UsageError, match=r"image_size: org/vision_tower@.* reads images of 28 pixels alone"):
        prepared(chats(1), {**parts, "vision_tower": tower}, image_size=56)


def test_the_token_of_images_is_added_or_used(prepared: Prepared, parts: dict[str, Path], tmp_path: Path) -> None:
    """New: a row of embeddings, the mean of all. There already, as a control token or as a word: the row that is there."""
    trainer, _ = prepared(chats(1))
    table = trainer.model.get_input_embeddings().weight
    assert table.shape[0] == 260 == len(trainer.processing_class.tokenizer)
    assert torch.allclose(table[259], table[:259].mean(dim=0), atol=1e-6)
    folder = tmp_path / "known"
    shutil.copytree(parts["language_model"], folder)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<image>"])
    tokenizer.save_pretrained(folder)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(300, mean_resizing=False)
    model.save_pretrained(folder)
    trainer, _ = prepared(chats(1), {**parts, "language_model": folder})
    assert torch.equal(trainer.model.get_input_embeddings().weight[259], model.get_input_embeddings().weight[259])
    assert trainer.model.get_input_embeddings().weight.shape[0] == 300
    assert trainer.processing_class.image_token_id == 259
    # A vocabulary that is padded has a row for the new token.
    make_tokenizer().save_pretrained(folder)
    trainer, _ = prepared(chats(1), {**parts, "language_model": folder})
    table = trainer.model.get_input_embeddings().weight
    assert table.shape[0] == 300 and torch.allclose(table[259], table[:259].mean(dim=0), atol=1e-6)


def test_a_language_model_whose_head_is_more_than_a_product_is_refused(
    prepared: Prepared, parts: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import CohereConfig, CohereForCausalLM

    folder = make_model(tmp_path / "cohere")
    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        logit_scale=0.5, bos_token_id=257, eos_token_id=258, pad_token_id=256,
    )  # fmt: skip
    CohereForCausalLM(config).save_pretrained(folder)
    with pytest.raises(UsageError, match=r"language_model: org/language_model@.* gets other logits"):
        prepared(chats(1), {**parts, "language_model": folder})


@pytest.mark.parametrize(
    ("models", "message"),
    [({"vision_tower": "language_model"}, "vision_tower: .* is a model of language: name a vision model"),
     ({"language_model": "vision_tower"}, "language_model: .* is no language model of text alone"),
     ({"model": "language_model"}, "model: .* reads no images: name it as `language_model`"),
     ({"model": "vision_tower"}, "model: .* reads no images"),
     ({"language_model": "language_model"}, "inputs: name a vision-language `model`, or `language_model` and"),
     ({"model": "language_model", "vision_tower": "vision_tower"}, "inputs: name a vision-language `model`, or")],
)  # fmt: skip
def test_models_of_another_kind_are_refused_in_one_line(
    prepared: Prepared, parts: dict[str, Path], models: dict[str, str], message: str
) -> None:
    given = {role: parts[name] for role, name in models.items()}
    if set(models) in ({"vision_tower"}, {"language_model"}) and models != {"language_model": "language_model"}:
        given = {**parts, **given}
    with pytest.raises((UsageError, DataError), match=message) as error:
        prepared(chats(1), given)
    assert "\n" not in str(error.value)


def test_an_adapter_of_what_is_nowhere_is_refused(prepared: Prepared) -> None:
    with pytest.raises(
        UsageError, match=r"lora: an adapter of a model that is assembled here has no base.*merge_adapter"
    ):
        prepared(chats(1), lora={"r": 2})


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"packing": True}, "packing is for rows of text alone"), ({"streaming": True, "max_steps": 2}, "streaming is for"),
     ({"lora": {"r": 2}, "trained": "all"}, "drop trained, or lora"), ({"image_size": 4}, "greater than or equal to 8"),
     ({"trainer_args": {"padding_free": True}}, "padding_free is for rows of text alone")],
)  # fmt: skip
def test_settings_that_do_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    from hubwright.trainers.vision_sft import VisionSFTConfig

    with pytest.raises(ValueError, match=message):
        VisionSFTConfig(**settings)


def test_a_template_shows_parts_as_it_shows_text(parts: dict[str, Path]) -> None:
    """The prelude changes nothing of turns without images, calls of tools included."""
    from trainer_parts import tool_conversation
    from transformers import AutoTokenizer

    from hubwright.trainers._lib.templates import install_chatml_tools
    from hubwright.trainers.vision_sft.template import with_images, without_images

    tokenizer = AutoTokenizer.from_pretrained(parts["language_model"])
    for install in (lambda _: None, install_chatml_tools):
        install(tokenizer)
        plain = tokenizer.chat_template
        row = tool_conversation(1)
        turns = row["messages"] if "tools" in plain else row["messages"][-2:]
        before = tokenizer.apply_chat_template(turns, tools=row["tools"], tokenize=False, add_generation_prompt=True)
        whole = with_images(plain, "<image>")
        after = tokenizer.apply_chat_template(
            turns, tools=row["tools"], tokenize=False, add_generation_prompt=True, chat_template=whole
        )
        assert before == after and without_images(whole, "<image>") == plain
    odd = with_images("{{ messages[0]['content'] }}", "<i'\\m>")
    shown = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"]}]
    assert tokenizer.apply_chat_template(shown, tokenize=False, chat_template=odd) == "a<i'\\m>b"


def test_a_processor_that_counts_otherwise_is_refused(
    prepared: Prepared, parts: dict[str, Path], tmp_path: Path
) -> None:
    """A model whose processor drops a token that its tower has."""
    trainer, _ = prepared(chats(1))
    folder = tmp_path / "wrong"
    trainer.model.save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"num_additional_image_tokens": 0}))
    with pytest.raises(DataError, match="an image is 4 tokens by its processor, 4 by its settings and 5 by its tower"):
        prepared(chats(1), {"model": folder})
    path.write_text(json.dumps(settings))
    trainer, _ = prepared(chats(1), {"model": folder})
    assert trainer.data_collator(list(trainer.train_dataset))["pixel_values"].shape == (1, 3, 28, 28)
    with pytest.raises(UsageError, match="image_size is for a model that is assembled"):
        prepared(chats(1), {"model": folder}, image_size=56)
    assert drawing("red", "bar").size == (40, 40)
