"""Measures of one image's true name among candidates, and the buckets and subsets that follow from them.

With cosines s_c of an image and the names c, y the true one, and the temperature a of the encoder:

    rank         1 + number of other names with s_c >= s_y
    similarity   s_y
    probability  exp(a s_y) / sum_c exp(a s_c)
    margin       s_y - max over c != y of s_c
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

SAME = 1e-6  # difference that is rounding, such as follows from what else is in a batch
KNOWN, BETWEEN, UNKNOWN = "known", "between", "unknown"


class Measures(NamedTuple):
    """Arrays (images,): int64 ranks, the others float64."""

    rank: np.ndarray
    similarity: np.ndarray
    probability: np.ndarray
    margin: np.ndarray


def measure(cosines: np.ndarray, true: np.ndarray, candidates: np.ndarray, scale: float) -> Measures:
    """The measures of a batch.

        >>> measure(np.array([[0.9, 0.1, 0.5]]), np.array([2]), np.ones((1, 3), bool), 1.0).rank
        array([2])

    Names that are as similar as the true one, but for rounding, count as before it, so that an encoder for which all
    are the same knows none.

    Args:
        cosines: (images, names).
        true: int (images,), the column of the true name.
        candidates: bool, of the shape of the cosines; the true name is among them.
        scale: factor of the cosines before the softmax.
    """
    rows = np.arange(len(true))
    own = cosines[rows, true].astype(np.float64)
    others = np.where(candidates, cosines.astype(np.float64), -np.inf)
    logits = scale * (others - others.max(axis=1, keepdims=True))
    weights = np.exp(logits)
    probability = weights[rows, true] / weights.sum(axis=1)
    others[rows, true] = -np.inf
    rank = 1 + (others >= own[:, None] - SAME).sum(axis=1)
    return Measures(rank, own, probability, own - others.max(axis=1))


def buckets(rank: np.ndarray, probability: np.ndarray, least: float, unknown_from: int) -> np.ndarray:
    """The bucket of each image, (images,) of text.

    Args:
        least: probability from which an image of rank 1 is known.
        unknown_from: rank from which it is unknown.
    """
    known = (rank == 1) & (probability >= least)
    return np.where(known, KNOWN, np.where(rank >= unknown_from, UNKNOWN, BETWEEN))


def subsets(
    measures: Measures, bucket: np.ndarray, entity: np.ndarray, order: np.ndarray, share: float
) -> Mapping[str, np.ndarray]:
    """Name -> bool (images,): subsets with equally many images of every entity.

    `known`, `unknown` and `mixed` (half of each) have as many images of an entity as the smaller of its two buckets;
    the others a share of each entity's images, by the measure that they are named after.

    Args:
        entity: int (images,).
        order: (images,) of numbers, by which equal ones and random ones are chosen.
        share: of an entity's images, in `high_probability`, `low_probability`, `high_similarity` and `random`.
    """
    names = ("known", "unknown", "mixed", "high_probability", "low_probability", "high_similarity", "random")
    chosen = {name: np.zeros(len(entity), bool) for name in names}
    by = {"high_probability": -measures.probability, "low_probability": measures.probability,
          "high_similarity": -measures.similarity, "random": np.zeros(len(entity))}  # fmt: skip
    if not len(entity):
        return chosen
    places = np.lexsort((order, entity))
    ends = np.flatnonzero(np.diff(entity[places], append=-1)) + 1
    for start, end in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
        own = places[start:end]
        known, unknown = own[bucket[own] == KNOWN], own[bucket[own] == UNKNOWN]
        few = min(len(known), len(unknown))
        chosen["known"][known[:few]] = chosen["unknown"][unknown[:few]] = True
        chosen["mixed"][known[: (few + 1) // 2]] = chosen["mixed"][unknown[: few // 2]] = True
        many = max(1, round(share * len(own)))
        for name, values in by.items():
            chosen[name][own[np.argsort(np.round(values[own], 6), kind="stable")[:many]]] = True
    return chosen
