"""Pairs as people have them: every form becomes the same rows, or is refused in one line; rows in = rows out + refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Image
from url_parts import picture

from hubwright.builders._lib.context import local_context
from hubwright.builders.image_text import ImageTextConfig, build
from hubwright.hub_sync.context import StepContext
from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.making import write_dataset

CAT, DOG = picture(1), picture(2)
URL, TEXT = "http://example.org/cat.png", "A cat on a mat."


def lines(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def parquet(*records: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(records)), sink)
    return sink.getvalue()


def tar(mode: str = "w", **members: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def zipped(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def coco(**changes: Any) -> bytes:
    value = {
        "info": {"year": 2017, "list": [1, {"a": 2}]},
        "licenses": [{"id": 4, "url": "http://creativecommons.org/licenses/by/2.0/", "name": "Attribution License"}],
        "images": [{"id": 7, "file_name": "cat.png", "license": 4, "flickr_url": URL, "width": 9, "height": 9}],
        "annotations": [{"id": 1, "image_id": 7, "caption": TEXT}],
    }
    return json.dumps(value | changes).encode()


def write(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def run(source: Path, form: str, **settings: Any) -> tuple[Any, StepContext]:
    context = local_context()
    settings = {"license": "mit", "image_license": "cc0-1.0"} | settings
    built = build(ImageTextConfig.model_validate({"source": str(source), "format": form} | settings), context)
    for part in built.values():
        assert part.column_names[:4] == ["id", "image", "url", "text"]
    counts = context.report.counts
    assert counts["records_read"] == sum(map(len, built.values())) + counts["records_rejected"]
    return built, context


# Form, files, settings; each makes one pair of the cat and its text.
WITH_IMAGE: dict[str, tuple[str, dict[str, bytes], dict[str, Any]]] = {
    "a text beside the image": ("folder", {"cat.png": CAT, "cat.txt": TEXT.encode()}, {}),
    "a text with mark and line ends": ("folder", {"a/cat.png": CAT, "a/cat.txt": b"\xef\xbb\xbf" + TEXT.encode() + b"\r\n\r\n"}, {}),
    "a caption file in capitals": ("folder", {"CAT.PNG": CAT, "CAT.caption": TEXT.encode()}, {}),
    "the image's whole name before .txt": ("folder", {"cat.png": CAT, "cat.png.txt": TEXT.encode()}, {}),
    "hidden files of macOS": ("folder", {"cat.png": CAT, "cat.txt": TEXT.encode(), "._cat.png": b"x", "__MACOSX/cat.png": b"x", ".DS_Store": b""}, {}),
    "metadata.csv": ("folder", {"cat.png": CAT, "metadata.csv": f"file_name,text\ncat.png,{TEXT}\n".encode()}, {}),
    "metadata.jsonl with folders": ("folder", {"x/cat.png": CAT, "metadata.jsonl": lines({"file_name": "x/cat.png", "text": TEXT})}, {}),
    "Windows' slashes": ("folder", {"x/cat.png": CAT, "metadata.jsonl": lines({"file_name": "x\\cat.png", "caption": TEXT})}, {}),
    "a table of another name": ("folder", {"cat.png": CAT, "flickr.csv": f"image|caption\ncat.png|{TEXT}\n".encode()}, {"files": "flickr.csv"}),
    "COCO with a folder": ("coco", {"captions_val2017.json": coco(), "val2017/cat.png": CAT}, {}),
    "COCO with a tar file": ("coco", {"annotations/captions_val2017.json": coco(), "val2017.tar": tar(**{"./cat.png": CAT})}, {}),
    "COCO with keys in another order": ("coco", {"a.json": json.dumps(dict(reversed(json.loads(coco()).items()))).encode(), "cat.png": CAT}, {}),
    "WebDataset": ("webdataset", {"0.tar": tar(**{"0001.jpg": CAT, "0001.txt": TEXT.encode()})}, {}),
    "WebDataset with JSON alone": ("webdataset", {"0.tar": tar(**{"0001.png": CAT, "0001.json": json.dumps({"caption": TEXT, "status": "success", "sha256": "0" * 64, "key": "0001"}).encode()})}, {}),
    "WebDataset packed": ("webdataset", {"0.tar.gz": tar("w:gz", **{"a/1.x.jpg": CAT, "a/1.txt": TEXT.encode(), "a/1.npy": b"x"})}, {}),
    "bytes in Parquet": ("table", {"a.parquet": parquet({"image": {"bytes": CAT, "path": "cat.png"}, "caption": TEXT})}, {}),
    "bare bytes in Parquet": ("table", {"a.parquet": parquet({"jpg": CAT, "alt": TEXT})}, {"columns": {"image": "jpg", "text": "alt"}}),
    "a table beside images": ("table", {"a.csv": f"filename,caption\ncat.png,{TEXT}\n".encode(), "img/cat.png": CAT}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_IMAGE)
@pytest.mark.parametrize("packed", [False, True])
def test_form_with_an_image_becomes_its_row(tmp_path: Path, name: str, packed: bool) -> None:
    form, files, settings = WITH_IMAGE[name]
    source = write(tmp_path / "in", **files)
    if packed:
        (tmp_path / "in.zip").write_bytes(zipped(**files))
        source = tmp_path / "in.zip"
    (row,) = run(source, form, **settings)[0]["train"].cast_column("image", Image(decode=False))
    assert row["image"]["bytes"] == CAT and row["text"] == TEXT and (row["width"], row["height"]) == (48, 48)
    assert len(row["sha256"]) == 64 and len(row["phash"]) == 16


# Form, file, content, settings; each makes one row of the URL and the text.
WITH_URL: dict[str, tuple[str, str, bytes, dict[str, Any]]] = {
    "CC12M": ("cc12m", "cc12m.tsv", f"{URL}\t{TEXT}\n".encode(), {}),
    "CC3M, the other way round": ("cc12m", "Train_GCC.tsv", f"{TEXT}\t{URL}\n".encode(), {}),
    "CC12M packed": ("cc12m", "cc12m.tsv.gz", gzip.compress(f"{URL}\t{TEXT}\r\n\n".encode()), {}),
    "COYO": ("table", "a.parquet", parquet({"id": 841814333321, "url": URL, "text": TEXT, "width": 100, "height": 80, "image_phash": "1f1f3f7f00ff00aa", "text_length": 5, "clip_similarity_vitb32": 0.3}), {}),
    "DataComp": ("table", "a.parquet", parquet({"uid": "f" * 32, "url": URL, "text": TEXT, "original_width": 100, "original_height": 80, "clip_l14_similarity_score": 0.25, "sha256": "a" * 64}), {}),
    "PD12M": ("table", "a.parquet", parquet({"id": "x", "url": URL, "caption": TEXT, "width": 100, "height": 80, "mime_type": "image/jpeg", "hash": "h", "license": "https://creativecommons.org/publicdomain/zero/1.0/", "source": "s"}), {}),
    "LAION": ("table", "a.parquet", parquet({"URL": URL, "TEXT": TEXT, "WIDTH": 100.0, "HEIGHT": 80.0}), {}),
    "CSV": ("table", "a.csv", f"image_url;alt_text;width;height\n{URL};{TEXT};100;80\n".encode(), {}),
    "JSON": ("table", "a.json", json.dumps([{"image": URL, "caption": TEXT, "width": "100", "height": "80"}]).encode(), {}),
    "COCO without the image": ("coco", "a.json", coco(), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_URL)
def test_form_with_a_url_becomes_its_row(tmp_path: Path, name: str) -> None:
    form, file, content, settings = WITH_URL[name]
    built, _ = run(write(tmp_path, **{file: content}) / file, form, **settings)
    (row,) = built["train"]
    assert row["url"] == URL and row["text"] == TEXT and row["image"] is None
    if form == "table":
        assert (row["width"], row["height"]) == (100, 80)
    assert row["phash"] == ("1f1f3f7f00ff00aa" if name == "COYO" else None)
    assert row["sha256"] == ("a" * 64 if name == "DataComp" else None)


# Form, files, settings, and a part of the one line.
REFUSED: dict[str, tuple[str, dict[str, bytes], dict[str, Any], str]] = {
    "no image": ("folder", {"cat.txt": b"x"}, {}, "holds no image file"),
    "images alone": ("folder", {"cat.png": CAT}, {}, "no text file beside the images"),
    "a misspelled file pattern": ("folder", {"cat.png": CAT}, {"files": "*.cvs"}, "no file fits files '*.cvs'"),
    "texts that are all in another encoding": ("folder", {"cat.png": CAT, "cat.txt": "Kätzchen".encode("cp1252")}, {}, "a text that is not UTF-8"),
    "empty texts": ("folder", {"cat.png": CAT, "cat.txt": b" \n"}, {}, "no text"),
    "a table without file names": ("folder", {"cat.png": CAT, "metadata.csv": b"title,author\nx,y\n"}, {}, "no column is known to hold the text; it has title, author"),
    "a table without images": ("table", {"a.csv": b"caption,stars\nx,5\n"}, {}, "no column is known to hold the url or the image"),
    "a misspelled column": ("table", {"a.csv": b"url,caption\nhttp://a.b/c,x\n"}, {"columns": {"text": "captoin"}}, "there is no column 'captoin'; did you mean 'caption'?"),
    "a misspelled column to keep": ("table", {"a.csv": b"url,caption\nhttp://a.b/c,x\n"}, {"keep": ["score"]}, "there is no column 'score'"),
    "damaged Parquet": ("table", {"a.parquet": parquet({"url": URL, "text": TEXT})[:-7]}, {}, "cannot be read as Parquet"),
    "annotations that are a list": ("coco", {"a.json": b"[]"}, {}, "is not a JSON object"),
    "annotations that are cut off": ("coco", {"a.json": coco()[:-30]}, {}, "is not JSON"),
    "an object without images": ("coco", {"a.json": b'{"train": [1]}'}, {}, "holds no list `images`"),
    "no annotations": ("coco", {"cat.png": CAT}, {}, "no JSON file fits"),
    "a tar file that is none": ("webdataset", {"0.tar": b"x" * 2000}, {}, "cannot be read as a tar file"),
    "a tar file that is cut off": ("webdataset", {"0.tar": tar(**{"1.png": CAT * 3, "1.txt": b"x"})[:3000]}, {}, "cannot be read as a tar file"),
    "no tar file": ("webdataset", {"a.csv": b"x", "b.csv": b"x"}, {}, "holds no tar file"),
    "commas for tabs": ("cc12m", {"a.tsv": f"{URL},{TEXT}\n".encode()}, {}, "a line that is not a URL, a tab and a text"),
    "a header with other columns": ("cc12m", {"a.tsv": b"caption\turl\nx\ty\n"}, {}, "a URL that is not http(s)"),
    "another encoding": ("cc12m", {"a.tsv": f"{URL}\tKätzchen\n".encode("cp1252")}, {}, "is not UTF-8"),
    "images that are all broken": ("folder", {"cat.png": CAT[:200], "cat.txt": b"x"}, {}, "a truncated image"),
    "nothing": ("table", {"a.jsonl": b"\n"}, {}, "no row is left of 0 pairs"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_form_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    form, files, settings, message = REFUSED[name]
    with pytest.raises((DataError, UsageError)) as refused:
        run(write(tmp_path, **files), form, **settings)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value)


def test_every_sloppy_pair_of_a_folder_is_counted(tmp_path: Path) -> None:
    files = {
        "a.png": CAT, "a.txt": b"A cat.", "b.png": DOG, "c.txt": b"No image.", "d.png": b"", "d.txt": b"Empty.",
        "e.png": picture(5)[:300], "e.txt": b"Cut.", "f.jpg": b"<!DOCTYPE html>", "f.txt": b"A page.", "g.png": picture(6), "g.txt": b"",
        "h.png": picture(7), "h.txt": b"\xff\xfe", "i.svg": b"<svg/>", "i.txt": b"A drawing.", "j.gif": CAT, "j.txt": b"A PNG called GIF.",
        "k.bmp": picture(8, "BMP", size=200), "k.txt": b"Too large.",
    }  # fmt: skip
    built, context = run(write(tmp_path, **files), "folder", max_image_pixels=30_000, max_rejected_share=1)
    assert sorted(row["text"] for row in built["train"]) == ["A PNG called GIF.", "A cat."]
    reasons = {name.removeprefix("rejected: "): n for name, n in context.report.counts.items() if ": " in name}
    assert reasons == {
        "a page of HTML in place of an image": 1, "a text that is not UTF-8": 1, "a text without an image": 2, "a truncated image": 1,
        "an image above max_image_pixels 30000": 1, "an image file without content": 1, "an image without a text": 1, "no text": 1,
    }  # fmt: skip


def test_every_sloppy_line_of_a_table_is_counted(tmp_path: Path) -> None:
    records = [
        {"url": URL, "text": TEXT}, {"url": URL, "text": TEXT}, {"url": URL + "2", "text": None}, {"url": None, "text": "x"},
        {"url": "ftp://a/b", "text": "x"}, {"url": "cat.png", "text": "x"}, {"url": "http://a b/", "text": "x"}, {"url": 7, "text": "x"},
        {"url": URL, "text": 7}, {"url": URL, "text": ["One.", "Two."]}, {"url": URL, "text": []}, [1], "x", {"url": URL, "text": "y\ud83d"},
        {"url": URL, "text": "Large sides.", "width": 1e300, "height": -5, "sha256": "x", "image_phash": "zz", "license": float("nan")},
    ]  # fmt: skip
    built, context = run(write(tmp_path, **{"a.jsonl": lines(*records)}), "table", max_rejected_share=1)
    rows = {row["text"]: row for row in built["train"]}
    assert set(rows) == {TEXT, "One.", "Two.", "Large sides."}
    row = rows["Large sides."]
    assert [row[name] for name in ("width", "height", "sha256", "phash")] == [None] * 4 and row["license"] == "cc0-1.0"
    reasons = {name.removeprefix("rejected: "): n for name, n in context.report.counts.items() if ": " in name}
    assert reasons == {
        "a URL that is not http(s)": 4, "duplicate": 1, "half a surrogate pair, which is not text": 1, "neither an image nor a URL": 1, "no text": 3,
        "not an object": 2,
    }  # fmt: skip


def test_sloppy_samples_of_a_tar_file_are_counted(tmp_path: Path) -> None:
    members = {
        "1.png": CAT, "1.txt": b"Cat.", "2.png": DOG, "3.txt": b"Text.", "4.png": CAT, "4.jpg": CAT, "4.txt": b"Two images.",
        "5.png": picture(5), "5.json": b"{", "6.png": picture(6), "6.json": b"[1]", "7.json": b'{"status": "failed_to_download", "caption": "x"}',
        "../8.png": picture(8), "../8.txt": b"Outside.", "9.json": b'{"url": "http://a.b/c", "caption": "By URL."}', "README": b"x", "a.b.c.png": picture(9), "a.txt": b"Dots.",
    }  # fmt: skip
    built, context = run(write(tmp_path, **{"x.tar": tar(**members)}) / "x.tar", "webdataset", max_rejected_share=1)
    assert sorted(row["text"] for row in built["train"]) == ["By URL.", "Cat.", "Dots.", "Outside."]
    assert context.report.counts["records_rejected"] == 6
    assert not (tmp_path.parent / "8.png").exists()


def test_links_and_devices_in_tar_files_are_never_followed(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind in (("1.png", tarfile.SYMTYPE), ("2.png", tarfile.LNKTYPE), ("3.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name, content in (("4.png", CAT), ("4.txt", b"Cat.")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    built, _ = run(write(tmp_path, **{"x.tar": sink.getvalue()}), "webdataset")
    assert [row["text"] for row in built["train"]] == ["Cat."]


def test_paths_out_of_the_source_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(DOG)
    names = ("../secret.png", str(tmp_path / "secret.png"), "..\\secret.png", "a/../../secret.png")
    records = [{"file_name": name, "text": name} for name in names]
    files = {"metadata.jsonl": lines({"file_name": "cat.png", "text": TEXT}, *records), "cat.png": CAT}
    built, context = run(write(tmp_path / "in", **files), "folder", max_rejected_share=1)
    assert [row["text"] for row in built["train"]] == [TEXT]
    assert context.report.counts["rejected: no such image file in the source"] == 4


def test_images_of_one_name_in_two_folders_are_not_confused(tmp_path: Path) -> None:
    files = {
        "a/cat.png": CAT,
        "b/cat.png": DOG,
        "metadata.jsonl": lines(
            {"file_name": "cat.png", "text": "Which?"}, {"file_name": "b/cat.png", "text": "Dog."}
        ),
    }
    built, context = run(write(tmp_path, **files), "folder", max_rejected_share=1)
    assert [row["text"] for row in built["train"]] == ["Dog."]
    assert context.report.counts["rejected: several image files of this name"] == 1


def test_each_line_of_a_text_file_may_be_a_text(tmp_path: Path) -> None:
    source = write(tmp_path, **{"cat.png": CAT, "cat.txt": b"One.\n\nTwo.\n"})
    assert [row["text"] for row in run(source, "folder")[0]["train"]] == ["One.\n\nTwo."]
    assert [row["text"] for row in run(source, "folder", caption_lines=True)[0]["train"]] == ["One.", "Two."]


@pytest.mark.parametrize("columns", ["image and text", "captions in a list"])
def test_data_set_of_the_hub_with_images(tmp_path: Path, columns: str) -> None:
    texts: list[Any] = [TEXT, "A dog."] if columns == "image and text" else [[TEXT, "Cat."], ["A dog."]]
    (tmp_path / "in").mkdir()
    images = [{"bytes": content, "path": None} for content in (CAT, DOG)]
    rows = Dataset.from_dict({"image": images, "caption": texts})
    write_dataset({"train": rows.cast_column("image", Image())}, tmp_path / "in")
    context = local_context(dataset=tmp_path / "in")
    built = build(ImageTextConfig(image_license="cc0-1.0"), context)["train"]
    assert [row["text"] for row in built] == (
        [TEXT, "A dog."] if columns == "image and text" else [TEXT, "Cat.", "A dog."]
    )
    assert built[0]["image"].size == (48, 48)


def test_folder_of_images_as_a_hub_data_set_reads_files_of_its_own_alone(tmp_path: Path) -> None:
    write(
        tmp_path / "in", **{"train/cat.png": CAT, "train/metadata.csv": f"file_name,text\ncat.png,{TEXT}\n".encode()}
    )
    built = build(ImageTextConfig(image_license="cc0-1.0"), local_context(dataset=tmp_path / "in"))["train"]
    assert built[0]["image"].size == (48, 48) and built[0]["text"] == TEXT
    (tmp_path / "secret.png").write_bytes(DOG)
    outside = [
        {"image": {"bytes": None, "path": str(tmp_path / "secret.png")}, "text": "x"},
        {"image": {"bytes": CAT, "path": "a"}, "text": "y"},
    ]
    write(tmp_path / "b", **{"a.parquet": parquet(*outside)})
    context = local_context(dataset=tmp_path / "b")
    rows = build(ImageTextConfig(image_license="cc0-1.0", max_rejected_share=1), context)["train"]
    assert [row["text"] for row in rows] == ["y"]
