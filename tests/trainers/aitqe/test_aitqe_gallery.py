"""Contact sheets show the pairs that they name, in the order of their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aitqe_parts import samples, save_samples
from trainer_parts import context
from vision_parts import COLOURS, drawing

from hubwright.inference.media.contact_sheet import MARGIN, THUMB
from hubwright.trainers.aitqe import gallery
from hubwright.trainers.aitqe.rating import Pairs, RateConfig


@pytest.mark.parametrize(
    ("scores", "count", "places"),
    [
        ([3.0, 1.0, 2.0], 3, [1, 2, 0]),
        ([3.0, 1.0, 2.0], 9, [1, 2, 0]),
        ([float(n) for n in range(101)], 5, [0, 25, 50, 75, 100]),
        ([5.0, 5.0, 5.0], 2, [0, 2]),
        ([None, float("nan"), 4.0], 2, [2]),
        ([None], 3, []),
        ([], 3, []),
        ([1.0, 2.0], 0, []),
    ],
)
def test_pairs_are_evenly_spaced_by_score(scores: list[Any], count: int, places: list[int]) -> None:
    assert gallery.spread(scores, count) == places


def sheet(folder: Path, rows: list[dict[str, Any]], scores: list[float | None], name: str = "run") -> Any:
    from datasets import Dataset

    step = context(folder, {"dataset": save_samples(folder / f"{name}-data", rows)}, name)
    pairs = Pairs(RateConfig(use_cpu=True), step.inputs["dataset"], step.workdir / "datasets")
    gallery.by_score(step, pairs, Dataset.from_dict({"overall": scores}), 4)
    return step


def test_sheet_shows_images_from_the_lowest_to_the_highest_score(tmp_path: Path) -> None:
    from matplotlib.image import imread

    first = samples(1)[0]
    rows = [first | {"id": name, "raw_text": name, "image": drawing(name, "square")} for name in COLOURS]
    order = ["white", "blue", "red", "green"]
    scores: list[float | None] = [float(order.index(name)) + 1 for name in COLOURS]
    step = sheet(tmp_path, rows, scores)
    pixels = (imread(step.output / "by_score.png")[..., :3] * 255).round().astype(int)
    for place, name in enumerate(order):
        # drawings are smaller than their frame: they stand in its middle, at the bottom
        x, y = MARGIN + place * (THUMB + MARGIN) + THUMB // 2, MARGIN + THUMB - 20
        assert tuple(pixels[y, x]) == COLOURS[name]
        under = pixels[MARGIN + THUMB + 4 : MARGIN + THUMB + 20, x - THUMB // 2 : x + THUMB // 2]
        assert (under.max(axis=2) < 100).sum() > 20  # score and text
    (section,) = step.report.sections
    assert "![Pairs by score](by_score.png)" in section["body"] and "`org/" in section["body"]
    again = sheet(tmp_path, rows, scores, "again")
    assert (again.output / "by_score.png").read_bytes() == (step.output / "by_score.png").read_bytes()


def test_broken_images_and_empty_texts_are_left_out(tmp_path: Path) -> None:
    from PIL import Image

    rows = samples(2)
    rows[0] |= {"image": b"no image"}
    rows[1] |= {"raw_text": " "}
    step = sheet(tmp_path, rows, [1.0, 2.0, 3.0, None])
    assert np.array(Image.open(step.output / "by_score.png")).shape[1] == MARGIN + THUMB + MARGIN
    none = sheet(tmp_path, rows, [None] * 4, "none")
    assert not (none.output / "by_score.png").exists() and not none.report.sections
