"""Features of frozen towers, computed once, in a file that a killed run goes on filling."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...hub_sync.files import write_atomic
from ...hub_sync.pace import Pace


def pooled_images(model: Any, processor: Any, images: Sequence[Any]) -> Any:
    """What the vision tower pools: (images, width)."""
    pixels = processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
    return model.vision_model(pixel_values=pixels.to(model.device, model.dtype)).pooler_output


def pooled_texts(model: Any, tokenizer: Any, texts: Sequence[str], max_length: int) -> Any:
    """What the text tower pools: (texts, width)."""
    batch = text_batch(tokenizer, texts, max_length).to(model.device)
    return model.text_model(**batch).pooler_output


def text_batch(tokenizer: Any, texts: Sequence[str], max_length: int) -> Any:
    """Tokens of texts, padded to the longest and cut at `max_length`."""
    return tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")


def filled(path: Path, count: int, width: int, size: int, compute: Callable[[range], Any], what: str) -> np.ndarray:
    """The features of `count` things, float32 (count, width), mapped from `path`.

    Args:
        path: names what the features depend on; with `.json` beside it the number that is there.
        size: things per pass.
        compute: features of a range of them, a tensor.
        what: the things in the line of progress.
    """
    mark = path.with_suffix(".json")
    done = json.loads(mark.read_text())["done"] if mark.is_file() and path.is_file() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (count, width)
    array: Any = np.memmap(path, np.float32, "r+" if done else "w+", shape=shape)
    pace = Pace("features", what, total=count - done)
    for start in range(done, count, size):
        part = range(start, min(start + size, count))
        with torch.no_grad():
            array[part.start : part.stop] = compute(part).float().cpu().numpy()
        array.flush()
        write_atomic(mark, json.dumps({"done": part.stop}))
        pace.add(len(part))
    return array
