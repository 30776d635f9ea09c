"""Images and texts as vectors of one space, by a dual encoder: CLIP, SigLIP, or any VisionTextDualEncoder.

    embedder = Embedder.load(folder, "org/clip@main")
    cosines = embedder.images(pictures) @ embedder.texts(captions).T      # (images, texts)

Vectors have length 1, so that products are cosines. Similarities become logits by `scale` and `bias`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import comb
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...hub_sync.errors import DataError
from .. import device as devices

T = TypeVar("T")


class Embedder:
    """Embeds batch by batch.

    Args:
        model: with `get_image_features` and `get_text_features`.
        processor: with `image_processor` and `tokenizer`.
        batch_size: images, or texts, per pass.
        device: as of `inference.device.choose`.

    Attributes:
        scale, bias: logit of a pair = scale * cosine + bias; the bias is SigLIP's.
        texts_cut: texts that were longer than the model's window, so far.
    """

    def __init__(self, model: Any, processor: Any, *, batch_size: int = 32, device: str = "auto") -> None:
        import torch

        self._device = torch.device(devices.choose(device))
        self._model, self._processor, self._size = model.to(self._device).eval(), processor, batch_size
        self.texts_cut = 0
        scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
        self.scale = 1.0 if scale is None else float(scale.detach().float().exp())
        self.bias = 0.0 if bias is None else float(bias.detach().float())
        settings = getattr(model.config, "text_config", model.config)
        self._window = int(min(settings.max_position_embeddings, processor.tokenizer.model_max_length))
        # SigLIP was trained on texts filled up to its window, and pools their last token.
        self._padding = "max_length" if "siglip" in model.config.model_type else True

    @classmethod
    def load(cls, folder: Path, source_name: str, dtype: str = "float32", **options: Any) -> "Embedder":
        """The dual encoder of a folder. Raises DataError in one line for another model.

        Args:
            source_name: the model's name in messages.
            options: of the class.
        """
        from . import loading

        processor = loading.processor(folder, source_name)
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise DataError(f"{source_name} has a {type(processor).__name__}, which prepares no images and texts")
        return cls(loading.dual_encoder(folder, source_name, dtype), processor, **options)

    def images(self, images: Iterable[Any]) -> np.ndarray:
        """Vectors of images (PIL.Image, RGB): float32, (images, width)."""
        return self._all(images, self._image_batch)

    def texts(self, texts: Iterable[str]) -> np.ndarray:
        """Vectors of texts: float32, (texts, width). Texts beyond the window are cut, and counted."""
        return self._all(texts, self._text_batch)

    def _image_batch(self, images: Sequence[Any]) -> Any:
        pixels = self._processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        return self._model.get_image_features(pixel_values=pixels.to(self._device, self._model.dtype))

    def _text_batch(self, texts: Sequence[str]) -> Any:
        tokenizer = self._processor.tokenizer
        lengths = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
        self.texts_cut += sum(length > self._window for length in lengths)
        batch = tokenizer(
            list(texts), padding=self._padding, truncation=True, max_length=self._window, return_tensors="pt"
        )
        return self._model.get_text_features(**{name: value.to(self._device) for name, value in batch.items()})

    def _all(self, values: Iterable[T], embed: Any) -> np.ndarray:
        import torch

        vectors = []
        for batch in batches(values, self._size):
            with torch.no_grad():
                features = embed(batch)
            # transformers 5 returns an output object, earlier releases a tensor; neither is normalised.
            features = getattr(features, "pooler_output", features).float()
            vectors.append(torch.nn.functional.normalize(features, dim=-1).cpu().numpy())
        return np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32)


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` values."""
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch


def ranks(similarities: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """For each query the number of candidates above its best match, int64 (queries,); equals count as above, and so
    does NaN: a model that gives all the same similarity, or none, finds nothing.

        >>> ranks(np.array([[0.9, 0.1, 0.5]]), np.array([[False, False, True]]))
        array([1])

    Args:
        similarities: (queries, candidates).
        matches: bool, of the same shape, at least one in each row.
    """
    best = np.where(matches, similarities, -np.inf).max(axis=1, keepdims=True)
    return (~(similarities < best) & ~matches).sum(axis=1)


def recall(ranked: np.ndarray, k: int) -> float:
    """Share of the queries with a match among the first `k`; `ranked` is of `ranks`."""
    return float((ranked < k).mean()) if len(ranked) else float("nan")


def chance_recall(matches: np.ndarray, k: int) -> float:
    """What `recall` is on average where candidates are in random order.

    >>> chance_recall(np.eye(10, dtype=bool), 1)
    0.1
    """
    candidates = matches.shape[1]
    if k > candidates:
        return 1.0
    return float(1 - np.mean([comb(candidates - int(n), k) / comb(candidates, k) for n in matches.sum(axis=1)]))
