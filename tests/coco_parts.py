"""A folder as COCO has it, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

from url_parts import picture

LICENCES = [
    {"id": 1, "url": "http://creativecommons.org/licenses/by/2.0/"},
    {"id": 2, "url": "http://creativecommons.org/licenses/by-nc-nd/2.0/"},
]


def coco(folder: Path, images: int) -> Path:
    """Images with two captions each, every second under a licence that forbids changes."""
    (folder / "annotations").mkdir(parents=True)
    listed, captions = [], []
    for number in range(images):
        (folder / f"{number:012d}.png").write_bytes(picture(number))
        url = f"http://images.test/{number}.png"
        listed.append(
            {
                "id": number,
                "file_name": f"{number:012d}.png",
                "license": number % 2 + 1,
                "coco_url": url,
                "flickr_url": url,
            }
        )
        for text in (f"Two small dogs near a red car, number {number}.", f"A red car and {number + 2} large dogs."):
            captions.append({"id": len(captions), "image_id": number, "caption": text})
    value = {"images": listed, "annotations": captions, "licenses": LICENCES}
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(value))
    return folder
