"""Training with the losses: what moves, two stages, cached features, and rows as people bring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from eeca_parts import landmarks, run
from trainer_parts import make_model
from vision_parts import make_tower, save_rows

from hubwright.hub_sync.errors import DataError, HubwrightError, UsageError
from hubwright.trainers.eeca import EECAConfig

LABELS = ("landmark_id", "name", "supercategory", "hierarchical_label", "natural_or_human_made")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    return {
        "vision_tower": make_tower(folder / "tower"), "language_model": make_model(folder / "lm", dropout=0.0),
    }  # fmt: skip


def moved(trainer: Any, other: Any) -> set[str]:
    """Parts whose weights differ between two trainers' models."""
    places = (
        "heads",
        "multi_modal_projector",
        "language_model",
        "vision_tower",
        "gate",
        "resampler",
        "log_temperature",
    )
    values, states = other.model.state_dict(), trainer.model.state_dict()
    changed = [name for name, value in states.items() if not torch.equal(value, values[name])]
    return {place for place in places if any(place in name for name in changed)}


@pytest.mark.parametrize("part", ["projector", "language_model", "all"])
def test_each_stage_moves_its_parts_and_the_heads(tmp_path: Path, parts: dict[str, Path], part: str) -> None:
    data = save_rows(tmp_path / "data", landmarks(8))
    settings = {"latents": 2, "high_resolution": 56, "trained": part}
    before, _ = run(tmp_path, {"dataset": data, **parts}, "before", max_steps=1, learning_rate=1e-30, **settings)
    after, _ = run(tmp_path, {"dataset": data, **parts}, "after", learning_rate=0.01, **settings)
    always = {"heads", "multi_modal_projector", "gate", "resampler", "log_temperature"}
    more = {"projector": set(), "language_model": {"language_model"}, "all": {"language_model", "vision_tower"}}
    assert moved(after, before) == always | more[part]


