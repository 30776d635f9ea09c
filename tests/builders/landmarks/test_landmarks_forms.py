"""Folders and tables of landmarks, tables of names, licences, splits and folds: hostile inputs, nothing lost, no leak."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from hypothesis import given
from hypothesis import strategies as st
from landmark_parts import photograph
from PIL import Image
from pydantic import ValidationError

from hubwright.builders._lib.context import local_context
from hubwright.builders._lib.near_images import bits
from hubwright.builders.landmarks import LandmarksConfig, build
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, HubwrightError, UsageError

Built = dict[str, Any]
PLACES = ("old_bridge", "High Tower", "bay")


def run(source: Path, **settings: Any) -> tuple[Built, StepContext]:
    context = local_context()
    given = {"source": str(source), "format": "folder", "license": "cc-by-4.0", "unlicensed_pixels": "local"}
    return build(LandmarksConfig.model_validate(given | settings), context), context


def rows(built: Built, config: str = "pairs") -> list[dict[str, Any]]:
    return [row for split in built[config].values() for row in split]


def refused(context: StepContext) -> dict[str, int]:
    counts = context.report.counts
    return {name.removeprefix("rejected: "): n for name, n in counts.items() if name.startswith("rejected: ")}


def places(folder: Path, each: int = 10, names: tuple[str, ...] = PLACES) -> Path:
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for n in range(each):
            (folder / name / f"{n}.jpg").write_bytes(photograph(1000 * place + n))
    return folder


def resized(number: int, side: int = 70) -> bytes:
    """The same look in other bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photograph(number))).resize((side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def test_folder_zip_and_tar_give_the_same_rows(tmp_path: Path) -> None:
    folder = places(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive, tarfile.open(tmp_path / "in.tar", "w") as tar:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, path.relative_to(folder).as_posix())
            tar.add(path, path.relative_to(folder).as_posix())
    results = [run(tmp_path / name) for name in ("in", "in.zip", "in.tar")]
    for built, context in results:
        assert sorted((r["image_id"], r["name"], r["fold"]) for r in rows(built)) == sorted(
            (r["image_id"], r["name"], r["fold"]) for r in rows(results[0][0])
        )
        assert context.report.counts["records_read"] == 30 == len(rows(built))
    assert {row["name"] for row in rows(results[0][0])} == {"Old Bridge", "High Tower", "Bay"}
    check_columns("landmarks", results[0][0], results[0][1].report)


def test_closed_splits_hold_landmarks_of_train_and_unseen_ones_are_apart(tmp_path: Path) -> None:
    built, context = run(places(tmp_path / "in", names=(*PLACES, "x", "y")), unseen=0.2, validation=0.1, test=0.2)
    sides = {name: Counter(split["landmark_id"]) for name, split in built["pairs"].items()}
    assert list(sides) == ["train", "validation", "test", "unseen"]
    assert len(sides["unseen"]) == 1 and not set(sides["unseen"]) & set(sides["train"])
    assert set(sides["train"]) == set(sides["validation"]) == set(sides["test"])
    assert set(sides["train"].values()) == {7} and set(sides["validation"].values()) == {1}
    assert {row["landmark_id"]: row["split"] for row in built["landmarks"]["train"]} == {
        name: "unseen" if name in sides["unseen"] else "seen" for name in (*PLACES, "x", "y")
    }
    assert all(len(built["questions"][name]) == 2 * len(built["pairs"][name]) for name in sides)
    assert context.report.metrics["leaks"] == 0
    again, _ = run(tmp_path / "in", unseen=0.2, validation=0.1, test=0.2)
    assert [row["image_id"] for row in rows(again)] == [row["image_id"] for row in rows(built)]


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.lists(st.integers(0, 3), min_size=40, max_size=40),
       st.sampled_from(["exact", "near", None]), st.floats(0, 0.9), st.floats(0, 0.4), st.floats(0, 0.4))  # fmt: skip
def test_no_image_and_no_landmark_leaks_however_they_look(
    landmarks: list[int], looks: list[int], deduplicate: Any, unseen: float, validation: float, test: float
) -> None:
    """Images that look the same (few different ones, some a bit apart) are given to landmarks at random."""
    import tempfile

    import numpy as np

    from hubwright.builders.landmarks.build import _database
    from hubwright.builders.landmarks.convert import Row
    from hubwright.builders.landmarks.landmark import Landmarks
    from hubwright.builders.landmarks.sides import Sides

    hashes = [0, 0xF0F0F0F0F0F0F0F0, 0xF0F0F0F0F0F0F0F1, 0x123456789ABCDEF0]
    config = LandmarksConfig.model_validate({
        "source": "x", "format": "folder", "license": "other", "unlicensed_pixels": "local", "unseen": unseen,
        "validation": validation, "test": test, "deduplicate": deduplicate,
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        database = _database(Path(folder) / "a")
        known = Landmarks(database, True)
        sides = Sides(config, Path(folder), database)
        numbers = [known.number(f"place {one}") for one in landmarks]
        for n, number in enumerate(numbers):
            sides.add(Row({}, number, f"id:{n}", hashes[looks[n]], None))
        masks, folds = sides.decide(known)
        images = {number: count for number, count, _ in sides.counts()}
        database.close()
    used = np.zeros(len(numbers), int) + sum(mask.astype(int) for mask in masks.values())
    assert used.max() <= 1 and (used == 0).sum() == sides.left_out.total()
    side = {n: name for name, mask in masks.items() for n in np.flatnonzero(mask).tolist()}
    assert images == Counter(numbers[n] for n in side)
    for one in side:
        for other in side:
            near = (
                looks[one]
                and looks[other]
                and bits(np.array([hashes[looks[one]] ^ hashes[looks[other]]], np.uint64))[0] <= 3
            )
            if one != other and near:
                assert side[one] == side[other] and folds[one] == folds[other] and numbers[one] == numbers[other]
                assert deduplicate != "near"
    train = {numbers[n] for n, name in side.items() if name == "train"}
    assert {numbers[n] for n, name in side.items() if name in ("validation", "test")} <= train
    assert not train & {numbers[n] for n, name in side.items() if name == "unseen"}


def test_looks_across_landmarks_and_equal_files_are_left_out(tmp_path: Path) -> None:
    folder = places(tmp_path / "in")
    (folder / "bay" / "same_file.jpg").write_bytes(photograph(2000))
    (folder / "bay" / "same_look.png").write_bytes(resized(2001))
    (folder / "old_bridge" / "of_the_bay.png").write_bytes(resized(2002))
    built, context = run(folder)
    assert refused(context) == {
        "the same file as an earlier image": 1, "looks like another image of its landmark": 1,
        "looks like an image of another landmark": 1,
    }  # fmt: skip
    assert context.report.counts["records_read"] == 33 == len(rows(built)) + 3
    built, context = run(folder, deduplicate=None)
    assert refused(context) == {"looks like an image of another landmark": 1} and len(rows(built)) == 32
    sides = {row["image_id"]: (name, row["fold"]) for name, split in built["pairs"].items() for row in split}
    assert sides["bay/1.jpg"] == sides["bay/same_look.png"]
    assert sides["bay/0.jpg"] == sides["bay/same_file.jpg"]


def test_folders_as_people_have_them(tmp_path: Path) -> None:
    folder = places(tmp_path / "in")
    (folder / "loose.jpg").write_bytes(photograph(9000))
    (folder / "bay" / "notes.txt").write_text("of the bay")
    (folder / "bay" / "page.jpg").write_bytes(b"<!DOCTYPE html><html></html>")
    (folder / "bay" / "cut.jpg").write_bytes(photograph(9001)[:-500])
    (folder / "bay" / "empty.jpg").touch()
    (folder / "bay" / "._1.jpg").write_bytes(b"Mac OS X")
    (folder / "nobody").mkdir()
    built, context = run(folder)
    assert refused(context) == {
        "an image outside of a landmark's folder": 1, "a page of HTML in place of an image": 1, "a truncated image": 1,
        "an image file without content": 1,
    }  # fmt: skip
    assert context.report.counts["records_read"] == 34 == len(rows(built)) + 4
    assert context.report.counts["files_that_are_no_images"] == 1


def test_tar_members_never_leave_the_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name, content in {
            "../../evil/1.jpg": photograph(1),
            "bay/2.jpg": photograph(2),
            "/abs/3.jpg": photograph(3),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("bay/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for number in (4, 5):  # of one path: the later stands, and the earlier is counted
            info = tarfile.TarInfo("bay/4.jpg")
            info.size = len(photograph(number))
            tar.addfile(info, io.BytesIO(photograph(number)))
    before = sorted(tmp_path.rglob("*"))
    built, context = run(tmp_path / "in.tar", test=0, validation=0)
    assert sorted(tmp_path.rglob("*")) == before
    assert {row["landmark_id"] for row in rows(built)} == {"evil", "bay", "abs"} and len(rows(built)) == 4
    assert refused(context) == {"a file of a tar archive that a later one of the same path replaces": 1}
    assert context.report.counts["records_read"] == 5


def table(folder: Path, *records: dict[str, Any], name: str = "labels.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    for n in range(12):
        (folder / f"{n}.jpg").write_bytes(photograph(n))
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_tables_with_columns_of_any_name(tmp_path: Path) -> None:
    records = [{"file_name": f"{n}.jpg", "label": n % 3, "licence": "CC BY 2.0", "author": "A", "landmark_name": f"Place {n % 3}"}
               for n in range(12)]  # fmt: skip
    built, context = run(table(tmp_path / "in", *records), format="table", unlicensed_pixels="drop")
    assert {(row["landmark_id"], row["name"]) for row in rows(built)} == {
        ("0", "Place 0"),
        ("1", "Place 1"),
        ("2", "Place 2"),
    }
    assert all(row["license"] == "cc-by-2.0" and row["image"] for row in rows(built))
    assert context.report.card["license"] == "cc-by-4.0"
    odd = [
        {"pic": f"{n}.jpg", "where": value}
        for n, value in enumerate(["a", "a", "a", None, "", float("nan"), True, 2.5, "b", ["c"]])
    ]
    odd += [{"pic": "12.jpg", "where": "a"}, {"pic": None, "where": "a"}, {"pic": "0.jpg", "where": "b"}, 7]  # type: ignore[list-item]
    columns = {"image": "pic", "landmark": "where"}
    built, context = run(table(tmp_path / "in", *odd), format="table", columns=columns, max_rejected_share=1)
    assert refused(context) == {
        "an image without a landmark": 6, "the image file is missing": 1, "neither an image nor a URL": 1,
        "an image id that was there before": 1, "not an object": 1,
    }  # fmt: skip
    assert context.report.counts["records_read"] == 14 == len(rows(built)) + 10
    with pytest.raises(DataError, match="no column is known to hold the landmark; it has pic, where"):
        run(tmp_path / "in", format="table", columns={"image": "pic"})
    with pytest.raises(DataError, match=r"there is no column 'wher'.*where"):
        run(tmp_path / "in", format="table", columns={"image": "pic", "landmark": "wher"})


def test_tables_in_parquet_with_images_inside(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as Pictures

    data = {
        "image": [{"bytes": photograph(n), "path": f"{n}.jpg"} for n in range(8)],
        "label": [float(n % 2) for n in range(8)],
    }
    (tmp_path / "in").mkdir()
    features = Features({"image": Pictures(), "label": Value("float64")})
    Dataset.from_dict(data, features=features).to_parquet(tmp_path / "in" / "train.parquet")
    built, _ = run(tmp_path / "in", format="table")
    assert {row["landmark_id"] for row in rows(built)} == {"0", "1"} and len(rows(built)) == 8


HIERARCHY = """
- landmark: bay
  name: "  Ha\u0323  Long Bay "
  aliases: [Halong Bay, Halong Bay]
  supercategory: bay
  hierarchical_label: body of water
  natural_or_human_made: Natural
- {landmark: old_bridge, name: Old Bridge, natural_or_human_made: human made}
"""


def test_tables_of_names_complete_a_source(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text(HIERARCHY)
    built, context = run(places(tmp_path / "in"), hierarchy={"source": str(tmp_path / "h.yaml")})
    bay, bridge, tower = (
        next(r for r in rows(built) if r["landmark_id"] == name) for name in ("bay", "old_bridge", "High Tower")
    )
    assert bay["name"] == "H\u1ea1 Long Bay" and bay["aliases"] == ["Halong Bay"]
    assert (bay["natural_or_human_made"], bridge["natural_or_human_made"], tower["natural_or_human_made"]) == (
        "natural", "human-made", None,
    )  # fmt: skip
    assert tower["name"] == "High Tower" and bridge["supercategory"] is None
    coverage = next(t for t in context.report.tables if t["title"] == "Coverage")["rows"]
    assert coverage[0] == ["natural_or_human_made", 2, "66.7%", 20, "66.7%"]
    answers = {r["level"]: r["answers"] for r in rows(built, "questions") if r["landmark_id"] == "bay"}
    assert answers["natural_or_human_made"] == ["natural", "made by nature"] and answers["name"] == [
        "H\u1ea1 Long Bay",
        "Halong Bay",
    ]
    (tmp_path / "h.csv").write_text("landmark,name,aliases\nbay,Bay of Ha,Halong|Long Bay\n")
    built, _ = run(tmp_path / "in", hierarchy={"source": str(tmp_path / "h.csv")})
    assert next(r for r in rows(built) if r["landmark_id"] == "bay")["aliases"] == ["Halong", "Long Bay"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- landmark: moon\n", "none of its 1 landmarks .moon. has an image; those of the source are"),
        ("- landmark: bay\n- landmark: bay\n", "landmarks 1 and 2 are both 'bay'"),
        ("- landmark: bay\n  nmae: Bay\n", "landmark 1: 'nmae' is unknown.*name"),
        ("- landmark: bay\n  natural_or_human_made: artificial\n", "is neither natural nor human-made"),
        ("- name: Bay\n", "its landmark None is neither text"),
        ("- landmark: bay\n  name: 7\n", "its name '7' is not text"),
        ("- landmark: bay\n  aliases: {a: b}\n", "are not a list of texts"),
        ("just text", "is not a list of landmarks"),
        ("- [", "is not YAML"),
        ("", "is not a list of landmarks"),
        ("[]", "has no landmarks"),
        ("- bay\n", "is not an entry with fields"),
    ],
)
def test_tables_of_names_that_are_wrong_are_refused_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(HubwrightError, match=fault) as caught:
        run(places(tmp_path / "in", 2), hierarchy={"source": str(tmp_path / "h.yaml")})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"unlicensed_pixels": "drop"}, "no image of format folder states a licence"),
        ({"license": None}, "license is missing"),
        ({"validation": 0.5, "test": 0.5}, "leave no image for train"),
        ({"languages": ["xx"]}, "'xx' has no templates"),
        ({"columns": {"image": "a"}}, "columns is of format table"),
        ({"format": "table", "columns": {"imgae": "a"}}, "'imgae' is unknown"),
        ({"clean": True}, "clean is of format gldv2"),
        ({"format": "gldv2", "part": "index", "clean": True}, "clean is of part train"),
        ({"format": "gldv2", "no_landmark": "keep"}, "no_landmark: keep is of part test"),
        ({"fetch": True}, "format folder has none"),
        ({"unseen": 1.0}, "less than 1"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: dict[str, Any], fault: str) -> None:
    given = {"source": "x", "format": "folder", "license": "other", "unlicensed_pixels": "local"}
    with pytest.raises(ValidationError, match=fault):
        LandmarksConfig.model_validate(given | settings)


def test_sources_without_images_or_licences_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.jpg").write_bytes(photograph(1))
    (tmp_path / "text" / "bay").mkdir(parents=True)
    (tmp_path / "text" / "bay" / "a.txt").write_text("a")
    for name, fault in {
        "empty": "no file fits",
        "flat": "lie in no folder",
        "text": "holds no image file",
        "nowhere": "no such file",
    }.items():
        with pytest.raises(UsageError, match=fault):
            run(tmp_path / name)
    with pytest.raises(DataError, match="none of 30 images has a licence"):
        run(places(tmp_path / "in"), unlicensed_pixels="drop", image_license="cc-by-nc-2.0")
    with pytest.raises(DataError, match="none of 30 images has a licence of pixel_licenses and a credit"):
        run(tmp_path / "in", unlicensed_pixels="drop", image_license="cc-by-2.0")
    built, context = run(
        tmp_path / "in", unlicensed_pixels="drop", image_license="cc-by-2.0", attribution="The walkers"
    )
    assert len(rows(built)) == 30 and context.report.card["license"] == "cc-by-4.0"
    _, context = run(tmp_path / "in")
    assert context.report.card["license"] == "other" and "license_name" not in context.report.card


def test_one_landmark_with_one_image(tmp_path: Path) -> None:
    built, context = run(places(tmp_path / "in", 1, ("bay",)), unseen=0.5)
    assert {name: len(split) for name, split in built["pairs"].items()} == {"train": 1}
    assert context.report.counts["landmarks_with_one_image"] == 1


def test_configs_are_those_that_are_named(tmp_path: Path) -> None:
    built, context = run(places(tmp_path / "in"), configs=["pairs"])
    assert set(built) == {"pairs"}
    check_columns("landmarks", built["pairs"], context.report)
