"""A dual encoder: what it learns, what it publishes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_parts import hostile_images
from trainer_parts import QUICK, context, make_model
from vision_parts import captioned, drawing, encoded, make_text_tower, make_tower, save_rows

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.inference.media.embeddings import Embedder
from hubwright.trainers import dual_encoder
from hubwright.trainers.dual_encoder.loss import contrastive_loss, logits
from hubwright.trainers.dual_encoder.trainer import fit

RED = drawing("red", "bar")
SETTINGS: dict[str, Any] = QUICK | {
    "max_length": 16, "projection_dim": 24, "per_device_train_batch_size": 8, "learning_rate": 1e-2,
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    return {"vision_tower": make_tower(folder / "vision"), "text_tower": make_text_tower(folder / "text")}


def run(folder: Path, inputs: dict[str, Path], name: str = "run", **settings: Any) -> tuple[Any, Any]:
    """(trainer, context) of a whole training."""
    step = context(folder, inputs, name)
    trainers: list[Any] = []
    settings = {key: value for key, value in (SETTINGS | settings).items() if value is not ...}
    config = dual_encoder.DualEncoderConfig(**settings)
    dual_encoder.train(config, step, lambda *arguments: trainers.append(fit(*arguments)))
    return trainers[0], step


# The loss


def test_the_loss_is_cross_entropy_both_ways() -> None:
    torch.manual_seed(0)
    scores = torch.randn(5, 5)
    own = torch.arange(5)
    rows, columns = scores.log_softmax(1).diagonal(), scores.log_softmax(0).diagonal()
    assert torch.allclose(contrastive_loss(scores, own, own), -(rows + columns).mean() / 2)


def test_duplicates_are_no_negatives_of_one_another() -> None:
    """A pair that is in the batch twice, or its image or text with another, raises no loss and gets no gradient."""
    scores = torch.full((3, 3), -50.0)
    scores.fill_diagonal_(50.0)
    plain = contrastive_loss(scores, torch.arange(3), torch.arange(3))
    twice = torch.full((4, 4), -50.0)
    twice.fill_diagonal_(50.0)
    twice[0, 3] = twice[3, 0] = 50.0  # the same image: as near to the other's text as to its own
    twice.requires_grad_(True)
    masked = contrastive_loss(twice, torch.tensor([0, 1, 2, 0]), torch.arange(4))
    assert masked < 1e-6 and plain < 1e-6
    assert contrastive_loss(twice, torch.arange(4), torch.arange(4)) > 0.3
    masked.backward()
    assert twice.grad is not None and twice.grad[0, 3] == twice.grad[3, 0] == 0
    assert contrastive_loss(twice, torch.arange(4), torch.tensor([0, 1, 2, 0])) < 1e-6


def test_a_pair_elsewhere_in_the_data_set_is_no_negative(tmp_path: Path, parts: dict[str, Path]) -> None:
    """Image 0 has the texts 0 and 1, image 1 the text 1: image 0 is not pushed away from text 1 of the pair (1, 1)."""
    rows = [*captioned(1), {"image": captioned(1)[0]["image"], "text": captioned(1)[1]["text"]}]
    trainer, _ = run(tmp_path, {"dataset": save_rows(tmp_path / "data", rows), **parts}, max_steps=1)
    batch = trainer.data_collator([{"image": n, "text": n} for n in (0, 1, 2)])
    assert batch["matches"].tolist() == [[True, True, False], [False, True, False], [False, False, True]]
    scores = torch.zeros(3, 3, requires_grad=True)
    contrastive_loss(scores, batch["image_ids"], batch["text_ids"], batch["matches"]).backward()
    assert scores.grad is not None and scores.grad[0, 1] == 0 and scores.grad[1, 0] > 0


def test_a_batch_of_one_text_alone_has_no_loss() -> None:
    scores = torch.randn(3, 3, requires_grad=True)
    loss = contrastive_loss(scores, torch.arange(3), torch.zeros(3, dtype=torch.long))
    loss.backward()
    assert loss == 0 and scores.grad is not None and not scores.grad.isnan().any()


def test_the_temperature_is_bounded() -> None:
    one = torch.eye(2)
    assert torch.allclose(logits(one, 3 * one, torch.tensor(50.0)), 100 * torch.eye(2), atol=1e-4)


# Training


@pytest.mark.parametrize("trained", ["projections", "all"])
def test_it_learns_and_stock_classes_load_it(tmp_path: Path, parts: dict[str, Path], trained: str) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoProcessor, VisionTextDualEncoderModel

    data = save_rows(tmp_path / "data", captioned(2))
    save_rows(data, captioned(1), "test")
    steps, rate, wanted = {"projections": (150, 1e-2, 0.75), "all": (100, 3e-3, 0.6)}[trained]
    k = {"projections": 1, "all": 5}[trained]
    trainer, step = run(
        tmp_path, {"dataset": data, **parts}, trained=trained, eval_split="test", max_steps=steps, learning_rate=rate,
        per_device_train_batch_size=16, logging_steps=20, save_steps=1000,
    )  # fmt: skip
    metrics = step.report.metrics
    assert metrics[f"eval_text_to_image_recall_at_{k}"] >= wanted <= metrics[f"eval_image_to_text_recall_at_{k}"]
    assert metrics["train_loss_last"] < metrics["train_loss_first"]
    table = next(one for one in step.report.tables if one["title"] == "Retrieval")
    assert [row[3] for row in table["rows"][:2]] == pytest.approx([1 / 16, 5 / 16])
    model, info = AutoModel.from_pretrained(step.output, output_loading_info=True)
    assert isinstance(model, VisionTextDualEncoderModel) and not info["missing_keys"] and not info["mismatched_keys"]
    processor = AutoProcessor.from_pretrained(step.output)
    batch = processor(text=["red bar", "blue circle"], images=[RED, RED], padding=True, return_tensors="pt")
    with torch.no_grad():
        mine, theirs = trainer.model.eval()(**batch), model.eval()(**batch)
    assert torch.equal(mine.logits_per_image, theirs.logits_per_image)
    assert theirs.logits_per_image[0, 0] > theirs.logits_per_image[0, 1]
    # What transformers computes and what recall was measured with are the same vectors.
    images, texts = trainer.embed(trainer.eval_dataset)
    embedder = Embedder.load(step.output, "me/dual", device="cpu")
    pairs = trainer.eval_dataset.pairs
    assert np.allclose(embedder.texts(pairs.texts), texts, atol=1e-5)
    assert np.allclose(embedder.images(pairs.image(n) for n in range(16)), images, atol=1e-5)
    files = [path / "tokenizer.json" for path in (parts["text_tower"], step.output)]
    assert files[0].read_text() == files[1].read_text()  # it cuts and fills up as before
    before = load_file(parts["text_tower"] / "model.safetensors")
    same = all(torch.equal(value, model.text_model.state_dict()[name]) for name, value in before.items())
    assert same == (trained == "projections")
    assert step.report.card["pipeline_tag"] == "zero-shot-image-classification"
    assert step.report.card["base_model"] == ["org/vision_tower", "org/text_tower"]


def test_a_dual_encoder_is_trained_further(tmp_path: Path, parts: dict[str, Path]) -> None:
    data = save_rows(tmp_path / "data", captioned(1))
    _, first = run(tmp_path, {"dataset": data, **parts}, "one", max_steps=2)
    trainer, second = run(
        tmp_path, {"dataset": data, "model": first.output}, "two", max_steps=1, learning_rate=1e-9, projection_dim=...
    )
    assert second.report.card["base_model"] == "org/model" and trainer.model.config.projection_dim == 24
    one, two = (Embedder.load(step.output, "me/dual", device="cpu").texts(["red bar"]) for step in (first, second))
    assert np.allclose(one, two, atol=1e-5)


def test_features_are_computed_once_and_a_killed_run_goes_on(
    tmp_path: Path, parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubwright.trainers.dual_encoder import trainer as module

    seen: list[int] = []
    compute = module.pooled_images

    def counted(model: Any, processor: Any, images: list[Any]) -> Any:
        if len(seen) == 2 and dies[0]:
            dies[0] = False
            raise KeyboardInterrupt
        seen.append(len(images))
        return compute(model, processor, images)

    monkeypatch.setattr(module, "pooled_images", counted)
    data = save_rows(tmp_path / "data", captioned(1))
    dies = [True]
    settings = {"per_device_eval_batch_size": 4, "max_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"dataset": data, **parts}, **settings)
    trainer, _ = run(tmp_path, {"dataset": data, **parts}, **settings)
    assert seen == [4, 4, 4, 4]
    broken = np.array(trainer.train_dataset.features[0])
    dies[0] = False
    other, _ = run(tmp_path, {"dataset": data, **parts}, "other", **settings)
    assert np.array_equal(broken, other.train_dataset.features[0])


# Rows


def test_every_row_is_counted_and_every_image_and_text_is_one(tmp_path: Path, parts: dict[str, Path]) -> None:
    rows = [
        *captioned(1), {"image": RED, "text": "red bar"}, {"image": RED, "text": "a  red\nbar"},
        {"image": drawing("red", "bar", 60), "text": "red bar"}, {"image": None, "text": "red"},
        {"image": RED, "text": None}, {"image": RED, "text": "  "}, {"image": encoded(RED)[:70], "text": "cut"},
        {"image": RED, "text": "red " * 40},
    ]  # fmt: skip
    data = save_rows(tmp_path / "data", rows)
    _, step = run(tmp_path, {"dataset": data, **parts}, max_refused_share=0.5, max_steps=1)
    counts = {name.removeprefix("train_"): n for name, n in step.report.counts.items()}
    refused = {name.removeprefix("rows_refused: "): n for name, n in counts.items() if ":" in name}
    assert sum(refused.values()) == 4 and counts["rows_read"] == 24 == counts["rows_used"] + 4
    assert {"a row without an image", "text is neither text nor a list of texts", "text is empty"} < set(refused)
    assert (counts["images"], counts["texts"], counts["pairs"], counts["pairs_twice"]) == (17, 18, 19, 1)
    assert counts["texts_cut_at_max_length"] == 1
    with pytest.raises(
        DataError, match=r"4 of 24 rows of the train split cannot be used.*row 19: a row without an image"
    ):
        run(tmp_path, {"dataset": data, **parts}, "strict")


def test_hostile_files_are_used_or_counted(tmp_path: Path, parts: dict[str, Path]) -> None:
    usable, refused = hostile_images()
    rows = [{"image": content, "text": name} for name, content in (usable | refused).items()]
    data = save_rows(tmp_path / "data", rows)
    trainer, step = run(tmp_path, {"dataset": data, **parts}, max_refused_share=1.0, max_steps=1)
    assert trainer.train_dataset.pairs.texts == list(usable)
    counts = step.report.counts
    assert sum(n for name, n in counts.items() if "rows_refused: " in name) == len(refused)


def test_several_texts_of_an_image_are_pairs_of_it(tmp_path: Path, parts: dict[str, Path]) -> None:
    import datasets

    rows = [{"bytes": encoded(row["image"]), "path": None} for row in captioned(1)]
    texts = [[row["text"], f"a {row['text']}"] for row in captioned(1)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.List(datasets.Value("string"))})
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict({"image": rows, "text": texts}, features=features).to_parquet(
        tmp_path / "data" / "train.parquet"
    )
    trainer, step = run(tmp_path, {"dataset": tmp_path / "data", **parts}, max_steps=1)
    assert step.report.counts["train_pairs"] == 32 and step.report.counts["train_images"] == 16
    assert trainer.train_dataset.pairs.matches().sum(axis=1).tolist() == [2] * 16


@pytest.mark.parametrize(
    ("change", "message"),
    [({"text_tower": "vision_tower"}, "text_tower: .* is a Dinov2Model, which does not read text alone"),
     ({"vision_tower": "text_tower"}, "is a BertModel, which does not read images in patches"),
     ({"text_tower": "lm"}, "text_tower: .* pools nothing|has no token to fill"),
     ({"model": "vision_tower"}, "inputs: name a dual encoder as `model`, or"),
     ({"text_tower": None}, "inputs: name a dual encoder as `model`, or")],
)  # fmt: skip
def test_models_of_another_kind_are_refused(
    tmp_path: Path, parts: dict[str, Path], change: dict[str, Any], message: str
) -> None:
    known = {**parts, "lm": make_model(tmp_path / "lm"), None: None}
    data = save_rows(tmp_path / "data", captioned(1))
    inputs = {role: known[name] for role, name in ({name: name for name in parts} | change).items() if name}
    with pytest.raises((UsageError, DataError), match=message) as error:
        run(tmp_path, {"dataset": data, **inputs})
    assert "\n" not in str(error.value)


def test_a_tower_whose_pooler_is_in_no_file_is_refused(tmp_path: Path, parts: dict[str, Path]) -> None:
    """transformers would draw it at random, and the text tower's features with it."""
    from safetensors.torch import load_file, save_file

    folder = make_text_tower(tmp_path / "bare")
    weights = load_file(folder / "model.safetensors")
    rest = {name: value for name, value in weights.items() if "pooler" not in name}
    save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    data = save_rows(tmp_path / "data", captioned(1))
    with pytest.raises(DataError, match=r"pooler.dense.\w+ is not in its files .* drawn at random"):
        run(tmp_path, {"dataset": data, **parts, "text_tower": folder})


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_processes": 2}, "the negatives of a pair are those of one process"),
     ({"dtype": "bfloat16", "bf16": False}, "the temperature needs float32"), ({"bf16": True}, "with projections alone, bf16"),
     ({"per_device_train_batch_size": 1}, "greater than or equal to 2")],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dual_encoder.DualEncoderConfig(**settings)


def test_lengths_beyond_the_window_and_odd_sizes_are_refused(tmp_path: Path, parts: dict[str, Path]) -> None:
    data = save_rows(tmp_path / "data", captioned(1))
    with pytest.raises(UsageError, match="max_length: 100: the text tower has 64 positions: write 64"):
        run(tmp_path, {"dataset": data, **parts}, max_length=100)
    _, step = run(tmp_path, {"dataset": data, **parts}, "large", image_size=56, max_steps=1)
    settings = json.loads((step.output / "processor_config.json").read_text())
    assert settings["image_processor"]["crop_size"]["height"] == 56
