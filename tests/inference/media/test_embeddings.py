"""Vectors of images and texts by the dual encoders that people have, and what is measured with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vision_parts import drawing, make_text_tower, make_tower

from hubwright.hub_sync.errors import DataError
from hubwright.inference.media.embeddings import Embedder, batches, chance_recall, ranks, recall

TEXTS = ["a red bar", "blue", "green cross " * 40]


@pytest.fixture(scope="module", params=["clip", "siglip", "vision-text-dual-encoder"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(kind, folder) of a random dual encoder with its processor."""
    from transformers import (
        AutoImageProcessor,
        AutoModel,
        AutoTokenizer,
        CLIPProcessor,
        SiglipProcessor,
        VisionTextDualEncoderModel,
        VisionTextDualEncoderProcessor,
    )  # fmt: skip

    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    words = make_text_tower(folder / "text")
    tokenizer = AutoTokenizer.from_pretrained(words)
    if kind in ("clip", "siglip"):
        make_tower(folder, kind)
        classes: dict[str, Any] = {"clip": CLIPProcessor, "siglip": SiglipProcessor}
        processor = classes[kind](AutoImageProcessor.from_pretrained(folder), tokenizer)
    else:
        tower = make_tower(folder / "tower")
        model = VisionTextDualEncoderModel(
            vision_model=AutoModel.from_pretrained(tower), text_model=AutoModel.from_pretrained(words)
        )
        model.save_pretrained(folder)
        processor = VisionTextDualEncoderProcessor(AutoImageProcessor.from_pretrained(tower), tokenizer)
    processor.save_pretrained(folder)
    return kind, folder


def test_vectors_are_those_of_the_model_and_of_length_one(encoder: tuple[str, Path]) -> None:
    """The same logits as the model's own forward pass, batch by batch."""
    from transformers import AutoModel, AutoProcessor

    kind, folder = encoder
    embedder = Embedder.load(folder, "me/dual", batch_size=2, device="cpu")
    pictures = [drawing("red", "bar"), drawing("blue", "circle"), drawing("green", "cross")]
    images, texts = embedder.images(iter(pictures)), embedder.texts(TEXTS)
    assert images.shape == texts.shape and images.dtype == np.float32
    assert np.allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1, atol=1e-5)
    assert embedder.texts_cut == 1
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    padding = "max_length" if kind == "siglip" else True
    batch = processor(
        images=pictures, text=TEXTS, return_tensors="pt", padding=padding, truncation=True, max_length=64
    )
    with torch.no_grad():
        expected = model(**batch).logits_per_image.numpy()
    assert np.allclose(embedder.scale * images @ texts.T + embedder.bias, expected, atol=1e-3)
    assert embedder.images([]).shape == (0, 0)


def test_a_model_that_does_not_embed_both_is_refused(tmp_path: Path) -> None:
    tower = make_tower(tmp_path / "tower")
    with pytest.raises(DataError, match=r"me/tower .*(prepares no images and texts|AutoProcessor)") as error:
        Embedder.load(tower, "me/tower")
    assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value)
    text = make_text_tower(tmp_path / "text")
    with pytest.raises(DataError, match="me/text"):
        Embedder.load(text, "me/text")


def test_ranks_count_what_is_above_the_best_match() -> None:
    similar = np.array([[0.9, 0.1, 0.5, 0.5], [0.2, 0.3, 0.1, 0.0]])
    matches = np.array([[False, False, True, False], [True, True, False, False]])
    ranked = ranks(similar, matches)
    assert ranked.tolist() == [2, 0]  # an equal one counts as above
    assert recall(ranked, 1) == 0.5 and recall(ranked, 3) == 1.0
    alike = ranks(np.ones((5, 5)), np.eye(5, dtype=bool))
    assert recall(alike, 1) == 0.0  # a model that says nothing finds nothing
    broken = ranks(np.full((5, 5), np.nan), np.eye(5, dtype=bool))
    assert recall(broken, 1) == 0.0  # nor does one whose weights have become NaN


def test_chance_is_what_random_order_gives() -> None:
    assert chance_recall(np.eye(10, dtype=bool), 1) == pytest.approx(0.1)
    assert chance_recall(np.eye(4, dtype=bool), 5) == 1.0
    matches = np.zeros((300, 30), bool)
    matches[:, :3] = True
    random = np.random.default_rng(0)
    found = np.mean([recall(ranks(random.random((300, 30)), matches), 5) for _ in range(30)])
    assert chance_recall(matches, 5) == pytest.approx(found, abs=0.01)


def test_batches_are_consecutive() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]] and list(batches([], 2)) == []
