"""Hostile image files on the roads of builders: used, or refused and counted by reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, Value
from hostile_parts import hostile_images

from hubwright.builders import image_text, image_text_signals, rows
from hubwright.builders._lib.context import local_context
from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.refs import ArtifactRef

USABLE, REFUSED = hostile_images()
FILES = USABLE | REFUSED


def saved(path: Path) -> Path:
    """A Parquet file of all of them, with their names as ids and texts."""
    path.parent.mkdir(parents=True)
    table = [{"id": n, "text": f"Of {n}.", "image": {"bytes": FILES[n], "path": None}} for n in FILES]
    kinds = {"id": Value("string"), "text": Value("string"), "image": Image()}
    Dataset.from_list(table, features=Features(kinds)).to_parquet(str(path))
    return path


def rejected(context: StepContext) -> int:
    return sum(n for name, n in context.report.counts.items() if name.startswith("rejected: "))


@pytest.mark.parametrize("step", ["image_text", "rows"])
def test_files_of_a_table_are_used_or_counted(tmp_path: Path, step: str) -> None:
    source, context = {"source": str(saved(tmp_path / "a" / "a.parquet")), "license": "mit"}, local_context()
    source |= {"max_rejected_share": 1.0}  # type: ignore[dict-item]
    if step == "image_text":
        more = {"format": "table", "image_license": "cc0-1.0"}
        built: Any = image_text.build(image_text.ImageTextConfig.model_validate(source | more), context)
    else:
        built = rows.build(rows.RowsConfig.model_validate(source | {"format": "images"}), context)
    train = built["train"].cast_column("image", Image(decode=False))
    assert {row["text"]: row["image"]["bytes"] for row in train} == {f"Of {n}.": USABLE[n] for n in USABLE}
    assert rejected(context) == len(REFUSED)
    assert all(max(one.size) for one in built["train"]["image"])  # what is published opens everywhere


def test_files_of_a_folder_are_used_or_counted(tmp_path: Path) -> None:
    for number, name in enumerate(FILES):
        (tmp_path / f"{number}.jpg").write_bytes(FILES[name])
        (tmp_path / f"{number}.txt").write_text(f"Of {name}.")
    settings = {"source": str(tmp_path), "format": "folder", "license": "mit", "image_license": "cc0-1.0"}
    context = local_context()
    config = image_text.ImageTextConfig.model_validate(settings | {"max_rejected_share": 1.0})
    assert set(image_text.build(config, context)["train"]["text"]) == {f"Of {n}." for n in USABLE}
    assert rejected(context) == len(REFUSED)


def test_signals_of_images_are_there_or_say_why_not(tmp_path: Path) -> None:
    from signal_parts import make_clip

    saved(tmp_path / "d" / "data" / "train-00000-of-00001.parquet")
    context = local_context()
    context.inputs = {
        "dataset": Input(ArtifactRef("dataset", "org/pairs", "0" * 40), tmp_path / "d"),
        "encoder": Input(ArtifactRef("model", "org/clip", "0" * 40), make_clip(tmp_path / "clip")),
    }
    result = image_text_signals.build(image_text_signals.SignalsConfig(device="cpu"), context)["train"]
    assert [row["id"] for row in result] == list(FILES)
    assert {row["id"] for row in result if row["fault"] is None and row["cosine"] is not None} == set(USABLE)
    assert sum(n for name, n in context.report.counts.items() if name.startswith("no image: ")) == len(REFUSED)
