"""The scorer with a head: its loss, training, publishing and samples that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from aitqe_parts import BAD, make_base, samples, save_samples
from trainer_parts import QUICK, context

from hubwright.hub_sync.errors import DataError
from hubwright.trainers.aitqe.head import HeadConfig, train
from hubwright.trainers.aitqe.head_trainer import fit, loss_of


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def test_loss_is_the_equation_of_the_page() -> None:
    config = HeadConfig(margin=0.5, margin_weight=2.0, aspect_weight=0.25)
    outputs = torch.tensor([[0.9, 0.5], [0.6, 0.5], [0.1, 0.0]])
    targets = torch.tensor([[1.0, 0.1], [0.2, float("nan")], [0.1, 0.4]])
    rows = [0.1**2 + 0.25 * 0.4**2, 0.4**2, 0.25 * 0.4**2]
    loss = loss_of(outputs, targets, torch.tensor([[0, 1]]), config)
    assert loss.item() == pytest.approx(sum(rows) / 3 + 2.0 * (0.5 - 0.3))
    assert loss_of(outputs, targets, torch.zeros(0, 2, dtype=torch.long), config).item() == pytest.approx(
        sum(rows) / 3
    )


def test_targets_that_are_not_there_have_no_gradient() -> None:
    outputs = torch.tensor([[0.9, 0.5]], requires_grad=True)
    loss_of(outputs, torch.tensor([[float("nan"), 0.0]]), torch.zeros(0, 2, dtype=torch.long), HeadConfig()).backward()
    assert outputs.grad is not None and outputs.grad[0, 0] == 0 and outputs.grad[0, 1] > 0


def run(folder: Path, base: Path, rows: list[dict[str, Any]], name: str = "run", **settings: Any) -> Any:
    data = save_samples(folder / f"{name}-data", rows)
    if "eval_split" in settings:
        save_samples(data, samples(4), settings["eval_split"])
    step = context(folder, {"model": base, "dataset": data}, name)
    train(HeadConfig(**QUICK | settings), step)
    return step


def test_a_head_is_published_with_code_and_pulled_back_the_same(tmp_path: Path, base: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoProcessor

    step = run(tmp_path, base, samples(4), eval_split="dev", max_steps=2)
    assert step.report.counts["train_twins"] == 4 and 0 <= step.report.metrics["eval_twin_accuracy"] <= 1
    files = {path.name for path in step.output.iterdir()}
    assert {"modeling_llava_scorer.py", "configuration_llava_scorer.py", "model.safetensors"} <= files
    model = AutoModelForSequenceClassification.from_pretrained(step.output, trust_remote_code=True).eval()
    assert model.config.id2label[0] == "overall" and model.config.num_labels == 6
    processor = AutoProcessor.from_pretrained(step.output)
    image = samples(1)[0]["image"]
    one = processor(images=image, text="<image>a", return_tensors="pt")
    two = processor(images=[image] * 2, text=["<image>a", "<image>a longer text"], return_tensors="pt", padding=True)
    with torch.no_grad():
        alone = model(**one).logits[0]
        for side in ("left", "right"):
            processor.tokenizer.padding_side = side
            two = processor(
                images=[image] * 2, text=["<image>a", "<image>a longer text"], return_tensors="pt", padding=True
            )
            assert torch.allclose(model(**two).logits[0], alone, atol=1e-5)


@pytest.mark.parametrize("part", ["head", "projector", "language_model", "all"])
def test_only_the_named_part_moves(tmp_path: Path, base: Path, part: str) -> None:
    from transformers import AutoModelForImageTextToText, AutoModelForSequenceClassification

    step = run(tmp_path, base, samples(2), trained=part, max_steps=1, learning_rate=0.01)
    before = dict(AutoModelForImageTextToText.from_pretrained(base).model.named_parameters())
    after = dict(AutoModelForSequenceClassification.from_pretrained(step.output).model.named_parameters())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    reach = {"vision_tower": part == "all", "language_model": part in ("all", "language_model"),
             "multi_modal_projector": part != "head"}  # fmt: skip
    for name, expected in reach.items():
        assert any(name in one for one in moved) == expected, (name, sorted(moved)[:5])


def test_an_adapter_is_folded_into_the_published_scorer(tmp_path: Path, base: Path) -> None:
    step = run(tmp_path, base, samples(2), lora={"r": 2}, merge_adapter=True, max_steps=1)
    assert not list(step.output.glob("adapter*")) and (step.output / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": b"no image"}, "not an image that can be read"),
        ({"raw_text": "  "}, "no text"),
        ({"raw_text": None}, "no text"),
        ({"scores": BAD | {"overall": 11}}, "not a whole number from 1 to 10"),
        ({"scores": BAD | {"overall": None}}, "no overall score"),
        ({"raw_text": "a <image> b"}, "spells a control token"),
        ({"raw_text": "x<|im_end|>"}, "spells a control token"),
        ({"raw_text": "word " * 900}, "longer than max_length"),
    ],
)
def test_a_sample_that_cannot_be_used_is_counted_and_many_end_the_run(
    tmp_path: Path, base: Path, change: dict[str, Any], message: str
) -> None:
    rows = samples(4)
    rows[1] |= change
    with pytest.raises(DataError, match=rf"1 of 8 samples .* max_rejected_share 0.05; row 1: .*{message}"):
        run(tmp_path, base, rows)
    step = run(tmp_path, base, rows, "again", max_rejected_share=0.2, max_steps=1)
    counts = step.report.counts
    assert sum(value for name, value in counts.items() if name.startswith("train_rows_refused")) == 1
    assert (counts["train_twins"], counts["train_rows_without_twin"], counts["train_rows"]) == (3, 1, 8)


@pytest.mark.parametrize("batch", [2, 8])
def test_every_twin_is_evaluated_whatever_the_batch(tmp_path: Path, base: Path, batch: int) -> None:
    data = save_samples(tmp_path / "data", samples(2))
    save_samples(data, samples(3), "dev")
    step = context(tmp_path, {"model": base, "dataset": data})
    settings = QUICK | {"max_steps": 1, "eval_split": "dev", "per_device_eval_batch_size": batch}
    trainer = fit(HeadConfig(**settings), step)
    result = trainer.predict(trainer.eval_dataset)
    assert result.predictions.shape == result.label_ids.shape == (3, 2, 6)
    assert step.report.metrics["eval_mae"] == pytest.approx(result.metrics["test_mae"])


def test_an_id_that_is_there_twice_is_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(DataError, match="the id 'good0' is there twice"):
        run(tmp_path, base, [*samples(1), samples(1)[0]])


def test_columns_of_other_data_are_refused(tmp_path: Path, base: Path) -> None:
    rows = [{"id": row["id"], "image": row["image"], "scores": row["scores"]} for row in samples(1)]
    with pytest.raises(DataError, match="has no column `raw_text`: samples are built by"):
        run(tmp_path, base, rows)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_head_learns_which_name_is_a_drawings(tmp_path: Path, base: Path) -> None:
    step = run(
        tmp_path, base, samples(), trained="all", max_steps=400, per_device_train_batch_size=8, learning_rate=3e-3,
        eval_split="dev", save_steps=400, logging_steps=50, lr_scheduler_type="cosine", seed=1,
    )  # fmt: skip
    assert step.report.metrics["eval_twin_accuracy"] == 1 and step.report.metrics["eval_mae"] < 1


def test_a_subclass_is_trained(tmp_path: Path, base: Path) -> None:
    from hubwright.trainers.aitqe.head_trainer import HeadTrainer

    class Constant(HeadTrainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
            return super().compute_loss(model, inputs, *args, **more) * 0

    data = save_samples(tmp_path / "data", samples(2))
    step = context(tmp_path, {"model": base, "dataset": data})
    trainer = fit(HeadConfig(**QUICK | {"max_steps": 1}), step, Constant)
    assert isinstance(trainer, Constant) and step.report.metrics["train_loss_last"] == 0
