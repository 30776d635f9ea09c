"""The right image beside each text: names that several files have, ids that several images have, joined archives."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from datasets import Image
from url_parts import picture

from hubwright.builders._lib.context import local_context
from hubwright.builders.image_text import ImageTextConfig, build
from hubwright.hub_sync.errors import DataError

CAT, DOG = picture(1), picture(2)
FINE = {"fine.png": picture(3)}
TABLE = {"file_name": "fine.png", "text": "Fine."}


def tar(*members: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def run(folder: Path, form: str, files: dict[str, bytes], **settings: Any) -> tuple[dict[str, bytes], dict[str, int]]:
    """(text -> image, reason -> number)."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    context = local_context()
    more = {"license": "mit", "image_license": "cc0-1.0", "max_rejected_share": 1.0} | settings
    built = build(ImageTextConfig.model_validate({"source": str(folder), "format": form} | more), context)
    rows = [row for part in built.values() for row in part.cast_column("image", Image(decode=False))]
    counts = context.report.counts
    assert counts["records_read"] == len(rows) + counts["records_rejected"]
    reasons = {name.removeprefix("rejected: "): n for name, n in counts.items() if name.startswith("rejected: ")}
    return {row["text"]: row["image"]["bytes"] for row in rows}, reasons


def lines(*records: dict[str, str]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


@pytest.mark.parametrize(
    ("named", "there", "found"),
    [("val/1.png", "train/1.png", False), ("x/val/1.png", "x/train/1.png", False), ("val/1.png", "a/val/1.png", True),
     ("/home/me/val/1.png", "val/1.png", True), ("C:\\val\\1.png", "val/1.png", True), ("1.png", "val/1.png", True),
     ("1.png", "val/11.png", False), ("./val/1.png", "val/1.png", True)],
)  # fmt: skip
def test_name_with_folders_is_no_file_of_other_folders(tmp_path: Path, named: str, there: str, found: bool) -> None:
    table = lines(TABLE, {"file_name": named, "text": "A cat."})
    rows, reasons = run(tmp_path, "folder", FINE | {there: CAT, "metadata.jsonl": table})
    assert (rows.get("A cat.") == CAT) is found
    assert reasons == ({} if found else {"no such image file in the source": 1, "an image without a text": 1})


@pytest.mark.parametrize("other", [{"b.tar": tar(("1.png", DOG))}, {"1.png": DOG}])
def test_one_path_in_two_places_is_refused(tmp_path: Path, other: dict[str, bytes]) -> None:
    table = lines(TABLE, {"file_name": "1.png", "text": "A cat."})
    rows, reasons = run(tmp_path, "folder", FINE | {"a.tar": tar(("1.png", CAT)), "metadata.jsonl": table} | other)
    assert rows == {"Fine.": FINE["fine.png"]}
    assert reasons["several image files of this name"] == 1


def test_one_path_in_two_places_beside_a_text_is_refused(tmp_path: Path) -> None:
    files = FINE | {"fine.txt": b"Fine.", "1.png": DOG, "a.tar": tar(("1.png", CAT)), "1.txt": b"A cat."}
    rows, reasons = run(tmp_path, "folder", files)
    assert rows == {"Fine.": FINE["fine.png"]} and reasons == {"several image files of this name": 1}


def test_image_at_several_urls_with_one_stated_sha256_is_in_one_split(tmp_path: Path) -> None:
    rows = [
        {"url": f"http://example.org/{n}-{copy}.png", "text": f"{n} {copy}", "sha256": f"{n:064x}"}
        for n in range(40) for copy in range(3)
    ]  # fmt: skip
    source = tmp_path / "a.jsonl"
    source.write_bytes(lines(*rows))
    splits = {"train": 0.7, "test": 0.3}
    settings = {"source": str(source), "format": "table", "license": "mit", "splits": splits}
    built = build(ImageTextConfig.model_validate(settings), local_context())
    sides = [{text.split()[0] for text in part["text"]} for part in built.values()]
    assert not sides[0] & sides[1] and sum(map(len, built.values())) == 120


def test_second_text_of_an_image_is_counted(tmp_path: Path) -> None:
    files = {"cat.png": CAT, "cat.txt": b"A cat.", "cat.caption": b"A dog."}
    assert run(tmp_path, "folder", files) == ({"A cat.": CAT}, {"a second text file of this name": 1})


def coco(*images: dict[str, Any]) -> bytes:
    captions = [{"image_id": image["id"], "caption": image["file_name"]} for image in images]
    return json.dumps({"images": images, "annotations": captions}).encode()


def test_ids_of_joined_coco_files_are_not_confused(tmp_path: Path) -> None:
    annotations = coco({"id": 1, "file_name": "cat.png"}, {"id": 1, "file_name": "dog.png"},
                       {"id": None, "file_name": "dog.png"}, {"id": 2.0, "file_name": "dog.png"},
                       {"id": 3, "file_name": "fine.png"}, {"id": 3, "file_name": "fine.png"})  # fmt: skip
    rows, reasons = run(tmp_path, "coco", FINE | {"cat.png": CAT, "dog.png": DOG, "a.json": annotations})
    assert rows == {"fine.png": FINE["fine.png"]}
    assert reasons == {
        "a caption of an image id that several images have": 2, "a caption of an image that the file does not list": 2,
        "an image whose id is neither text nor a whole number": 2, "duplicate": 1,
    }  # fmt: skip


def test_samples_of_one_name_in_a_row_are_two(tmp_path: Path) -> None:
    packed = tar(("0.png", CAT), ("0.txt", b"A cat."), ("0.png", DOG), ("0.txt", b"A dog."))
    assert run(tmp_path, "webdataset", {"a.tar": packed}) == ({"A cat.": CAT, "A dog.": DOG}, {})


def test_long_text_of_a_sample_is_refused_and_not_cut(tmp_path: Path) -> None:
    packed = tar(("0.png", CAT), ("0.txt", b"A cat." * 2_000_000), ("1.png", DOG), ("1.txt", b"A dog."))
    rows, reasons = run(tmp_path, "webdataset", {"a.tar": packed})
    assert rows == {"A dog.": DOG} and reasons == {"a text or JSON of more than 10000000 bytes": 1}


def test_coco_without_one_usable_id_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row is left of 2 pairs"):
        run(tmp_path, "coco", {"a.json": coco({"id": [1], "file_name": "cat.png"}), "cat.png": CAT})
