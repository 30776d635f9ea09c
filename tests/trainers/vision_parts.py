"""Vision models in miniature, drawings with names, and data sets of them on disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "white": (250, 250, 250)}
SHAPES = ("square", "circle", "bar", "cross")
SIDE = 28


def drawing(colour: str, shape: str, side: int = 40) -> Any:
    """A shape on grey, as PIL.Image."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (side, side), (120, 120, 120))
    pen, fill, low, high = ImageDraw.Draw(image), COLOURS[colour], side // 5, 4 * side // 5
    if shape == "square":
        pen.rectangle((low, low, high, high), fill)
    elif shape == "circle":
        pen.ellipse((low, low, high, high), fill)
    elif shape == "bar":
        pen.rectangle((low, side // 2 - 3, high, side // 2 + 3), fill)
    else:
        pen.rectangle((side // 2 - 3, low, side // 2 + 3, high), fill)
        pen.rectangle((low, side // 2 - 3, high, side // 2 + 3), fill)
    return image


def drawings() -> list[tuple[Any, str]]:
    """Sixteen drawings with their names, all different."""
    return [(drawing(colour, shape), f"{colour} {shape}") for colour in COLOURS for shape in SHAPES]


def encoded(image: Any, kind: str = "PNG") -> bytes:
    """A file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def save_rows(folder: Path, rows: list[dict[str, Any]], split: str = "train", image: str = "image") -> Path:
    """A data set with an Image column of the files' bytes; a row's `image` is PIL.Image, bytes, None or a list."""
    from datasets import Dataset, Features, Image, Json, List, Value

    def stored(value: Any) -> Any:
        if isinstance(value, list):
            return [stored(one) for one in value]
        return (
            None if value is None else {"bytes": value if isinstance(value, bytes) else encoded(value), "path": None}
        )

    kinds: dict[str, Any] = {"messages": List(Json()), "conversations": List(Json())}
    for name in ("prompt", "completion"):
        if any(isinstance(row.get(name), list) for row in rows):
            kinds[name] = List(Json())
    names = list(dict.fromkeys(name for row in rows for name in row))
    features = Features({n: kinds.get(n, Value("string")) for n in names if n != image})
    features[image] = List(Image()) if image == "images" else Image()
    table = [{name: stored(row.get(name)) if name == image else row.get(name) for name in names} for row in rows]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    data = Dataset.from_list(table, features=features)
    data.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def chats(number: int = 16) -> list[dict[str, Any]]:
    """Conversations about drawings."""
    return [
        {"image": image, "messages": [
            {"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": name}
        ]}
        for image, name in drawings()[:number]
    ]  # fmt: skip


def make_tower(folder: Path, kind: str = "dinov2", side: int = SIDE, seed: int = 0) -> Path:
    """A random tower of three layers with its image processor."""
    import torch
    from transformers import (
        AutoConfig,
        AutoModel,
        BitImageProcessorPil,
        CLIPImageProcessorPil,
        SiglipImageProcessorPil,
    )

    torch.manual_seed(seed)
    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": side, "patch_size": 14}
    mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
            "vocab_size": 320, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    if kind.startswith("dinov2"):
        config = AutoConfig.for_model(kind, **small, mlp_ratio=2)
        crop = {"size": {"shortest_edge": side * 8 // 7}, "crop_size": {"height": side, "width": side}}
        processor: Any = BitImageProcessorPil(**crop, **mean)
    else:
        vision = small | {"intermediate_size": 64}
        config = AutoConfig.for_model(kind, vision_config=vision, text_config=text)
        if kind == "clip":
            crop = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
            processor = CLIPImageProcessorPil(**crop, **mean)
        else:
            processor = SiglipImageProcessorPil(size={"height": side, "width": side}, **mean)
    model = AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "logit" not in name:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_text_tower(folder: Path, words: str = "", seed: int = 1) -> Path:
    """A random BERT of two layers with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    known = ["[PAD]", "[UNK]", *dict.fromkeys((words or " ".join([*COLOURS, *SHAPES, "big", "a"])).split())]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(known), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def captioned(copies: int = 1) -> list[dict[str, Any]]:
    """Drawings with their names as `text`; copies are turned by quarters, and so other images of the same name."""
    return [{"image": image.rotate(90 * turn), "text": name} for turn in range(copies) for image, name in drawings()]
