"""Do small scorers tell good captions from bad ones better than what costs nothing, and how far do new texts move?

    python experiments/aitqe/coco.py --work DIR --coco COCO-MINI --dinov2 DIR --smollm2 DIR --minilm DIR
        [--steps 100] [--threads 1] [--shift] [--captioners] [--out FILE]

COCO-MINI: 239 photographs with 1,195 captions of people, split by image (84 to train, 60 for the second scorer, 36 for
thresholds, 60 to test, roughly). Twins of good and bad texts by `aitqe_samples`. Bases: DINOv2-small at 112 pixels, a
projector that learns captions first, SmolLM2-135M-Instruct.
"""

from __future__ import annotations

from scorers import Setting, arguments_of, compare

if __name__ == "__main__":
    arguments = arguments_of(__doc__ or "", "coco")
    pairs = {
        "source": str(arguments.coco), "format": "coco", "files": "*captions_*2017*.json", "license": "cc-by-4.0",
        "require_image": True, "unlicensed_pixels": "local",
        "splits": {"train": 0.35, "second": 0.25, "validation": 0.15, "test": 0.25},
    }  # fmt: skip
    compare(
        Setting(
            pairs, unseen=("colour", "neighbour_caption", "keywords"),
            second=("colour", "random_caption", "entity", "generic", "url", "truncation"), image_size=112,
            prompt="Describe the image in one sentence.", captions=round(0.6 * arguments.steps), encoder=60,
        ),
        arguments,
    )  # fmt: skip
