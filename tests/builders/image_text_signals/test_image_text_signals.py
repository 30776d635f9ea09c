"""Signals of pairs: formulas, every pair accounted for, and a dual encoder from disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from column_parts import check_columns
from datasets import Dataset, Features, Image, Value
from hypothesis import given
from hypothesis import strategies as st

from hubwright.builders._lib.context import local_context
from hubwright.builders.image_text_signals import SignalsConfig, build
from hubwright.builders.image_text_signals.signals import basic_filter, neg_clip_loss, overlap, text_signals
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.hub_sync.refs import ArtifactRef


def picture(color: str, size: tuple[int, int] = (30, 20)) -> bytes:
    from PIL import Image as Pictures

    buffer = io.BytesIO()
    Pictures.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def saved(folder: Path, rows: list[dict[str, Any]], image: bool = True) -> StepContext:
    names = [name for name in rows[0] if name != "image"]
    features = Features({name: Value("int64" if name in ("width", "height") else "string") for name in names})
    table = [{name: row[name] for name in names} for row in rows]
    if image:
        features["image"] = Image()
        table = [row | {"image": full.get("image") and {"bytes": full["image"], "path": None}}
                 for row, full in zip(table, rows, strict=True)]  # fmt: skip
    (folder / "data").mkdir(parents=True)
    Dataset.from_list(table, features=features).to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    context = local_context()
    context.inputs = {"dataset": Input(ArtifactRef("dataset", "org/pairs", "0" * 40), folder)}
    return context


@given(st.text(max_size=50))
def test_signals_of_any_text_are_shares(text: str) -> None:
    signals = text_signals(text)
    assert signals.pop("words") >= 0 and all(0 <= value <= 1 for value in signals.values())


@pytest.mark.parametrize(
    ("text", "width", "height", "passes"),
    [("A red bus", 640, 480, 1), ("red bus", 640, 480, 0), ("a b c", 640, 480, 0), ("A red bus", 640, 199, 0),
     ("A red bus", 2000, 600, 0), ("A red bus", 1800, 600, 1), ("A red bus", None, None, 1), ("", 640, 480, 0)],
)  # fmt: skip
def test_basic_filter_has_datacomps_rules(text: str, width: int | None, height: int | None, passes: int) -> None:
    assert basic_filter(text, width, height) == passes


def test_neg_clip_loss_is_half_the_losses_of_clip() -> None:
    import torch

    cosines = np.random.default_rng(0).uniform(-1, 1, (7, 7))
    logits = torch.tensor(20 * cosines)
    labels = torch.arange(7)
    losses = [torch.nn.functional.cross_entropy(one, labels, reduction="none") for one in (logits, logits.T)]
    expected = (-(losses[0] + losses[1]) / 2 + np.log(7)) / 20
    assert neg_clip_loss(cosines, 20) == pytest.approx(expected.numpy())
    assert np.isnan(neg_clip_loss(cosines[:1, :1], 20)).all()


def test_neg_clip_loss_of_alike_pairs_does_not_follow_from_the_size_of_the_batch() -> None:
    few, many = (neg_clip_loss(np.full((n, n), 0.2) + 0.1 * np.eye(n), 1.0).mean() for n in (64, 256))
    assert few == pytest.approx(many, abs=0.002)


def test_a_generic_text_loses_against_its_batch() -> None:
    cosines = np.array([[0.5, 0.1, 0.6], [0.1, 0.5, 0.6], [0.1, 0.1, 0.6]])  # the third text fits every image
    values = neg_clip_loss(cosines, 100)
    assert cosines[2, 2] > cosines[0, 0] and values[2] < values[0] + 0.1


def test_words_of_signs_are_looked_for_in_the_text() -> None:
    assert overlap("Open 24 hours", "OPEN 24 HOURS exit") == 0.75 and overlap("", "") == 1


def test_pairs_without_pixels_have_the_signals_of_their_text(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "A red bus", "width": 640, "height": 480},
        {"id": "b", "text": None, "width": None, "height": None},
    ]
    context = saved(tmp_path / "d", rows, image=False)
    result = build(SignalsConfig(), context)["train"]
    assert result["basic_filter"][:] == [1.0, 0.0] and result["fault"][:] == [None, None]
    assert "cosine" not in result.column_names and "cosine" not in context.report.columns


def test_a_dual_encoder_gives_cosines_and_faults_are_counted(tmp_path: Path) -> None:
    from signal_parts import make_clip

    rows = [
        {"id": "a", "text": "red", "image": picture("red")}, {"id": "b", "text": "blue", "image": b"no image"},
        {"id": "c", "text": "a longer text of blue", "image": picture("blue")}, {"id": "d", "text": "x", "image": None},
    ]  # fmt: skip
    context = saved(tmp_path / "d", rows)
    context.inputs["encoder"] = Input(ArtifactRef("model", "org/clip", "0" * 40), make_clip(tmp_path / "clip"))  # type: ignore[index]
    splits = build(SignalsConfig(device="cpu"), context)
    check_columns("image_text_signals", splits, context.report)
    result = list(splits["train"])
    assert [row["fault"] is None for row in result] == [True, False, True, False]
    assert all(-1 <= row["cosine"] <= 1 for row in (result[0], result[2])) and result[1]["cosine"] is None
    assert sum(count for name, count in context.report.counts.items() if name.startswith("no image")) == 2


@pytest.mark.parametrize("image", ["cat.png", [b"no image"], 7])
def test_column_without_an_image_per_row_is_refused(tmp_path: Path, image: Any) -> None:
    from signal_parts import make_clip

    context = saved(tmp_path / "d", [{"id": "a", "text": "A cat"}], image=False)
    rows = Dataset.from_list([{"id": "a", "text": "A cat", "image": image}])
    rows.to_parquet(str(tmp_path / "d" / "data" / "train-00000-of-00001.parquet"))
    context.inputs["encoder"] = Input(ArtifactRef("model", "org/clip", "0" * 40), make_clip(tmp_path / "clip"))  # type: ignore[index]
    with pytest.raises(DataError, match=r"org/pairs.*column `image` holds .*, and no image per row"):
        build(SignalsConfig(device="cpu"), context)


def test_inputs_that_are_not_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give the input `dataset`"):
        build(SignalsConfig(), local_context())
    with pytest.raises(DataError, match="has no column 'text'; it has id, caption"):
        build(SignalsConfig(), saved(tmp_path / "d", [{"id": "a", "caption": "b"}], image=False))
