"""The paths of `benchmarks.growth` that look at images: pairs with pixels on disk, and models in miniature."""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .growth_cases import Case, context_of, text

PART = 10_000


def _write_pairs(folder: Path, rows: int) -> None:
    """Pairs of `image_text` with drawings of 40 pixels, a random scorer with a head, a random model that writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "trainers"))
    from aitqe_parts import make_models
    from vision_parts import drawings, encoded

    make_models(folder / "models")
    (folder / "data").mkdir()
    rng, images = random.Random(0), [encoded(image) for image, _ in drawings()]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("image", kind), ("text", pa.string()), ("source", pa.string())])
    with pq.ParquetWriter(folder / "data" / "train.parquet", _with_images(schema)) as writer:
        for start in range(0, rows, PART):
            pairs = [_pair(rng, images, number) for number in range(start, min(rows, start + PART))]
            writer.write_table(pa.Table.from_pylist(pairs, _with_images(schema)), row_group_size=1000)


def _with_images(schema: Any) -> Any:
    """The schema with what tells `datasets` that `image` is one."""
    import json

    from datasets import Features, Image, Value

    features = Features({name: Image() if name == "image" else Value("string") for name in schema.names})
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features.to_dict()}})})


def _pair(rng: random.Random, images: list[bytes], number: int) -> dict[str, Any]:
    image = {"bytes": images[number % len(images)], "path": None}
    return {"id": f"{number:016x}", "image": image, "text": text(rng, 4), "source": f"part-{number % 3}"}


def _enhance(folder: Path, rows: int) -> None:
    """One pair of a hundred is written anew."""
    from hubwright.making import write_dataset
    from hubwright.trainers.aitqe.enhance import enhance

    context = _context(folder, folder / "input")
    write_dataset(enhance(_settings(rewrite_rate=0.01), context), context.output)


def _context(folder: Path, source: Path) -> Any:
    head, writes = source / "models" / "head" / "out", source / "models" / "base" / "out"
    return context_of(folder, dataset=source / "data", model=head, rewriter=writes)


def _settings(**more: float) -> Any:
    from hubwright.trainers.aitqe.enhance import EnhanceConfig

    fixed = {"max_new_tokens": 4, "use_cpu": True, "threads": 1, "batch_size": 64}
    return EnhanceConfig.model_validate(fixed | more)


def _write_scored(folder: Path, rows: int) -> None:
    """The same with the scores of all pairs, as a run that was killed after the last one leaves them."""
    from hubwright.inference.media.pair_scores import ASPECTS
    from hubwright.inference.shards import shard_path, write_shard
    from hubwright.trainers.aitqe.rating import SHARD, identity_of

    _write_pairs(folder, rows)
    (folder / "planned").mkdir()
    config, context = _settings(keep_from=2.0), _context(folder / "planned", folder)
    identity = identity_of(config, context, "model") | {"mode": "score"}
    empty: dict[str, Any] = dict.fromkeys((*ASPECTS, "mass", "recaption", "fault"))
    for index, start in enumerate(range(0, rows, SHARD)):
        numbers = list(range(start, min(rows, start + SHARD)))
        scores = [{"id": f"{n:016x}", **empty, "overall": 2 + n % 8 + n / rows} for n in numbers]
        write_shard(shard_path(folder / "model", index, identity, numbers), scores)


def _enhance_scored(folder: Path, rows: int) -> None:
    """What enhancing does beside its models: it reads scores, decides, and copies the pairs."""
    from hubwright.making import write_dataset
    from hubwright.trainers.aitqe.enhance import enhance

    context = _context(folder, folder / "input")
    (folder / "input" / "model").rename(context.workdir / "model")
    write_dataset(enhance(_settings(keep_from=2.0), context), context.output)


def _write_landmarks(folder: Path, rows: int) -> None:
    """The lists of Google Landmarks v2's train part: 20 images per landmark, all with credit, two thirds clean."""
    import csv

    lists = {
        "train": ("id", "url", "landmark_id"), "train_attribution": ("id", "url", "author", "license", "title"),
        "train_clean": ("landmark_id", "images"), "train_label_to_category": ("landmark_id", "category"),
        "train_label_to_hierarchical": ("landmark_id", "category", "supercategory", "hierarchical_label",
                                        "natural_or_human_made"),
    }  # fmt: skip
    rng, most = random.Random(0), rows // 20
    with ExitStack() as stack:
        files = {name: csv.writer(stack.enter_context((folder / f"{name}.csv").open("w"))) for name in lists}
        for name, columns in lists.items():
            files[name].writerow(columns)
        for number in range(rows):
            one, url = f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}", f"https://upload.example.org/{number}.jpg"
            files["train"].writerow((one, url, rng.randrange(most)))
            licence = "https://creativecommons.org/licenses/by/2.0/"
            files["train_attribution"].writerow(
                (one, url, f"Author {number % 5000}", licence, f"File:{text(rng, 3)}.jpg")
            )
            if number % 3:
                files["train_clean"].writerow((number % most, one))
        for number in range(most):
            url = f"http://commons.wikimedia.org/wiki/Category:{text(rng, 2).replace(' ', '_')}_{number}"
            files["train_label_to_category"].writerow((number, url))
            kind = ("castle", "fortification", "human-made") if number % 3 else ("", "", "")
            files["train_label_to_hierarchical"].writerow((number, url, *kind))


def _landmarks(folder: Path, rows: int) -> None:
    """All lists joined, divided and checked; images are known by URL alone."""
    from hubwright.builders.landmarks import LandmarksConfig, build
    from hubwright.making import write_dataset

    settings = {"source": str(folder / "input"), "format": "gldv2", "require_image": False, "unseen": 0.1}
    context = context_of(folder)
    write_dataset(build(LandmarksConfig.model_validate(settings), context), context.output)


CASES: dict[str, Case] = {
    "landmarks_gldv2": Case(100_000, _write_landmarks, _landmarks),
    "aitqe_enhance_scored": Case(10_000, _write_scored, _enhance_scored),
    "aitqe_enhance": Case(2_000, _write_pairs, _enhance),
}
