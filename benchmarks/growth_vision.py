"""The paths of `benchmarks.growth` that look at images: pairs with pixels on disk, and models in miniature."""

from __future__ import annotations

import random
import sys
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
    from hubwright.trainers.aitqe.enhance import EnhanceConfig, enhance

    models = folder / "input" / "models"
    inputs = {
        "dataset": folder / "input" / "data",
        "model": models / "head" / "out",
        "rewriter": models / "base" / "out",
    }
    context = context_of(folder, **inputs)
    settings = {"rewrite_rate": 0.01, "max_new_tokens": 4, "use_cpu": True, "threads": 1, "batch_size": 64}
    write_dataset(enhance(EnhanceConfig.model_validate(settings), context), context.output)


CASES: dict[str, Case] = {"aitqe_enhance": Case(2_000, _write_pairs, _enhance)}
