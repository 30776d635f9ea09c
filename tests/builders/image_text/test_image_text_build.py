"""Licences decide which pixels are published; images and their near duplicates stay in one split; nothing is lost."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from datasets import Image
from PIL import Image as Pictures
from pydantic import ValidationError
from url_parts import picture

from hubwright.builders._lib.context import local_context
from hubwright.builders._lib.image_licences import PUBLISHABLE, image_licence
from hubwright.builders.image_text import ImageTextConfig, build
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.model_cards.licences import decide


def folder(path: Path, *rows: tuple[bytes, dict[str, Any]]) -> Path:
    path.mkdir(exist_ok=True)
    with (path / "metadata.jsonl").open("w") as stream:
        for number, (content, record) in enumerate(rows):
            (path / f"{number}.png").write_bytes(content)
            stream.write(json.dumps({"file_name": f"{number}.png", "text": f"Text {number}."} | record) + "\n")
    return path


def run(source: Path, **settings: Any) -> tuple[Any, StepContext]:
    context = local_context()
    settings = {"source": str(source), "format": "folder", "license": "cc-by-4.0"} | settings
    return build(ImageTextConfig.model_validate(settings), context), context


def changed(content: bytes) -> bytes:
    """The same picture in another size: other bytes, the same look."""
    stream = io.BytesIO()
    Pictures.open(io.BytesIO(content)).resize((70, 70)).save(stream, "PNG")
    return stream.getvalue()


LICENCES = {
    "http://creativecommons.org/licenses/by/2.0/": "cc-by-2.0",
    "https://creativecommons.org/licenses/by-nc-nd/2.0/deed.de": "cc-by-nc-nd-2.0",
    "https://creativecommons.org/publicdomain/zero/1.0/": "cc0-1.0",
    "https://creativecommons.org/publicdomain/mark/1.0/": "public-domain",
    "CC BY-SA 2.0": "cc-by-sa-2.0",
    "CC-BY-4.0": "cc-by-4.0",
    "Creative Commons BY-NC 2.0": "cc-by-nc-2.0",
    "CC0": "cc0-1.0",
    "Public Domain": "public-domain",
    "http://flickr.com/commons/usage/": "no-known-copyright",
    "http://www.usa.gov/copyright.shtml": "us-government-work",
    "MIT": "mit",
    "All rights reserved": "all rights reserved",
    "https://creativecommons.org/licenses/by/3.0/us/legalcode": "cc-by-3.0",
    "public domain (CC0)": "public-domain",
    # What is taken back in part, or leaves a choice, allows nothing.
    "Not in the public domain": "not in the public domain",
    "CC BY 4.0, non-commercial": "cc by 4.0, non-commercial",
    "CC BY 4.0 (texts only)": "cc by 4.0 (texts only)",
    "CC BY 4.0 or CC BY-NC 2.0": "cc by 4.0 or cc by-nc 2.0",
    "https://creativecommons.org/licenses/by/4.0/ except the logo": "https://creativecommons.org/licenses/by/4.0/ except the logo",
    "": None,
    None: None,
    float("nan"): None,
}


@pytest.mark.parametrize("text", LICENCES)
def test_licences_are_read_as_people_write_them(text: Any) -> None:
    assert image_licence(text) == LICENCES[text]


@pytest.mark.parametrize(
    "text",
    [
        "not in the public domain", "Not public domain - all rights reserved", "CC BY 4.0 NC", "CC BY 4.0 SA",
        "CC BY 2.0 (non-commercial use only)", "CC BY 4.0, all rights reserved", "CC BY 4.0 no derivatives",
        "public domain in the US only", "CC BY 4.0 (text), CC BY-NC 4.0 (image)", "CC BY 4.0 ShareAlike",
        "https://creativecommons.org/licenses/by/4.0/ https://creativecommons.org/licenses/by-nc/4.0/",
        "formerly creativecommons.org/licenses/by/2.0/; now all rights reserved",
    ],
)  # fmt: skip
def test_a_licence_with_a_word_that_takes_it_back_publishes_no_pixels(text: str) -> None:
    assert image_licence(text) not in PUBLISHABLE


def test_pixels_are_published_where_the_licence_allows_it_alone(tmp_path: Path) -> None:
    rows = [
        (picture(0), {"license": "cc0-1.0"}),
        (picture(1), {"license": "cc-by-2.0", "author": "A. Photographer"}),
        (picture(2), {"license": "cc-by-2.0"}),
        (picture(3), {"license": "cc-by-nc-2.0", "author": "B. Photographer"}),
        (picture(4), {"license": "all rights reserved"}),
        (picture(5), {}),
    ]
    built, context = run(folder(tmp_path / "in", *rows))
    check_columns("image_text", built, context.report)
    part = built["train"].cast_column("image", Image(decode=False))
    published = [row["image"]["bytes"] if row["image"] else None for row in part]
    assert published == [picture(0), picture(1), None, None, None, None]
    assert all(row["sha256"] and row["phash"] and row["width"] == 48 for row in part)
    (table,) = [table for table in context.report.tables if table["title"] == "Licences of the images"]
    assert sorted(map(tuple, table["rows"]), key=str) == sorted([
        ("cc0-1.0", "published", 1), ("cc-by-2.0", "published", 1), ("cc-by-2.0", "no attribution", 1),
        ("cc-by-nc-2.0", "licence not in pixel_licenses", 1), ("all rights reserved", "licence not in pixel_licenses", 1),
        ("not stated", "licence not in pixel_licenses", 1),
    ], key=str)  # fmt: skip
    assert context.report.card["license"] == "cc-by-4.0" and context.report.counts["rows_with_pixels"] == 2


def test_licence_and_credit_of_the_settings_are_for_rows_that_state_none(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", (picture(0), {}), (picture(1), {"license": "cc-by-nc-4.0", "credit": "C."}))
    part = run(source, image_license="CC BY 4.0", attribution="The museum")[0]["train"]
    assert [row["license"] for row in part] == ["cc-by-4.0", "cc-by-nc-4.0"]
    assert [row["attribution"] for row in part] == ["The museum", "C."]
    assert [row["image"] is not None for row in part] == [True, False]


def test_local_pixels_are_refused_by_the_licence_rules_of_publishing(tmp_path: Path) -> None:
    built, context = run(folder(tmp_path / "in", (picture(0), {})), unlicensed_pixels="local")
    assert built["train"][0]["image"].size == (48, 48)
    card = context.report.card
    with pytest.raises(DataError, match="must not be published in public"):
        decide("pairs", {}, own=card["license"], own_name=card.get("license_name"))
    assert decide("pairs", {}, own=card["license"], private=True)["id"] == "other"


def test_pixels_with_a_restricting_licence_change_the_cards(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", (picture(0), {"license": "cc-by-nc-2.0", "author": "A."}))
    _, context = run(source, pixel_licenses=["cc-by-nc-2.0"])
    assert context.report.card["license"] == "other" and context.report.card["license_name"].startswith("several")


def test_splits_keep_all_texts_of_an_image_and_its_near_duplicates_together(tmp_path: Path) -> None:
    rows = [(content, {}) for n in range(40) for content in (picture(n), picture(n), changed(picture(n)))]
    built, context = run(folder(tmp_path / "in", *rows), splits={"train": 0.7, "test": 0.3}, image_license="cc0-1.0")
    numbers = {name: {int(text[5:-1]) // 3 for text in part["text"]} for name, part in built.items()}
    assert not numbers["train"] & numbers["test"] and len(numbers["train"] | numbers["test"]) == 40
    assert sum(map(len, built.values())) == 120 and 4 < len(numbers["test"]) < 20
    assert context.report.counts["images_that_look_like_another"] in range(41)
    assert context.report.counts["such_groups_in_several_splits"] == 0
    again, _ = run(tmp_path / "in", splits={"train": 0.7, "test": 0.3}, image_license="cc0-1.0")
    assert {name: part["id"] for name, part in again.items()} == {name: part["id"] for name, part in built.items()}


def test_near_duplicates_are_left_out_when_asked_and_texts_of_one_image_are_not(tmp_path: Path) -> None:
    source = folder(
        tmp_path / "in", (picture(0), {}), (picture(0), {}), (changed(picture(0)), {}), (picture(1), {}), (picture(0), {"text": "Text 0."})
    )  # fmt: skip
    texts = {}
    for deduplicate in (None, "exact", "near"):
        built, context = run(source, deduplicate=deduplicate)
        texts[deduplicate] = list(built["train"]["text"])
        assert context.report.counts["records_read"] == 5
        assert context.report.counts["records_rejected"] == 5 - len(texts[deduplicate])
    assert texts[None] == ["Text 0.", "Text 1.", "Text 2.", "Text 3.", "Text 0."]
    assert texts["exact"] == ["Text 0.", "Text 1.", "Text 2.", "Text 3."]
    assert texts["near"] == ["Text 0.", "Text 1.", "Text 3."]


def test_images_of_one_colour_are_no_near_duplicates(tmp_path: Path) -> None:
    flat = []
    for colour in ("white", "black", "red"):
        stream = io.BytesIO()
        Pictures.new("RGB", (50, 50), colour).save(stream, "PNG")
        flat.append((stream.getvalue(), {}))
    assert len(run(folder(tmp_path / "in", *flat), deduplicate="near")[0]["train"]) == 3


def test_own_splits_stay_and_images_in_two_are_counted(tmp_path: Path) -> None:
    rows = [(picture(0), {"part": "train"}), (picture(0), {"part": "test"}), (picture(1), {"part": "test"})]
    built, context = run(folder(tmp_path / "in", *rows), columns={"split": "part"})
    assert {name: len(part) for name, part in built.items()} == {"train": 1, "test": 2}
    assert context.report.counts["such_groups_in_several_splits"] == 1


def test_further_columns_are_kept_with_their_types(tmp_path: Path) -> None:
    rows = [(picture(0), {"score": 0.5, "tags": ["a"], "n": 7}), (picture(1), {"score": None})]
    built, _ = run(folder(tmp_path / "in", *rows), keep=["score", "tags", "n"])
    assert list(built["train"]["meta"]) == [
        {"score": 0.5, "tags": ["a"], "n": 7},
        {"score": None, "tags": None, "n": None},
    ]


def test_urls_are_rows_without_pixels_and_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,caption\nhttp://a.test/1,One.\nhttp://a.test/2,Two.\n")
    source = tmp_path / "a.csv"
    assert len(run(source, format="table")[0]["train"]) == 2
    assert len(run(source, format="table", max_rows=1)[0]["train"]) == 1
    with pytest.raises(DataError, match="the image is not at hand: 2"):
        run(source, format="table", require_image=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"txt": "caption"}}, "columns: 'txt' is unknown; did you mean 'text'?"),
        ({"format": None}, "format is missing"),
        ({"license": None}, "license is missing"),
        ({"splits": {"train": 0.9, "test": 0.2}}, "the shares sum to 1.1"),
        ({"splits": {"all": 1.0}}, "not the name of a split"),
        ({"splits": {"a": 1.0}, "columns": {"split": "x"}}, "leave one out"),
        ({"format": "coco", "caption_lines": True}, "caption_lines is of format folder"),
        ({"format": "cc12m", "keep": ["score"]}, "columns and keep are of tables; format cc12m has none"),
        ({"format": "webdataset", "delimiter": ";"}, "delimiter is of CSV"),
        ({"phash_distance": 9}, "less than or equal to 8"),
        ({"fetch": {"dealine": 3}}, "dealine"),
        ({"max_image_mb": 0}, "greater than 0"),
        ({"license": "cc-bye"}, "not a licence id of the Hub"),
        ({"source": None}, "format is of a `source`"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ImageTextConfig.model_validate({"source": "x", "format": "folder", "license": "mit"} | settings)
    assert message in str(refused.value)


def test_rows_come_from_one_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rows come from `source` or from the input `dataset`: add one of them"):
        build(ImageTextConfig())
    with pytest.raises(UsageError, match="no such file or folder"):
        run(tmp_path / "absent")


def test_split_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row is left for split 'b' of 1 rows"):
        run(folder(tmp_path / "in", (picture(0), {})), splits={"a": 0.99, "b": 0.01})
