"""Eight landmarks in miniature with questions about drawings of them, as the step `landmarks` publishes them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hubwright.hub_sync.context import Input, StepContext
from hubwright.hub_sync.refs import ArtifactRef

PARENTS = ("supercategory", "hierarchical_label", "natural_or_human_made")
NAMES = (
    ("Red Tower", ["Tour rouge"], "tower", "structures", "human-made"),
    ("Green Tower", [], "tower", "structures", "human-made"),
    ("Blue Tower (Hanoi)", ["Tháp Xanh"], "tower", "structures", "human-made"),
    ("White Tower", ["白塔"], "tower", "structures", "human-made"),
    ("Red Bridge", [], "bridge", "structures", "human-made"),
    ("Green Bridge", [], "bridge", "structures", "human-made"),
    ("Blue Peak", ["नीला शिखर"], "mountain", "landforms", "natural"),
    ("White Lake", [], None, None, None),
)
COLOURS = {"Red": (220, 30, 30), "Green": (30, 180, 60), "Blue": (40, 60, 220), "White": (245, 245, 245)}
ASK = {
    "name": "What is the name of this landmark?", "supercategory": "What kind of place is this?",
    "hierarchical_label": "Which group of places is this?", "natural_or_human_made": "Natural or human-made?",
    "caption": "Describe the image.",
}  # fmt: skip


def landmarks() -> list[dict[str, Any]]:
    return [
        {"landmark_id": f"L{n}", "name": name, "aliases": aliases, **dict(zip(PARENTS, parents, strict=True)),
         "images": 4, "split": "unseen" if n in (3, 5) else "seen"}
        for n, (name, aliases, *parents) in enumerate(NAMES)
    ]  # fmt: skip


def photograph(landmark: Mapping[str, Any], number: int) -> bytes:
    """A drawing of a landmark: its colour, in a form by its kind, a little elsewhere each time."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (40, 40), (100 + number % 10 * 3, 100 + number // 10 * 4, 120))
    colour = COLOURS[landmark["name"].split()[0]]
    place = {"tower": (16, 4, 24, 36), "bridge": (2, 24, 38, 30), "mountain": (8, 18, 32, 36)}
    x0, y0, x1, y1 = place.get(landmark["supercategory"] or "", (2, 30, 38, 39))
    ImageDraw.Draw(image).rectangle((x0 + number % 3, y0, x1 + number % 3, y1), colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pairs(split: str, each: int = 2) -> list[dict[str, Any]]:
    """Images with their landmarks; of `unseen` those of two landmarks, of the others those of the other six."""
    start = {"train": 0, "validation": 10, "test": 20, "unseen": 30}[split]
    rows = []
    for one in landmarks():
        if (one["split"] == "unseen") != (split == "unseen"):
            continue
        for number in range(start, start + each):
            rows.append({
                "image": photograph(one, number), "image_id": f"{one['landmark_id']}-{number}",
                **{name: one[name] for name in ("landmark_id", "name", "aliases", *PARENTS)},
                "text": f"A photo of {one['name']}.", "fold": number % 2,
            })  # fmt: skip
    return rows


def questions(split: str, each: int = 2, levels: Iterable[str] = tuple(ASK)) -> list[dict[str, Any]]:
    rows = []
    for pair in pairs(split, each):
        for level in levels:
            answer = pair["text"] if level == "caption" else pair[level]
            if answer is None:
                continue
            rows.append({
                **{name: pair[name] for name in ("image", "image_id", "landmark_id", "name", "fold", *PARENTS)},
                "messages": [{"role": "user", "content": "<image>" + ASK[level]},
                             {"role": "assistant", "content": answer}],
                "question": ASK[level], "answer": answer, "level": level, "language": "en",
                "answers": [answer, *(pair["aliases"] if level == "name" else [])],
            })  # fmt: skip
    return rows


def save(folder: Path, configs: Mapping[str, Mapping[str, list[dict[str, Any]]]]) -> Path:
    """A data set of several configs; "default" alone lies in `data`."""
    from datasets import Dataset, Features, Image, Json, List, Value

    kinds: dict[str, Any] = {
        "image": Image(), "aliases": List(Value("string")), "answers": List(Value("string")),
        "messages": List(Json()), "fold": Value("int32"), "images": Value("int64"), "row": Value("int64"),
        **dict.fromkeys(("confidence", "probability"), Value("float64")),
        **dict.fromkeys(("choice", "abstained"), Value("bool")),
    }  # fmt: skip
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        place = "data" if config == "default" else config
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            features = Features({name: kinds.get(name, Value("string")) for name in rows[0]})
            table = [
                row | ({"image": row["image"] and {"bytes": row["image"], "path": None}} if "image" in row else {})
                for row in rows
            ]
            (folder / place).mkdir(parents=True, exist_ok=True)
            Dataset.from_list(table, features=features).to_parquet(str(folder / place / f"{split}-00000.parquet"))
            lines += [f"  - split: {split}", f"    path: {place}/{split}-*.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    return folder


def save_all(folder: Path, each: int = 2) -> Path:
    """All three configs."""
    every = ("train", "validation", "test", "unseen")
    return save(folder, {
        "pairs": {split: pairs(split, each) for split in every},
        "questions": {split: questions(split, each) for split in every}, "landmarks": {"train": landmarks()},
    })  # fmt: skip


def step_context(folder: Path, **inputs: Path) -> StepContext:
    models = ("encoder", "tower", "model")
    refs = {
        role: Input(ArtifactRef("model" if role in models else "dataset", f"org/{role}", "0" * 40), path)
        for role, path in inputs.items()
    }
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return StepContext("step", folder / "work", folder / "out", refs)
