"""The four kinds from a data set of pairs: twins that name each other, labels, splits, a teacher that sees."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from column_parts import check_columns
from datasets import DatasetDict, Image
from PIL import Image as Pictures
from pydantic import ValidationError
from url_parts import picture

from hubwright.builders._lib.context import local_context
from hubwright.builders.aitqe import SamplesConfig, build
from hubwright.builders.aitqe.labels import read_label
from hubwright.builders.image_text import ImageTextConfig
from hubwright.builders.image_text import build as build_pairs
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.step import Preview
from hubwright.making import write_dataset

THINGS = ["dog", "horse", "cow", "goat", "duck", "zebra", "giraffe", "bear", "sheep", "bird", "cat", "elephant"]
COLOURS = ["red", "blue", "green", "white", "brown", "pink"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images with two captions each, as `image_text` publishes them."""
    folder = tmp_path_factory.mktemp("pairs")
    with (folder / "metadata.jsonl").open("w") as stream:
        for number in range(36):
            (folder / f"{number}.png").write_bytes(picture(number))
            thing, colour = THINGS[number % 12], COLOURS[number % 6]
            texts = [
                f"Two large {thing}s standing near a {colour} car, number {number}.",
                f"A {colour} car is parked beside a {thing} in field {number}.",
            ]
            stream.write(json.dumps({"file_name": f"{number}.png", "text": texts, "license": "cc0-1.0"}) + "\n")
    config = ImageTextConfig(
        source=str(folder), format="folder", license="cc0-1.0", splits={"train": 0.7, "test": 0.3}, seed=1
    )
    out = tmp_path_factory.mktemp("built")
    write_dataset(build_pairs(config, local_context()), out)
    return out


def run(pairs: Path, **settings: Any) -> tuple[DatasetDict, StepContext]:
    context = local_context(dataset=pairs)
    return build(SamplesConfig.model_validate(settings), context), context


def rows_of(built: DatasetDict) -> list[dict[str, Any]]:
    return [row for part in built.values() for row in part.cast_column("image", Image(decode=False))]


def test_twins_name_each_other_and_differ_in_text_and_side(pairs: Path) -> None:
    built, context = run(pairs)
    check_columns("aitqe_samples", built, context.report)
    rows = {row["id"]: row for row in rows_of(built)}
    assert len(rows) == 2 * 72 == sum(map(len, built.values()))
    assert {row["kind"] for row in rows.values()} == {"raw_good", "contrast_bad", "raw_bad", "contrast_good"}
    sides = {"raw_good": "contrast_bad", "contrast_good": "raw_bad"}
    for row in rows.values():
        twin = rows[row["twin"]]
        assert twin["twin"] == row["id"] and twin["image"] == row["image"] and twin["pair"] == row["pair"]
        assert twin["raw_text"] != row["raw_text"]
        if row["kind"] in sides:
            assert twin["kind"] == sides[row["kind"]] and row["damage"] is None and row["recaption"] is None
            assert row["scores"]["overall"] > twin["scores"]["overall"] and twin["recaption"] == row["raw_text"]
    counts = context.report.counts
    assert counts["texts_read"] == counts["texts_used"] == 72
    assert (
        counts["raw_good_rows"] == counts["contrast_bad_rows"]
        and counts["raw_bad_rows"] == counts["contrast_good_rows"]
    )


def test_target_of_a_contrast_is_the_caption_as_people_wrote_it(pairs: Path) -> None:
    from datasets import load_dataset

    texts = {
        row["id"]: row["text"]
        for part in load_dataset(str(pairs)).values()
        for row in part.select_columns(["id", "text"])
    }
    by_image: dict[bytes, set[str]] = {}
    for part in load_dataset(str(pairs)).values():
        for row in part.cast_column("image", Image(decode=False)):
            by_image.setdefault(row["image"]["bytes"], set()).add(row["text"])
    for row in rows_of(run(pairs)[0]):
        if row["kind"] == "contrast_bad":
            assert row["recaption"] == texts[row["pair"]]
        if row["kind"] == "raw_bad":
            assert row["recaption"] in by_image[row["image"]["bytes"]] and row["recaption"] != texts[row["pair"]]
        if row["damage"] in ("random_caption", "neighbour_caption"):
            assert row["raw_text"] not in by_image[row["image"]["bytes"]]


