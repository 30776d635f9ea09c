"""The lists of Google Landmarks v2: joins, parts that must not be mixed, missing files, every line accounted for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from column_parts import check_columns
from landmark_parts import gldv2, key, photograph, write_csv, write_image, write_tar

from hubwright.builders._lib.context import local_context
from hubwright.builders.landmarks import LandmarksConfig, build
from hubwright.builders.landmarks.lists import part_by_columns, part_by_name
from hubwright.builders.landmarks.names import name_of_category, name_of_identifier
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, HubwrightError, UsageError


def run(source: Path, **settings: Any) -> tuple[dict[str, Any], StepContext]:
    context = local_context()
    return build(
        LandmarksConfig.model_validate({"source": str(source), "format": "gldv2"} | settings), context
    ), context


def accounted(context: StepContext, built: dict[str, Any]) -> int:
    """Rows in, which must be rows used and rows refused by reason."""
    counts = context.report.counts
    refused = sum(number for name, number in counts.items() if name.startswith("rejected: "))
    assert counts["records_read"] == sum(map(len, built["pairs"].values())) + refused
    assert counts["records_rejected"] == refused
    return counts["records_read"]


def rows(built: dict[str, Any], config: str = "pairs") -> list[dict[str, Any]]:
    return [row for split in built[config].values() for row in split]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gldv2(tmp_path_factory.mktemp("gldv2") / "gld")


def test_train_has_names_kinds_credits_and_questions(source: Path) -> None:
    built, context = run(source)
    check_columns("landmarks", built, context.report)
    assert accounted(context, built) == 40 and len(rows(built)) == 40
    by_id = {row["image_id"]: row for row in rows(built)}
    first = by_id[key(0)]
    assert first["name"] == "Château d'If" and first["landmark_id"] == "100"
    assert (first["supercategory"], first["hierarchical_label"], first["natural_or_human_made"]) == (
        "castle", "fortification", "human-made",
    )  # fmt: skip
    assert first["license"] == "cc-by-2.0" and first["author"] == "Author 0" and first["title"] == "File 0"
    assert first["image"].size == (48, 48) and first["sha256"] == hashlib.sha256(photograph(0)).hexdigest()
    assert "Château d'If" in first["text"]
    assert by_id[key(3)]["name"] == "東大寺" and by_id[key(3)]["supercategory"] is None
    levels = {row["level"] for row in rows(built, "questions") if row["image_id"] == key(3)}
    assert levels == {"name", "caption"}
    assert context.report.counts["questions without: no supercategory known"] == 10
    assert len(rows(built, "questions")) == 30 * 5 + 10 * 2
    assert context.report.metrics["coverage_supercategory"] == 0.75 and context.report.metrics["leaks"] == 0
    assert context.report.card["license"] == "cc-by-4.0"
    assert {row["landmark_id"]: row["images"] for row in built["landmarks"]["train"]} == dict.fromkeys(
        ("100", "101", "102", "103"), 10
    )


def test_every_question_has_its_image_and_all_right_answers(source: Path) -> None:
    built, _ = run(source, languages=["en", "de"])
    for row in rows(built, "questions"):
        user, assistant = row["messages"]
        assert user == {"role": "user", "content": "<image>" + row["question"]}
        assert assistant == {"role": "assistant", "content": row["answer"]} and row["answer"] == row["answers"][0]
        assert row["image"] is not None and "{" not in row["answer"]
        assert row["level"] in ("name", "caption") or row["answer"] == row[row["level"]]
    assert {row["level"] for row in rows(built, "questions") if row["language"] == "de"} == {"name", "caption"}


def test_index_and_test_have_numberings_of_their_own(source: Path) -> None:
    built, _ = run(source, part="index", image_license="public-domain")
    # Landmark 102 is Mount Fuji in train and the Eiffel Tower in index.
    assert {row["name"] for row in rows(built) if row["landmark_id"] == "102"} == {"Eiffel Tower"}
    built, context = run(source, part="test", image_license="public-domain", max_rejected_share=0)
    accounted(context, built)
    assert set(built["pairs"]) == {"test"} and context.report.counts["rejected: an image without a landmark"] == 38
    two = {row["image_id"]: row for row in rows(built)}
    assert two[key(1, "test")]["name"] == "Mount Fuji"
    assert two[key(0, "test")]["name"] == "Château d'If" and two[key(0, "test")]["aliases"] == ["Eiffel Tower"]


def test_queries_without_a_landmark_are_kept_on_demand(source: Path) -> None:
    built, context = run(source, part="test", image_license="public-domain", no_landmark="keep")
    accounted(context, built)
    without = [row for row in rows(built) if row["landmark_id"] is None]
    assert len(without) == 38 and all(row["name"] is None and row["aliases"] == [] for row in without)
    assert {row["landmark_id"] for row in rows(built, "questions")} == {"100", "102"}
    check_columns("landmarks", built, context.report)


def test_clean_list_chooses_images(source: Path) -> None:
    built, context = run(source, clean=True)
    assert len(rows(built)) == 20 and context.report.counts["rejected: not in the clean list"] == 20
    accounted(context, built)


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        ({"category": "index_label_to_category.csv"}, "is a list of part index, and part is train"),
        ({"hierarchy": "index_label_to_hierarchical.csv"}, "two numberings that overlap"),
        ({"images": "index_image_to_landmark.csv"}, "use train.csv"),
    ],
)
def test_lists_of_another_part_are_refused_though_they_join(source: Path, lists: dict[str, str], fault: str) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        run(source, lists=lists)
    assert "\n" not in str(caught.value)


def test_renamed_lists_are_known_by_their_columns_or_declared(tmp_path: Path, source: Path) -> None:
    for name in ("train.csv", "train_label_to_hierarchical.csv", "index_label_to_hierarchical.csv"):
        (tmp_path / name.replace("train", "a").replace("index", "b")).write_bytes((source / name).read_bytes())
    settings = {"require_image": False, "configs": ["pairs", "landmarks"]}
    lists = {"images": "a.csv", "hierarchy": "a_label_to_hierarchical.csv"}
    with pytest.raises(DataError, match=r"neither name nor columns tell its part.*part_of: \{a_label_to_hier"):
        run(tmp_path, lists=lists, **settings)
    built, _ = run(tmp_path, lists=lists, part_of={"a_label_to_hierarchical.csv": "train"}, **settings)
    assert {row["name"] for row in rows(built) if row["landmark_id"] == "102"} == {"Mount Fuji"}
    with pytest.raises(DataError, match="is a list of part index"):
        run(tmp_path, lists=lists, part_of={"a_label_to_hierarchical.csv": "index"}, **settings)
    with pytest.raises(DataError, match="is declared as index in part_of, and its columns say train"):
        run(tmp_path, lists=lists, part_of={"a.csv": "index"}, **settings)
    with pytest.raises(UsageError, match=r"part_of: nowhere.csv is not a list"):
        run(
            tmp_path, lists=lists, part_of={"a_label_to_hierarchical.csv": "train", "nowhere.csv": "train"}, **settings
        )


def test_parts_by_name_and_columns() -> None:
    assert part_by_name("train_label_to_category.csv.gz") == "train"
    assert part_by_name("retraining.csv") is None
    assert part_by_columns(("id", "url", "landmark_id")) == "train"
    assert part_by_columns(("landmark_id", "images")) == "train"
    assert part_by_columns(("id", "landmarks", "Usage")) == "test"
    assert part_by_columns(("id", "landmark_id")) is part_by_columns(("landmark_id", "category")) is None


def test_images_of_another_list_are_refused_naming_the_one_that_fits(tmp_path: Path, source: Path) -> None:
    folder = gldv2(tmp_path / "gld", files=False)
    for n in range(40):
        write_image(folder / "images", key(n, "index"), photograph(n))
    with pytest.raises(DataError, match=r"the image files: 0 of 40 are in train.csv.* they are in index.*\(100%\)"):
        run(folder, max_missing_share=1)
    write_csv(
        folder / "train_attribution.csv",
        ("id", "author", "license", "title"),
        [(key(n, "test"), "a", "b", "c") for n in range(9)],
    )
    with pytest.raises(
        DataError, match=r"train_attribution.csv: 0 of 9 are in train.csv.* in (test|recog\w+_v2\.1).csv"
    ):
        run(folder, require_image=False)


def test_missing_files_are_counted_by_landmark(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld")
    for n in (0, 4, 8, 1):
        (folder / "train").joinpath(*key(n)[:3], f"{key(n)}.jpg").unlink()
    built, context = run(folder)
    accounted(context, built)
    assert context.report.counts["rejected: the image file is missing"] == context.report.counts["images_missing"] == 4
    assert {row["landmark_id"]: row["missing"] for row in built["landmarks"]["train"]} == {
        "100": 3,
        "101": 1,
        "102": 0,
        "103": 0,
    }
    table = next(table for table in context.report.tables if table["title"] == "Missing images by landmark")
    assert table["rows"] == [["100", "Château d'If", 10, 3], ["101", "Eiffel Tower", 10, 1]]
    with pytest.raises(DataError, match=r"the files of 4 of 40 images are missing, more than max_missing_share 0.05"):
        run(folder, max_missing_share=0.05)
    for n in range(0, 40, 4):
        (folder / "train").joinpath(*key(n)[:3], f"{key(n)}.jpg").unlink(missing_ok=True)
    built, _ = run(folder, max_missing_share=1)
    gone = {row["landmark_id"]: (row["images"], row["missing"], row["split"]) for row in built["landmarks"]["train"]}
    assert gone["100"] == (0, 10, None)


def test_tar_files_are_read_in_place_and_bad_ones_are_listed(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld", files=False)
    images = {key(n): photograph(n) for n in range(40)}
    (folder / "train").mkdir()
    write_tar(folder / "train" / "images_000.tar", dict(list(images.items())[:20]))
    write_tar(folder / "train" / "images_001.tar", dict(list(images.items())[20:]))
    built, context = run(folder)
    assert len(rows(built)) == 40 and "bad_tars" not in context.report.counts
    first, second = folder / "train" / "images_000.tar", folder / "train" / "images_001.tar"
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 3])
    (folder / "train" / "md5.images_000.txt").write_text(f"{'0' * 32}  images_000.tar\n")
    with pytest.raises(DataError, match=r"the files of \d+ of 40 images are missing.*images_001.tar ends early"):
        run(folder)
    built, context = run(folder, max_missing_share=1)
    accounted(context, built)
    assert context.report.counts["bad_tars"] == 2
    table = {
        row[0]: row[1:]
        for row in context.report.tables[
            [t["title"] for t in context.report.tables].index("Tar files that are not whole")
        ]["rows"]
    }
    assert "has MD5" in table["images_000.tar"][0] and table["images_000.tar"][1] == 20
    assert table["images_001.tar"][1] == len(rows(built)) - 20 == 20 - context.report.counts["images_missing"]
    (folder / "train" / "md5.images_000.txt").write_text(hashlib.md5(first.read_bytes()).hexdigest())
    _, context = run(folder, max_missing_share=1)
    assert context.report.counts["bad_tars"] == 1


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld")
    listed = [(key(n), f"https://upload.test/{n}.jpg", 100 + n % 4) for n in range(36)]
    odd = [("../../etc/passwd", "", 100), ("", "", 101), (key(36), "", ""), (key(0), "", 101), (key(37), "", 999)]
    write_csv(folder / "train.csv", ("id", "url", "landmark_id"), listed + odd)
    with (folder / "train.csv").open("a") as stream:
        stream.write("one cell\n")
    built, context = run(folder)
    assert accounted(context, built) == 42
    reasons = {
        name.removeprefix("rejected: "): n
        for name, n in context.report.counts.items()
        if name.startswith("rejected: ")
    }
    assert reasons == {
        "an id that is not letters and digits": 2, "an image without a landmark": 1, "an image id that was there before": 1,
        "a landmark without a name": 1, "a line has more or fewer cells than the first": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "settings", "fault"),
    [
        (lambda f: (f / "train.csv").unlink(), {}, "train.csv of part train is not there"),
        (lambda f: (f / "train.csv").write_text("id;url;landmark_id\n"), {}, "0 images|no line with an id|no row"),
        (lambda f: (f / "train.csv").write_text("image,label\na,b\n"), {}, "has no column 'id'"),
        (lambda f: (f / "train.csv").write_text(""), {}, "is empty"),
        (lambda f: (f / "train.csv").write_text("<!DOCTYPE html>\n<html>"), {}, "is a page of HTML"),
        (lambda f: (f / "train.csv").write_bytes(b"\x80\x81id,url,landmark_id\n"), {}, "UTF-8"),
        (lambda f: [(f / f"train_label_to_{x}.csv").unlink() for x in ("category", "hierarchical")], {}, "no landmark has a name"),
        (lambda f: (f / "train_clean.csv").unlink(), {"clean": True}, "train_clean.csv is not there"),
        (lambda f: None, {"lists": {"images": "other.csv"}}, "other.csv is not a CSV file of the source"),
        (lambda f: None, {"lists": {"solution": "recognition_solution_v2.1.csv"}}, "solution is not of part train"),
        (lambda f: None, {"pixel_licenses": ["cc0-1.0"], "lists": {"attribution": None}, "format": "gldv2"}, "none of 40 images has a licence"),
    ],
)  # fmt: skip
def test_sources_that_are_not_right_are_refused_in_one_line(
    tmp_path: Path, change: Any, settings: Any, fault: str
) -> None:
    folder = gldv2(tmp_path / "gld")
    change(folder)
    with pytest.raises(HubwrightError, match=fault) as caught:
        run(folder, **settings)
    assert "\n" not in str(caught.value)


def test_lists_alone_need_a_word(tmp_path: Path) -> None:
    folder = gldv2(tmp_path / "gld", files=False)
    with pytest.raises(UsageError, match=r"has no images.*require_image: false"):
        run(folder)
    built, context = run(folder, require_image=False)
    assert len(rows(built)) == 40 and all(row["image"] is None and row["url"] for row in rows(built))
    assert not built["questions"] and context.report.counts["questions without: no pixels"] > 0
    assert context.report.counts["images_missing"] == 0


def test_names_of_categories() -> None:
    for url, name in {
        "https://commons.wikimedia.org/wiki/Category:St._Stephen%27s": "St. Stephen's",
        "http://commons.wikimedia.org/wiki/Category%3AA_B": "A B",
        "https://commons.wikimedia.org/w/index.php?title=Category:Caf%C3%A9&action=view": "Café",
        "http://commons.wikimedia.org/wiki/Category:Cafe%CC%81": "Café",
        "Category:": None, "": None, None: None, "Category:%FF%FE": None, "http://x.test/wiki/Eiffel_Tower": None,
    }.items():  # fmt: skip
        assert name_of_category(url) == name
    assert name_of_identifier("train/halong_bay") == "Halong Bay"
