"""Google Landmarks v2 in miniature: its lists with their official columns, and images as a/b/c/ID.jpg or in tar files."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

CATEGORY = "http://commons.wikimedia.org/wiki/Category:"
NAMES = ("Ch%C3%A2teau_d%27If", "Eiffel_Tower", "Mount_Fuji", "%E6%9D%B1%E5%A4%A7%E5%AF%BA")
KINDS = (("castle", "fortification", "human-made"), ("tower", "building", "human-made"), ("mountain", "landform", "natural"),
         ("", "", ""))  # fmt: skip


def photograph(number: int, kind: str = "JPEG") -> bytes:
    """An image whose look no other number has."""
    from PIL import Image

    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=95)
    return buffer.getvalue()


def key(number: int, part: str = "train") -> str:
    """16 hexadecimal digits."""
    start = {"train": 1, "index": 2, "test": 3}[part]
    return f"{(start << 60) + number * 0x9E3779B97F4A7C15 % (1 << 60):016x}"


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def write_image(folder: Path, identifier: str, content: bytes) -> None:
    place = folder.joinpath(*identifier[:3])
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{identifier}.jpg").write_bytes(content)


def write_tar(path: Path, images: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for identifier, content in images.items():
            info = tarfile.TarInfo(f"{identifier[0]}/{identifier[1]}/{identifier[2]}/{identifier}.jpg")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def gldv2(folder: Path, images: int = 40, landmarks: int = 4, files: bool = True) -> Path:
    """The lists of all parts. Landmark ids of train are 100 and on, of index 102 and on, with other names."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [(key(n), f"https://upload.test/{n}.jpg", 100 + n % landmarks) for n in range(images)]
    write_csv(folder / "train.csv", ("id", "url", "landmark_id"), listed)
    clean = [(mark, " ".join(one for one, _, other in listed[: images // 2] if other == mark)) for mark in
             sorted({mark for *_, mark in listed})]  # fmt: skip
    write_csv(folder / "train_clean.csv", ("landmark_id", "images"), clean)
    credit = [(one, url, f"Author {n}", "https://creativecommons.org/licenses/by/2.0/", f"File {n}")
              for n, (one, url, _) in enumerate(listed)]  # fmt: skip
    write_csv(folder / "train_attribution.csv", ("id", "url", "author", "license", "title"), credit)
    _labels(folder, "train", 100, landmarks)
    index = [(key(n, "index"), 102 + n % landmarks) for n in range(images)]
    write_csv(folder / "index.csv", ("id",), [(one,) for one, _ in index])
    write_csv(folder / "index_image_to_landmark.csv", ("id", "landmark_id"), index)
    _labels(folder, "index", 102, landmarks)
    queries = [key(n, "test") for n in range(images)]
    write_csv(folder / "test.csv", ("id",), [(one,) for one in queries])
    solution = [(one, "100 101" if n == 0 else "102" if n == 1 else "", "Public" if n % 2 else "Private")
                for n, one in enumerate(queries)]  # fmt: skip
    write_csv(folder / "recognition_solution_v2.1.csv", ("id", "landmarks", "Usage"), solution)
    if files:
        for place, part in enumerate(("train", "index", "test")):
            for n in range(images):
                write_image(folder / part, key(n, part), photograph(place * 10_000 + n))
    return folder


def _labels(folder: Path, part: str, first: int, landmarks: int) -> None:
    shift = 0 if part == "train" else 1
    categories = [CATEGORY + NAMES[(n + shift) % 4] + ("" if n < 4 else f"_{n}") for n in range(landmarks)]
    ids = [first + n for n in range(landmarks)]
    write_csv(
        folder / f"{part}_label_to_category.csv", ("landmark_id", "category"), list(zip(ids, categories, strict=True))
    )
    columns = ("landmark_id", "category", "supercategory", "hierarchical_label", "natural_or_human_made")
    rows = [(one, url, *KINDS[(n + shift) % 4]) for n, (one, url) in enumerate(zip(ids, categories, strict=True))]
    write_csv(folder / f"{part}_label_to_hierarchical.csv", columns, rows)