def test_same_seed_gives_the_same_samples_and_another_gives_others(pairs: Path) -> None:
    first, again, other = (run(pairs, seed=seed)[0] for seed in (0, 0, 1))
    assert {name: part["id"] for name, part in first.items()} == {name: part["id"] for name, part in again.items()}
    assert first["train"]["id"] != other["train"]["id"]


def test_kinds_are_drawn_by_turns_and_held_out_ones_are_never_in_train(pairs: Path) -> None:
    built, _ = run(pairs, held_out=["colour", "url"], raw_share=0.5)
    damages = {name: Counter(damage for damage in part["damage"] if damage) for name, part in built.items()}
    assert not {"colour", "url"} & set(damages["train"]) and {"colour", "url"} <= set(damages["test"])
    assert len(damages["train"]) == 12 and max(damages["train"].values()) - min(damages["train"].values()) <= 3
    only, _ = run(pairs, damages=["colour"], pairs_per_text=3)
    assert all(len([damage for damage in part["damage"] if damage]) == len(part) // 2 for part in only.values())
    assert sum(map(len, only.values())) == 2 * 72  # a kind comes once per text


def test_texts_without_pixels_are_passed_over_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,text\nhttp://a.test/1,Two red cars.\nhttp://a.test/2,A blue bus stands.\n")
    config = ImageTextConfig(source=str(tmp_path / "a.csv"), format="table", license="mit")
    write_dataset(build_pairs(config, local_context()), tmp_path / "out")
    with pytest.raises(DataError, match=r"none of 2 texts makes a sample \(2 have no pixels"):
        run(tmp_path / "out")
    built, context = run(tmp_path / "out", require_image=False)
    assert len(built["train"]) == 4 and built["train"][0]["image"] is None
    assert context.report.counts["texts_used"] == 2


def test_what_is_no_data_set_of_pairs_is_refused(tmp_path: Path, pairs: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "x", "image": "y"}\n')
    with pytest.raises(DataError, match="has no column 'id'; give a data set of `uses: image_text`"):
        run(tmp_path / "in")
    with pytest.raises(UsageError, match="give the input `dataset`"):
        build(SamplesConfig())
    with pytest.raises(DataError, match="has no columns text, sha256 and phash"):
        SamplesConfig().preview({"dataset": Preview("steps.chats", columns=("messages",))})
    for settings, message in (({"good_from": 8}, "good_from does nothing without a teacher"),
                              ({"raw_share": 0.2, "teacher": "openai:m@http://127.0.0.1:9/v1"}, "raw_share does nothing with a teacher")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            run(pairs, **settings)
    for settings, message in (
        ({"damages": ["color"]}, "'color' is no kind of damage; did you mean 'colour'?"),
        ({"damages": ["url"], "held_out": ["url"]}, "held_out leaves no kind"),
        ({"good_from": 11}, "less than or equal to 10"),
        ({"pairs_per_text": 0}, "greater than or equal to 1"),
    ):
        with pytest.raises(ValidationError) as refused:
            SamplesConfig.model_validate(settings)
        assert message in str(refused.value)


def label(score: int, recaption: str | None = None, **changes: Any) -> str:
    aspects = ("overall", "text_quality", "matching", "object_detail", "semantic", "text_chart")
    entries: dict[str, Any] = {name: {"score": score, "explanation": f"Why {name}."} for name in aspects}
    return json.dumps(entries | {"recaption": recaption} | changes)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("", "reply is not JSON"),
        ("[1]", "reply is not JSON"),
        ('{"overall": ', "reply is not JSON"),
        (label(11), "overall is 11"),
        (label(8, overall={"score": "8"}), "overall is 8"),
        (label(8, overall={"score": True}), "overall is True"),
        (label(8, matching=None), "matching is None"),
        (label(8, overall={"score": -25.0}), "overall is -25.0"),
        (label(3), "no better text"),
        (label(3, "a cat."), "no better text"),
        (label(3, "x" * 2000), "no better text"),
    ],
)
def test_reply_that_cannot_be_used_is_refused(reply: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_label(reply, "A cat.", 7)


def test_reply_in_a_fence_and_without_explanations_is_read() -> None:
    plain = json.dumps(
        dict.fromkeys(("overall", "text_quality", "matching", "object_detail", "semantic", "text_chart"), 8)
    )
    assert read_label(f"```json\n{plain}\n```", "A cat.", 7)["scores"]["matching"] == 8
    assert read_label(label(8, "A dog."), "A cat.", 7)["recaption"] is None
    assert read_label(label(3, "A dog."), "A cat.", 7)["recaption"] == "A dog."


def seen(body: dict[str, Any]) -> tuple[Pictures.Image, str]:
    """The image and the text of a request, as a model with eyes gets them."""
    image, words = body["messages"][-1]["content"]
    assert image["type"] == "image_url" and words["type"] == "text"
    content = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    return Pictures.open(io.BytesIO(content)), words["text"].split("\n")[0].removeprefix("Text: ")


def teacher_with_eyes(body: dict[str, Any], number: int) -> str:
    """Finds texts with `parked` bad, and what the generators or it made of others by whether it is a caption."""
    image, text = seen(body)
    assert image.format == "JPEG" and max(image.size) <= 40
    if text.startswith("Better:"):
        return label(9)
    if "parked" in text:
        return label(3, f"Better: {text}")
    return label(
        9 if text.startswith("Two large") and "standing near" in text and "number" in text else 2, "Something else."
    )


def test_teacher_that_sees_labels_texts_and_twins(pairs: Path) -> None:
    with ChatServer(teacher_with_eyes) as server:
        settings = {
            "teacher": f"openai:eyes@{server.url}",
            "max_side": 40,
            "damages": ["random_caption", "url", "truncation"],
            "split": "test",
        }
        built, context = run(pairs, **settings)
    rows = {row["id"]: row for row in rows_of(built)}
    kinds = Counter(row["kind"] for row in rows.values())
    assert kinds["raw_bad"] == kinds["contrast_good"] > 5 and kinds["raw_good"] == kinds["contrast_bad"]
    for row in rows.values():
        assert row["teacher"] == "eyes" and row["prompt_version"] == "teacher-1"
        if row["kind"] == "raw_bad":
            assert (
                row["damage"] is None
                and row["recaption"] == f"Better: {row['raw_text']}"
                and row["scores"]["overall"] == 3
            )
            assert rows[row["twin"]]["raw_text"] == row["recaption"] and rows[row["twin"]]["scores"]["overall"] == 9
        if row["kind"] == "contrast_bad":
            assert row["scores"]["overall"] in (2, 3) and row["explanations"]["matching"] == "Why matching."
    counts = context.report.counts
    # A random caption may be one that this teacher likes: the twin is left out, and counted.
    left_out = counts.get("twins_that_the_teacher_finds_on_the_wrong_side", 0)
    assert counts["texts_read"] == counts["texts_used"] == sum(kinds.values()) // 2 + left_out
    assert counts["tokens_read"] > 0


def test_teacher_whose_replies_cannot_be_read_ends_in_one_line(pairs: Path) -> None:
    with ChatServer(lambda body, number: "I cannot see images.") as server, pytest.raises(DataError) as refused:
        run(pairs, teacher=f"openai:blind@{server.url}", attempts=1)
    assert "\n" not in str(refused.value) and "reply is not JSON" in str(refused.value)
