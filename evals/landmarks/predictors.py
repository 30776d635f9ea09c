"""Three ways to name what an image shows: the nearest name of a dual encoder, a linear probe on a vision tower, and a
model that sees and writes. Needs torch, numpy and scikit-learn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...hub_sync.context import Input
from ...hub_sync.errors import DataError, RowRejected
from ...inference.media.embeddings import Embedder, batches
from .data import PAIRS, Images, check_columns, config_of
from .hierarchy import PARENTS, Facts, Hierarchy
from .text import is_refusal

Landmark = Mapping[str, Any]


class Guess(NamedTuple):
    """A name, None for a refusal, its probability, the landmark if it is a known one, and its parents."""

    name: str | None
    confidence: float
    landmark_id: str | None = None
    parents: tuple[str | None, ...] = (None,) * len(PARENTS)


class Predictor(Protocol):
    """Names images."""

    def __call__(self, images: Sequence[Any]) -> list[Guess]:
        """A guess for each image. Raises RowRejected for what the model cannot read."""


class Known:
    """Landmarks by name: those that share a name are told apart by nothing, so that what they differ in is null."""

    def __init__(self, landmarks: Iterable[Landmark]) -> None:
        self._by_name: dict[str, list[Landmark]] = {}
        for one in landmarks:
            self._by_name.setdefault(one["name"], []).append(one)
        self.names = sorted(self._by_name)

    def guess(self, name: str, confidence: float) -> Guess:
        """The guess of a name."""
        group = self._by_name.get(name, [])

        def shared(column: str) -> Any:
            values = {one[column] for one in group}
            return values.pop() if len(values) == 1 else None

        parents = tuple(shared(level) or None for level in PARENTS)
        return Guess(name, confidence, shared("landmark_id"), parents)


class Retrieval:
    """The name whose vector is nearest to the image's; its share in the softmax over all names is the confidence."""

    def __init__(self, encoder: Embedder, landmarks: Sequence[Landmark], templates: Sequence[str]) -> None:
        self._encoder, self._known = encoder, Known(landmarks)
        if len(self._known.names) < 2:
            raise DataError("landmarks: fewer than two names: there is nothing to choose among")
        parts = [encoder.texts(text.replace("{name}", name) for name in self._known.names) for text in templates]
        vectors = np.mean(parts, axis=0)
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def __call__(self, images: Sequence[Any]) -> list[Guess]:
        cosines = self._encoder.images(images).astype(np.float64) @ self._vectors.T
        if not np.isfinite(cosines).all():
            raise DataError("input encoder: its vectors are not finite: the encoder's training has diverged")
        weights = np.exp(self._encoder.scale * (cosines - cosines.max(axis=1, keepdims=True)))
        shares = weights / weights.sum(axis=1, keepdims=True)
        best = shares.argmax(axis=1)
        return [self._known.guess(self._known.names[n], float(row[n])) for n, row in zip(best, shares, strict=True)]


class Features:
    """Vectors of images from a frozen vision tower: its pooled token beside the mean of all, each of length 1."""

    def __init__(self, source: Input, device: str, batch: int) -> None:
        import torch

        from ...inference import device as devices
        from ...inference.media import loading

        name = str(source.ref)
        self._device, self._batch = torch.device(devices.choose(device)), batch
        self._tower = loading.vision_tower(source.path, name, "float32").to(self._device).eval()
        self._processor = loading.processor(source.path, name, "AutoImageProcessor")

    def __call__(self, images: Iterable[Any]) -> np.ndarray[Any, Any]:
        """float32 (images, twice the tower's width)."""
        import torch
        from torch.nn.functional import normalize

        result = []
        for some in batches(images, self._batch):
            pixels = self._processor(some, return_tensors="pt")["pixel_values"].to(self._device)
            with torch.inference_mode():
                output = self._tower(pixel_values=pixels)
            tokens = output.last_hidden_state
            pooled = getattr(output, "pooler_output", None)
            parts = (tokens[:, 0] if pooled is None else pooled, tokens.mean(dim=1))
            result.append(torch.cat([normalize(part.float(), dim=-1) for part in parts], dim=1).cpu().numpy())
        return np.concatenate(result) if result else np.zeros((0, 0), np.float32)


class Probe:
    """Multinomial logistic regression on `Features`, of the landmarks of a split; it can name no others.

    Attributes:
        counts: images trained on, and those left out by reason.
    """

    def __init__(
        self, features: Features, source: Input, split: str, landmarks: Sequence[Landmark], strength: float,
        iterations: int,
    ) -> None:  # fmt: skip
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from .._lib.data import read_split

        self._features, name = features, f"{source.ref}, split {split}"
        rows = read_split(source.path, split, config_of(source.path, PAIRS, str(source.ref)))
        check_columns(rows, ("image", "landmark_id"), name)
        images, ids, self.counts = Images(rows, name), [], Counter[str]()
        names = {one["landmark_id"]: one for one in landmarks}

        def readable() -> Iterable[Any]:
            for number, identity in enumerate(rows["landmark_id"]):
                if identity is None or str(identity) not in names:
                    self.counts["train images without a known landmark"] += 1
                    continue
                try:
                    image = images.open(number)
                except RowRejected as error:
                    self.counts[f"train images left out: {error.reason}"] += 1
                    continue
                ids.append(str(identity))
                yield image

        vectors = features(readable())
        if len(set(ids)) < 2:
            raise DataError(f"{name}: fewer than two landmarks with images: a linear probe needs two")
        self.counts["train images"] = len(ids)
        self._known = {identity: Known([names[identity]]) for identity in set(ids)}
        self._names = {identity: names[identity]["name"] for identity in set(ids)}
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=iterations))
        self._model.fit(vectors, ids)

    def __call__(self, images: Sequence[Any]) -> list[Guess]:
        shares = self._model.predict_proba(self._features(images))
        classes = self._model.classes_
        result = []
        for row in shares:
            identity = str(classes[int(row.argmax())])
            result.append(self._known[identity].guess(self._names[identity], float(row.max())))
        return result


class Speaker:
    """A model that sees and writes: its reply's probability is the confidence. A reply that names one landmark is that
    landmark; another one stays as it is."""

    def __init__(self, seer: Any, question: str, landmarks: Sequence[Landmark]) -> None:
        self._seer, self._prompt, self._known = seer, seer.prompt(question), Known(landmarks)
        self._hierarchy = Hierarchy(map(Facts.of, landmarks))

    def __call__(self, images: Sequence[Any]) -> list[Guess]:
        result = []
        for reply in self._seer.ask([self._prompt] * len(images), images):
            names = {one.name for one in self._hierarchy.named(reply.text)}
            if len(names) == 1:
                result.append(self._known.guess(names.pop(), reply.probability))
            elif is_refusal(reply.text):
                result.append(Guess(None, reply.probability))
            else:
                result.append(Guess(reply.text, reply.probability))
        return result
