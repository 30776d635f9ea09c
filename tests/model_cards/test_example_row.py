"""The example row of a card: the first of the default config, short, with what was cut."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, Json, List, Value

from hubwright.making import write_dataset
from hubwright.model_cards.parquet import LARGEST, LONGEST, MOST, describe, example_row, shortened


def png() -> bytes:
    from PIL import Image as Picture

    stream = io.BytesIO()
    Picture.new("RGB", (3, 3)).save(stream, "PNG")
    return stream.getvalue()


def test_example_is_the_first_row_cut_with_what_is_left_out(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "turns": List(Json()), "n": Value("float64"), "image": Image()})
    image = {"bytes": png(), "path": "a.png"}
    first = {"text": "a" * 1000, "turns": [json.dumps({"n": n}) for n in range(12)], "n": float("nan"), "image": image}
    rows = Dataset.from_list([first, first | {"text": "second"}], features=features)
    write_dataset({"zeta": {"test": rows.select([1]), "train": rows}, "eta": {"train": rows.select([1])}}, tmp_path)
    example = example_row(tmp_path, describe(tmp_path), "zeta")
    assert example == {
        "config": "zeta",
        "split": "train",
        "row": {
            "text": "a" * LONGEST + "... (1,000 characters)",
            "turns": [*({"n": n} for n in range(MOST)), "... and 4 more"],
            "n": "nan",
            "image": {"bytes": f"{len(png())} bytes", "path": "a.png"},
        },
    }
    assert example_row(tmp_path, describe(tmp_path), None)["config"] == "eta"
    assert json.loads(json.dumps(example, allow_nan=False)) == example


def test_media_and_large_columns_of_any_depth_stay_short(tmp_path: Path) -> None:
    features = Features({"pictures": List(Image()), "wide": Json()})
    row = {"pictures": [{"bytes": png(), "path": None}], "wide": json.dumps({f"key{n}": "x" * 200 for n in range(99)})}
    write_dataset({"train": Dataset.from_list([row], features=features)}, tmp_path)
    example = example_row(tmp_path, describe(tmp_path), None)["row"]
    assert example["pictures"] == [{"bytes": f"{len(png())} bytes", "path": None}]
    assert len(example["wide"]) < LARGEST + 40 and example["wide"].endswith(" characters)")


def test_no_parquet_no_example(tmp_path: Path) -> None:
    assert describe(tmp_path) == {} and example_row(tmp_path, {}, None) is None


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "short", [], {}, [[1, [2]]]])
def test_short_values_stay(value: object) -> None:
    assert shortened(value) == value
