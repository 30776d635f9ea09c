"""Rows as people have them: each is used right, or refused in one line with its reason counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_parts import hostile_images
from row_parts import learnt
from vision_parts import chats, drawing, encoded, save_rows

from hubwright.hub_sync.errors import DataError, UsageError

Prepared = Callable[..., Any]
RED = drawing("red", "bar")
ANSWER = {"role": "assistant", "content": "red bar"}
LOOSE = {"max_refused_share": 0.9}


def text_of(trainer: Any, number: int = 0) -> str:
    """A row as text, an image as one token."""
    text = str(trainer.processing_class.tokenizer.decode(trainer.train_dataset[number]["input_ids"]))
    return text.replace("<image>" * 5, "<IMAGE>")


def reasons(step: Any) -> dict[str, int]:
    """Refused rows by reason."""
    begin = "train_rows_refused: "
    return {name.removeprefix(begin): n for name, n in step.report.counts.items() if name.startswith(begin)}


def ask(content: Any, image: Any = RED, answer: Any = ANSWER) -> dict[str, Any]:
    return {"image": image, "messages": [{"role": "user", "content": content}, answer]}


PART = {"type": "image", "text": None}
SAY = {"type": "text", "text": "What is it?"}


@pytest.mark.parametrize(
    ("content", "shown"),
    [("<image>\nWhat?", "<IMAGE>\nWhat?"), ("What is <image>?", "What is <IMAGE>?"), ("What?", "<IMAGE>What?"),
     ([PART, SAY], "<IMAGE>What is it?"), ([PART | {"index": 0}, SAY], "<IMAGE>What is it?"), ([SAY, PART], "What is it?<IMAGE>"), ([SAY], "<IMAGE>What is it?"),
     ([{"type": "image_url", "image_url": None}, SAY], "<IMAGE>What is it?"),
     ([{"type": "text", "text": "See <image>: "}, SAY], "See <IMAGE>: What is it?")],
)  # fmt: skip
def test_an_image_is_where_its_placeholder_is(prepared: Prepared, content: Any, shown: str) -> None:
    trainer, step = prepared([ask(content)])
    assert f"user\n{shown}<|im_end|>" in text_of(trainer)
    assert learnt(trainer, trainer.train_dataset[0]) == ["red bar<|im_end|>"]
    added = step.report.counts.get("train_rows_changed: images put before the first user turn", 0)
    assert added == (not ("<image>" in str(content) or "'image" in str(content)))


def test_share_gpt_and_json_text_are_read(prepared: Prepared) -> None:
    turns = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "red bar"}]
    trainer, _ = prepared([{"image": RED, "conversations": turns}])
    assert "user\n<IMAGE>What?" in text_of(trainer)
    turns = json.dumps(ask("<image>What?")["messages"])
    trainer, _ = prepared([{"image": RED, "prompt": turns[: turns.rindex("{") - 2] + "]", "completion": "red bar"}])
    assert "user\n<IMAGE>What?" in text_of(trainer)


def test_two_images_and_none(prepared: Prepared) -> None:
    rows = [
        {"images": [RED, RED], "messages": ask("<image> or <image>?")["messages"]},
        {"images": [], "messages": ask("What is red?")["messages"]},
        {"images": [RED, RED], "messages": ask("Which?")["messages"]},
    ]
    trainer, step = prepared(rows, image="images", trained="language_model")
    assert [text_of(trainer, n).count("<IMAGE>") for n in range(3)] == [2, 0, 2]
    assert "<IMAGE> or <IMAGE>?" in text_of(trainer, 0) and "user\n<IMAGE><IMAGE>Which?" in text_of(trainer, 2)
    counts = step.report.counts
    assert (counts["train_images"], counts["train_rows_without_an_image"]) == (4, 1)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in (1, 0)])
    assert batch["pixel_values"].shape[0] == 2
    assert "pixel_values" not in trainer.data_collator([trainer.train_dataset[1]])
    # The projector alone has nothing to learn of text.
    _, step = prepared(rows, image="images", **LOOSE)
    assert reasons(step) == {"a row without an image, which teaches the projector nothing": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [(ask("<image><image>What?"), "other images than placeholders (\"1 images, 2 placeholders\")"),
     (ask("<image>What?", None), "other images than placeholders"),
     (ask("What?", answer={"role": "assistant", "content": "an <image>"}), "a text spells a control token"),
     (ask("What?", answer={"role": "assistant", "content": [{"type": "text", "text": "a "}, PART]}), "control token"),
     (ask([{"type": "image", "image": {"bytes": "x"}}, SAY]), "an image within the turns"),
     (ask([{"type": "image_url", "image_url": {"url": "http://a/b.png"}}, SAY]), "an image within the turns"),
     (ask("\ue000image\ue000"), "private-use characters"),
     (ask([PART | {"index": 1}, SAY]), "image parts whose `index` is not their place"),
     (ask([{"type": "video"}, SAY]), "a content part is not text"),
     ({"image": RED, "messages": [ANSWER]}, "images, and no user turn"),
     (ask("What?", encoded(RED)[:60]), "truncated|not an image"),
     (ask("What?", b""), "an image file without content"),
     (ask("What?", b"<html><body>404</body></html>"), "a page of HTML"),
     (ask("What?", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "an SVG drawing")],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_reason(prepared: Prepared, row: dict[str, Any], reason: str) -> None:
    import re

    with pytest.raises(DataError, match=r"1 of 4 rows of the train split cannot be used.*row 3: ") as error:
        prepared([*chats(3), row])
    assert re.search(reason, str(error.value)) or reason[:28] in str(error.value), error.value
    assert "\n" not in str(error.value)
    _, step = prepared([*chats(3), row], **LOOSE)
    counts = step.report.counts
    assert counts["train_rows_read"] == 4 == counts["train_rows_used"] + sum(reasons(step).values())


def test_images_of_every_mode_become_rgb(prepared: Prepared) -> None:
    from PIL import Image

    files = [
        encoded(RED.convert(mode), kind)
        for mode, kind in (("L", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("P", "GIF"))
    ]
    files.append(encoded(Image.new("I;16", (30, 20), 40_000)))
    trainer, step = prepared([ask("What?", file) for file in files])
    assert step.report.counts["train_rows_used"] == 5 and not reasons(step)
    assert trainer.data_collator(list(trainer.train_dataset))["pixel_values"].shape == (5, 3, 28, 28)


def test_hostile_files_are_used_or_counted(prepared: Prepared) -> None:
    usable, refused = hostile_images()
    rows = [ask(f"<image>Of {name}?", content) for name, content in (usable | refused).items()]
    trainer, step = prepared(rows, **LOOSE)
    assert [f"Of {name}?" in text_of(trainer, n) for n, name in enumerate(usable)] == [True] * len(usable)
    assert len(trainer.train_dataset) == len(usable) and sum(reasons(step).values()) == len(refused)


def test_limits_of_images_are_settings(prepared: Prepared) -> None:
    large = drawing("red", "bar", side=300)
    _, step = prepared([*chats(2), ask("What?", large)], max_image_pixels=50_000, **LOOSE)
    assert reasons(step) == {"an image above max_image_pixels 50000": 1}
    _, step = prepared([*chats(2), ask("What?", encoded(large, "BMP"))], max_image_mb=0.1, **LOOSE)
    assert reasons(step) == {"an image above max_image_mb 0.1": 1}


def test_paths_are_read_within_the_data_set_alone(prepared: Prepared, tmp_path: Path) -> None:
    """A row that names a file of this machine is refused; one that names a file of the data set is read."""
    import pyarrow as pa
    from pyarrow import parquet

    folder, outside = tmp_path / "named", tmp_path / "secret.png"
    (folder / "data").mkdir(parents=True)
    outside.write_bytes(encoded(RED))
    (folder / "mine.png").write_bytes(encoded(RED))
    paths = [
        "mine.png",
        str(outside),
        "../secret.png",
        "data/../../secret.png",
        "absent.png",
        str(folder / "mine.png"),
    ]
    rows = [{"image": {"bytes": None, "path": path}, "text": "red"} for path in paths]
    kinds = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "text": pa.string()})
    parquet.write_table(pa.Table.from_pylist(rows, kinds), folder / "data" / "train.parquet")
    _, step = prepared(folder, **LOOSE)
    assert step.report.counts["train_rows_used"] == 2
    assert reasons(step) == {
        "an image is a path outside of the data set": 3, "an image is a path to a file that the data set lacks": 1
    }  # fmt: skip


def test_captions_follow_their_image_or_answer_a_question(prepared: Prepared) -> None:
    rows = [{"image": RED, "text": "a red bar"}, {"image": RED, "text": "red"}]
    trainer, step = prepared(rows)
    assert text_of(trainer) == "<IMAGE>a red bar<|im_end|>"
    assert learnt(trainer, trainer.train_dataset[0]) == ["a red bar<|im_end|>"]
    assert not [name for name in step.report.counts if "changed" in name]
    trainer, _ = prepared(rows, prompt="What is it?")
    assert "user\n<IMAGE>What is it?<|im_end|>\n<|im_start|>assistant\na red bar<|im_end|>" in text_of(trainer)
    assert learnt(trainer, trainer.train_dataset[0]) == ["a red bar<|im_end|>\n"]
    with pytest.raises(UsageError, match="prompt is what rows of `text` answer, and these have `messages`: drop it"):
        prepared(chats(2), prompt="What is it?")
    for text in (None, " ", "an <image>"):
        _, step = prepared([*rows, {"image": RED, "text": text}], **LOOSE)
        assert len(reasons(step)) == 1, text


def test_columns_that_do_not_fit_are_named(prepared: Prepared, tmp_path: Path) -> None:
    from datasets import Dataset

    for columns, message in (
        ({"messages": [[ANSWER]]}, "neither `image` nor `images`"),
        ({"image": ["a.png"], "text": ["b"]}, "column `image` holds string, and no images.*uses: rows"),
        ({"image": [{"bytes": b"", "path": None}]}, "none of `messages`, `prompt` \\+ `completion` and `text`"),
        ({"image": [{"a": 1}], "text": ["b"]}, "column `image` holds .*, and no images"),
    ):
        folder = tmp_path / f"odd{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        Dataset.from_dict(columns).to_parquet(str(folder / "train.parquet"))
        with pytest.raises(DataError, match=message) as error:
            prepared(folder)
        assert "\n" not in str(error.value)


def test_rows_prepared_in_two_processes_are_those_of_one(prepared: Prepared, tmp_path: Path) -> None:
    data = save_rows(tmp_path / "two", chats(6))
    one, _ = prepared(data)
    two, _ = prepared(data, dataset_num_proc=2)
    assert one.train_dataset.to_list() == two.train_dataset.to_list()


def test_a_template_without_marks_is_refused(prepared: Prepared) -> None:
    with pytest.raises(UsageError, match=r"does not mark assistant turns.*set chat_template: chatml_tools"):
        prepared(chats(2), chat_template="keep")
    trainer, _ = prepared(chats(2), chat_template="keep", assistant_only_loss=False)
    row = trainer.train_dataset[0]
    image = trainer.processing_class.image_token_id
    assert [label for label, i in zip(row["labels"], row["input_ids"], strict=True) if i == image] == [-100] * 5
    assert text_of(trainer).startswith(
        "<|im_start|>user\n<IMAGE>What is it?<|im_end|>\n<|im_start|>assistant\nred square"
    )
