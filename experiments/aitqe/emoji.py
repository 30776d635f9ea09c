"""Do scorers look at the image where images are many and simple? Emoji with their names.

    npm pack emoji-datasource-twitter@16.0.0 cldr-annotations-modern@45.0.0    # and unpack each into a folder
    python experiments/aitqe/emoji.py --work DIR --icons emoji --names cldr --dinov2 DIR --smollm2 DIR --minilm DIR
        [--steps 150] [--threads 1] [--shift] [--out FILE]

1,200 or so icons with their English names of CLDR, split by image. A name is two or three words, so that damage to the
text alone (shuffled, cut off) seldom applies, and most twins differ in what the image shows. DINOv2-small at 56
pixels, 17 tokens an image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scorers import Setting, arguments_of, compare, once


def icons(arguments: argparse.Namespace, folder: Path) -> None:
    """A folder of icons on white with `metadata.jsonl`, without flags, keycaps and skin tones."""
    from PIL import Image

    names = json.loads((arguments.names / "annotations/en/annotations.json").read_text())["annotations"]["annotations"]
    names = {sign.replace("\ufe0f", ""): one["tts"][0] for sign, one in names.items() if "tts" in one}
    rows = []
    for one in json.loads((arguments.icons / "emoji.json").read_text()):
        sign = "".join(chr(int(part, 16)) for part in one["unified"].split("-") if part != "FE0F")
        file = arguments.icons / "img/twitter/64" / one["image"]
        if one["category"] in ("Flags", "Component") or one["subcategory"] == "keycap" or sign not in names:
            continue
        with Image.open(file) as image:
            shown = Image.new("RGBA", image.size, "white")
            shown.alpha_composite(image.convert("RGBA"))
            shown.convert("RGB").save(folder / one["image"])
        rows.append({"file_name": one["image"], "text": names[sign]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} icons", flush=True)


if __name__ == "__main__":
    arguments = arguments_of(__doc__ or "", "icons", "names")
    source = once(arguments.work / "source", lambda folder: icons(arguments, folder))
    pairs = {
        "source": str(source), "format": "folder", "license": "cc-by-4.0",
        "image_license": "cc-by-4.0", "attribution": "Twemoji, Twitter, Inc and other contributors",
        "language": ["en"], "require_image": True,
        "splits": {"train": 0.4, "second": 0.25, "validation": 0.1, "test": 0.25},
    }  # fmt: skip
    compare(
        Setting(
            pairs, unseen=("colour", "neighbour_caption", "keywords"),
            second=("colour", "random_caption", "entity", "generic", "url"), image_size=56,
            prompt="Name the picture.", captions=2 * arguments.steps, encoder=300,
        ),
        arguments,
    )  # fmt: skip
