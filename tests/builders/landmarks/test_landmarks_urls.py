"""Images of Google Landmarks v2 behind URLs, lists on the hub, tar files and trees of any depth, database left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from landmark_parts import gldv2, key, photograph, write_csv, write_image
from url_parts import UrlServer

from hubwright.builders.landmarks import LandmarksConfig, build
from hubwright.builders.landmarks.places import folders_of
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError


@pytest.fixture
def server() -> Iterator[UrlServer]:
    with UrlServer() as running:
        yield running


def run(source: Any, folder: Path, **settings: Any) -> tuple[dict[str, Any], StepContext]:
    context = StepContext("landmarks", folder / "work", folder / "out")
    return build(
        LandmarksConfig.model_validate({"source": str(source), "format": "gldv2"} | settings), context
    ), context


def test_images_come_from_urls_and_dead_ones_are_counted_by_landmark(tmp_path: Path, server: UrlServer) -> None:
    folder = gldv2(tmp_path / "gld", images=12, files=False)
    paths = [f"/image/{n}" if n % 6 else "/status/404" for n in range(12)]
    write_csv(folder / "train.csv", ("id", "url", "landmark_id"),
              [(key(n), server.url + paths[n], 100 + n % 4) for n in range(12)])  # fmt: skip
    fetch = {"deadline": 5, "attempts": 1, "private_hosts": [server.host], "per_host": 16}
    built, context = run(folder, tmp_path, fetch=fetch, deduplicate=None)
    counts = context.report.counts
    assert counts["rejected: URL without an image: HTTP 404"] == counts["images_missing"] == 2
    used = [row for split in built["pairs"].values() for row in split]
    assert counts["records_read"] == 12 == len(used) + counts["records_rejected"]
    assert {row["landmark_id"]: row["missing"] for row in built["landmarks"]["train"]} == {
        "100": 1,
        "101": 0,
        "102": 1,
        "103": 0,
    }
    with pytest.raises(DataError, match=r"the files of 2 of 12 images are missing"):
        run(folder, tmp_path, fetch=fetch, max_missing_share=0.1)


def test_lists_and_images_of_a_data_set_on_the_hub(api: Any, tmp_path: Path, namespace: str) -> None:
    gldv2(tmp_path / "gld", images=8)
    api.create_repo(f"{namespace}/gld", repo_type="dataset")
    api.upload_folder(repo_id=f"{namespace}/gld", folder_path=tmp_path / "gld", repo_type="dataset")
    built, context = run(f"{namespace}/gld@main", tmp_path)
    assert sum(map(len, built["pairs"].values())) == 8
    assert any(f"{namespace}/gld@" in section["body"] for section in context.report.sections)


def test_images_two_folders_deep_and_flat_ones(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld", files=False)
    for n in range(20):
        write_image(folder / "images" / "train", key(n), photograph(n))
    (folder / "more").mkdir()
    for n in range(20, 40):
        (folder / "more" / f"{key(n)}.jpeg").write_bytes(photograph(n))
    built, _ = run(folder, tmp_path)
    assert sum(map(len, built["pairs"].values())) == 40
    assert [path.name for path in folders_of(folder)] == ["gld", "images", "train", "more"]
    assert not (tmp_path / "work" / "lists.sqlite").exists()


def test_a_killed_run_leaves_nothing_that_the_next_one_reads(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "lists.sqlite").write_bytes(b"SQLite format 3\x00 half a database")
    (tmp_path / "work" / "ids").write_bytes(b"\x01" * 64)
    built, _ = run(folder, tmp_path)
    again, _ = run(folder, tmp_path)
    assert [row["image_id"] for row in built["pairs"]["train"]] == [row["image_id"] for row in again["pairs"]["train"]]


def test_names_that_several_landmarks_have_are_shown(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld", files=False)
    rows = [
        (100 + n, "http://commons.wikimedia.org/wiki/Category:" + ("Bridge" if n < 2 else f"Tower_{n}"))
        for n in range(4)
    ]
    write_csv(folder / "train_label_to_category.csv", ("landmark_id", "category"), rows)
    _, context = run(folder, tmp_path, require_image=False, lists={"hierarchy": None})
    assert context.report.counts["names_of_several_landmarks"] == 1
    assert next(t for t in context.report.tables if t["title"].startswith("Names"))["rows"] == [["Bridge", 2]]


def test_lines_of_lists_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld")
    for name, line in {
        "train_attribution.csv": "only one cell",
        "train_label_to_category.csv": ",http://x.test",
    }.items():
        with (folder / name).open("a") as stream:
            stream.write(line + "\n")
    built, context = run(folder, tmp_path)
    assert sum(map(len, built["pairs"].values())) == 40 and context.report.counts["lines_not_read"] == 2
    table = next(t for t in context.report.tables if t["title"] == "Lines of lists that were not read")
    assert sorted(table["rows"]) == [["train_attribution.csv", 1], ["train_label_to_category.csv", 1]]