def test_a_second_stage_with_adapters_takes_up_the_heads(tmp_path: Path, parts: dict[str, Path]) -> None:
    from transformers import AutoModelForImageTextToText

    data = save_rows(tmp_path / "data", landmarks(8))
    first, step = run(tmp_path, {"dataset": data, **parts}, "one", latents=2, keep_heads=True, learning_rate=0.01)
    second = {"dataset": data, "model": step.output}
    still, _ = run(tmp_path, second, "still", learning_rate=1e-30, max_steps=1, keep_heads=True)
    assert all(
        torch.equal(value, dict(first.model.heads.named_parameters())[name])
        for name, value in still.model.heads.named_parameters()
    )
    fresh, _ = run(tmp_path, second, "fresh", learning_rate=1e-30, max_steps=1, fresh_heads=True)
    assert not torch.equal(fresh.model.heads.levels[0].weight, first.model.heads.levels[0].weight)
    lora: dict[str, Any] = {"lora": {"r": 2, "alpha": 4}, "merge_adapter": True, "learning_rate": 0.01}
    trainer, last = run(tmp_path, second, "lora", **lora)
    names = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert any("heads" in name for name in names)
    model, info = AutoModelForImageTextToText.from_pretrained(
        last.output, output_loading_info=True, trust_remote_code=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not hasattr(model, "heads")
    assert not any("lora" in name or "modules_to_save" in name for name, _ in model.named_parameters())
    base = AutoModelForImageTextToText.from_pretrained(step.output, trust_remote_code=True)
    before, after = dict(base.named_parameters()), dict(model.named_parameters())
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any("resampler" in name for name in changed) and any("language_model" in name for name in changed)
    assert not any("vision_tower" in name for name in changed)


def test_heads_of_other_classes_are_refused(tmp_path: Path, parts: dict[str, Path]) -> None:
    some, more = (save_rows(tmp_path / f"data{count}", landmarks(count)) for count in (8, 12))
    _, step = run(tmp_path, {"dataset": some, **parts}, "one", keep_heads=True, max_steps=1)
    with pytest.raises(UsageError, match=r"landmark_id 'blue bar' and 3 more are no classes .* fresh_heads: true"):
        run(tmp_path, {"dataset": more, "model": step.output}, "two")
    with pytest.raises(UsageError, match=r"4 classes of supercategory.* and the data have .*: set fresh_heads: true"):
        run(tmp_path, {"dataset": some, "model": step.output}, "three", levels={"supercategory": 1})
    (step.output / "eeca_classes.json").unlink()
    with pytest.raises(DataError, match=r"has heads, and no eeca_classes.json"):
        run(tmp_path, {"dataset": some, "model": step.output}, "four")
    with pytest.raises(UsageError, match=r"latents: .* has None, and no other is made of it"):
        run(tmp_path, {"dataset": some, "model": step.output}, "five", latents=3)
    trainer, _ = run(tmp_path, {"dataset": some, "model": step.output}, "six", hc_weight=0, ec_weight=0, max_steps=1)
    assert not hasattr(trainer.model, "heads")


@pytest.mark.parametrize("settings", [{}, {"high_resolution": 56, "latents": 2}])
def test_cached_features_are_the_towers(tmp_path: Path, parts: dict[str, Path], settings: dict[str, Any]) -> None:
    rows = [row for row in landmarks(6) for _ in range(2)]
    data = save_rows(tmp_path / "data", rows)
    losses = []
    for cache in (4.0, 0.0, 1e-9):
        trainer, step = run(tmp_path, {"dataset": data, **parts}, f"run{cache}", cache_gb=cache, **settings)
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        assert step.report.metrics["cached_features"] == (cache == 4)
        files = list((step.workdir / "features").glob("*.features"))
        tokens = 5 + 17 * bool(settings)
        assert [path.stat().st_size for path in files] == ([6 * tokens * 32 * 4] if cache == 4 else [])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[1] == losses[2]


def test_a_file_that_is_no_image_is_refused_with_its_row(tmp_path: Path, parts: dict[str, Path]) -> None:
    rows = landmarks(8)
    rows[3]["image"], rows[5]["image"] = b"no image", None
    data = save_rows(tmp_path / "data", rows)
    with pytest.raises(DataError, match="row 3: not an image that can be read"):
        run(tmp_path, {"dataset": data, **parts})
    _, step = run(tmp_path, {"dataset": data, **parts}, "again", max_refused_share=0.3)
    counts = step.report.counts
    assert counts["train_rows_used"] == 6 and step.report.metrics["cached_features"] == 1


def test_passes_that_are_added_up_are_one_of_the_same_rows(tmp_path: Path, parts: dict[str, Path]) -> None:
    """The classes' and the names' losses are means over passes, beside the language model's over tokens."""
    data = save_rows(tmp_path / "data", [landmarks(1)[0], landmarks(6)[5]] * 4)
    weights = []
    for number, (size, passes) in enumerate([(4, 1), (2, 2)]):
        trainer, _ = run(
            tmp_path, {"dataset": data, **parts}, f"run{number}", per_device_train_batch_size=size,
            gradient_accumulation_steps=passes, max_steps=1, learning_rate=1e-30, negatives="all",
            trainer_args={"train_sampling_strategy": "sequential"}, max_grad_norm=0,
        )  # fmt: skip
        weights.append(next(entry for entry in trainer.state.log_history if "loss_hc" in entry))
    for name in ("loss_lm", "loss_hc", "loss_ec", "loss", "grad_norm"):
        assert weights[0][name] == pytest.approx(weights[1][name], rel=1e-4), name
    one = weights[0]
    assert one["loss"] == pytest.approx(one["loss_lm"] + 0.5 * one["loss_hc"] + 0.5 * one["loss_ec"], rel=1e-5)


def test_rows_without_labels_take_part_in_the_language_models_loss_alone(
    tmp_path: Path, parts: dict[str, Path]
) -> None:
    rows = landmarks(8)
    for row in rows[1::2]:
        row |= dict.fromkeys(LABELS)
    rows[2]["supercategory"] = float("nan")
    rows[4]["supercategory"] = " "
    rows[6] |= {"name": None}
    rows = [{name: str(v) if isinstance(v, float) else v for name, v in row.items()} for row in rows]
    rows[2]["supercategory"] = None
    trainer, step = run(
        tmp_path, {"dataset": save_rows(tmp_path / "data", rows), **parts}, per_device_train_batch_size=1, max_steps=8,
        max_negatives=3, negatives="all",
    )  # fmt: skip
    counts = step.report.counts
    assert counts["train_rows_used"] == 8 and counts["train_rows_without landmark_id"] == 4
    assert counts["train_rows_without supercategory"] == 6 and counts["train_rows_without_name"] == 1
    logs = [entry for entry in trainer.state.log_history if "loss_lm" in entry]
    assert sum("loss_hc" in entry for entry in logs) == 4 and sum("loss_ec" in entry for entry in logs) == 3
    assert all(entry["loss"] == entry["loss"] for entry in logs)  # no NaN
    alone = [entry for entry in logs if "loss_hc" not in entry]
    assert all(entry["loss"] == pytest.approx(entry["loss_lm"], rel=1e-5) for entry in alone)


def change(rows: list[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    return [row | values for row in rows]


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (change(landmarks(4), **dict.fromkeys(LABELS)), {}, "there is nothing to tell apart: set hc_weight: 0"),
        (change(landmarks(4), landmark_id="x", name="y", supercategory="z"), {"hc_weight": 0}, "1 landmarks with names"),
        (change(landmarks(4), name=None), {"hc_weight": 0}, "0 landmarks with names .* set ec_weight: 0"),
        ([*landmarks(4), *change(landmarks(1), name="Other")], {},
         "row 4: landmark_id 'red square' has the name 'Other', and 'red square hill' in a row before"),
        ([*landmarks(4), *change(landmarks(1), supercategory="Other")], {}, "give a landmark one supercategory"),
        ([{k: v for k, v in row.items() if k != "supercategory"} for row in landmarks(4)], {},
         "has no column `supercategory` of levels; it has .*: set levels, or hc_weight: 0"),
        (landmarks(4), {"name_column": "title"}, "has no column `title` of name_column"),
        (landmarks(4), {"levels": {"messages": 1}}, "column `messages` holds list, and a label is text"),
    ],
    ids=["no_labels", "one_landmark", "no_names", "two_names", "two_parents", "no_column", "other_column", "lists"],
)  # fmt: skip
def test_labels_that_cannot_be_learnt_are_refused_in_one_line(
    tmp_path: Path, parts: dict[str, Path], rows: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    data = save_rows(tmp_path / "data", rows)
    with pytest.raises(HubwrightError, match=message) as error:
        run(tmp_path, {"dataset": data, **parts}, **settings)
    assert "\n" not in str(error.value)


def test_lists_of_images_are_refused(tmp_path: Path, parts: dict[str, Path]) -> None:
    rows = [{"images": [row["image"]], **{k: v for k, v in row.items() if k != "image"}} for row in landmarks(4)]
    data = save_rows(tmp_path / "data", rows, image="images")
    with pytest.raises(DataError, match="a row has one image"):
        run(tmp_path, {"dataset": data, **parts})


def test_a_level_of_one_class_is_left_out_and_the_card_says_so(tmp_path: Path, parts: dict[str, Path]) -> None:
    data = save_rows(tmp_path / "data", change(landmarks(4), natural_or_human_made="natural"))
    _, step = run(tmp_path, {"dataset": data, **parts}, max_steps=1)
    [table] = [table for table in step.report.tables if table["title"] == "Image tokens and losses"]
    assert "level natural_or_human_made is left out: its 4 train rows have one class alone, 'natural'" in table["note"]
    [levels] = [table for table in step.report.tables if table["title"] == "Levels"]
    assert [row[0] for row in levels["rows"]] == ["hierarchical_label", "supercategory", "landmark_id"]


def test_landmarks_of_the_same_name_are_no_negatives_of_each_other(tmp_path: Path, parts: dict[str, Path]) -> None:
    rows = landmarks(4)
    rows[1]["name"] = rows[0]["name"]
    _, step = run(tmp_path, {"dataset": save_rows(tmp_path / "data", rows), **parts}, max_steps=1)
    assert step.report.counts["landmarks_with_the_name_of_another"] == 1


def test_landmarks_of_the_evaluation_that_training_lacks_have_no_part_in_its_losses(
    tmp_path: Path, parts: dict[str, Path]
) -> None:
    data = save_rows(tmp_path / "data", landmarks(4))
    save_rows(data, landmarks(12), "test")
    _, step = run(tmp_path, {"dataset": data, **parts}, eval_split="test", max_steps=1)
    counts, metrics = step.report.counts, step.report.metrics
    assert counts["eval_rows_with_unknown landmark_id"] == 8 and counts["eval_rows_used"] == 12
    assert all(0 < metrics[f"eval_loss_{name}"] < 20 for name in ("lm", "hc", "ec"))


def test_numbers_are_labels_too(tmp_path: Path, parts: dict[str, Path]) -> None:
    from datasets import load_dataset

    rows = landmarks(8)
    ids = {row["landmark_id"]: str(number) for number, row in enumerate(rows)}
    data = save_rows(tmp_path / "data", [row | {"landmark_id": ids[row["landmark_id"]]} for row in rows])
    table = load_dataset(str(data), split="train")
    from datasets import Value

    table.cast_column("landmark_id", Value("int64")).to_parquet(str(next(data.rglob("*.parquet"))))
    _, step = run(tmp_path, {"dataset": data, **parts}, max_steps=1)
    assert step.report.metrics["steps"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora": {}}, "merge_adapter: true"),
        ({"num_processes": 2}, "eeca trains in one process"),
        ({"negatives": "batch", "per_device_train_batch_size": 1}, "a batch of one row has no others"),
        ({"levels": {"supercategory": 0}}, "a weight is above 0"),
        ({"levels": {}}, "at least 1"),
        ({"hc_weight": 0, "ec_weight": 0, "keep_heads": True}, "there are no heads"),
        ({"hc_weight": 0, "levels": {"supercategory": 1}}, "levels: hc_weight 0 leaves it out"),
        ({"ec_weight": 0, "negatives": "all"}, "negatives: ec_weight 0 leaves it out"),
        ({"packing": True}, "packing is for rows of text alone"),
    ],
)
def test_settings_that_do_not_act_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EECAConfig(**settings)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_32_samples_drive_both_losses_to_about_nothing(tmp_path: Path, parts: dict[str, Path]) -> None:
    data = save_rows(tmp_path / "data", landmarks(16, turns=2))
    trainer, _ = run(
        tmp_path, {"dataset": data, **parts}, latents=4, trained="all", max_steps=400, per_device_train_batch_size=16,
        learning_rate=3e-3, logging_steps=50, save_steps=400, lr_scheduler_type="cosine", negatives="all",
    )  # fmt: skip
    last = [entry for entry in trainer.state.log_history if "loss_hc" in entry][-1]
    assert last["loss_hc"] < 0.05 and last["loss_ec"] < 0.05, last
